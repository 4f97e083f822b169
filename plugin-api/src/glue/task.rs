//! Asynchronous handlers as tasks that the host polls.
//!
//! No waker of a module ever reaches the host. Host operations are polled by id, and the host wakes the task with a waker
//! of its own; for everything else (channels of the module, its own threads) the task's waker asks the host to poll again
//! by the task's number, which stays harmless when the task, or the whole instance, is gone.

use super::answer;
use super::guard::{contained, guarded};
use super::reply::Reply;
use crate::abi::v1::{PollRef, ReplyRef, TaskPtr, status};
use crate::sdk::Host;
use crate::sdk::handler::AnswerFuture;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A handler under way.
pub(crate) struct Task {
    /// `None` once it has answered.
    future: Option<AnswerFuture>,
    bell: Arc<Bell>,
    waker: Waker,
    /// Wakers of futures inside this task that wait for the host (see [`PollScope::wake_with_task`]).
    inner: RefCell<Vec<Waker>>,
}

/// What the task's waker rings.
struct Bell {
    host: Host,
    task: AtomicU64,
    /// Set while the task is about to be polled anyway.
    quiet: AtomicBool,
}

const _: () = {
    /// The host moves tasks between its threads.
    const fn may_move<T: Send>() {}
    may_move::<Task>();
};

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A read-modify-write, so that the poll that follows sees whatever was done before this wake.
        if !self.quiet.fetch_or(false, Ordering::AcqRel) {
            self.host.raw().task_wake(self.task.load(Ordering::Relaxed));
        }
    }
}

impl Task {
    /// Puts a handler's future into a task; the pointer is ended by [`task_drop`].
    pub(crate) fn into_raw(host: &Host, id: u64, future: AnswerFuture) -> TaskPtr {
        let bell =
            Arc::new(Bell { host: host.clone(), task: AtomicU64::new(id), quiet: AtomicBool::new(false) });
        let waker = Waker::from(Arc::clone(&bell));
        let task = Task { future: Some(future), bell, waker, inner: RefCell::default() };
        TaskPtr { ptr: Box::into_raw(Box::new(task)).cast() }
    }

    fn poll(&mut self, poll: PollRef) -> Poll<crate::sdk::handler::Answer> {
        self.wake_inner();
        let Some(future) = self.future.as_mut() else {
            return Poll::Ready(crate::sdk::handler::Answer::Failed(crate::sdk::Stop::new(
                "polled after its end",
            )));
        };
        let scope = PollScope { poll, root: &self.waker, inner: &self.inner };
        let polled = scope.enter(|| future.as_mut().poll(&mut Context::from_waker(&self.waker)));
        if polled.is_ready() {
            self.future = None;
        }
        polled
    }

    /// The host wakes the task as a whole. A combinator inside it polls only those of its futures whose own wakers were
    /// woken, so all that waited for the host are woken now; the task itself is about to be polled and need not be.
    fn wake_inner(&mut self) {
        let inner = self.inner.take();
        if inner.is_empty() {
            return;
        }
        self.bell.quiet.store(true, Ordering::Relaxed);
        for waker in inner {
            waker.wake();
        }
        self.bell.quiet.swap(false, Ordering::AcqRel);
    }
}

/// The poll in which a task runs, found by the operations that it polls.
pub struct PollScope<'a> {
    poll: PollRef,
    root: &'a Waker,
    inner: &'a RefCell<Vec<Waker>>,
}

thread_local! {
    /// No destructor: a pointer and nothing else, so the library can be unloaded whatever threads polled.
    static CURRENT: Cell<*const PollScope<'static>> = const { Cell::new(std::ptr::null()) };
}

impl PollScope<'_> {
    /// The host's side of this poll.
    pub(crate) fn poll(&self) -> PollRef {
        self.poll
    }

    /// Has `waker` woken when the host wakes the task.
    pub(crate) fn wake_with_task(&self, waker: &Waker) {
        if !waker.will_wake(self.root) {
            // Cloned first: a combinator's waker runs code of its own, which must not find the list borrowed.
            let waker = waker.clone();
            self.inner.borrow_mut().push(waker);
        }
    }

    fn enter<R>(&self, f: impl FnOnce() -> R) -> R {
        struct Leave(*const PollScope<'static>);
        impl Drop for Leave {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }
        let _leave = Leave(CURRENT.replace(std::ptr::from_ref(self).cast()));
        f()
    }
}

/// Runs `f` with the poll under way on this thread, if any.
pub(crate) fn with_current<R>(f: impl FnOnce(Option<&PollScope<'_>>) -> R) -> R {
    // SAFETY: the pointer is set by `enter` to a scope that outlives its closure, reset when that closure ends, also by
    // a panic, and belongs to this thread alone; so it is null or points to a living scope.
    f(unsafe { CURRENT.get().as_ref() })
}

/// [`v1::ModuleVt::task_poll`](crate::abi::v1::ModuleVt::task_poll).
///
/// # Safety
/// As the boundary says: `task` comes from a `call` or `spawn` of this library, was not dropped, and is polled by one
/// thread at a time; `poll` and `reply` are valid for this call.
pub unsafe extern "C" fn task_poll(task: TaskPtr, task_id: u64, poll: PollRef, reply: ReplyRef<'_>) -> i32 {
    // SAFETY: promised by the caller.
    let (task, reply) = unsafe { (&mut *task.ptr.cast::<Task>(), Reply::new(reply)) };
    task.bell.task.store(task_id, Ordering::Relaxed);
    let host = task.bell.host.clone();
    guarded(&host, &reply, || match task.poll(poll) {
        Poll::Ready(answer) => answer::write(answer, &reply),
        Poll::Pending => status::PENDING,
    })
}

/// [`v1::ModuleVt::task_drop`](crate::abi::v1::ModuleVt::task_drop).
///
/// # Safety
/// As for [`task_poll`], and this is the last use of `task`.
pub unsafe extern "C" fn task_drop(task: TaskPtr) {
    // SAFETY: promised by the caller; the box was made by `into_raw`.
    let task = unsafe { Box::from_raw(task.ptr.cast::<Task>()) };
    let host = task.bell.host.clone();
    contained(&host, || drop(task));
}
