//! Host operations: begun at once, then awaited in an `async` handler or waited for in a synchronous one.

use super::{Host, HostError};
use crate::glue::task::{self, PollScope};
use crate::glue::{OpAnswer, OpPoll};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How long [`Op::wait`] waits.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(10);

/// An operation under way. `.await` it in an `async` handler, `.wait()` for it in a synchronous one; dropping it forgets
/// the answer, though what it began may still happen.
#[must_use = "an operation whose answer nobody takes is forgotten"]
pub struct Op<T> {
    host: Host,
    state: State<T>,
    decode: fn(OpAnswer) -> Result<T, HostError>,
}

enum State<T> {
    /// The host never began it.
    Refused(HostError),
    /// The host's id.
    UnderWay(u64),
    /// Awaited outside a task of the host: a task of its own fetches the answer.
    Relayed(Arc<Mutex<Relay<T>>>),
    /// The answer was taken.
    Taken,
}

struct Relay<T> {
    answer: Option<Result<T, HostError>>,
    waker: Option<Waker>,
}

impl<T> Op<T> {
    /// Begins an operation of [`crate::abi::v1::op`].
    pub(crate) fn start(
        host: &Host,
        kind: u32,
        number: i64,
        args: &str,
        body: &[u8],
        decode: fn(OpAnswer) -> Result<T, HostError>,
    ) -> Self {
        let state = match host.raw().op_start(kind, number, args, body) {
            Some(0) => {
                State::Refused(HostError::new("resource-constraint", "too many operations are under way"))
            }
            Some(id) => State::UnderWay(id),
            None => State::Refused(HostError::gone()),
        };
        Self { host: host.clone(), state, decode }
    }

    /// One that fails with this error.
    pub(crate) fn refused(
        host: &Host,
        error: HostError,
        decode: fn(OpAnswer) -> Result<T, HostError>,
    ) -> Self {
        Self { host: host.clone(), state: State::Refused(error), decode }
    }

    /// Waits on this thread, ten seconds at most.
    pub fn wait(self) -> Result<T, HostError> {
        self.wait_at_most(DEFAULT_WAIT)
    }

    /// Waits on this thread, at most so long.
    pub fn wait_at_most(mut self, timeout: Duration) -> Result<T, HostError> {
        match std::mem::replace(&mut self.state, State::Taken) {
            State::Refused(error) => Err(error),
            State::UnderWay(id) => match self.host.raw().op_wait(id, timeout) {
                OpPoll::Ready(answer) => answer.and_then(self.decode),
                OpPoll::Pending => {
                    self.host.raw().op_cancel(id);
                    Err(HostError::new(
                        "timeout",
                        format!("no answer came within {} ms", timeout.as_millis()),
                    ))
                }
            },
            State::Relayed(_) | State::Taken => {
                Err(HostError::new("unexpected-request", "this operation is already being awaited"))
            }
        }
    }
}

impl<T: Send + 'static> Future for Op<T> {
    type Output = Result<T, HostError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match std::mem::replace(&mut this.state, State::Taken) {
            State::Refused(error) => Poll::Ready(Err(error)),
            State::UnderWay(id) => task::with_current(|scope| match scope {
                Some(scope) => this.poll_here(id, scope, cx),
                None => this.poll_relayed(id, cx),
            }),
            State::Relayed(relay) => {
                let polled = poll_relay(&relay, cx);
                if polled.is_pending() {
                    this.state = State::Relayed(relay);
                }
                polled
            }
            State::Taken => {
                Poll::Ready(Err(HostError::new("unexpected-request", "the answer was already taken")))
            }
        }
    }
}

impl<T: Send + 'static> Op<T> {
    fn poll_here(
        &mut self,
        id: u64,
        scope: &PollScope<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, HostError>> {
        match self.host.raw().op_poll(id, scope.poll()) {
            OpPoll::Ready(answer) => Poll::Ready(answer.and_then(self.decode)),
            OpPoll::Pending => {
                scope.wake_with_task(cx.waker());
                self.state = State::UnderWay(id);
                Poll::Pending
            }
        }
    }

    /// The host wakes its own tasks only. Polled from elsewhere (a runtime of the module's own), the operation is handed
    /// to a task that the host drives and that wakes the caller in the end.
    fn poll_relayed(&mut self, id: u64, cx: &mut Context<'_>) -> Poll<Result<T, HostError>> {
        let relay = Arc::new(Mutex::new(Relay { answer: None, waker: Some(cx.waker().clone()) }));
        let inner = Op { host: self.host.clone(), state: State::UnderWay(id), decode: self.decode };
        let mut far = FarEnd { relay: Arc::clone(&relay), answer: Err(HostError::gone()) };
        let driven = self.host.spawn(async move { far.deliver(inner.await) });
        if let Err(error) = driven {
            return Poll::Ready(Err(error));
        }
        self.state = State::Relayed(relay);
        Poll::Pending
    }
}

/// Delivers the answer when the task ends, also when the host drops it unfinished.
struct FarEnd<T> {
    relay: Arc<Mutex<Relay<T>>>,
    answer: Result<T, HostError>,
}

impl<T> FarEnd<T> {
    fn deliver(&mut self, answer: Result<T, HostError>) {
        self.answer = answer;
    }
}

impl<T> Drop for FarEnd<T> {
    fn drop(&mut self) {
        let waker = {
            let mut relay = self.relay.lock().unwrap_or_else(PoisonError::into_inner);
            relay.answer = Some(std::mem::replace(&mut self.answer, Err(HostError::gone())));
            relay.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn poll_relay<T>(relay: &Mutex<Relay<T>>, cx: &mut Context<'_>) -> Poll<Result<T, HostError>> {
    let mut relay = relay.lock().unwrap_or_else(PoisonError::into_inner);
    match relay.answer.take() {
        Some(answer) => Poll::Ready(answer),
        None => {
            relay.waker = Some(cx.waker().clone());
            Poll::Pending
        }
    }
}

impl<T> Drop for Op<T> {
    fn drop(&mut self) {
        if let State::UnderWay(id) = self.state {
            self.host.raw().op_cancel(id);
        }
    }
}

impl<T> std::fmt::Debug for Op<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Refused(error) => return write!(f, "Op(refused: {error})"),
            State::UnderWay(id) => return write!(f, "Op({id})"),
            State::Relayed(_) => "relayed",
            State::Taken => "taken",
        };
        write!(f, "Op({state})")
    }
}
