//! Which threads have been inside which library, and how they leave it for good.
//!
//! A thread that ran code of a library may keep thread-local values of it. Before the library is closed, each such
//! thread must run their destructors (`thread_detach`), itself, at a moment when it is not inside any module. So every
//! entry is noted ([`Entered`], a few nanoseconds when the thread has been there before), threads detach when they rest
//! ([`quiesce`]) or end, and [`detach_everywhere`] wakes those that rest already.
//!
//! The same entry marks the thread as being inside that module, for the watchdog and for the last words of a crash.

use super::loader::library::{Library, LibraryId};
use super::loader::residence::Residence;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// Libraries that a thread remembers without looking into its list.
const RECENT: usize = 16;
/// Time between the first rounds of waking; it doubles with each, up to the second figure.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(64);
/// From this round on blocking threads are woken too, and wake-up tasks hold their thread until all have one.
const INSISTENT_ROUND: u32 = 3;
/// How long a wake-up task may hold its thread.
const HOLD: Duration = Duration::from_micros(300);

/// What the watchdog sees of a thread. Slots are used again by later threads, so there are as many as threads at once.
#[derive(Debug, Default)]
struct Slot {
    /// The library whose code runs, 0 for none.
    inside: AtomicU64,
    /// Entries and returns so far: as long as it stands still, so does the thread.
    steps: AtomicU64,
    /// The runtime its thread belongs to, 0 for none of the modules'.
    pool: AtomicU64,
    thread: Mutex<String>,
}

struct Local {
    key: Cell<u64>,
    pool: Cell<u64>,
    slot: Cell<Option<&'static Slot>>,
    /// How many entries are on the stack.
    depth: Cell<u32>,
    recent: [Cell<u64>; RECENT],
}

/// The libraries this thread is attached to. Dropped when the thread ends, and detaches from all of them.
struct Attachments(Vec<Arc<Residence>>);

thread_local! {
    // Without a destructor, so that it can be used while a thread ends, and by the crash handler.
    static LOCAL: Local = const {
        Local {
            key: Cell::new(0),
            pool: Cell::new(0),
            slot: Cell::new(None),
            depth: Cell::new(0),
            recent: [const { Cell::new(0) }; RECENT],
        }
    };
    static ATTACHMENTS: RefCell<Attachments> = const { RefCell::new(Attachments(Vec::new())) };
}

static NEXT_KEY: AtomicU64 = AtomicU64::new(1);
/// Libraries that are being retired and may still have threads: while there is none, resting costs one load.
static RETIRING: AtomicUsize = AtomicUsize::new(0);
static SLOTS: Mutex<Slots> = Mutex::new(Slots { all: Vec::new(), free: Vec::new() });
static LIBRARIES: Mutex<Option<HashMap<LibraryId, Weak<Residence>>>> = Mutex::new(None);

struct Slots {
    all: Vec<&'static Slot>,
    free: Vec<&'static Slot>,
}

/// While it lives, this thread is inside a library. Made by [`Library::enter`].
#[derive(Debug)]
pub struct Entered<'a> {
    slot: &'static Slot,
    before: u64,
    library: PhantomData<(&'a Library, *mut ())>,
}

impl<'a> Entered<'a> {
    #[inline]
    pub(super) fn new(residence: &'a Arc<Residence>) -> Entered<'a> {
        LOCAL.with(|local| {
            let id = residence.id().0;
            if local.recent[id as usize % RECENT].get() != id {
                attach(local, residence);
            }
            local.depth.set(local.depth.get() + 1);
            let slot = local.slot();
            let before = slot.inside.load(Ordering::Relaxed);
            slot.step(id);
            Entered { slot, before, library: PhantomData }
        })
    }
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        self.slot.step(self.before);
        LOCAL.with(|local| local.depth.set(local.depth.get() - 1));
    }
}

impl Local {
    #[inline]
    fn slot(&self) -> &'static Slot {
        match self.slot.get() {
            Some(slot) => slot,
            None => take_slot(self),
        }
    }
}

