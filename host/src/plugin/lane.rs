//! Queues of work for modules. A lane belongs to a slot (module and vhost), not to a generation: what waits in it runs on
//! whichever generation is current when its turn comes, so a swap neither loses nor reorders queued work.
//!
//! A lane has no task of its own while it is empty: the first job spawns a drainer, which ends with the last one.
//!
//! A drainer's home is the modules' runtime. But the way there and back costs more than a short job: two threads are
//! woken. So a lane whose jobs have shown to be short is drained where its work comes from, on the sockets' runtime, by
//! a task of its own there: whoever brought the work does not wait for it, also when a job never returns. What that does
//! to the thread, see `reserve`. Every publication lets all lanes begin anew, because code that was quick may have been
//! replaced by code that is not.

use super::reserve::share_last_woken;
use super::services::BoxFuture;
use crate::wake::{self, PutOff};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// A piece of work: looks its handler up when it runs, answers its caller itself, and never panics on purpose.
pub trait Work: Send {
    /// Does it at once as far as that goes without waiting; what is left is given back.
    fn begin(self: Box<Self>) -> Option<BoxFuture<()>>;
}

/// Work in a box.
pub type Job = Box<dyn Work>;

/// After so many jobs in a row a drainer lets others have the thread.
const JOBS_PER_TURN: usize = 32;

/// A lane that is new begins with so much credit; with none missing it may be drained near its work. Each short job
/// earns one, up to a bound, so that a lane that was quick for long survives a thread that was merely not scheduled.
const FIRST_CREDIT: i32 = -64;
const MOST_CREDIT: i32 = 1_024;
/// From when on a job is not short, and what that costs.
const LONG: Duration = Duration::from_millis(1);
const LONG_COSTS: i32 = 256;
/// From when on a job has no place on a thread of the sockets' runtime, and what it earns itself.
const TOO_LONG: Duration = Duration::from_millis(20);
const TOO_LONG_CREDIT: i32 = -4_096;

/// Where drainers run.
pub trait Homes: Clone + Send + Sync + 'static {
    /// The modules' runtime.
    fn far(&self) -> Handle;
    /// The runtime that the work comes from, if drainers may run there now.
    fn near(&self) -> Option<Handle>;
}

