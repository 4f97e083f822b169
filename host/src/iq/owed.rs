//! Answers that modules owe: requests that a handler answers later by routing a reply, and requests to a module's own
//! domain, which can be answered in no other way.
//!
//! Promises: each of them gets one answer. If the module gives none before the deadline, [`OwedAnswers::expire`] hands
//! the request out for an error, and an answer that comes later is refused by [`OwedAnswers::settle`]. It does not
//! matter whether a handler routes its answer before or after it says that it will. The table is bounded.
//!
//! Time is an argument: nothing here waits.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};
use std::time::{Duration, Instant};

use crate::stanza::{Jid, Stanza};

/// How long after an answer another one is recognised.
const AFTER_ANSWER: Duration = Duration::from_secs(2);

/// Too many answers are owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyOwed;

enum Entry {
    /// The request waits for its answer.
    Waiting(Stanza),
    /// It was answered, by the module or with an error at its deadline: another answer must not follow.
    Over,
    /// An answer went out before the handler's call ended.
    Early,
}

struct Slot {
    entry: Entry,
    at: Instant,
    number: u64,
}

#[derive(Default)]
struct State {
    /// By hash of (id, asked, asker); a keyed hash, so nobody can aim at a collision.
    slots: HashMap<u64, Slot>,
    /// When to look at which slot again; the number tells slots of the same moment apart.
    order: BTreeSet<(Instant, u64, u64)>,
    next_number: u64,
    waiting: usize,
}

/// The table.
pub struct OwedAnswers {
    bound: usize,
    hasher: RandomState,
    /// Repeats the number of entries so that an empty table costs no lock.
    length: AtomicUsize,
    state: Mutex<State>,
}

impl OwedAnswers {
    /// An empty table for at most `bound` requests, and as many answers to be remembered.
    pub fn new(bound: usize) -> Self {
        Self { bound, hasher: RandomState::new(), length: AtomicUsize::new(0), state: Mutex::default() }
    }

    /// A handler said that it will answer later, or a request goes to a module's domain.
    pub fn owe(&self, request: &Stanza, now: Instant, timeout: Duration) -> Result<(), TooManyOwed> {
        let key = self.key_of_request(request);
        let mut state = self.lock();
        if state.waiting >= self.bound {
            return Err(TooManyOwed);
        }
        state.put(key, Entry::Waiting(request.clone()), now + timeout);
        self.note_length(&state);
        Ok(())
    }

    /// The request needs no answer any more: it was refused and answered otherwise.
    pub fn forget(&self, request: &Stanza) {
        let key = self.key_of_request(request);
        let mut state = self.lock();
        if matches!(state.entry(key), Some(Entry::Waiting(_))) {
            state.take(key);
            self.note_length(&state);
        }
    }

    /// A handler's call has ended: whether it routed its answer itself meanwhile.
    pub fn take_early_answer(&self, request: &Stanza) -> bool {
        if self.is_empty() {
            return false;
        }
        let key = self.key_of_request(request);
        let mut state = self.lock();
        let is_early = matches!(state.entry(key), Some(Entry::Early));
        if is_early {
            state.take(key);
            self.note_length(&state);
        }
        is_early
    }

    /// A module routes an IQ result or error. `false`: the request was answered already, and this must not go out.
    pub fn settle(&self, reply: &Stanza, now: Instant, remember: Duration) -> bool {
        let key = self.key(reply.id().as_deref(), reply.from(), reply.to());
        let mut state = self.lock();
        let (goes_out, next) = match state.entry(key) {
            // A module that answers and then fails would be answered for by the server a moment later.
            Some(Entry::Waiting(_)) => (true, Some((Entry::Over, now + AFTER_ANSWER))),
            Some(Entry::Over) => (false, None),
            Some(Entry::Early) => (true, None),
            None => (true, Some((Entry::Early, now + remember))),
        };
        if let Some((entry, at)) = next {
            state.take(key);
            if state.remembered() < self.bound {
                state.put(key, entry, at);
            }
            self.note_length(&state);
        }
        goes_out
    }

    /// Requests whose deadline has passed, to be answered with an error by the caller. `remember` is how long a late
    /// answer is still recognised.
    pub fn expire(&self, now: Instant, remember: Duration) -> Vec<Stanza> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut overdue = Vec::new();
        let mut state = self.lock();
        while let Some(&(at, _, key)) = state.order.first()
            && at <= now
        {
            if let Some(Entry::Waiting(request)) = state.take(key) {
                overdue.push(request);
                if state.remembered() < self.bound {
                    state.put(key, Entry::Over, now + remember);
                }
            }
        }
        self.note_length(&state);
        overdue
    }

    /// Requests that wait, late answers remembered.
    pub fn len(&self) -> usize {
        self.length.load(Ordering::Relaxed)
    }

    /// Whether nothing is owed or remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn key_of_request(&self, request: &Stanza) -> u64 {
        self.key(request.id().as_deref(), request.to(), request.from())
    }

    fn note_length(&self, state: &State) {
        self.length.store(state.slots.len(), Ordering::Release);
    }

    fn key(&self, id: Option<&str>, asked: Option<&Jid>, asker: Option<&Jid>) -> u64 {
        self.hasher.hash_one((id, asked, asker))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; a poisoned table is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn entry(&self, key: u64) -> Option<&Entry> {
        self.slots.get(&key).map(|slot| &slot.entry)
    }

    fn put(&mut self, key: u64, entry: Entry, at: Instant) {
        self.take(key);
        self.next_number += 1;
        let number = self.next_number;
        self.waiting += usize::from(matches!(entry, Entry::Waiting(_)));
        self.order.insert((at, number, key));
        self.slots.insert(key, Slot { entry, at, number });
    }

    fn take(&mut self, key: u64) -> Option<Entry> {
        let Slot { entry, at, number } = self.slots.remove(&key)?;
        self.order.remove(&(at, number, key));
        self.waiting -= usize::from(matches!(entry, Entry::Waiting(_)));
        Some(entry)
    }

    /// Slots that wait for nothing.
    fn remembered(&self) -> usize {
        self.slots.len() - self.waiting
    }
}
