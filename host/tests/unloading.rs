//! Real unmapping: whatever a module did on threads that live on, its library leaves the process when it is retired; and
//! what cannot leave yet is kept with its reason, and leaves later.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unsafe_code, reason = "a function of the fixture is called by its name, beside the contract")]

mod support;

use libloading::os::unix::{Library as Handle, RTLD_LAZY};
use moult_host::plugin::folder::Found;
use moult_host::plugin::loader::Library;
use moult_host::plugin::probe::{ProbeReport, probe};
use moult_host::plugin::retire::{Outcome, RetainedSet, RetireLimits, retire};
use moult_host::plugin::runtime::{ModulesRuntime, RuntimeSettings, Stuck};
use moult_host::plugin::threads;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use support::{LONG, Place, eventually, fixture, settings};
use tokio::runtime::Runtime;

const MATRIX: &str = "fixture_unload_matrix";
/// Small, for thousands of generations.
const SMALL: &str = "fixture_thread_locals";
const NEVER: Duration = Duration::from_secs(3600);

/// One at a time: what is mapped, and how many descriptors are open, belongs to the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server's worth of the loader: a folder with the fixture, a core runtime and a modules runtime.
struct House {
    place: Place,
    found: Found,
    report: ProbeReport,
    core: Runtime,
    modules: ModulesRuntime,
    stuck: Arc<Mutex<Vec<Stuck>>>,
    generation: AtomicU64,
}

impl House {
    fn new() -> House {
        House::of(MATRIX, NEVER)
    }

    fn of(package: &str, stuck_after: Duration) -> House {
        let place = Place::new();
        let path = place.put(&format!("lib{package}.so"), &fixture(package));
        let found = place.found(&path);
        let report = probe(&place.copies.copy(&found, 0).unwrap(), &settings()).unwrap();
        let stuck = Arc::new(Mutex::new(Vec::new()));
        let told = stuck.clone();
        let modules = ModulesRuntime::start(RuntimeSettings { workers: 2, stuck_after }, move |one| {
            told.lock().unwrap().push(one.clone());
        });
        let core = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_keep_alive(LONG)
            .on_thread_park(threads::quiesce)
            .enable_all()
            .build()
            .unwrap();
        House { place, found, report, core, modules: modules.unwrap(), stuck, generation: AtomicU64::new(0) }
    }

    fn load(&self) -> Arc<Library> {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let copy = self.place.copies.copy(&self.found, generation).unwrap();
        Arc::new(Library::load(copy, &self.report).unwrap())
    }

    /// Runs something inside the library on a worker of the modules runtime, and on one of the core's.
    fn run_everywhere(&self, library: &Arc<Library>, op: u32) {
        let run = Run::of(library, "run");
        let jobs: Vec<_> = [self.modules.handle(), self.core.handle().clone()]
            .iter()
            .flat_map(|runtime| (0..4).map(|_| runtime.spawn(run.clone().twice(op))).collect::<Vec<_>>())
            .collect();
        self.core.block_on(async {
            for job in jobs {
                job.await.unwrap();
            }
        });
    }

    fn retire(&self, library: Arc<Library>, limits: &RetireLimits) -> Outcome {
        let library = Arc::into_inner(library).expect("nobody else holds it");
        let mut runtimes = self.modules.handles();
        runtimes.push(self.core.handle().clone());
        self.core.block_on(retire(library, &runtimes, limits))
    }

    fn must_unload(&self, what: &str, library: Arc<Library>) {
        let path = library.copy().path().to_owned();
        match self.retire(library, &patient()) {
            Outcome::Unloaded => {}
            Outcome::Retained(retained) => panic!("{what}: {:?}", retained.info()),
        }
        assert!(!path.exists(), "{what}: its copy is still there");
        assert!(!maps().contains(path.to_str().unwrap()), "{what}: it is still mapped");
    }
}

fn patient() -> RetireLimits {
    RetireLimits { detach: LONG, own_threads: LONG, close: LONG }
}

fn maps() -> String {
    fs::read_to_string("/proc/self/maps").unwrap()
}

