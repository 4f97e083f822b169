//! What threads share about one loaded library: who is attached to it, and the one function that detaches.

use super::library::LibraryId;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// A thread that has been inside a library and has not run that library's thread-local destructors yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedThread {
    /// Number of the thread in this process, never used twice.
    pub key: u64,
    /// Its name and thread id, for people.
    pub name: String,
}

/// One library as the threads see it. Outlives the library itself, which is why detaching asks whether it is attached.
pub struct Residence {
    id: LibraryId,
    module: String,
    generation: u64,
    thread_detach: unsafe extern "C" fn() -> u32,
    attached: Mutex<Vec<AttachedThread>>,
    all_detached: Notify,
    retiring: AtomicBool,
    time_limit_ms: AtomicU64,
}

impl Residence {
    pub(super) fn new(
        id: LibraryId,
        module: &str,
        generation: u64,
        thread_detach: unsafe extern "C" fn() -> u32,
    ) -> Residence {
        Residence {
            id,
            module: module.to_owned(),
            generation,
            thread_detach,
            attached: Mutex::new(Vec::new()),
            all_detached: Notify::new(),
            retiring: AtomicBool::new(false),
            time_limit_ms: AtomicU64::new(0),
        }
    }

    /// The library.
    pub fn id(&self) -> LibraryId {
        self.id
    }

    /// Its module.
    pub fn module(&self) -> &str {
        &self.module
    }

    /// Its generation.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How long it may hold a thread; `None` where the server's general limit holds.
    pub fn time_limit(&self) -> Option<Duration> {
        match self.time_limit_ms.load(Ordering::Relaxed) {
            0 => None,
            ms => Some(Duration::from_millis(ms)),
        }
    }

    /// Sets how long it may hold a thread.
    pub fn set_time_limit(&self, limit: Duration) {
        let ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
        self.time_limit_ms.store(ms, Ordering::Relaxed);
    }

    /// Whether it is about to be closed. From then on threads detach from it whenever they rest.
    pub fn is_retiring(&self) -> bool {
        self.retiring.load(Ordering::Acquire)
    }

    /// Begins its end. True the first time.
    pub fn begin_retiring(&self) -> bool {
        !self.retiring.swap(true, Ordering::AcqRel)
    }

    /// Notes a thread that is about to enter.
    pub fn attach(&self, key: u64, name: String) {
        self.threads().push(AttachedThread { key, name });
    }

    /// The threads attached at this moment.
    pub fn attached(&self) -> Vec<AttachedThread> {
        self.threads().clone()
    }

    /// Whether no thread is attached.
    pub fn is_deserted(&self) -> bool {
        self.threads().is_empty()
    }

    /// Waits until no thread is attached, at most this long; whether that is so then.
    pub async fn wait_deserted(&self, patience: Duration) -> bool {
        let woken = self.all_detached.notified();
        tokio::pin!(woken);
        // Registered before the look, so that the last thread leaving in between is not missed.
        woken.as_mut().enable();
        if self.is_deserted() {
            return true;
        }
        // Whether it was woken or ran out of patience: what counts is the list.
        let _ = tokio::time::timeout(patience, woken).await;
        self.is_deserted()
    }

    /// Runs the library's thread-local destructors on this thread, and strikes it off the list. Does nothing for a
    /// thread that is not on it.
    pub fn detach(&self, key: u64) {
        if !self.threads().iter().any(|thread| thread.key == key) {
            return;
        }
        // SAFETY: this thread is still on the list, and a library is closed only when its list is empty, so it is
        // mapped until the line below this one. The function may be called on any thread.
        unsafe { (self.thread_detach)() };
        let mut threads = self.threads();
        threads.retain(|thread| thread.key != key);
        if threads.is_empty() {
            self.all_detached.notify_waiters();
        }
    }

    fn threads(&self) -> MutexGuard<'_, Vec<AttachedThread>> {
        // Nothing that runs under this lock can panic half-way.
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Residence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Residence({} generation {})", self.module, self.generation)
    }
}
