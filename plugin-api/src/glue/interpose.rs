//! Why a library can be unloaded at all.
//!
//! Three things outlive `dlclose` and then run, or keep, its code: destructors of thread-local values (glibc pins the
//! library until the thread ends), destructors of pthread keys (glibc does not pin, so the thread crashes when it ends;
//! and nobody ever gives the keys back, of which a process has 1,024), and threads of the library's own. The export macro
//! defines the C functions behind them inside the library, hidden from everybody else, and they end here: destructors
//! that host threads owe are recorded and run by [`thread_detach`], keys are recorded and given back by [`final_report`],
//! own threads are recorded and counted there.
//!
//! A key that the library gives back itself is forgotten too: its number may by then belong to somebody else.

use super::panics::{sweep_hosts, thread_token};
use crate::abi::v1::FinalReport;
use libc::{c_int, c_void, pthread_attr_t, pthread_key_t, pthread_t};
use std::cell::Cell;
use std::ffi::CStr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A destructor, of a thread-local value or of a key.
pub type Destructor = unsafe extern "C" fn(*mut c_void);
/// What a thread runs.
pub type StartRoutine = extern "C" fn(*mut c_void) -> *mut c_void;

type RealAtExit = unsafe extern "C" fn(Destructor, *mut c_void, *mut c_void) -> c_int;
type RealKeyCreate = unsafe extern "C" fn(*mut pthread_key_t, Option<Destructor>) -> c_int;
type RealKeyDelete = unsafe extern "C" fn(pthread_key_t) -> c_int;
type RealCreate =
    unsafe extern "C" fn(*mut pthread_t, *const pthread_attr_t, StartRoutine, *mut c_void) -> c_int;

/// A destructor that a host thread owes. The thread is named by a token, because the system uses its ids again.
struct Owed {
    thread: u64,
    destructor: Destructor,
    object: usize,
}

/// A thread of the library's own: its id, and its start time to tell it from a later thread of the same id.
#[derive(Clone, Copy)]
struct OwnThread {
    tid: u32,
    started: u64,
}

