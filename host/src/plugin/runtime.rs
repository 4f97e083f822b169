//! The runtime on which modules run, apart from the one that serves sockets: a module that blocks or loops takes no I/O
//! with it, and this runtime can be replaced.
//!
//! A watchdog looks at the threads that are inside a module. One that has not moved for longer than its limit is reported
//! once; if it is a thread of this runtime, new work goes to a fresh one from then on. The old one is kept: its other
//! threads finish what was spawned there, and it ends by itself when the stuck thread has come back and no task is left.
//!
//! Modules also run on the threads that serve sockets, as long as they are quick. There the watchdog is stricter: a thread
//! that has not moved for some milliseconds is replaced by one of the [`Reserve`] until it comes back. It looks so often
//! only while modules are called at all; work that may be put off is drained near its sockets only while it does.

use super::lane::Homes;
use super::loader::LibraryId;
use super::reserve::Reserve;
use super::threads::{self, Inside, SOCKETS};
use crate::wake;
use serde::Serialize;
use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle, Runtime};

/// Of a thread that stands still, this many looks are needed: a server that was itself stopped for a while has not
/// given its threads the time that has passed.
const LOOKS: u32 = 3;
/// So many runtimes with a stuck thread are kept; then no more are replaced.
const MAX_REPLACED: usize = 16;
/// How long a module may hold a thread of the sockets' runtime before another one takes its place.
const RELIEVED_AFTER: Duration = Duration::from_millis(20);
/// How often the threads are looked at while modules are called.
const BUSY_PACE: Duration = Duration::from_millis(10);
/// After so many looks without a call it is looked less often again.
const LOOKS_UNTIL_CALM: u32 = 100;

/// Size and patience.
#[derive(Debug, Clone)]
pub struct RuntimeSettings {
    /// Worker threads.
    pub workers: usize,
    /// A module that holds a thread longer without returning is reported as stuck, unless its library has a limit of its
    /// own.
    pub stuck_after: Duration,
}

/// A thread that a module holds too long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stuck {
    /// The module.
    pub module: String,
    /// Its generation.
    pub generation: u64,
    /// Its library.
    pub library: LibraryId,
    /// The thread.
    pub thread: String,
    /// For how long already.
    pub held: Duration,
    /// Whether the thread belonged to the modules runtime, which has been replaced because of it.
    pub replaced: bool,
}

/// The modules runtime with its watchdog. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ModulesRuntime {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: RuntimeSettings,
    pools: Mutex<Pools>,
    /// The sockets' runtime, where there is one.
    sockets: OnceLock<Reserve>,
    /// Whether the threads are looked at so often that work may be drained near its sockets.
    is_watchful: AtomicBool,
}

#[derive(Debug)]
struct Pools {
    current: Pool,
    replaced: Vec<Pool>,
    ended: bool,
}

/// One runtime. Its number marks the threads that belong to it.
#[derive(Debug)]
struct Pool {
    number: u64,
    handle: Handle,
    runtime: Option<Runtime>,
}

static NEXT_POOL: AtomicU64 = AtomicU64::new(1);

impl ModulesRuntime {
    /// Starts it. `on_stuck` is called by the watchdog's thread, once per stuck call, after the replacement.
    pub fn start(
        settings: RuntimeSettings,
        on_stuck: impl Fn(&Stuck) + Send + Sync + 'static,
    ) -> io::Result<ModulesRuntime> {
        let current = Pool::start(settings.workers)?;
        let pools = Mutex::new(Pools { current, replaced: Vec::new(), ended: false });
        let (sockets, is_watchful) = (OnceLock::new(), AtomicBool::new(false));
        let shared = Arc::new(Shared { settings, pools, sockets, is_watchful });
        let watched = Arc::downgrade(&shared);
        std::thread::Builder::new()
            .name("moult-watchdog".into())
            .spawn(move || Watchdog::new(watched).run(&on_stuck))?;
        Ok(ModulesRuntime { shared })
    }

    /// From now on short work may run on the runtime of this reserve too, whose workers it relieves. Once.
    pub fn relieve(&self, sockets: Reserve) {
        // A second one would be our mistake, and changes nothing.
        let _ = self.shared.sockets.set(sockets);
    }

    /// Where to spawn now. Ask again for each spawn: after a replacement it is another one.
    pub fn handle(&self) -> Handle {
        self.shared.pools().current.handle.clone()
    }

    /// All runtimes whose threads may have been inside a module, replaced ones included.
    pub fn handles(&self) -> Vec<Handle> {
        let pools = self.shared.pools();
        std::iter::once(&pools.current).chain(&pools.replaced).map(|pool| pool.handle.clone()).collect()
    }

    /// How many replaced runtimes still have a stuck thread, or tasks.
    pub fn stuck_pools(&self) -> usize {
        self.shared.pools().replaced.len()
    }

