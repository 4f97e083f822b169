use crate::prelude::*;
use crate::testing::FakeHost;
use serde_json::{Value, json};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const FROM: &str = "a@example.org/x";

struct Tasks {
    host: Host,
    kept: Mutex<Option<Waker>>,
}

impl Module for Tasks {
    type Options = ();

    fn start(host: &Host, (): ()) -> Result<Started<Self>, Stop> {
        host.on_iq("urn:picky", Self::picky)?;
        host.on_iq("urn:kept", Self::keeps_its_waker)?;
        host.on_iq("urn:thread", Self::elsewhere)?;
        host.command(&CommandSpec::new("spawn", "Begins a task"), Self::spawn)?;
        Started::running(Self { host: host.clone(), kept: Mutex::default() })
    }

    fn on_request(&self, _: &Request<'_>) -> Result<Value, CommandError> {
        if let Some(waker) = self.kept.lock().unwrap().take() {
            waker.wake();
        }
        Ok(Value::Null)
    }
}

/// Polls a future only when the waker that it gave to it was woken, as combinators over many futures do.
struct Picky<F> {
    future: Pin<Box<F>>,
    flag: Arc<Flag>,
}

struct Flag {
    woken: AtomicBool,
    outer: Mutex<Option<Waker>>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        let outer = self.outer.lock().unwrap().take();
        if let Some(outer) = outer {
            outer.wake();
        }
    }
}

impl<F: Future> Future for Picky<F> {
    type Output = F::Output;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        *self.flag.outer.lock().unwrap() = Some(cx.waker().clone());
        if !self.flag.woken.swap(false, Ordering::SeqCst) {
            return Poll::Pending;
        }
        let waker = Waker::from(Arc::clone(&self.flag));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

fn picky<F: Future>(future: F) -> Picky<F> {
    let flag = Flag { woken: AtomicBool::new(true), outer: Mutex::default() };
    Picky { future: Box::pin(future), flag: Arc::new(flag) }
}

impl Tasks {
    async fn picky(self: Arc<Self>, _: Iq<'static>) -> Result<(), StanzaError> {
        let two = async {
            self.host.sleep(Duration::from_secs(1)).await?;
            self.host.sleep(Duration::from_secs(2)).await
        };
        picky(picky(two)).await?;
        Ok(())
    }

    async fn keeps_its_waker(self: Arc<Self>, _: Iq<'static>) {
        let mut polled = false;
        std::future::poll_fn(|cx| {
            if std::mem::replace(&mut polled, true) {
                return Poll::Ready(());
            }
            *self.kept.lock().unwrap() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// An operation awaited on a thread of the module's own, by an executor of its own.
    async fn elsewhere(self: Arc<Self>, _: Iq<'static>) -> Result<(), StanzaError> {
        let host = self.host.clone();
        let (done, slept) = (Arc::new(Mutex::new(None::<Waker>)), Arc::new(AtomicBool::new(false)));
        let (done2, slept2) = (Arc::clone(&done), Arc::clone(&slept));
        let thread = std::thread::spawn(move || {
            block_on(host.sleep(Duration::from_secs(5))).unwrap();
            slept2.store(true, Ordering::SeqCst);
            if let Some(waker) = done2.lock().unwrap().take() {
                waker.wake();
            }
        });
        std::future::poll_fn(|cx| {
            *done.lock().unwrap() = Some(cx.waker().clone());
            if slept.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        thread.join().map_err(|_| StanzaError::internal("the thread panicked"))
    }

    fn spawn(&self, _: &Request<'_>) -> Result<(), CommandError> {
        let host = self.host.clone();
        self.host.spawn(async move {
            while host.sleep(Duration::from_secs(1)).await.is_ok() {
                host.count("rounds", 1);
            }
        })?;
        Ok(())
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn combinators_with_wakers_of_their_own_are_woken_by_the_host() {
    let host = FakeHost::new("example.org");
    let module = host.start::<Tasks>("{}");
    assert_eq!(module.iq_get(FROM, "example.org", "<q xmlns='urn:picky'/>"), Ok(None));
    assert_eq!(host.now_ms(), 3000);
}

#[test]
fn a_waker_rings_the_host_and_is_harmless_when_late() {
    let host = FakeHost::new("example.org");
    let module = host.start::<Tasks>("{}");
    let mut pending = module.begin_iq("get", FROM, "example.org", "<q xmlns='urn:kept'/>");
    assert!(pending.try_iq().is_none() && pending.try_iq().is_none());
    module.request("wake", &Value::Null).unwrap();
    assert_eq!(pending.try_iq(), Some(Ok(None)));
}

#[test]
fn a_waker_and_a_handle_may_outlive_their_instance() {
    static KEPT: Mutex<Option<(Host, Waker)>> = Mutex::new(None);
    struct Leaky;
    impl Module for Leaky {
        type Options = ();
        fn start(host: &Host, (): ()) -> Result<Started<Self>, Stop> {
            let kept = host.clone();
            host.spawn(std::future::poll_fn(move |cx| {
                *KEPT.lock().unwrap() = Some((kept.clone(), cx.waker().clone()));
                Poll::Pending
            }))?;
            Started::running(Leaky)
        }
    }
    let host = FakeHost::new("example.org");
    let module = host.start::<Leaky>("{}");
    assert_eq!(module.stop(StopReason::Unload).tasks, 1);
    let (handle, waker) = KEPT.lock().unwrap().take().unwrap();
    waker.wake();
    let jid = Jid::parse("a@b").unwrap();
    assert_eq!(handle.route(&jid, &jid, b"<message/>").unwrap_err().condition, "gone");
    assert_eq!(handle.feature("urn:x", Target::Server).unwrap_err().condition, "gone");
    assert_eq!(handle.sleep(Duration::ZERO).wait().unwrap_err().condition, "gone");
    assert_eq!(handle.spawn(async {}).unwrap_err().condition, "gone");
    info!(handle, "to nobody");
    assert!(host.logs().is_empty());
}

#[test]
fn operations_can_be_awaited_outside_the_hosts_tasks() {
    let host = FakeHost::new("example.org");
    let module = host.start::<Tasks>("{}");
    assert_eq!(module.iq_get(FROM, "example.org", "<q xmlns='urn:thread'/>"), Ok(None));
    assert_eq!(host.now_ms(), 5000);
    assert!(module.stop(StopReason::Unload).is_clean());
}

#[test]
fn spawned_tasks_run_until_the_instance_ends() {
    let host = FakeHost::new("example.org");
    let module = host.start::<Tasks>("{}");
    module.command("spawn", &json!({})).unwrap();
    host.advance(Duration::from_secs(10));
    assert_eq!((host.counter("rounds"), host.tasks()), (10, 1));
    let leftovers = module.stop(StopReason::Unload);
    assert_eq!((leftovers.tasks, host.tasks(), host.operations()), (1, 0, 0));
}
