//! Answers that come out of a queue, and the deadline that answers in their place.
//!
//! Whoever waits for one need not have a task for it: it leaves a continuation, which is run by the thread that has the
//! answer. Nor does each request need a timer: the requests of a table entry stand in a list by their deadlines, which
//! one task watches as long as there are any.
//!
//! Promise: each request is answered exactly once, by whoever comes first: the handler, the deadline, or the drop of the
//! work that would have answered it.

use super::{IqOutcome, timed_out};
use crate::plugin::core::Core;
use crate::plugin::slot::Slot;
use crate::wake;
use moult_plugin_api::abi::v1::call;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;
use tokio::sync::oneshot;

/// What is done with an answer.
type Then<T> = Box<dyn FnOnce(T) + Send>;

/// The answer to a request that has its place in a queue. It comes within the deadline.
#[must_use = "the answer is lost if nobody says what to do with it"]
pub struct Queued<T>(Box<dyn FnOnce(Then<T>) + Send>);

impl<T: Send + 'static> Queued<T> {
    /// One that `listen` gives the continuation to.
    fn new(listen: impl FnOnce(Then<T>) + Send + 'static) -> Self {
        Self(Box::new(listen))
    }

    /// The answer that a future gives, for those who queue otherwise.
    pub fn of(answer: impl Future<Output = T> + Send + 'static) -> Self {
        Self::new(|then| drop(tokio::spawn(async move { then(answer.await) })))
    }

    /// Does `then` with the answer: at once if it is there, else on the thread that has it. It must not block.
    pub fn then(self, then: impl FnOnce(T) + Send + 'static) {
        (self.0)(Box::new(then));
    }

    /// The same with another answer.
    pub fn map<U: Send + 'static>(self, change: impl FnOnce(T) -> U + Send + 'static) -> Queued<U> {
        Queued::new(move |then: Then<U>| self.then(|answer| then(change(answer))))
    }

    /// Waits for the answer.
    pub async fn wait(self) -> T {
        let (answer, answered) = oneshot::channel();
        self.then(|value| drop(answer.send(value)));
        match answered.await {
            Ok(value) => value,
            // Only the end of the runtime drops a continuation, and this task with it.
            Err(_) => std::future::pending().await,
        }
    }
}

/// One request that waits for its answer.
#[derive(Default)]
pub(super) struct Answering(Mutex<State>);

#[derive(Default)]
enum State {
    /// Nobody has said yet what to do with the answer.
    #[default]
    Asked,
    Listening(Then<IqOutcome>),
    Answered(IqOutcome),
    Over,
}

impl Answering {
    /// Gives the answer, unless there was one.
    pub(super) fn answer(&self, outcome: impl FnOnce() -> IqOutcome) {
        let then = {
            let mut state = lock(&self.0);
            match std::mem::replace(&mut *state, State::Over) {
                State::Asked => {
                    *state = State::Answered(outcome());
                    return;
                }
                State::Listening(then) => then,
                over @ (State::Answered(_) | State::Over) => {
                    *state = over;
                    return;
                }
            }
        };
        // Outside the lock: it routes the answer.
        then(outcome());
    }

    /// Whether there was an answer.
    pub(super) fn is_over(&self) -> bool {
        matches!(*lock(&self.0), State::Answered(_) | State::Over)
    }

    /// The answer of this request.
    pub(super) fn queued(self: Arc<Self>) -> Queued<IqOutcome> {
        Queued::new(move |then| self.listen(then))
    }

    fn listen(&self, then: Then<IqOutcome>) {
        let outcome = {
            let mut state = lock(&self.0);
            match std::mem::replace(&mut *state, State::Over) {
                State::Answered(outcome) => outcome,
                _ => {
                    *state = State::Listening(then);
                    return;
                }
            }
        };
        then(outcome);
    }
}

/// The requests of one table entry in the order of their deadlines.
#[derive(Default)]
pub struct Overdue(Mutex<List>);

#[derive(Default)]
struct List {
    waiting: VecDeque<Waiting>,
    /// Somebody watches.
    is_watched: bool,
    /// When it has grown to so many, those that are answered are sorted out wherever they stand.
    tidy_at: usize,
}

struct Waiting {
    due: Instant,
    generation: u64,
    answering: Arc<Answering>,
}

/// A list is not tidied before it is that long.
const TIDY_AT_LEAST: usize = 64;