/// A bounded queue with a bounded number of jobs at a time.
pub struct Lane {
    /// Jobs at a time: 1 for `one_queue`, N for `parallel(N)`.
    workers: AtomicUsize,
    /// Jobs waiting at most.
    bound: AtomicUsize,
    /// See [`FIRST_CREDIT`].
    credit: AtomicI32,
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
            credit: AtomicI32::new(FIRST_CREDIT),
            state: Mutex::default(),
        })
    }

    /// Changes the limits; work that waits already stays.
    pub fn resize(&self, workers: usize, bound: usize) {
        self.workers.store(workers.max(1), Ordering::Relaxed);
        self.bound.store(bound, Ordering::Relaxed);
    }

    /// For a new publication: what is known of the jobs is forgotten.
    pub fn begin_anew(&self) {
        self.credit.store(FIRST_CREDIT, Ordering::Relaxed);
    }

    /// Puts a job at the end. `queued` counts what waits, over all lanes of a slot.
    pub fn push(self: &Arc<Self>, job: Job, homes: &impl Homes, queued: &Arc<AtomicI64>) -> Result<(), Full> {
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
        self.start(homes, queued);
        Ok(())
    }

    /// Begins to drain, for a place that is taken already.
    fn start(self: &Arc<Self>, homes: &impl Homes, queued: &Arc<AtomicI64>) {
        let place = Place { lane: Arc::clone(self), is_held: true };
        let queued = Arc::clone(queued);
        let near = if self.is_quick() { homes.near() } else { None };
        let Some(near) = near else {
            homes.far().spawn(async move { drop(place.drain(&queued, false).await) });
            return;
        };
        let homes = homes.clone();
        wake::note();
        near.spawn(async move {
            // What turns out to take longer goes on where it may.
            if let Some(place) = place.drain(&queued, true).await {
                homes.far().spawn(async move { drop(place.drain(&queued, false).await) });
            }
        });
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

    /// Whether its jobs have shown to be short.
    fn is_quick(&self) -> bool {
        self.credit.load(Ordering::Relaxed) >= 0
    }

    /// Judges a job by the time it took. Threads that do so at the same time may forget each other's judgement.
    fn judge(&self, took: Duration) {
        let credit = self.credit.load(Ordering::Relaxed);
        let now = match took {
            _ if took >= TOO_LONG => TOO_LONG_CREDIT,
            _ if took >= LONG => credit.saturating_sub(LONG_COSTS).max(TOO_LONG_CREDIT),
            _ => (credit + 1).min(MOST_CREDIT),
        };
        if now != credit {
            self.credit.store(now, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a drainer's turn ended.
enum Turn {
    /// Nothing is left, and its place is given back.
    Over,
    /// This job has to wait for something; when it began.
    Waits(BoxFuture<()>, Instant),
    /// Others should have the thread for a while.
    Long,
    /// This is no work for a thread that serves sockets.
    TooSlow,
}

/// A drainer's place among the running ones, given back even when a job panics or the runtime is shut down.
struct Place {
    lane: Arc<Lane>,
    is_held: bool,
}

impl Place {
    /// Does what waits until nothing is left. Near its work it stops when that takes too long, and gives the place back
    /// to be taken elsewhere.
    async fn drain(mut self, queued: &AtomicI64, is_near: bool) -> Option<Self> {
        loop {
            match self.turn(queued, is_near) {
                Turn::Over => return None,
                Turn::TooSlow => return Some(self),
                Turn::Long => tokio::task::yield_now().await,
                Turn::Waits(rest, began) => {
                    rest.await;
                    self.lane.judge(began.elapsed());
                }
            }
            if is_near && !self.lane.is_quick() {
                return Some(self);
            }
        }
    }

    /// Does some of what waits, as far as that goes without waiting. Near its work, whom the answers wake must not have
    /// to wait for the next job should that one not return: see `wake`.
    fn turn(&mut self, queued: &AtomicI64, is_near: bool) -> Turn {
        let _put_off = is_near.then(PutOff::begin);
        let mut began = Instant::now();
        for _ in 0..JOBS_PER_TURN {
            let Some(job) = self.next() else { return Turn::Over };
            queued.fetch_sub(1, Ordering::Relaxed);
            if is_near && wake::take_noted() {
                share_last_woken();
            }
            if let Some(rest) = job.begin() {
                return Turn::Waits(rest, began);
            }
            let ended = Instant::now();
            self.lane.judge(ended - began);
            began = ended;
            if is_near && !self.lane.is_quick() {
                return Turn::TooSlow;
            }
        }
        Turn::Long
    }

    /// The next job, or `None` after giving the place back under the same lock, so that no push falls in between.
    fn next(&mut self) -> Option<Job> {
        let mut state = self.lane.lock();
        let too_many = state.running > self.lane.workers.load(Ordering::Relaxed);
        let job = if too_many { None } else { state.waiting.pop_front() };
        if job.is_none() {
            state.running -= 1;
            self.is_held = false;
        }
        job
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_held {
            self.lane.lock().running -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::{mpsc, oneshot};

    /// A job that is a future.
    impl<F: Future<Output = ()> + Send + 'static> Work for F {
        fn begin(self: Box<Self>) -> Option<BoxFuture<()>> {
            Some(Box::into_pin(self as Box<dyn Future<Output = ()> + Send>))
        }
    }

    /// All drainers in one place.
    impl Homes for Handle {
        fn far(&self) -> Handle {
            self.clone()
        }

        fn near(&self) -> Option<Handle> {
            None
        }
    }

    /// Notes where drainers are started.
    #[derive(Clone, Default)]
    struct Noted(Arc<Mutex<Vec<&'static str>>>);

    impl Noted {
        fn note(&self, home: &'static str) -> Handle {
            self.0.lock().unwrap().push(home);
            Handle::current()
        }

        fn taken(&self) -> Vec<&'static str> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    impl Homes for Noted {
        fn far(&self) -> Handle {
            self.note("far")
        }

        fn near(&self) -> Option<Handle> {
            Some(self.note("near"))
        }
    }

    async fn run(
        lane: &Arc<Lane>,
        homes: &Noted,
        queued: &Arc<AtomicI64>,
        job: impl FnOnce() + Send + 'static,
    ) {
        let (done, is_done) = oneshot::channel();
        let job = Box::new(async move {
            job();
            done.send(()).unwrap();
        });
        lane.push(job, homes, queued).unwrap();
        is_done.await.unwrap();
        while lane.lock().running > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_lane_is_drained_near_its_work_once_its_jobs_have_shown_to_be_short() {
        let (lane, queued, homes) = (Lane::new(1, 100), counter(), Noted::default());
        lane.credit.store(-2, Ordering::Relaxed);
        for _ in 0..3 {
            run(&lane, &homes, &queued, || {}).await;
        }
        assert_eq!(homes.taken(), ["far", "far", "near"]);
        run(&lane, &homes, &queued, || std::thread::sleep(TOO_LONG)).await;
        assert_eq!(homes.taken(), ["near", "far"], "it goes on where it may take its time");
        run(&lane, &homes, &queued, || {}).await;
        assert_eq!(homes.taken(), ["far"]);
        lane.credit.store(MOST_CREDIT, Ordering::Relaxed);
        lane.begin_anew();
        run(&lane, &homes, &queued, || {}).await;
        assert_eq!(homes.taken(), ["far"], "a publication begins anew");
    }

    #[test]
    fn one_long_job_does_not_undo_a_thousand_short_ones_and_four_do() {
        let lane = Lane::new(1, 1);
        (0..2_000).for_each(|_| lane.judge(Duration::from_micros(3)));
        lane.judge(LONG);
        assert!(lane.credit.load(Ordering::Relaxed) > 0);
        (0..4).for_each(|_| lane.judge(LONG));
        assert!(lane.credit.load(Ordering::Relaxed) < 0);
    }

    fn counter() -> Arc<AtomicI64> {
        Arc::new(AtomicI64::new(0))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_worker_keeps_the_order_of_all_senders() {
        let (lane, queued, runtime) = (Lane::new(1, 10_000), counter(), Handle::current());
        let (out, mut seen) = mpsc::unbounded_channel();
        for i in 0..1_000 {
            let out = out.clone();
            let job = Box::new(async move {
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
            let job = Box::new(async move {
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
        lane.push(Box::new(std::future::pending()), &runtime, &queued).unwrap();
        tokio::task::yield_now().await;
        lane.push(Box::new(async move { drop(answer) }), &runtime, &queued).unwrap();
        lane.push(Box::new(std::future::pending()), &runtime, &queued).unwrap();
        assert_eq!(lane.push(Box::new(std::future::pending()), &runtime, &queued), Err(Full));
        assert_eq!(lane.close(&queued), 2);
        assert!(dropped.await.is_err());
        assert_eq!(lane.push(Box::new(std::future::pending()), &runtime, &queued), Err(Full));
        assert_eq!(queued.load(Ordering::Relaxed), 0);
    }
}