    /// Ends it, waiting at most this long for its threads. Stuck ones stay until the process ends.
    pub fn shutdown(self, deadline: Duration) {
        let mut ended = Vec::new();
        {
            let mut pools = self.shared.pools();
            pools.ended = true;
            ended.extend(pools.current.runtime.take());
            let replaced = std::mem::take(&mut pools.replaced);
            ended.extend(replaced.into_iter().filter_map(|mut pool| pool.runtime.take()));
        }
        let end = Instant::now() + deadline;
        // On a thread of its own: a runtime must not be waited for on another one's worker.
        let waiting = std::thread::Builder::new().name("moult-shutdown".into()).spawn(move || {
            for runtime in ended {
                runtime.shutdown_timeout(end.saturating_duration_since(Instant::now()));
            }
        });
        if let Ok(waiting) = waiting {
            // A panic there has been logged; there is nothing to add to it here.
            let _ = waiting.join();
        }
    }
}

impl Homes for ModulesRuntime {
    fn far(&self) -> Handle {
        self.handle()
    }

    #[inline]
    fn near(&self) -> Option<Handle> {
        // What comes from elsewhere (a timer, another module) would have to wake a thread there.
        let may = self.shared.is_watchful.load(Ordering::Relaxed) && threads::is_on_sockets();
        if may { self.shared.sockets.get().map(|sockets| sockets.runtime().clone()) } else { None }
    }
}

impl Shared {
    fn pools(&self) -> MutexGuard<'_, Pools> {
        // Nothing that runs under this lock can panic half-way.
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a fresh runtime in place of the one of that number, if it is the current one.
    fn replace(&self, number: u64) -> bool {
        let mut pools = self.pools();
        if pools.ended || pools.current.number != number || pools.replaced.len() >= MAX_REPLACED {
            return false;
        }
        match Pool::start(self.settings.workers) {
            Ok(fresh) => {
                let old = std::mem::replace(&mut pools.current, fresh);
                pools.replaced.push(old);
                true
            }
            Err(e) => {
                tracing::error!("the modules runtime cannot be replaced: {e}");
                false
            }
        }
    }

    /// Lets go of replaced runtimes that no thread is stuck in and no task is left on.
    fn release_idle(&self, inside: &[Inside]) {
        let mut pools = self.pools();
        pools.replaced.retain(|pool| {
            inside.iter().any(|thread| thread.pool == pool.number)
                || pool.handle.metrics().num_alive_tasks() != 0
        });
    }
}

