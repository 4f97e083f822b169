//! Wake-ups that a thread puts off until a module has returned to it.
//!
//! A worker of the sockets' runtime keeps the task woken last for itself: nobody else can take it from there. Should the
//! module that runs on that worker not return, that task would wait with it. Moving each such task on to where others find
//! it costs a wake-up of another thread. So while short work of modules is done on such a worker, the mailboxes that it
//! fills wake nobody at once: their wakers are kept here, and used when the work is done, or by the watchdog when the thread
//! does not move ([`release`]).
//!
//! What wakes a task in another way says so by [`note`], and whoever calls a module asks for it by [`take_noted`].

use smallvec::SmallVec;
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;

/// What one thread has put off. Others may take it.
type List = Mutex<Wakers>;
type Wakers = SmallVec<[Waker; 4]>;

thread_local! {
    static ACTIVE: Cell<bool> = const { Cell::new(false) };
    static NOTED: Cell<bool> = const { Cell::new(false) };
    static HERE: RefCell<Option<Arc<List>>> = const { RefCell::new(None) };
}

/// The lists of all threads that ever put something off.
static ALL: Mutex<Vec<Weak<List>>> = Mutex::new(Vec::new());

/// While it lives, this thread puts wake-ups off. When it is dropped, it wakes whom it owes it.
#[derive(Debug)]
pub struct PutOff {
    thread: PhantomData<*mut ()>,
}

impl PutOff {
    /// Begins to put off, on this thread. These do not nest: there is one drainer at a time on a thread.
    pub fn begin() -> PutOff {
        ACTIVE.set(true);
        NOTED.set(false);
        PutOff { thread: PhantomData }
    }
}

impl Drop for PutOff {
    fn drop(&mut self) {
        ACTIVE.set(false);
        wake_here();
    }
}

/// While it lives, this thread wakes at once again: a module that it runs waits for somebody.
#[derive(Debug)]
pub struct Paused {
    was_active: bool,
    thread: PhantomData<*mut ()>,
}

/// Wakes whom this thread has put off, and puts nothing off for a while.
pub fn pause() -> Paused {
    let was_active = ACTIVE.replace(false);
    if was_active {
        wake_here();
    }
    Paused { was_active, thread: PhantomData }
}

impl Drop for Paused {
    fn drop(&mut self) {
        ACTIVE.set(self.was_active);
    }
}

/// Wakes a task, or remembers to do so.
pub fn wake(waker: Waker) {
    if !ACTIVE.get() {
        return waker.wake();
    }
    HERE.with_borrow_mut(|here| lock(here.get_or_insert_with(enrol)).push(waker));
}

/// Something else has woken a task.
pub fn note() {
    NOTED.set(true);
}

/// Whether something may have been woken on this thread since it was asked last: always, unless it puts wake-ups off.
pub fn take_noted() -> bool {
    NOTED.replace(false) || !ACTIVE.get()
}

/// Wakes whom any thread has put off, for one that does not move.
pub fn release() {
    let lists: Vec<Arc<List>> = {
        let mut all = lock(&ALL);
        all.retain(|list| list.strong_count() > 0);
        all.iter().filter_map(Weak::upgrade).collect()
    };
    lists.iter().flat_map(|list| take(list)).for_each(Waker::wake);
}

fn wake_here() {
    let put_off = HERE.with_borrow(|here| here.as_deref().map(take)).unwrap_or_default();
    put_off.into_iter().for_each(Waker::wake);
}

fn enrol() -> Arc<List> {
    let list = Arc::default();
    lock(&ALL).push(Arc::downgrade(&list));
    list
}

fn take(list: &List) -> Wakers {
    std::mem::take(&mut *lock(list))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these; what a poisoned one holds is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::task::Wake;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Counter {
        fn woken(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn what_is_put_off_is_woken_at_the_end_and_once() {
        let counter = Arc::new(Counter::default());
        wake(Waker::from(counter.clone()));
        assert_eq!(counter.woken(), 1, "nothing is put off without being asked to");
        let put_off = PutOff::begin();
        wake(Waker::from(counter.clone()));
        wake(Waker::from(counter.clone()));
        assert_eq!(counter.woken(), 1);
        drop(put_off);
        assert_eq!(counter.woken(), 3);
        drop(PutOff::begin());
        assert_eq!(counter.woken(), 3);
    }

    #[test]
    fn nobody_is_put_off_while_a_module_waits() {
        let counter = Arc::new(Counter::default());
        let _put_off = PutOff::begin();
        wake(Waker::from(counter.clone()));
        let paused = pause();
        assert_eq!(counter.woken(), 1);
        wake(Waker::from(counter.clone()));
        assert_eq!(counter.woken(), 2);
        drop(paused);
        wake(Waker::from(counter.clone()));
        assert_eq!(counter.woken(), 2);
    }

    #[test]
    fn another_thread_wakes_what_one_that_is_held_has_put_off() {
        let counter = Arc::new(Counter::default());
        let (release_it, released) = mpsc::channel::<()>();
        let (put, is_put) = mpsc::channel();
        let held = std::thread::spawn({
            let counter = counter.clone();
            move || {
                let _put_off = PutOff::begin();
                wake(Waker::from(counter));
                put.send(()).unwrap();
                released.recv().unwrap();
            }
        });
        is_put.recv().unwrap();
        assert_eq!(counter.woken(), 0);
        release();
        assert_eq!(counter.woken(), 1);
        release_it.send(()).unwrap();
        held.join().unwrap();
        assert_eq!(counter.woken(), 1);
    }

    #[test]
    fn other_wake_ups_are_told_of_once() {
        assert!(take_noted(), "who knows");
        let _put_off = PutOff::begin();
        assert!(!take_noted());
        note();
        assert!(take_noted());
        assert!(!take_noted());
    }
}