/// The fixture's function, found beside the way a server goes: by a second handle, given back at once.
#[derive(Clone)]
struct Run {
    library: Arc<Library>,
    run: extern "C" fn(u32) -> u32,
}

impl Run {
    fn of(library: &Arc<Library>, name: &str) -> Run {
        let path: &Path = library.copy().path();
        // SAFETY: the library is loaded already, and the fixture exports a function of this type.
        let run = unsafe {
            let handle = Handle::open(Some(path), RTLD_LAZY | libc::RTLD_NOLOAD).unwrap();
            *handle.get::<extern "C" fn(u32) -> u32>(name.as_bytes()).unwrap()
        };
        Run { library: library.clone(), run }
    }

    fn once(&self, op: u32) -> bool {
        let _inside = self.library.enter();
        (self.run)(op) == 1
    }

    async fn twice(self, op: u32) {
        assert!(self.once(op));
        tokio::task::yield_now().await;
        assert!(self.once(op));
    }
}

#[test]
fn whatever_a_library_did_on_threads_that_live_on_it_is_unmapped() {
    let _alone = alone();
    let house = House::new();
    let mut op = 0;
    loop {
        let library = house.load();
        if !Run::of(&library, "run").once(op) {
            house.must_unload("an unknown number", library);
            break;
        }
        house.run_everywhere(&library, op);
        house.must_unload(&format!("op {op}"), library);
        op += 1;
    }
    assert!(op > 30, "only {op} things were tried");
    // The threads that were inside all of them end without harm.
    let House { core, modules, .. } = house;
    modules.shutdown(LONG);
    core.shutdown_timeout(LONG);
}

#[test]
fn everything_at_once_is_unmapped_while_other_generations_go_on() {
    let _alone = alone();
    let house = House::new();
    let serving = house.load();
    for _ in 0..5 {
        let library = house.load();
        (0..30).for_each(|op| house.run_everywhere(&library, op));
        house.run_everywhere(&serving, 3);
        house.must_unload("all of it", library);
    }
    house.run_everywhere(&serving, 1);
    house.must_unload("the serving one", serving);
}

#[test]
fn a_thread_that_ends_detaches_by_itself() {
    let _alone = alone();
    let house = House::new();
    let library = house.load();
    let run = Run::of(&library, "run");
    std::thread::spawn(move || [1, 3, 16, 31].into_iter().for_each(|op| assert!(run.once(op))))
        .join()
        .unwrap();
    let blocking = Run::of(&library, "run");
    house
        .core
        .block_on(async { tokio::task::spawn_blocking(move || assert!(blocking.once(3))).await.unwrap() });
    house.must_unload("after both", library);
}

#[test]
fn threads_that_come_and_go_race_with_the_end_of_generations() {
    let _alone = alone();
    let house = House::of(SMALL, NEVER);
    let current = Mutex::new(house.load());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut ending = Vec::new();
                while !stop.load(Ordering::Acquire) {
                    let run = Run::of(&current.lock().unwrap(), "run");
                    // It lets go of the library first and ends afterwards, so that its end meets that of the library.
                    ending.push(std::thread::spawn(move || [0, 1, 2].map(|op| assert!(run.once(op)))));
                    if ending.len() > 3 {
                        ending.remove(0).join().unwrap();
                    }
                }
                for thread in ending {
                    thread.join().unwrap();
                }
            });
        }
        for _ in 0..150 {
            let fresh = house.load();
            let old = std::mem::replace(&mut *current.lock().unwrap(), fresh);
            house.run_everywhere(&old, 1);
            eventually("callers let go of it", || Arc::strong_count(&old) == 1);
            house.must_unload("an old generation", old);
        }
        stop.store(true, Ordering::Release);
    });
    house.must_unload("the last one", current.into_inner().unwrap());
}

