//! Queues of work for modules. A lane belongs to a slot (module and vhost), not to a generation: what waits in it runs on
//! whichever generation is current when its turn comes, so a swap neither loses nor reorders queued work.
//!
//! A lane has no task of its own while it is empty: the first job spawns a drainer, which ends with the last one.

use super::services::BoxFuture;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;

/// A piece of work: looks its handler up when it runs, answers its caller itself, and never panics on purpose.
pub type Job = BoxFuture<()>;

/// After so many jobs in a row a drainer lets others have the thread.
const JOBS_PER_TURN: usize = 32;

/// A bounded queue with a bounded number of jobs at a time.
pub struct Lane {
    /// Jobs at a time: 1 for `one_queue`, N for `parallel(N)`.
    workers: AtomicUsize,
    /// Jobs waiting at most.
    bound: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    running: usize,
    closed: bool,
}

/// The lane took nothing: it is full, or its slot is in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Lane {
    /// An empty lane.
    pub fn new(workers: usize, bound: usize) -> Arc<Self> {
        Arc::new(Self {
            workers: AtomicUsize::new(workers.max(1)),
            bound: AtomicUsize::new(bound),
            state: Mutex::default(),
        })
    }

    /// Changes the limits; work that waits already stays.
    pub fn resize(&self, workers: usize, bound: usize) {
        self.workers.store(workers.max(1), Ordering::Relaxed);
        self.bound.store(bound, Ordering::Relaxed);
    }

    /// Puts a job at the end. `queued` counts what waits, over all lanes of a slot.
    pub fn push(self: &Arc<Self>, job: Job, runtime: &Handle, queued: &Arc<AtomicI64>) -> Result<(), Full> {
        {
            let mut state = self.lock();
            if state.closed || state.waiting.len() >= self.bound.load(Ordering::Relaxed) {
                return Err(Full);
            }
            state.waiting.push_back(job);
            queued.fetch_add(1, Ordering::Relaxed);
            if state.running >= self.workers.load(Ordering::Relaxed) {
                return Ok(());
            }
            state.running += 1;
        }
        runtime.spawn(Arc::clone(self).drain(Arc::clone(queued)));
        Ok(())
    }

    /// Takes no more work and drops what waits: the callers see their answer channel close.
    pub fn close(&self, queued: &AtomicI64) -> usize {
        let dropped = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        queued.fetch_sub(i64::try_from(dropped.len()).unwrap_or(i64::MAX), Ordering::Relaxed);
        dropped.len()
    }

    /// Jobs waiting.
    pub fn depth(&self) -> usize {
        self.lock().waiting.len()
    }

    async fn drain(self: Arc<Self>, queued: Arc<AtomicI64>) {
        let mut running = Running { lane: &self, holds_place: true };
        let mut in_this_turn = 0;
        while let Some(job) = running.next() {
            queued.fetch_sub(1, Ordering::Relaxed);
            job.await;
            in_this_turn += 1;
            if in_this_turn == JOBS_PER_TURN {
                in_this_turn = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A drainer's place among the running ones, given back even when a job panics or the runtime is shut down.
struct Running<'a> {
    lane: &'a Lane,
    holds_place: bool,
}

impl Running<'_> {
    /// The next job, or `None` after giving the place back under the same lock, so that no push falls in between.
    fn next(&mut self) -> Option<Job> {
        let mut state = self.lane.lock();
        let too_many = state.running > self.lane.workers.load(Ordering::Relaxed);
        let job = if too_many { None } else { state.waiting.pop_front() };
        if job.is_none() {
            state.running -= 1;
            self.holds_place = false;
        }
        job
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.holds_place {
            self.lane.lock().running -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::{mpsc, oneshot};

    fn counter() -> Arc<AtomicI64> {
        Arc::new(AtomicI64::new(0))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_worker_keeps_the_order_of_all_senders() {
        let (lane, queued, runtime) = (Lane::new(1, 10_000), counter(), Handle::current());
        let (out, mut seen) = mpsc::unbounded_channel();
        for i in 0..1_000 {
            let out = out.clone();
            let job = Box::pin(async move {
                tokio::task::yield_now().await;
                out.send(i).unwrap();
            });
            lane.push(job, &runtime, &queued).unwrap();
        }
        for i in 0..1_000 {
            assert_eq!(seen.recv().await, Some(i));
        }
        assert_eq!(queued.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn exactly_n_run_and_the_next_one_waits() {
        let (lane, queued, runtime) = (Lane::new(3, 100), counter(), Handle::current());
        let (started, mut running) = mpsc::unbounded_channel();
        let mut gates = Vec::new();
        for i in 0..4 {
            let (open, gate) = oneshot::channel::<()>();
            gates.push(open);
            let started = started.clone();
            let job = Box::pin(async move {
                started.send(i).unwrap();
                let _ = gate.await;
            });
            lane.push(job, &runtime, &queued).unwrap();
        }
        for _ in 0..3 {
            running.recv().await.unwrap();
        }
        assert_eq!(lane.depth(), 1);
        assert!(running.try_recv().is_err());
        drop(gates.remove(1));
        assert_eq!(running.recv().await, Some(3));
    }

    #[tokio::test]
    async fn a_full_lane_refuses_and_a_closed_one_drops_what_waits() {
        let (lane, queued, runtime) = (Lane::new(1, 2), counter(), Handle::current());
        let (answer, dropped) = oneshot::channel::<()>();
        lane.push(Box::pin(std::future::pending()), &runtime, &queued).unwrap();
        tokio::task::yield_now().await;
        lane.push(Box::pin(async move { drop(answer) }), &runtime, &queued).unwrap();
        lane.push(Box::pin(std::future::pending()), &runtime, &queued).unwrap();
        assert_eq!(lane.push(Box::pin(std::future::pending()), &runtime, &queued), Err(Full));
        assert_eq!(lane.close(&queued), 2);
        assert!(dropped.await.is_err());
        assert_eq!(lane.push(Box::pin(std::future::pending()), &runtime, &queued), Err(Full));
        assert_eq!(queued.load(Ordering::Relaxed), 0);
    }
}
