//! The handlers of one instance: the host keeps a number, this table the function.
//!
//! Handlers of everything but timers stay until the instance ends, because a call that was under way when a registration
//! was taken back may still arrive. They are found without a lock. Timers come and go and are kept in a map.

use crate::sdk::handler::HandlerFn;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A function and the kind of call it is for.
pub(crate) struct Entry {
    /// One of [`crate::abi::v1::call`].
    pub(crate) kind: u32,
    pub(crate) run: HandlerFn,
    /// A timer that fires a single time.
    pub(crate) once: bool,
}

const FIRST: u64 = 16;
const SEGMENTS: usize = 20;
const TIMER: u64 = 1 << 63;

type Segment = Box<[OnceLock<Entry>]>;

/// All handlers of an instance.
#[derive(Default)]
pub(crate) struct Handlers {
    /// Segment `n` has `FIRST << n` places, so a place never moves.
    segments: [OnceLock<Segment>; SEGMENTS],
    next: AtomicU64,
    timers: Mutex<HashMap<u64, Arc<Entry>>>,
    /// What other modules may ask, by the method's name.
    requests: Mutex<HashMap<String, Arc<Entry>>>,
}

impl Handlers {
    /// Keeps a handler; `None` when there are sixteen million already.
    pub(crate) fn add(&self, entry: Entry) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (segment, place) = locate(number);
        let places = self
            .segments
            .get(segment)?
            .get_or_init(|| (0..FIRST << segment).map(|_| OnceLock::new()).collect());
        places.get(place)?.set(entry).ok()?;
        Some(number)
    }

    /// The handler of that number.
    #[inline]
    pub(crate) fn get(&self, number: u64) -> Option<&Entry> {
        let (segment, place) = locate(number);
        self.segments.get(segment)?.get()?.get(place)?.get()
    }

    /// Keeps a timer's handler.
    pub(crate) fn add_timer(&self, entry: Entry) -> u64 {
        let number = TIMER | self.next.fetch_add(1, Ordering::Relaxed);
        self.timers().insert(number, Arc::new(entry));
        number
    }

    /// The timer's handler.
    pub(crate) fn timer(&self, number: u64) -> Option<Arc<Entry>> {
        self.timers().get(&number).cloned()
    }

    /// Forgets a timer; anything else stays.
    pub(crate) fn forget(&self, number: u64) {
        let forgotten = self.timers().remove(&number);
        // Dropped outside the lock: what the handler captured may do anything.
        drop(forgotten);
    }

    /// Keeps the handler of a method; the one before it, if there was one, ends.
    pub(crate) fn add_request(&self, method: &str, entry: Entry) {
        let before = self.requests().insert(method.to_owned(), Arc::new(entry));
        // Dropped outside the lock: what the handler captured may do anything.
        drop(before);
    }

    /// The method's handler.
    pub(crate) fn request(&self, method: &str) -> Option<Arc<Entry>> {
        self.requests().get(method).cloned()
    }

    fn requests(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Entry>>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn timers(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Entry>>> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Segment and place of a number: 0..16 in the first, 16..48 in the second, 48..112 in the third.
#[inline]
fn locate(number: u64) -> (usize, usize) {
    let shifted = number.saturating_add(FIRST);
    let segment = shifted.ilog2() - FIRST.ilog2();
    (segment as usize, (shifted - (FIRST << segment)) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdk::handler::{Answer, Outcome};

    fn entry(kind: u32) -> Entry {
        Entry { kind, once: false, run: Box::new(|_, _, _| Outcome::Now(Answer::Done)) }
    }

    #[test]
    fn every_number_finds_its_handler() {
        let handlers = Handlers::default();
        for kind in 0..200 {
            assert_eq!(handlers.add(entry(kind)), Some(u64::from(kind)));
        }
        for kind in 0..200 {
            assert_eq!(handlers.get(u64::from(kind)).unwrap().kind, kind);
        }
    }

    #[test]
    fn a_number_never_given_finds_nothing() {
        let handlers = Handlers::default();
        handlers.add(entry(1));
        for number in [1, 15, 16, 1 << 40, u64::MAX, TIMER] {
            assert!(handlers.get(number).is_none() && handlers.timer(number).is_none(), "{number}");
        }
    }

    #[test]
    fn a_timer_is_forgotten_when_told() {
        let handlers = Handlers::default();
        let number = handlers.add_timer(entry(13));
        assert!(handlers.timer(number).is_some() && handlers.get(number).is_none());
        handlers.forget(number);
        assert!(handlers.timer(number).is_none());
    }
}