#[test]
fn a_thread_that_never_rests_keeps_it_and_a_sweep_frees_it() {
    let _alone = alone();
    let house = House::new();
    let library = house.load();
    let run = Run::of(&library, "run");
    let (leave, left) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (leaving, gone) = (leave.clone(), left.clone());
    let thread = std::thread::Builder::new().name("restless".into()).spawn(move || {
        assert!(run.once(1));
        drop(run);
        gone.store(true, Ordering::Release);
        while !leaving.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
    });
    eventually("the thread is attached", || left.load(Ordering::Acquire));
    let brief = RetireLimits { detach: Duration::from_millis(50), ..patient() };
    let Outcome::Retained(retained) = house.retire(library, &brief) else { panic!("closed under a thread") };
    let info = retained.info().clone();
    assert!(
        info.reasons[0].contains("thread restless (") && info.reasons[0].contains("has not left it"),
        "{info:?}"
    );
    assert!(info.bytes.resident > 0 && info.generation == 1 && info.module == MATRIX);
    let mut set = RetainedSet::new(1);
    assert_eq!(set.refusal(MATRIX, 0), None);
    set.add(retained);
    assert!(set.refusal(MATRIX, 0).unwrap().contains("1 old generations"));
    assert_eq!(set.refusal("mod_other", 0), None);
    assert!(set.refusal("mod_other", 1).is_some(), "those kept elsewhere count as well");
    let runtimes = house.modules.handles();
    assert!(house.core.block_on(set.sweep(&runtimes, &RetireLimits::brief())).is_empty());

    leave.store(true, Ordering::Release);
    thread.unwrap().join().unwrap();
    assert_eq!(house.core.block_on(set.sweep(&runtimes, &RetireLimits::brief())).len(), 1);
    assert!(set.is_empty() && set.refusal(MATRIX, 0).is_none());
    assert!(!maps().contains(house.place.copies.dir().to_str().unwrap()));
}

#[test]
fn a_library_whose_own_thread_runs_is_kept_until_that_has_ended() {
    let _alone = alone();
    let house = House::new();
    let library = house.load();
    // Leaves a thread that sleeps for 200 ms.
    assert!(Run::of(&library, "run").once(30));
    let hasty = RetireLimits { own_threads: Duration::ZERO, ..patient() };
    let Outcome::Retained(retained) = house.retire(library, &hasty) else {
        panic!("closed under its own thread")
    };
    assert!(retained.info().reasons[0].contains("1 thread of its own still runs"), "{:?}", retained.info());
    let mut set = RetainedSet::new(4);
    set.add(retained);
    let runtimes = house.modules.handles();
    eventually("its thread has ended", || {
        !house.core.block_on(set.sweep(&runtimes, &RetireLimits::brief())).is_empty()
    });
    assert!(!maps().contains(house.place.copies.dir().to_str().unwrap()));
}

#[test]
fn a_library_merely_dropped_stays_mapped() {
    let _alone = alone();
    let house = House::new();
    let library = house.load();
    let path = library.copy().path().to_owned();
    eventually("the thread that loaded it has ended", || library.residence().is_deserted());
    drop(library);
    assert!(path.exists() && maps().contains(path.to_str().unwrap()));
    // Put away by hand, so that the next test finds a clean process.
    // SAFETY: nothing of it was ever run but its loading.
    unsafe {
        let handle = Handle::open(Some(&path), RTLD_LAZY | libc::RTLD_NOLOAD).unwrap();
        let raw = handle.into_raw();
        drop(Handle::from_raw(raw));
        drop(Handle::from_raw(raw));
    }
    assert!(!maps().contains(path.to_str().unwrap()));
}