impl Overdue {
    /// Answers this request if nobody has when its deadline passes. The caller counts on a task of the server, not of
    /// the modules, whose threads may all be held when it matters.
    pub(super) fn watch(
        self: &Arc<Self>,
        core: &Arc<Core>,
        slot: &Arc<Slot>,
        generation: u64,
        answering: &Arc<Answering>,
    ) {
        let due = Instant::now() + slot.limits().call_deadline;
        let must_begin = {
            let mut list = lock(&self.0);
            list.tidy();
            list.waiting.push_back(Waiting { due, generation, answering: Arc::clone(answering) });
            !std::mem::replace(&mut list.is_watched, true)
        };
        if must_begin {
            let (this, watching, slot) = (Arc::clone(self), Arc::downgrade(core), Arc::clone(slot));
            wake::note();
            core.home().spawn(async move { this.run(&watching, &slot).await });
        }
    }

    async fn run(&self, core: &Weak<Core>, slot: &Arc<Slot>) {
        while let Some(due) = self.next_due() {
            tokio::time::sleep_until(due.into()).await;
            for late in self.take_due() {
                late.answering.answer(|| late.outcome(core, slot));
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        lock(&self.0).next_due()
    }

    fn take_due(&self) -> Vec<Waiting> {
        lock(&self.0).take_due(Instant::now())
    }
}

impl List {
    fn tidy(&mut self) {
        while self.waiting.front().is_some_and(|first| first.answering.is_over()) {
            self.waiting.pop_front();
        }
        // Where several run at a time, one that takes long may stand before many that are answered.
        if self.waiting.len() >= self.tidy_at.max(TIDY_AT_LEAST) {
            self.waiting.retain(|waiting| !waiting.answering.is_over());
            self.tidy_at = 2 * self.waiting.len();
        }
    }

    /// When to look again; with nothing left the watch ends.
    fn next_due(&mut self) -> Option<Instant> {
        self.tidy();
        let due = self.waiting.front().map(|first| first.due);
        if due.is_none() {
            *self = Self::default();
        }
        due
    }

    fn take_due(&mut self, now: Instant) -> Vec<Waiting> {
        let late = self.waiting.iter().take_while(|waiting| waiting.due <= now).count();
        self.waiting.drain(..late).filter(|waiting| !waiting.answering.is_over()).collect()
    }
}

impl Waiting {
    fn outcome(&self, core: &Weak<Core>, slot: &Slot) -> IqOutcome {
        let deadline = slot.limits().call_deadline;
        match core.upgrade() {
            Some(core) => IqOutcome::Error(timed_out(&core, slot, self.generation, call::IQ, deadline)),
            None => IqOutcome::Error(super::iq::gone()),
        }
    }
}

/// None of these locks is held where something can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn result(text: &str) -> IqOutcome {
        IqOutcome::Result(text.as_bytes().to_vec())
    }

    #[test]
    fn the_first_answer_counts_whether_somebody_listens_before_or_after() {
        for listens_first in [true, false] {
            let answering = Arc::new(Answering::default());
            let (out, seen) = mpsc::channel();
            let listen =
                || answering.clone().queued().map(|outcome| outcome).then(move |o| out.send(o).unwrap());
            if listens_first {
                listen();
                answering.answer(|| result("one"));
            } else {
                answering.answer(|| result("one"));
                listen();
            }
            assert!(answering.is_over());
            answering.answer(|| result("two"));
            assert_eq!(seen.try_iter().collect::<Vec<_>>(), [result("one")]);
        }
    }

    #[tokio::test]
    async fn an_answer_can_be_waited_for() {
        let answering = Arc::new(Answering::default());
        let waiting = tokio::spawn(answering.clone().queued().wait());
        tokio::task::yield_now().await;
        answering.answer(|| result("one"));
        assert_eq!(waiting.await.unwrap(), result("one"));
        assert_eq!(Queued::of(async { 1 }).map(|one| one + 1).wait().await, 2);
    }

    #[test]
    fn answered_requests_do_not_pile_up_behind_one_that_waits() {
        let mut list = List::default();
        for i in 0..1_000 {
            list.tidy();
            let answering = Arc::new(Answering::default());
            let waiting = Waiting { due: Instant::now(), generation: 1, answering: answering.clone() };
            list.waiting.push_back(waiting);
            if i > 0 {
                answering.answer(|| result(""));
            }
        }
        assert!(list.waiting.len() <= TIDY_AT_LEAST + 1, "{}", list.waiting.len());
        let late = list.take_due(Instant::now());
        assert_eq!((late.len(), list.next_due()), (1, None));
    }
}