static OWED: Mutex<Vec<Owed>> = Mutex::new(Vec::new());
static KEYS: Mutex<Vec<(pthread_key_t, Option<Destructor>)>> = Mutex::new(Vec::new());
static THREADS: Mutex<Vec<OwnThread>> = Mutex::new(Vec::new());
/// Threads that were asked for and have not recorded themselves yet.
static STARTING: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static OWN: Cell<bool> = const { Cell::new(false) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this thread is one of the library's own.
pub(super) fn on_own_thread() -> bool {
    OWN.get()
}

/// The C library's function behind one of ours, looked up once.
fn real(cache: &AtomicPtr<c_void>, name: &CStr) -> *mut c_void {
    let known = cache.load(Ordering::Relaxed);
    if !known.is_null() {
        return known;
    }
    // SAFETY: the name ends with a zero. Ours are hidden, so the process-wide search finds the C library's.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    cache.store(found, Ordering::Relaxed);
    found
}

/// Stands in for `__cxa_thread_atexit_impl`. Own threads end before the library is closed and take the usual way.
///
/// # Safety
/// As the C function: `destructor(object)` must be lawful when this thread ends.
pub unsafe fn thread_atexit(destructor: Destructor, object: *mut c_void, library: *mut c_void) -> c_int {
    static REAL: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
    if on_own_thread() {
        let real = real(&REAL, c"__cxa_thread_atexit_impl");
        if !real.is_null() {
            // SAFETY: that function has this type; its arguments are passed on.
            return unsafe {
                std::mem::transmute::<*mut c_void, RealAtExit>(real)(destructor, object, library)
            };
        }
    }
    lock(&OWED).push(Owed { thread: thread_token(), destructor, object: object as usize });
    0
}

/// Stands in for `pthread_key_create`.
///
/// # Safety
/// As the C function: `key` may be written to.
pub unsafe fn key_create(key: *mut pthread_key_t, destructor: Option<Destructor>) -> c_int {
    static REAL: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
    let real = real(&REAL, c"pthread_key_create");
    if real.is_null() {
        return libc::EAGAIN;
    }
    // Held over the call, so that a key is known before anybody can give it back.
    let mut keys = lock(&KEYS);
    // SAFETY: that function has this type; its arguments are passed on.
    let result = unsafe { std::mem::transmute::<*mut c_void, RealKeyCreate>(real)(key, destructor) };
    if result == 0 {
        // SAFETY: the call went well, so the key was written.
        keys.push((unsafe { *key }, destructor));
    }
    result
}

/// Stands in for `pthread_key_delete`.
///
/// # Safety
/// As the C function.
pub unsafe fn key_delete(key: pthread_key_t) -> c_int {
    let mut keys = lock(&KEYS);
    keys.retain(|(known, _)| *known != key);
    // SAFETY: the caller's promise is passed on.
    unsafe { real_key_delete(key) }
}

unsafe fn real_key_delete(key: pthread_key_t) -> c_int {
    static REAL: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
    let real = real(&REAL, c"pthread_key_delete");
    if real.is_null() {
        return libc::EINVAL;
    }
    // SAFETY: that function has this type; its argument is passed on.
    unsafe { std::mem::transmute::<*mut c_void, RealKeyDelete>(real)(key) }
}

struct Start {
    routine: StartRoutine,
    argument: *mut c_void,
}

/// Stands in for `pthread_create`.
///
/// # Safety
/// As the C function.
pub unsafe fn thread_create(
    thread: *mut pthread_t,
    attributes: *const pthread_attr_t,
    routine: StartRoutine,
    argument: *mut c_void,
) -> c_int {
    static REAL: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
    let real = real(&REAL, c"pthread_create");
    if real.is_null() {
        return libc::EAGAIN;
    }
    STARTING.fetch_add(1, Ordering::SeqCst);
    let start = Box::into_raw(Box::new(Start { routine, argument })).cast();
    // SAFETY: that function has this type; the box is taken by `trampoline`, or below when no thread began.
    let result = unsafe {
        std::mem::transmute::<*mut c_void, RealCreate>(real)(thread, attributes, trampoline, start)
    };
    if result != 0 {
        STARTING.fetch_sub(1, Ordering::SeqCst);
        // SAFETY: no thread began, so the box is still ours.
        drop(unsafe { Box::from_raw(start.cast::<Start>()) });
    }
    result
}

/// First and last code of an own thread. After it the C library still runs the thread's destructors, which are code of
/// this library: so the thread counts until the system no longer knows it, not until here.
extern "C" fn trampoline(start: *mut c_void) -> *mut c_void {
    // SAFETY: `thread_create` made the box for this thread alone.
    let start = unsafe { Box::from_raw(start.cast::<Start>()) };
    OWN.set(true);
    let me = OwnThread::current();
    {
        let mut threads = lock(&THREADS);
        // The dead are looked for only when the list would grow: it costs a look at the system for each entry.
        if threads.len() == threads.capacity() {
            threads.retain(OwnThread::is_alive);
        }
        threads.push(me);
    }
    STARTING.fetch_sub(1, Ordering::SeqCst);
    let Start { routine, argument } = *start;
    routine(argument)
}

impl OwnThread {
    fn current() -> Self {
        // SAFETY: takes nothing, and cannot fail.
        let tid = unsafe { libc::gettid() }.cast_unsigned();
        Self { tid, started: start_time(tid).unwrap_or(0) }
    }

    /// Whether the system still knows the thread. Where start times cannot be read, an id that is in use counts as this
    /// thread: too careful is better than unmapping running code.
    fn is_alive(&self) -> bool {
        // SAFETY: signal 0 only asks whether there is such a thread in this process.
        let known = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), self.tid, 0) } == 0;
        known && (self.started == 0 || start_time(self.tid).is_none_or(|started| started == self.started))
    }
}