#[test]
fn the_watched_file_may_be_cut_overwritten_or_replaced_while_it_is_loaded() {
    let _alone = alone();
    let house = House::new();
    let old = house.load();
    let bytes = fs::read(&house.found.path).unwrap();
    fs::File::options().write(true).open(&house.found.path).unwrap().set_len(1000).unwrap();
    house.run_everywhere(&old, 1);
    fs::write(&house.found.path, vec![0xff; bytes.len()]).unwrap();
    house.run_everywhere(&old, 3);

    // Another build under the same name is another library, not the one that is loaded already.
    let mut changed = bytes.clone();
    for i in 0..changed.len() - 12 {
        if changed[i..].starts_with(b"build-000000") {
            changed[i + 6..i + 12].copy_from_slice(b"123456");
        }
    }
    let staged = house.place.path("staged");
    fs::write(&staged, &changed).unwrap();
    fs::rename(&staged, &house.found.path).unwrap();
    let found = house.place.found(&house.found.path);
    let copy = house.place.copies.copy(&found, 99).unwrap();
    let report = probe(&copy, &settings()).unwrap();
    let new = Arc::new(Library::load(copy, &report).unwrap());
    assert_eq!(
        (old.manifest().build.as_str(), new.manifest().build.as_str()),
        ("build-000000", "build-123456")
    );
    house.run_everywhere(&old, 1);
    house.run_everywhere(&new, 1);
    house.must_unload("the old one", old);
    house.must_unload("the new one", new);
}

#[test]
fn a_copy_changed_between_probe_and_load_is_refused() {
    let _alone = alone();
    let house = House::new();
    let copy = house.place.copies.copy(&house.found, 1).unwrap();
    let path = copy.path().to_owned();
    let report = probe(&copy, &settings()).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let error = Library::load(copy, &report).unwrap_err();
    assert!(error.reason.contains("is not what was written"), "{error}");
    assert!(!maps().contains(house.place.copies.dir().to_str().unwrap()));
}

/// What the process has mapped, told apart by what is behind it.
#[derive(Debug, PartialEq, Eq)]
struct Mapped {
    /// Parts of files: programs, libraries.
    of_files: usize,
    /// Stacks of threads and their guard pages: a stack, and one for signals. The C library keeps the stacks of ended
    /// threads for the next ones, so there are as many as there were threads at a time, which depends on how busy the
    /// machine is. Each is four mappings and none of them is a generation's.
    of_threads: usize,
    /// The rest: the allocator's one heap, what it maps for large blocks, and what would be left behind.
    other: usize,
    /// Resident memory without a file.
    anonymous_kb: u64,
    descriptors: usize,
}

impl Mapped {
    fn now() -> Mapped {
        let mut mapped = Mapped {
            of_files: 0,
            of_threads: 0,
            other: 0,
            anonymous_kb: anonymous_kb(),
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
        };
        let mut guard_ends = "".to_owned();
        for line in maps().lines() {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (from, to) = columns[0].split_once('-').unwrap();
            let is_guard = columns[1] == "---p";
            // The fifth column is the inode; what has no file has none.
            if columns[4] != "0" {
                mapped.of_files += 1;
            } else if is_guard || from == guard_ends {
                mapped.of_threads += 1;
            } else {
                mapped.other += 1;
            }
            guard_ends = if is_guard { to.to_owned() } else { String::new() };
        }
        mapped
    }
}

fn anonymous_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    anonymous.split_whitespace().next().unwrap().parse().unwrap()
}

/// One heap for all threads: with more of them, each has two mappings, and there are more when threads meet in the
/// allocator more often.
fn one_heap() {
    // SAFETY: it changes a setting of the allocator.
    assert_eq!(unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) }, 1);
}

/// What is mapped after a tenth of the rounds and after all of them.
fn many_generations(package: &str, rounds: u32, ops: &[u32]) {
    one_heap();
    let house = House::of(package, NEVER);
    let mut warm = None;
    for round in 1..=rounds {
        let library = house.load();
        ops.iter().for_each(|op| house.run_everywhere(&library, *op));
        house.must_unload("a generation", library);
        if round == rounds / 10 {
            warm = Some(Mapped::now());
        }
    }
    let before = warm.unwrap();
    let after = Mapped::now();
    println!("{rounds} generations: {before:?} -> {after:?}");
    assert_eq!(after.of_files, before.of_files, "mappings of libraries");
    assert!(after.other <= before.other + 8, "mappings {before:?} -> {after:?}");
    assert!(after.anonymous_kb <= before.anonymous_kb + 1024, "resident memory {before:?} -> {after:?}");
    assert!(after.descriptors <= before.descriptors, "descriptors {before:?} -> {after:?}");
}

