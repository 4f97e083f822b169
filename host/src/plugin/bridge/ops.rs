//! Operations that a module has begun and not yet taken the answer of. The future belongs to the host and is polled with
//! the host's own waker, so nothing of the module is woken by anybody but the task that asked.

use crate::plugin::services::{BoxFuture, OpError, OpReply};
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

/// More operations under way at once than this are refused: a module that never asks for answers stays bounded.
const MAX_OPS: usize = 4096;

type Answer = Result<OpReply, OpError>;

enum Op {
    UnderWay(BoxFuture<Answer>),
    Answered(Answer),
    /// Taken out by a poll on another thread.
    Busy,
}

/// The operations of one instance.
#[derive(Default)]
pub struct Ops {
    next: AtomicU64,
    table: Mutex<HashMap<u64, Op>>,
}

impl Ops {
    /// Begins an operation: it is polled once at once, so that it is under way even if nobody ever asks for the answer.
    /// Gives 0 when too many are.
    pub fn start(&self, mut future: BoxFuture<Answer>) -> u64 {
        if self.lock().len() >= MAX_OPS {
            return 0;
        }
        let op = match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Op::Answered(answer),
            Poll::Pending => Op::UnderWay(future),
        };
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.lock().insert(id, op);
        id
    }

    /// Asks for the answer; `None` for an id that is not under way.
    pub fn poll(&self, id: u64, cx: &mut Context<'_>) -> Option<Poll<Answer>> {
        let op = std::mem::replace(self.lock().get_mut(&id)?, Op::Busy);
        let polled = match op {
            Op::Answered(answer) => Poll::Ready(answer),
            Op::UnderWay(mut future) => match future.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(answer),
                Poll::Pending => {
                    self.put_back(id, Op::UnderWay(future));
                    return Some(Poll::Pending);
                }
            },
            Op::Busy => return None,
        };
        self.lock().remove(&id);
        Some(polled)
    }

    /// Takes the operation out, to be awaited by the caller.
    pub fn take(&self, id: u64) -> Option<BoxFuture<Answer>> {
        match self.lock().remove(&id)? {
            Op::UnderWay(future) => Some(future),
            Op::Answered(answer) => Some(Box::pin(std::future::ready(answer))),
            Op::Busy => None,
        }
    }

    /// Forgets an operation.
    pub fn cancel(&self, id: u64) {
        let forgotten = self.lock().remove(&id);
        // Dropped outside the lock: a future's drop may do anything.
        drop(forgotten);
    }

    /// Forgets all; gives how many there were.
    pub fn clear(&self) -> usize {
        let all = std::mem::take(&mut *self.lock());
        all.len()
    }

    fn put_back(&self, id: u64, op: Op) {
        // Cancelled meanwhile: then the entry is gone and the future is dropped.
        if let Some(slot) = self.lock().get_mut(&id) {
            *slot = op;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Op>> {
        self.table.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(ops: &Ops, id: u64) -> Option<Poll<Answer>> {
        ops.poll(id, &mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn an_answer_is_given_once() {
        let ops = Ops::default();
        let id = ops.start(Box::pin(std::future::ready(Ok(OpReply::default()))));
        assert_eq!(poll(&ops, id), Some(Poll::Ready(Ok(OpReply::default()))));
        assert_eq!(poll(&ops, id), None);
    }

    #[test]
    fn a_pending_operation_can_be_polled_again_cancelled_and_counted() {
        let ops = Ops::default();
        let id = ops.start(Box::pin(std::future::pending()));
        assert_eq!(poll(&ops, id), Some(Poll::Pending));
        assert_eq!(poll(&ops, id), Some(Poll::Pending));
        ops.cancel(id);
        assert_eq!(poll(&ops, id), None);
        assert_eq!(ops.clear(), 0);
    }

    #[test]
    fn the_number_of_operations_is_bounded() {
        let ops = Ops::default();
        for _ in 0..MAX_OPS {
            assert_ne!(ops.start(Box::pin(std::future::pending())), 0);
        }
        assert_eq!(ops.start(Box::pin(std::future::pending())), 0);
    }
}