/// While it lives, this thread waits on behalf of a module and does not count as held by it.
#[derive(Debug)]
pub struct Outside {
    slot: Option<(&'static Slot, u64)>,
    thread: PhantomData<*mut ()>,
}

/// Marks that the module on this thread's stack waits for the host (a synchronous host operation).
pub fn outside() -> Outside {
    let slot = LOCAL.with(|local| local.slot.get()).map(|slot| {
        let before = slot.inside.load(Ordering::Relaxed);
        slot.step(0);
        (slot, before)
    });
    Outside { slot, thread: PhantomData }
}

impl Drop for Outside {
    fn drop(&mut self) {
        if let Some((slot, before)) = self.slot {
            slot.step(before);
        }
    }
}

impl Slot {
    #[inline]
    fn step(&self, inside: u64) {
        // One writer: the thread itself. The watchdog only has to see that something moved.
        self.inside.store(inside, Ordering::Relaxed);
        self.steps.store(self.steps.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}

/// Detaches this thread from every library that is being retired. Costs one load when none is. Made for
/// `on_thread_park`, for the end of blocking work, and for the wake-up tasks of [`detach_everywhere`].
pub fn quiesce() {
    if RETIRING.load(Ordering::Acquire) != 0 {
        detach_where(Residence::is_retiring);
    }
}

/// The library inside which this thread is at this moment. Safe to ask in a signal handler.
pub fn inside_here() -> Option<LibraryId> {
    let slot = LOCAL.with(|local| local.slot.get())?;
    match slot.inside.load(Ordering::Relaxed) {
        0 => None,
        id => Some(LibraryId(id)),
    }
}

/// Wakes the threads of these runtimes until none is attached to the library any more; else the names of those left.
pub async fn detach_everywhere(
    library: &Library,
    runtimes: &[Handle],
    deadline: Duration,
) -> Result<(), Vec<String>> {
    let residence = library.residence();
    begin_retiring(residence);
    quiesce();
    let start = Instant::now();
    let (mut round, mut pause) = (0, FIRST_PAUSE);
    while !residence.is_deserted() {
        if start.elapsed() >= deadline {
            return Err(residence.attached().into_iter().map(|thread| thread.name).collect());
        }
        runtimes.iter().for_each(|runtime| nudge(runtime, residence, round));
        let left = deadline.saturating_sub(start.elapsed());
        residence.wait_deserted(pause.min(left)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        round += 1;
    }
    Ok(())
}

/// Marks a library as going; threads detach from it from now on whenever they rest.
fn begin_retiring(residence: &Arc<Residence>) {
    if residence.begin_retiring() {
        RETIRING.fetch_add(1, Ordering::AcqRel);
    }
}

/// To be called once when a library is closed or given up: it holds up nobody any more.
pub(super) fn forget(residence: &Residence) {
    if residence.is_retiring() {
        RETIRING.fetch_sub(1, Ordering::AcqRel);
    }
    libraries(|map| map.remove(&residence.id()));
}

/// To be called when a library is loaded, so that the watchdog can name it.
pub(super) fn remember(residence: &Arc<Residence>) {
    libraries(|map| map.insert(residence.id(), Arc::downgrade(residence)));
}

/// Gives every thread of a runtime something to do, at the end of which it detaches.
fn nudge(runtime: &Handle, residence: &Arc<Residence>, round: u32) {
    let workers = runtime.metrics().num_workers();
    for _ in 0..workers * 2 {
        let residence = residence.clone();
        runtime.spawn(async move {
            quiesce();
            if round >= INSISTENT_ROUND {
                hold(&residence);
            }
        });
    }
    if round >= INSISTENT_ROUND {
        let attached = residence.attached().len();
        (0..attached).for_each(|_| drop(runtime.spawn_blocking(quiesce)));
    }
}

/// Keeps this thread busy for a moment, so that the next wake-up task needs another one.
fn hold(residence: &Residence) {
    let start = Instant::now();
    while !residence.is_deserted() && start.elapsed() < HOLD {
        std::thread::yield_now();
    }
}

#[cold]
fn attach(local: &Local, residence: &Arc<Residence>) {
    if local.key.get() == 0 {
        local.key.set(NEXT_KEY.fetch_add(1, Ordering::Relaxed));
    }
    let key = local.key.get();
    let name = lock(&local.slot().thread).clone();
    let noted = ATTACHMENTS.try_with(|attachments| {
        let mut attachments = attachments.borrow_mut();
        if !attachments.0.iter().any(|other| other.id() == residence.id()) {
            residence.attach(key, name.clone());
            attachments.0.push(residence.clone());
        }
    });
    if noted.is_err() {
        // The thread is ending and has detached from everything already. It stays on the list for ever, so that the
        // library is kept rather than closed under its feet.
        residence.attach(key, format!("{name}, which is ending"));
    }
    local.recent[residence.id().0 as usize % RECENT].set(residence.id().0);
}

/// Detaches this thread from the libraries that fit, unless it is inside a module.
fn detach_where(fits: impl Fn(&Residence) -> bool) {
    let inside_a_module = LOCAL.with(|local| local.depth.get() != 0);
    if inside_a_module {
        return;
    }
    // Taken out first: destructors are module code, which may come back here through the host.
    while let Some(residence) = take_attachment(&fits) {
        detach(&residence);
    }
}

fn take_attachment(fits: &impl Fn(&Residence) -> bool) -> Option<Arc<Residence>> {
    ATTACHMENTS
        .try_with(|attachments| {
            let mut attachments = attachments.borrow_mut();
            let i = attachments.0.iter().position(|residence| fits(residence))?;
            Some(attachments.0.swap_remove(i))
        })
        .ok()
        .flatten()
}

fn detach(residence: &Residence) {
    LOCAL.with(|local| {
        let recent = &local.recent[residence.id().0 as usize % RECENT];
        if recent.get() == residence.id().0 {
            recent.set(0);
        }
        let slot = local.slot.get();
        if let Some(slot) = slot {
            slot.step(residence.id().0);
        }
        residence.detach(local.key.get());
        if let Some(slot) = slot {
            slot.step(0);
        }
    });
}

/// Notes that this thread has run code of a library without having entered it: its initialisers.
pub(super) fn attach_here(residence: &Arc<Residence>) {
    LOCAL.with(|local| attach(local, residence));
}

impl Drop for Attachments {
    fn drop(&mut self) {
        if inside_here().is_some() {
            super::loader::crash::thread_ends_inside();
        }
        // The last one first: what came later may use what came earlier.
        while let Some(residence) = self.0.pop() {
            detach(&residence);
        }
        if let Some(slot) = LOCAL.with(|local| local.slot.take()) {
            slot.step(0);
            slots().free.push(slot);
        }
    }
}

#[cold]
fn take_slot(local: &Local) -> &'static Slot {
    let mut slots = slots();
    let slot = match slots.free.pop() {
        Some(slot) => slot,
        None => {
            let slot: &'static Slot = Box::leak(Box::default());
            slots.all.push(slot);
            slot
        }
    };
    *lock(&slot.thread) = thread_name();
    slot.pool.store(local.pool.get(), Ordering::Relaxed);
    local.slot.set(Some(slot));
    slot
}

fn thread_name() -> String {
    // Not `thread::current()`: that one is gone while a thread ends.
    let name = std::fs::read_to_string("/proc/thread-self/comm").unwrap_or_default();
    let link = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    let id = link.file_name().map(|id| id.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{} ({id})", name.trim())
}

/// The number of the sockets' runtime, as if it were one of the modules'.
pub(super) const SOCKETS: u64 = u64::MAX;

/// Notes that this thread belongs to the modules runtime of that number, or to the sockets'.
pub(super) fn join_pool(number: u64) {
    LOCAL.with(|local| local.pool.set(number));
}

/// Whether this thread belongs to the sockets' runtime.
#[inline]
pub(super) fn is_on_sockets() -> bool {
    LOCAL.with(|local| local.pool.get() == SOCKETS)
}

/// Whether it does and is inside a module.
#[inline]
pub(super) fn is_module_on_sockets() -> bool {
    is_on_sockets() && LOCAL.with(|local| local.depth.get() != 0)
}

/// Leaves every library, for a thread that rests long.
pub(super) fn leave_all() {
    detach_where(|_| true);
}

/// A number that changes whenever any thread enters or leaves a module.
pub(super) fn activity() -> u64 {
    let steps = |slot: &&'static Slot| slot.steps.load(Ordering::Relaxed);
    slots().all.iter().map(steps).fold(0, u64::wrapping_add)
}

/// One thread that is inside a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inside {
    /// Which thread: the same number for the same slot.
    pub slot: usize,
    /// Stands still as long as the thread does.
    pub steps: u64,
    pub library: LibraryId,
    /// Number of the modules runtime the thread belongs to, [`SOCKETS`] for the sockets', 0 for none.
    pub pool: u64,
    pub thread: String,
}

/// The threads that are inside a module at this moment.
pub(super) fn threads_inside() -> Vec<Inside> {
    let all = slots().all.clone();
    let mut inside = Vec::new();
    for (i, slot) in all.iter().enumerate() {
        let library = slot.inside.load(Ordering::Relaxed);
        if library != 0 {
            let thread = lock(&slot.thread).clone();
            let steps = slot.steps.load(Ordering::Relaxed);
            let pool = slot.pool.load(Ordering::Relaxed);
            inside.push(Inside { slot: i, steps, library: LibraryId(library), pool, thread });
        }
    }
    inside
}

/// The library of that number, as long as it is loaded.
pub(super) fn residence_of(library: LibraryId) -> Option<Arc<Residence>> {
    libraries(|map| map.get(&library).and_then(Weak::upgrade))
}

fn slots() -> MutexGuard<'static, Slots> {
    lock(&SLOTS)
}

/// None of these locks is held where something can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn libraries<R>(f: impl FnOnce(&mut HashMap<LibraryId, Weak<Residence>>) -> R) -> R {
    f(lock(&LIBRARIES).get_or_insert_default())
}