#[test]
fn a_thousand_generations_leave_maps_memory_and_descriptors_flat() {
    let _alone = alone();
    many_generations(SMALL, 1000, &[0, 1, 2]);
}

#[test]
fn generations_that_link_tokio_chrono_and_rand_leave_nothing_either() {
    let _alone = alone();
    // Thread-locals, rand, the local time zone, contention, a runtime of its own.
    many_generations(MATRIX, 150, &[1, 16, 17, 19, 26]);
}

#[test]
fn pthread_keys_do_not_run_out() {
    let _alone = alone();
    let house = House::of(SMALL, NEVER);
    for _ in 0..2000 {
        let library = house.load();
        // `thread::current` takes a key too; a process has 1,024.
        let run = Run::of(&library, "run");
        assert!(run.once(1) && run.once(2));
        drop(run);
        house.must_unload("a generation", library);
    }
}

#[test]
fn a_library_that_printed_a_backtrace_is_reported_with_what_it_leaves() {
    let _alone = alone();
    let house = House::new();
    let library = house.load();
    assert!(Run::of(&library, "backtrace").once(0));
    let Outcome::Retained(retained) = house.retire(library, &patient()) else {
        panic!("its symbols are mapped")
    };
    assert!(retained.info().reasons[0].contains("RUST_BACKTRACE"), "{:?}", retained.info());
    assert!(retained.info().bytes.resident > 0);
}

#[test]
fn a_module_that_holds_a_thread_is_reported_and_its_runtime_replaced() {
    let _alone = alone();
    let house = House::of(SMALL, Duration::from_millis(200));
    let library = house.load();
    let release = Arc::new(AtomicBool::new(false));
    for _ in 0..2 {
        let (inside, release) = (library.clone(), release.clone());
        house.modules.handle().spawn(async move {
            let _inside = inside.enter();
            while !release.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        });
    }
    eventually("both are reported", || house.stuck.lock().unwrap().len() == 2);
    let stuck = house.stuck.lock().unwrap().clone();
    assert!(stuck.iter().all(|one| one.module == SMALL && one.generation == 1), "{stuck:?}");
    assert!(
        stuck[0].held >= Duration::from_millis(200) && stuck[0].thread.starts_with("moult-mod-"),
        "{stuck:?}"
    );
    assert_eq!(stuck.iter().filter(|one| one.replaced).count(), 1, "{stuck:?}");
    assert_eq!((house.modules.stuck_pools(), house.modules.handles().len()), (1, 2));
    // Both workers of the old runtime are lost; work goes on.
    house.run_everywhere(&library, 1);

    release.store(true, Ordering::Release);
    eventually("the old runtime is let go", || house.modules.stuck_pools() == 0);
    assert_eq!(house.stuck.lock().unwrap().len(), 2, "reported once each");
    eventually("the tasks have let go of it", || Arc::strong_count(&library) == 1);
    house.must_unload("after it", library);
}

#[test]
fn waiting_for_the_host_is_not_being_stuck_and_a_limit_of_its_own_counts() {
    let _alone = alone();
    let house = House::of(SMALL, Duration::from_millis(100));
    let library = house.load();
    let (waits, release) = (library.clone(), Arc::new(AtomicBool::new(false)));
    let released = release.clone();
    house.modules.handle().spawn(async move {
        let _inside = waits.enter();
        let _outside = threads::outside();
        while !released.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
    });
    let other = house.load();
    other.residence().set_time_limit(Duration::from_millis(900));
    let (loops, released) = (other.clone(), release.clone());
    house.modules.handle().spawn(async move {
        let _inside = loops.enter();
        while !released.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
    });
    eventually("the one with the longer limit is reported", || !house.stuck.lock().unwrap().is_empty());
    let stuck = house.stuck.lock().unwrap().clone();
    assert_eq!((stuck.len(), stuck[0].library), (1, other.id()), "{stuck:?}");
    assert!(stuck[0].held >= Duration::from_millis(900));
    release.store(true, Ordering::Release);
    for library in [library, other] {
        eventually("the tasks have let go", || Arc::strong_count(&library) == 1);
        house.must_unload("after it", library);
    }
}
