//! A thread's own place in every gate.
//!
//! A thread of the sockets' runtime enters and leaves modules all the time. Counting that in a word that all threads
//! share costs a locked instruction each time, which is a good part of what the call costs. A thread with a seat counts
//! in a word that nobody else writes, with plain loads and stores.
//!
//! That alone would not do: a processor may look at a gate's flags before its own store is seen by others, and so a call
//! and a swap could miss each other. The side that is rare pays for both: who closes a gate makes every thread of the
//! process pass a memory barrier ([`sys::order_threads`]) before it looks at the counts. Where the kernel does not offer
//! that, no seats are given.

use super::loader::sys;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many threads may have a seat at the same time; others share a word.
pub(super) const SEATS: usize = 64;

const NONE: usize = usize::MAX;

thread_local! {
    static MINE: Cell<usize> = const { Cell::new(NONE) };
    /// Gives the seat back when the thread ends.
    static OWNED: Cell<Option<Seat>> = const { Cell::new(None) };
}

static ARE_THERE_ANY: AtomicBool = AtomicBool::new(false);
static SEATING: Mutex<Seating> = Mutex::new(Seating { free: Vec::new(), next: 0 });

struct Seating {
    free: Vec<usize>,
    next: usize,
}

/// A seat taken. What its last owner stored is seen by the next one, because both held the lock between.
struct Seat(usize);

impl Drop for Seat {
    fn drop(&mut self) {
        MINE.set(NONE);
        seating().free.push(self.0);
    }
}

/// Gives this thread a seat, if there is one.
pub(super) fn take() {
    if MINE.get() != NONE || !sys::can_order_threads() {
        return;
    }
    let Some(number) = seating().take() else { return };
    // Before the first use: see `order`.
    ARE_THERE_ANY.store(true, Ordering::SeqCst);
    let seat = Seat(number);
    // A thread that is ending drops it again at once.
    if OWNED.try_with(|owned| owned.set(Some(seat))).is_ok() {
        MINE.set(number);
    }
}

/// This thread's seat.
#[inline]
pub(super) fn mine() -> Option<usize> {
    let mine = MINE.get();
    (mine < SEATS).then_some(mine)
}

/// To be called between a store to a gate's flags and the look at the counts of seats: after it, a thread with a seat has
/// either seen the flags or made its store seen.
///
/// Without a seat taken there is nothing to order; one that is taken at this moment sees the flags, since both sides then
/// use sequentially consistent stores and loads.
pub(super) fn order() {
    if ARE_THERE_ANY.load(Ordering::SeqCst) && !sys::order_threads() {
        // The kernel promises that it works after it was registered.
        tracing::error!("the kernel refused a memory barrier it had offered: a call may overlap with a swap");
    }
}

impl Seating {
    fn take(&mut self) -> Option<usize> {
        if let Some(free) = self.free.pop() {
            return Some(free);
        }
        let next = self.next;
        (next < SEATS).then(|| {
            self.next += 1;
            next
        })
    }
}

fn seating() -> MutexGuard<'static, Seating> {
    // Nothing that runs under this lock can panic half-way.
    SEATING.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_has_one_owner_and_is_given_back_when_the_thread_ends() {
        let seats = || {
            take();
            take();
            mine()
        };
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..2 * SEATS {
            let seat = std::thread::spawn(seats).join().unwrap();
            seen.extend(seat);
        }
        assert!(seen.len() <= SEATS);
        assert!(!sys::can_order_threads() || !seen.is_empty());
        assert_eq!(std::thread::spawn(mine).join().unwrap(), None, "nobody has one who did not ask");
    }
}
