//! Turns: of the tasks that want the same key, one at a time has it, in the order in which they asked.
//!
//! A module that reads from its store, decides, and writes back takes a turn for the account concerned, so that two
//! stanzas at once do not undo each other. Turns are known to one instance only: a module that needs them over a swap as
//! well exports a state (an empty one will do), because then the old generation's calls end before the new one's begin.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The turns of one instance. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    queues: HashMap<Arc<str>, VecDeque<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    waker: Option<Waker>,
}

/// One's turn, until it is dropped.
#[derive(Debug)]
#[must_use = "the turn ends when this is dropped"]
pub struct Turn {
    table: Arc<Mutex<Table>>,
    key: Arc<str>,
    number: u64,
}

/// Waits for a turn; see [`Turns::take`].
#[derive(Debug)]
#[must_use = "nothing waits for a turn until this is awaited"]
pub struct Take(Option<Turn>);

impl Turns {
    /// Stands in line for `key`; the value awaited is one's turn.
    pub fn take(&self, key: &str) -> Take {
        let mut table = lock(&self.table);
        let number = table.next;
        table.next += 1;
        let key: Arc<str> = match table.queues.get_key_value(key) {
            Some((key, _)) => Arc::clone(key),
            None => key.into(),
        };
        table.queues.entry(Arc::clone(&key)).or_default().push_back(Waiting { number, waker: None });
        drop(table);
        Take(Some(Turn { table: Arc::clone(&self.table), key, number }))
    }
}

impl Future for Take {
    type Output = Turn;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Turn> {
        let turn = self.0.as_ref().expect("a turn is taken once");
        let mut table = lock(&turn.table);
        let place = table.queues.get_mut(&turn.key).and_then(|queue| {
            let first = queue.front().is_some_and(|first| first.number == turn.number);
            if first { None } else { queue.iter_mut().find(|waiting| waiting.number == turn.number) }
        });
        if let Some(waiting) = place {
            waiting.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        drop(table);
        Poll::Ready(self.0.take().expect("it was there a moment ago"))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = {
            let mut table = lock(&self.table);
            let Some(queue) = table.queues.get_mut(&self.key) else { return };
            let was_first = queue.front().is_some_and(|first| first.number == self.number);
            queue.retain(|waiting| waiting.number != self.number);
            let next = queue.front_mut().filter(|_| was_first).and_then(|first| first.waker.take());
            if queue.is_empty() {
                table.queues.remove(&self.key);
            }
            next
        };
        // Outside the lock: a waker runs code of others.
        if let Some(waker) = next {
            waker.wake();
        }
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    // Nothing panics while it holds the lock; a poisoned table is still whole.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll(take: &mut Take, woken: &Arc<Woken>) -> Poll<Turn> {
        Pin::new(take).poll(&mut Context::from_waker(&Waker::from(Arc::clone(woken))))
    }

    fn turn(polled: Poll<Turn>) -> Turn {
        match polled {
            Poll::Ready(turn) => turn,
            Poll::Pending => panic!("it is not this one's turn"),
        }
    }

    #[test]
    fn the_next_one_is_woken_when_a_turn_ends() {
        let (turns, woken) = (Turns::default(), Arc::<Woken>::default());
        let (mut first, mut second, mut other) = (turns.take("a"), turns.take("a"), turns.take("b"));
        let held = turn(poll(&mut first, &woken));
        assert!(poll(&mut second, &woken).is_pending());
        let _other = turn(poll(&mut other, &woken));
        drop(held);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        drop(turn(poll(&mut second, &woken)));
        assert_eq!(lock(&turns.table).queues.len(), 1, "only what is in use is remembered");
    }

    #[test]
    fn who_gives_up_waiting_leaves_the_line() {
        let (turns, woken) = (Turns::default(), Arc::<Woken>::default());
        let (mut first, mut second, mut third) = (turns.take("a"), turns.take("a"), turns.take("a"));
        let held = turn(poll(&mut first, &woken));
        assert!(poll(&mut second, &woken).is_pending() && poll(&mut third, &woken).is_pending());
        drop(second);
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        drop(held);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        drop(turn(poll(&mut third, &woken)));
        assert!(lock(&turns.table).queues.is_empty());
    }
}