impl Pool {
    fn start(workers: usize) -> io::Result<Pool> {
        let number = NEXT_POOL.fetch_add(1, Ordering::Relaxed);
        let runtime = Builder::new_multi_thread()
            .worker_threads(workers.max(1))
            .thread_name(format!("moult-mod-{number}"))
            .on_thread_start(move || threads::join_pool(number))
            .on_thread_park(threads::quiesce)
            .enable_all()
            .build()?;
        Ok(Pool { number, handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Looks at the threads inside modules, and remembers how long each has stood still.
struct Watchdog {
    shared: Weak<Shared>,
    pace: Duration,
    still: HashMap<usize, Still>,
    activity: u64,
    /// Looks since a module was last called.
    calm_looks: u32,
}

struct Still {
    steps: u64,
    since: Instant,
    looks: u32,
    reported: bool,
    /// A worker of the reserve serves in its place.
    is_relieved: bool,
}

impl Watchdog {
    fn new(shared: Weak<Shared>) -> Watchdog {
        let stuck_after = shared.upgrade().map_or(Duration::ZERO, |shared| shared.settings.stuck_after);
        let pace = (stuck_after / 4).clamp(Duration::from_millis(10), Duration::from_millis(250));
        Watchdog { shared, pace, still: HashMap::new(), activity: 0, calm_looks: LOOKS_UNTIL_CALM }
    }

    fn run(mut self, on_stuck: &dyn Fn(&Stuck)) {
        while let Some(shared) = self.shared.upgrade() {
            if shared.pools().ended {
                return;
            }
            let inside = threads::threads_inside();
            for stuck in self.look(&shared, &inside) {
                // The watchdog outlives whatever it tells of.
                if catch_unwind(AssertUnwindSafe(|| on_stuck(&stuck))).is_err() {
                    tracing::error!(module = stuck.module, "our bug: the report of a stuck module panicked");
                }
            }
            shared.release_idle(&inside);
            let pace = self.next_pace(&shared);
            // Not held while waiting: the last owner's drop must end the runtime, and this thread after it.
            drop(shared);
            std::thread::sleep(pace);
        }
    }

    /// Looks often while there is something to see, and only then lets work be drained where it can do harm.
    fn next_pace(&mut self, shared: &Shared) -> Duration {
        let activity = threads::activity();
        let was = std::mem::replace(&mut self.activity, activity);
        self.calm_looks = if activity == was { self.calm_looks.saturating_add(1) } else { 0 };
        let has_reserve = shared.sockets.get().is_some_and(|sockets| sockets.left() > 0);
        let is_watchful = has_reserve && self.calm_looks < LOOKS_UNTIL_CALM;
        shared.is_watchful.store(is_watchful, Ordering::Relaxed);
        if is_watchful { self.pace.min(BUSY_PACE) } else { self.pace }
    }

    /// Lets workers of the reserve serve for threads of the sockets' runtime that do not move, and rest when those do.
    fn relieve(&mut self, sockets: &Reserve, inside: &[Inside]) {
        for (slot, still) in self.still.iter_mut().filter(|(_, still)| still.is_relieved) {
            let stays = inside.iter().any(|thread| thread.slot == *slot && thread.steps == still.steps);
            if !stays {
                still.is_relieved = false;
                sockets.stand_down();
            }
        }
        for thread in inside.iter().filter(|thread| thread.pool == SOCKETS) {
            let Some(still) = self.still.get_mut(&thread.slot) else { continue };
            let is_held = still.steps == thread.steps && still.since.elapsed() >= RELIEVED_AFTER;
            if is_held {
                wake::release();
            }
            if is_held && !still.is_relieved {
                still.is_relieved = sockets.call_up();
            }
        }
    }

    fn look(&mut self, shared: &Shared, inside: &[Inside]) -> Vec<Stuck> {
        if let Some(sockets) = shared.sockets.get() {
            self.relieve(sockets, inside);
        }
        self.still.retain(|slot, _| inside.iter().any(|thread| thread.slot == *slot));
        let mut stuck = Vec::new();
        for thread in inside {
            let now = Instant::now();
            let still = self.still.entry(thread.slot).or_insert_with(|| Still::new(thread.steps, now));
            if still.steps != thread.steps {
                *still = Still::new(thread.steps, now);
            }
            still.looks += 1;
            let Some(residence) = threads::residence_of(thread.library) else { continue };
            let limit = residence.time_limit().unwrap_or(shared.settings.stuck_after);
            let held = now - still.since;
            if still.reported || held < limit || still.looks < LOOKS {
                continue;
            }
            still.reported = true;
            stuck.push(Stuck {
                module: residence.module().to_owned(),
                generation: residence.generation(),
                library: thread.library,
                thread: thread.thread.clone(),
                held,
                replaced: shared.replace(thread.pool),
            });
        }
        stuck
    }
}

impl Still {
    fn new(steps: u64, since: Instant) -> Still {
        Still { steps, since, looks: 0, reported: false, is_relieved: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watchdog(reserve: &Reserve) -> (Watchdog, Arc<Shared>) {
        let settings = RuntimeSettings { workers: 1, stuck_after: Duration::from_secs(3600) };
        let current = Pool::start(1).unwrap();
        let pools = Mutex::new(Pools { current, replaced: Vec::new(), ended: false });
        let sockets = OnceLock::from(reserve.clone());
        let shared = Arc::new(Shared { settings, pools, sockets, is_watchful: AtomicBool::new(false) });
        (Watchdog::new(Arc::downgrade(&shared)), shared)
    }

    fn held(steps: u64, pool: u64) -> Inside {
        Inside { slot: 7, steps, library: LibraryId(u64::MAX), pool, thread: String::new() }
    }

    #[test]
    fn a_thread_of_the_sockets_that_stands_still_is_relieved_until_it_moves() {
        let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let reserve = Reserve::new(runtime.handle().clone(), 1);
        let (mut watchdog, shared) = watchdog(&reserve);
        let deadline = Instant::now() + Duration::from_secs(30);
        while reserve.left() == 1 {
            assert!(Instant::now() < deadline);
            assert!(watchdog.look(&shared, &[held(1, SOCKETS)]).is_empty());
        }
        watchdog.look(&shared, &[held(1, SOCKETS)]);
        assert_eq!(reserve.left(), 0, "one for one");
        watchdog.look(&shared, &[held(2, SOCKETS)]);
        assert_eq!(reserve.left(), 1);
        watchdog.look(&shared, &[]);
        assert_eq!(reserve.left(), 1);
        reserve.end();
    }

    #[test]
    fn threads_of_the_modules_are_not_relieved() {
        let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let reserve = Reserve::new(runtime.handle().clone(), 1);
        let (mut watchdog, shared) = watchdog(&reserve);
        watchdog.look(&shared, &[held(1, 1)]);
        std::thread::sleep(RELIEVED_AFTER);
        watchdog.look(&shared, &[held(1, 1)]);
        assert_eq!(reserve.left(), 1);
        reserve.end();
    }

    #[test]
    fn work_may_be_drained_near_its_sockets_only_while_somebody_watches() {
        let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let reserve = Reserve::new(runtime.handle().clone(), 1);
        let (mut watchdog, shared) = watchdog(&reserve);
        let homes = ModulesRuntime { shared: shared.clone() };
        watchdog.activity = threads::activity().wrapping_sub(1);
        watchdog.next_pace(&shared);
        assert!(homes.near().is_none(), "this is no thread of the sockets");
        threads::join_pool(SOCKETS);
        assert!(homes.near().is_some());
        assert!(reserve.call_up());
        watchdog.next_pace(&shared);
        assert!(homes.near().is_none(), "nobody is left in reserve");
        reserve.end();
    }
}