/// When a thread of this process began, in clock ticks since boot; `None` when there is no such thread (any more).
fn start_time(tid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{tid}/stat")).ok()?;
    // The name may contain anything, also blanks and brackets; what follows its last bracket is numbers.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Runs what this library's destructors owe to the calling thread; gives their number. Thread-local values of the
/// library cannot be used on this thread afterwards, so it is called once, when the library is about to be closed or the
/// thread to end.
pub extern "C" fn thread_detach() -> u32 {
    let mut run = 0;
    // A destructor may register others, so both lists are gone through until nothing is left, but not for ever.
    for _ in 0..16 {
        let before = run;
        run += run_owed() + run_keys();
        if run == before {
            break;
        }
    }
    run
}

fn run_owed() -> u32 {
    let (me, mut run) = (thread_token(), 0);
    loop {
        let next = {
            let mut owed = lock(&OWED);
            owed.iter().rposition(|o| o.thread == me).map(|last| owed.remove(last))
        };
        let Some(Owed { destructor, object, .. }) = next else { return run };
        // SAFETY: registered for the end of this very thread, where the object lives, and taken off the list.
        unsafe { destructor(object as *mut c_void) };
        run += 1;
    }
}

fn run_keys() -> u32 {
    let (keys, mut run) = (lock(&KEYS).clone(), 0);
    for (key, destructor) in keys {
        let Some(destructor) = destructor else { continue };
        // SAFETY: the key is this library's, and has not been given back; its destructor gets this thread's value, which
        // is unset first, as at a thread's end.
        unsafe {
            let value = libc::pthread_getspecific(key);
            if !value.is_null() {
                libc::pthread_setspecific(key, std::ptr::null());
                destructor(value);
                run += 1;
            }
        }
    }
    run
}

/// Counts what still ties the library to the process. Keys are given back only when no own thread runs that could use
/// them; so it may be asked again until none does.
pub extern "C" fn final_report(out: &mut FinalReport) {
    sweep_hosts();
    let starting = STARTING.load(Ordering::SeqCst);
    let (alive, a_thread) = living_threads();
    let own_threads = starting.saturating_add(alive);
    let keys_deleted = if own_threads == 0 { give_keys_back() } else { 0 };
    *out = FinalReport { own_threads, leftover_destructors: leftover_destructors(), keys_deleted, a_thread };
}

/// How many own threads live, and the id of one. Lists are freed as soon as they are empty, here and below: after the
/// library is closed nobody would do it.
fn living_threads() -> (u32, u32) {
    let mut threads = lock(&THREADS);
    threads.retain(OwnThread::is_alive);
    threads.shrink_to_fit();
    (u32::try_from(threads.len()).unwrap_or(u32::MAX), threads.first().map_or(0, |thread| thread.tid))
}

fn leftover_destructors() -> u32 {
    let mut owed = lock(&OWED);
    owed.shrink_to_fit();
    u32::try_from(owed.len()).unwrap_or(u32::MAX)
}

fn give_keys_back() -> u32 {
    let keys = std::mem::take(&mut *lock(&KEYS));
    for (key, _) in &keys {
        // SAFETY: the key is this library's; whoever could use it has ended or detached.
        unsafe { real_key_delete(*key) };
    }
    u32::try_from(keys.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    // The statics are the process's, so one test goes through all of it.
    #[test]
    fn what_is_owed_is_run_once_on_its_own_thread_and_threads_count_until_they_are_gone() {
        static RUN: AtomicUsize = AtomicUsize::new(0);
        unsafe extern "C" fn destructor(object: *mut c_void) {
            RUN.fetch_add(object as usize, Ordering::SeqCst);
        }
        // SAFETY: the destructor takes any number for an object.
        let register =
            |n: usize| unsafe { thread_atexit(destructor, n as *mut c_void, std::ptr::null_mut()) };
        register(1);
        register(10);
        assert_eq!(std::thread::spawn(|| thread_detach()).join().unwrap(), 0);
        assert_eq!((thread_detach(), thread_detach(), RUN.load(Ordering::SeqCst)), (2, 0, 11));

        let mut key = 0;
        // SAFETY: `key` may be written to; the destructor takes any number.
        unsafe {
            assert_eq!(key_create(&raw mut key, Some(destructor)), 0);
            libc::pthread_setspecific(key, 100 as *const c_void);
        }
        assert_eq!((thread_detach(), RUN.load(Ordering::SeqCst)), (1, 111));

        static GO: std::sync::Barrier = std::sync::Barrier::new(2);
        extern "C" fn body(_: *mut c_void) -> *mut c_void {
            GO.wait();
            GO.wait();
            std::ptr::null_mut()
        }
        let mut thread = 0;
        // SAFETY: the thread's argument is unused, and it is joined below.
        let created = unsafe { thread_create(&raw mut thread, std::ptr::null(), body, std::ptr::null_mut()) };
        assert_eq!(created, 0);
        GO.wait();
        let mut report = FinalReport::default();
        final_report(&mut report);
        assert_eq!((report.own_threads, report.keys_deleted), (1, 0));
        assert_ne!(report.a_thread, 0);
        GO.wait();
        // SAFETY: created above, joined once.
        unsafe { libc::pthread_join(thread, std::ptr::null_mut()) };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while report.own_threads != 0 && std::time::Instant::now() < deadline {
            std::thread::yield_now();
            final_report(&mut report);
        }
        assert_eq!((report.own_threads, report.leftover_destructors, report.keys_deleted), (0, 0, 1));
    }

    #[test]
    fn a_thread_that_never_was_has_no_start_time() {
        assert!(start_time(u32::MAX).is_none());
        assert!(OwnThread::current().is_alive());
    }
}
