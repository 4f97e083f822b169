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

/// A request that waits for its answer.
struct Request {
    stanza: Stanza,
    number: u64,
}

/// What is remembered of one that does not wait.
#[derive(Clone, Copy)]
struct Mark {
    /// Whether an answer went out before the handler's call ended; else the request was answered, by the module or with
    /// an error at its deadline, and another answer must not follow.
    is_early: bool,
    number: u64,
}

/// What is known under a key.
enum Known {
    Waiting,
    Over,
    Early,
    Nothing,
}

/// By hash of (id, asked, asker); a keyed hash, so nobody can aim at a collision, and a fast one of it does here.
type Table<T> = HashMap<u64, T, foldhash::fast::RandomState>;

/// Two tables, because of those that wait there are few at a time, and of marks many: the few stay in the cache.
#[derive(Default)]
struct State {
    waiting: Table<Request>,
    marks: Table<Mark>,
    agendas: [Agenda; 3],
    next_number: u64,
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
        if state.waiting.len() >= self.bound {
            return Err(TooManyOwed);
        }
        state.wait(key, request.clone(), now + timeout);
        self.note_length(&state);
        Ok(())
    }

    /// The request needs no answer any more: it was refused and answered otherwise.
    pub fn forget(&self, request: &Stanza) {
        let key = self.key_of_request(request);
        let mut state = self.lock();
        if state.waiting.remove(&key).is_some() {
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
        let is_early = matches!(state.known(key), Known::Early);
        if is_early {
            state.marks.remove(&key);
            self.note_length(&state);
        }
        is_early
    }

    /// A module routes an IQ result or error. `false`: the request was answered already, and this must not go out.
    pub fn settle(&self, reply: &Stanza, now: Instant, remember: Duration) -> bool {
        let key = self.key(reply.id().as_deref(), reply.from(), reply.to());
        let mut state = self.lock();
        match state.known(key) {
            Known::Waiting => {
                state.waiting.remove(&key);
                // A module that answers and then fails would be answered for by the server a moment later.
                state.remember(key, false, Term::Answered, now + AFTER_ANSWER, self.bound);
            }
            Known::Over => return false,
            Known::Early => return true,
            Known::Nothing => state.remember(key, true, Term::Remembered, now + remember, self.bound),
        }
        self.note_length(&state);
        true
    }

    /// Requests whose deadline has passed, to be answered with an error by the caller. `remember` is how long a late
    /// answer is still recognised.
    pub fn expire(&self, now: Instant, remember: Duration) -> Vec<Stanza> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut overdue = Vec::new();
        let mut state = self.lock();
        while let Some((key, request)) = state.next_due(now) {
            if let Some(request) = request {
                overdue.push(request);
                state.remember(key, false, Term::Remembered, now + remember, self.bound);
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
        self.length.store(state.len(), Ordering::Release);
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
    fn len(&self) -> usize {
        self.waiting.len() + self.marks.len()
    }

    fn known(&self, key: u64) -> Known {
        match (self.waiting.contains_key(&key), self.marks.get(&key)) {
            (true, _) => Known::Waiting,
            (false, Some(mark)) if mark.is_early => Known::Early,
            (false, Some(_)) => Known::Over,
            (false, None) => Known::Nothing,
        }
    }

    /// A request begins to wait. What was known under its key is forgotten.
    fn wait(&mut self, key: u64, stanza: Stanza, until: Instant) {
        if !self.marks.is_empty() {
            self.marks.remove(&key);
        }
        let number = self.number();
        self.waiting.insert(key, Request { stanza, number });
        self.put_down(Term::Request, Due { at: until, key, number });
    }

    fn remember(&mut self, key: u64, is_early: bool, term: Term, until: Instant, bound: usize) {
        if self.marks.len() < bound {
            let number = self.number();
            self.marks.insert(key, Mark { is_early, number });
            self.put_down(term, Due { at: until, key, number });
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn put_down(&mut self, term: Term, due: Due) {
        self.agendas[term as usize].0.push_back(due);
        if self.agendas[term as usize].0.len() > LONG_AGENDA.max(2 * self.len()) {
            let Self { waiting, marks, agendas, .. } = self;
            agendas[term as usize].0.retain(|due| due.is_on(waiting, marks));
        }
    }

    /// Takes out the next entry whose time has come; with the request if it is one.
    fn next_due(&mut self, now: Instant) -> Option<(u64, Option<Stanza>)> {
        loop {
            let due = self.agendas.iter_mut().find_map(|agenda| agenda.take_due(now))?;
            if due.is_on(&self.waiting, &self.marks) {
                self.marks.remove(&due.key);
                return Some((due.key, self.waiting.remove(&due.key).map(|request| request.stanza)));
            }
        }
    }
}

impl Agenda {
    fn take_due(&mut self, now: Instant) -> Option<Due> {
        if self.0.front()?.at <= now { self.0.pop_front() } else { None }
    }
}

impl Due {
    fn is_on(&self, waiting: &Table<Request>, marks: &Table<Mark>) -> bool {
        let is_waiting = waiting.get(&self.key).is_some_and(|request| request.number == self.number);
        is_waiting || marks.get(&self.key).is_some_and(|mark| mark.number == self.number)
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
                assert!(agenda.0.len() <= LONG_AGENDA.max(2 * state.len()) + 1);
            }
        }
        assert_eq!(owed.len(), 10_000);
        assert!(owed.expire(now + AFTER_ANSWER, minute).is_empty());
        assert!(owed.is_empty());
    }
}
