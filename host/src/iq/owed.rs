//! Answers that modules owe: requests that a handler answers later by routing a reply, and requests to a module's own
//! domain, which can be answered in no other way.
//!
//! Promises: each of them gets one answer. If the module gives none before the deadline, [`OwedAnswers::expire`] hands
//! the request out for an error, and an answer that comes later is refused by [`OwedAnswers::settle`]. It does not
//! matter whether a handler routes its answer before or after it says that it will. The table is bounded.
//!
//! Time is an argument: nothing here waits.

use std::collections::{HashMap, VecDeque};
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
    number: u64,
}

#[derive(Default)]
struct State {
    /// By hash of (id, asked, asker); a keyed hash, so nobody can aim at a collision, and a fast one of it does here.
    slots: HashMap<u64, Slot, foldhash::fast::RandomState>,
    agendas: [Agenda; 3],
    next_number: u64,
    waiting: usize,
}

/// What a slot waits for. Those of one kind all wait for the same time.
#[derive(Clone, Copy)]
enum Term {
    /// A request for its answer.
    Request,
    /// An answer, for another one that must not follow it.
    Answered,
    /// Somebody's answer, for the end of the handler's call; or the deadline's, for a late one.
    Remembered,
}

/// When to look at which slot again, in that order as long as the deadline is not changed; after a change some are looked
/// at late by the difference. What its slot has forgotten is passed over when its time has come, or when most are such.
#[derive(Default)]
struct Agenda(VecDeque<Due>);

struct Due {
    at: Instant,
    key: u64,
    /// The number its slot had: with another one, or none, this is forgotten.
    number: u64,
}

/// An agenda is not cleared of what is forgotten before it is that long.
const LONG_AGENDA: usize = 64;

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
        state.put(key, Entry::Waiting(request.clone()), Term::Request, now + timeout);
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
            Some(Entry::Waiting(_)) => (true, Some((Entry::Over, Term::Answered, now + AFTER_ANSWER))),
            Some(Entry::Over) => (false, None),
            Some(Entry::Early) => (true, None),
            None => (true, Some((Entry::Early, Term::Remembered, now + remember))),
        };
        if let Some((entry, term, at)) = next {
            state.take(key);
            if state.remembered() < self.bound {
                state.put(key, entry, term, at);
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
        while let Some((key, entry)) = state.next_due(now) {
            if let Entry::Waiting(request) = entry {
                overdue.push(request);
                if state.remembered() < self.bound {
                    state.put(key, Entry::Over, Term::Remembered, now + remember);
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

    fn put(&mut self, key: u64, entry: Entry, term: Term, at: Instant) {
        self.take(key);
        self.next_number += 1;
        let number = self.next_number;
        self.waiting += usize::from(matches!(entry, Entry::Waiting(_)));
        self.slots.insert(key, Slot { entry, number });
        let agenda = &mut self.agendas[term as usize];
        agenda.0.push_back(Due { at, key, number });
        if agenda.0.len() > LONG_AGENDA.max(2 * self.slots.len()) {
            agenda.0.retain(|due| due.is_on(&self.slots));
        }
    }

    fn take(&mut self, key: u64) -> Option<Entry> {
        let Slot { entry, .. } = self.slots.remove(&key)?;
        self.waiting -= usize::from(matches!(entry, Entry::Waiting(_)));
        Some(entry)
    }

    /// Takes out the next slot whose time has come.
    fn next_due(&mut self, now: Instant) -> Option<(u64, Entry)> {
        loop {
            let due = self.agendas.iter_mut().find_map(|agenda| agenda.take_due(now))?;
            if due.is_on(&self.slots) {
                return self.take(due.key).map(|entry| (due.key, entry));
            }
        }
    }

    /// Slots that wait for nothing.
    fn remembered(&self) -> usize {
        self.slots.len() - self.waiting
    }
}

impl Agenda {
    fn take_due(&mut self, now: Instant) -> Option<Due> {
        if self.0.front()?.at <= now { self.0.pop_front() } else { None }
    }
}

impl Due {
    fn is_on(&self, slots: &HashMap<u64, Slot, foldhash::fast::RandomState>) -> bool {
        slots.get(&self.key).is_some_and(|slot| slot.number == self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stanza(text: &str) -> Stanza {
        Stanza::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_forgotten_does_not_pile_up() {
        let (owed, now, minute) = (OwedAnswers::new(10_000), Instant::now(), Duration::from_secs(60));
        for id in 0..20_000 {
            let request = stanza(&format!(
                "<iq type='get' id='{id}' from='a@b.example/c' to='d.example'><q xmlns='x'/></iq>"
            ));
            let reply = stanza(&format!("<iq type='result' id='{id}' from='d.example' to='a@b.example/c'/>"));
            owed.owe(&request, now, minute).unwrap();
            if id % 2 == 0 {
                owed.forget(&request);
            } else {
                assert!(owed.settle(&reply, now, minute));
                assert!(!owed.settle(&reply, now, minute), "an answer goes out once");
            }
            let state = owed.lock();
            for agenda in &state.agendas {
                assert!(agenda.0.len() <= LONG_AGENDA.max(2 * state.slots.len()) + 1);
            }
        }
        assert_eq!(owed.len(), 10_000);
        assert!(owed.expire(now + AFTER_ANSWER, minute).is_empty());
        assert!(owed.is_empty());
    }
}
