//! Workers of the sockets' runtime that rest until a module holds one of the others.
//!
//! Handlers without a queue, hooks, and lanes whose jobs are short run on the threads that serve sockets. Should one of
//! them not return, its thread is lost to the sockets for that long; the watchdog of the modules' runtime notices within
//! milliseconds and calls up a worker from this reserve, which finds the tasks of the one that is held in its queue. When
//! that one has come back, somebody rests again.
//!
//! A worker rests inside a task that blocks its thread, which is why it costs nothing while it does: the scheduler takes
//! it for busy, and never wakes it.
//!
//! One place of the scheduler nobody else can take work from: each worker keeps the task woken last for itself. So what a
//! module wakes while it runs there is moved on at once (`share_woken`).

use super::{lookup, threads};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;

/// Workers in reserve: as many calls may hold a thread of the sockets' runtime at the same time without a loss.
pub const RESERVE: usize = 4;

/// The workers that rest. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reserve {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    runtime: Handle,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Workers that should rest.
    wanted: usize,
    /// Workers that rest, or are about to.
    resting: usize,
}

impl Reserve {
    /// Puts `count` workers of the runtime to rest. It should have been started with as many more than are to serve, and
    /// [`Reserve::end`] must be called before it is shut down.
    pub fn new(runtime: Handle, count: usize) -> Self {
        let state = Mutex::new(State { wanted: 0, resting: 0 });
        let reserve = Self { shared: Arc::new(Shared { runtime, state, changed: Condvar::new() }) };
        (0..count).for_each(|_| reserve.stand_down());
        reserve
    }

    /// The runtime.
    pub(super) fn runtime(&self) -> &Handle {
        &self.shared.runtime
    }

    /// Lets one worker serve. `false`: none is left.
    pub(super) fn call_up(&self) -> bool {
        let mut state = self.shared.state();
        if state.wanted == 0 {
            return false;
        }
        state.wanted -= 1;
        drop(state);
        self.shared.changed.notify_one();
        true
    }

    /// Lets one worker more rest.
    pub(super) fn stand_down(&self) {
        {
            let mut state = self.shared.state();
            state.wanted += 1;
            state.resting += 1;
        }
        let shared = Arc::clone(&self.shared);
        self.shared.runtime.spawn(async move { shared.rest() });
    }

    /// How many could be called up.
    pub(super) fn left(&self) -> usize {
        self.shared.state().wanted
    }

    /// Wakes all of them, for the end of the runtime.
    pub fn end(&self) {
        self.shared.state().wanted = 0;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn rest(&self) {
        // It cannot do so while it rests, and nobody should have to wait for it.
        threads::leave_all();
        // The scheduler does not know that this thread rests, so nobody else lets go of what it keeps: with tables of now,
        // every library of now would stay mapped until it is called up again.
        lookup::forget();
        let mut state = self.state();
        while state.resting <= state.wanted {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.resting -= 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under this lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// To be called by each thread of the sockets' runtime when it starts.
pub fn join() {
    threads::join_pool(threads::SOCKETS);
}

/// To be called when a module on this thread may have woken a task. If this thread serves sockets, that task is moved
/// from the place that only this thread looks into to its queue, where others find it should the module never return.
pub(super) fn share_woken() {
    if threads::is_module_on_sockets() {
        share_last_woken();
    }
}

/// The same for a task of the sockets' runtime that has woken another one and is about to call a module.
pub(super) fn share_last_woken() {
    // What is spawned last takes the place, and pushes what was there into the queue.
    if let Ok(here) = Handle::try_current() {
        here.spawn(std::future::ready(()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::registry::Snapshot;
    use std::sync::mpsc;
    use std::time::Duration;
    use tokio::runtime::Builder;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_worker_called_up_serves_while_the_other_is_held_and_rests_again_afterwards() {
        let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let reserve = Reserve::new(runtime.handle().clone(), 1);
        for _ in 0..3 {
            let (held, is_held) = mpsc::channel();
            let (release, released) = mpsc::channel::<()>();
            runtime.spawn(async move {
                held.send(()).unwrap();
                released.recv().unwrap();
            });
            is_held.recv_timeout(PATIENCE).unwrap();
            let (answer, answered) = mpsc::channel();
            runtime.spawn(async move { answer.send(()).unwrap() });
            assert!(answered.recv_timeout(Duration::from_millis(20)).is_err(), "nobody is there");
            assert!(reserve.call_up());
            assert!(!reserve.call_up(), "there was one");
            answered.recv_timeout(PATIENCE).unwrap();
            release.send(()).unwrap();
            reserve.stand_down();
            assert_eq!(reserve.left(), 1);
        }
        reserve.end();
        runtime.shutdown_timeout(PATIENCE);
    }

    #[test]
    fn a_worker_that_rests_keeps_no_tables() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let reserve = Reserve::new(runtime.handle().clone(), 0);
        let published = lookup::PublishedTables::new(Snapshot::default());
        lookup::at_rest();
        drop(published.look());
        let tables = Arc::downgrade(&published.load_full());
        published.store(Snapshot::default());
        assert!(tables.upgrade().is_some(), "a thread that is awake keeps what it saw last");
        // One more rests than is wanted, so this one comes back at once.
        reserve.shared.state().resting = 1;
        reserve.shared.rest();
        assert!(tables.upgrade().is_none());
    }
}
