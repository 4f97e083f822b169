//! The gate of one instance: how many calls are inside, how many have ended, and whether new ones may enter.
//!
//! A swap of a stateful module closes the gate (`freeze`), waits until the last call has left, hands the state over and
//! either opens it again (`thaw`, after a refusal) or retires it for good (`retire`). Callers that find the gate closed
//! wait for `changed` and look the handler up again; whoever is inside is never disturbed, unless a brutal purge cuts.
//!
//! A call adds to a count before it looks at the flags, and who closes the gate sets a flag before he looks at the
//! counts; so of a call and a closing one always sees the other. Threads with a `seat` count in a word of their own with
//! plain stores, which `seat::order` makes good for; all others share a word. A call may enter on one thread and leave
//! on another: only the sum of all words says something, and it is exact while the gate is closed, because then nobody
//! adds to it for good: each word read is at least what it will be, and their sum never less than the calls inside.

use super::seat::{self, SEATS};
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence, fence};
use std::time::Duration;
use tokio::sync::Notify;

const FROZEN: u64 = 1 << 63;
const RETIRED: u64 = 1 << 62;
const CUT: u64 = 1 << 61;
/// One call that has ended. Below it the calls inside are counted: sixteen million places, each of which needs a
/// connection or a place in a bounded queue. Above it there is room for 10^12 calls; then the count begins anew.
const ENDED: u64 = 1 << 24;
const INSIDE: u64 = ENDED - 1;
/// One call in so many is timed, because two clock reads cost as much as the call.
const SAMPLE: u64 = 64;

/// Counts calls in flight and holds new ones back.
#[derive(Debug)]
pub struct Gate {
    flags: AtomicU64,
    /// The count of threads without a seat.
    shared: Word,
    seats: [Word; SEATS],
    /// Woken when the last call leaves a closed gate.
    empty: Notify,
    /// Woken when the gate opens, retires or cuts.
    changed: Notify,
}

/// A count on a cache line of its own: calls that have ended, and below them calls inside. It may have seen more calls
/// leave than enter.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Word(AtomicU64);

impl Default for Gate {
    fn default() -> Self {
        Self {
            flags: AtomicU64::new(0),
            shared: Word::default(),
            seats: std::array::from_fn(|_| Word::default()),
            empty: Notify::new(),
            changed: Notify::new(),
        }
    }
}

/// Why a call could not enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// A swap is handing the state over: wait and look up again.
    Frozen,
    /// This instance will never serve again: look up again.
    Retired,
}

/// A call in flight. While one lives, the instance and its library stay.
#[derive(Debug)]
pub struct Lease<'a> {
    gate: &'a Gate,
    is_sample: bool,
}

impl Lease<'_> {
    /// Whether this call should be timed, where not all are.
    #[inline]
    pub fn is_sample(&self) -> bool {
        self.is_sample
    }

    /// The call is over: gives the place back and counts it.
    #[inline]
    pub fn end(self) {
        self.gate.leave_ended();
        std::mem::forget(self);
    }
}

/// Given back by whoever made no call with it.
impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.gate.leave();
    }
}

impl Gate {
    /// Enters, or says why not.
    #[inline]
    pub fn enter(&self) -> Result<Lease<'_>, Closed> {
        self.enter_raw()
            .map(|before| Lease { gate: self, is_sample: (before / ENDED).is_multiple_of(SAMPLE) })
    }

    /// Enters whatever the gate says: for the calls of the swap itself, and the last one of all.
    pub fn enter_privileged(&self) -> Lease<'_> {
        self.add(1);
        Lease { gate: self, is_sample: false }
    }

    /// Enters without a guard; one of the two ways to leave must follow exactly once. Gives the count as it was.
    #[inline]
    fn enter_raw(&self) -> Result<u64, Closed> {
        let before = self.add(1);
        let flags = self.flags();
        if flags & (FROZEN | RETIRED) == 0 {
            return Ok(before);
        }
        self.leave();
        Err(if flags & RETIRED != 0 { Closed::Retired } else { Closed::Frozen })
    }

    /// Leaves without having ended a call: one that was given up, or none at all.
    #[inline]
    pub fn leave(&self) {
        self.add(1_u64.wrapping_neg());
        self.tell_if_empty();
    }

    /// Leaves at the end of a call, which is counted.
    #[inline]
    pub fn leave_ended(&self) {
        self.add(ENDED - 1);
        self.tell_if_empty();
    }

    /// Changes a count, before the flags are looked at. Gives it as it was.
    ///
    /// `Release`: what a call did in the module is seen by the swap that finds the gate empty.
    #[inline]
    fn add(&self, change: u64) -> u64 {
        let Some(seat) = seat::mine() else {
            return self.shared.0.fetch_add(change, Ordering::SeqCst);
        };
        let word = &self.seats[seat].0;
        // Nobody else writes it.
        let before = word.load(Ordering::Relaxed);
        word.store(before.wrapping_add(change), Ordering::Release);
        // The processor is told by the other side, `seat::order`; the compiler has to be told here.
        compiler_fence(Ordering::SeqCst);
        before
    }

    #[inline]
    fn flags(&self) -> u64 {
        self.flags.load(Ordering::SeqCst)
    }

    #[inline]
    fn tell_if_empty(&self) {
        if self.flags() & (FROZEN | RETIRED) != 0 {
            self.tell_if_last();
        }
    }

    #[cold]
    fn tell_if_last(&self) {
        // Of two that leave at the same time at least one sees both counts.
        fence(Ordering::SeqCst);
        if self.is_empty() {
            self.empty.notify_waiters();
        }
    }

    /// The sum of all counts.
    fn total(&self) -> u64 {
        let seats = self.seats.iter().map(|word| word.0.load(Ordering::SeqCst));
        seats.fold(self.shared.0.load(Ordering::SeqCst), u64::wrapping_add)
    }

    /// Whether nobody is inside; exact while the gate is closed.
    fn is_empty(&self) -> bool {
        self.total() & INSIDE == 0
    }

    /// Calls inside at this moment, about.
    pub fn in_flight(&self) -> u64 {
        let inside = self.total() & INSIDE;
        // A call that has left one word and was not yet seen in the other.
        if inside > INSIDE / 2 { 0 } else { inside }
    }

    /// Calls that have ended, well or not.
    pub fn ended(&self) -> u64 {
        self.total().wrapping_add(ENDED / 2) / ENDED
    }

    /// Whether a swap holds the gate closed.
    pub fn is_frozen(&self) -> bool {
        self.flags() & FROZEN != 0
    }

    /// Whether the instance is out of service for good.
    pub fn is_retired(&self) -> bool {
        self.flags() & RETIRED != 0
    }

    /// Whether unfinished tasks of this instance must end with an error now.
    pub fn is_cut(&self) -> bool {
        self.flags() & CUT != 0
    }

    /// Holds new calls back.
    pub fn freeze(&self) {
        self.flags.fetch_or(FROZEN, Ordering::SeqCst);
        seat::order();
    }

    /// Lets them in again.
    pub fn thaw(&self) {
        self.flags.fetch_and(!FROZEN, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Sends new calls elsewhere for ever.
    pub fn retire(&self) {
        self.flags.fetch_or(RETIRED, Ordering::SeqCst);
        seat::order();
        self.changed.notify_waiters();
    }

    /// Tells unfinished tasks to end.
    pub fn cut(&self) {
        self.flags.fetch_or(CUT, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Waits until nobody is inside a closed gate; the number of those left after the deadline otherwise.
    pub async fn wait_empty(&self, deadline: Duration) -> Result<(), u64> {
        let wait = async {
            loop {
                let woken = self.empty.notified();
                tokio::pin!(woken);
                // Registered before the look, so that a call leaving in between is not missed.
                woken.as_mut().enable();
                if self.is_empty() {
                    return;
                }
                woken.await;
            }
        };
        tokio::time::timeout(deadline, wait).await.map_err(|_| self.in_flight())
    }

    /// Waits until the gate is not frozen any more (open again, or retired).
    pub async fn wait_thaw(&self) {
        loop {
            let woken = self.changed.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            if !self.is_frozen() || self.is_retired() {
                return;
            }
            woken.await;
        }
    }

    /// Waits for any change of the gate; for tasks that must notice a cut or a thaw.
    pub fn changed(&self) -> &Notify {
        &self.changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_frozen_gate_refuses_and_a_thawed_one_lets_in() {
        let gate = Gate::default();
        let inside = gate.enter().unwrap();
        gate.freeze();
        assert_eq!(gate.enter().unwrap_err(), Closed::Frozen);
        assert_eq!(gate.in_flight(), 1);
        drop(inside);
        gate.thaw();
        assert!(gate.enter().is_ok());
        gate.retire();
        assert_eq!(gate.enter().unwrap_err(), Closed::Retired);
    }

    #[tokio::test]
    async fn the_last_call_out_wakes_the_swap() {
        let gate = Arc::new(Gate::default());
        gate.enter_raw().unwrap();
        gate.freeze();
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.wait_empty(Duration::from_secs(5)).await }
        });
        tokio::task::yield_now().await;
        gate.leave();
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_stays_is_reported_after_the_deadline() {
        let gate = Gate::default();
        gate.enter_raw().unwrap();
        gate.freeze();
        assert_eq!(gate.wait_empty(Duration::from_millis(10)).await, Err(1));
    }

    #[test]
    fn calls_that_end_are_counted_and_those_given_up_are_not() {
        let gate = Gate::default();
        for _ in 0..3 {
            gate.enter().unwrap().end();
        }
        drop(gate.enter().unwrap());
        gate.freeze();
        gate.enter_privileged().end();
        assert!(gate.enter().is_err());
        assert_eq!((gate.ended(), gate.in_flight()), (4, 0));
        assert!(gate.is_frozen() && !gate.is_retired() && !gate.is_cut());
    }

    #[test]
    fn a_call_may_leave_on_another_thread_than_it_entered_on() {
        let gate = Arc::new(Gate::default());
        let (entering, leaving) = (gate.clone(), gate.clone());
        let on_seat = |work: Box<dyn FnOnce() + Send>| {
            std::thread::spawn(move || {
                seat::take();
                work();
            })
            .join()
            .unwrap();
        };
        on_seat(Box::new(move || entering.enter_raw().map(drop).unwrap()));
        assert_eq!((gate.ended(), gate.in_flight()), (0, 1));
        gate.freeze();
        leaving.leave_ended();
        assert_eq!((gate.ended(), gate.in_flight()), (1, 0));
        gate.thaw();
        gate.enter_raw().unwrap();
        on_seat(Box::new(move || leaving.leave()));
        assert_eq!((gate.ended(), gate.in_flight()), (1, 0));
        assert!(gate.is_empty());
    }

    #[test]
    fn nobody_is_ever_inside_a_gate_that_was_closed_and_found_empty() {
        use std::sync::atomic::AtomicBool;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (gate, is_over) = (Arc::new(Gate::default()), Arc::new(AtomicBool::new(false)));
        let state = Arc::new(AtomicU64::new(0));
        let callers: Vec<_> = (0..4)
            .map(|number| {
                let (gate, is_over, state) = (gate.clone(), is_over.clone(), state.clone());
                std::thread::spawn(move || {
                    if number > 0 {
                        seat::take();
                    }
                    let mut calls = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        if let Ok(lease) = gate.enter() {
                            // What a call does in a module: not even one instruction of it may fall into a swap.
                            for _ in 0..4 {
                                assert_eq!(state.load(Ordering::Relaxed), 0, "a call during a swap");
                            }
                            lease.end();
                            calls += 1;
                        }
                    }
                    calls
                })
            })
            .collect();
        for _ in 0..2_000 {
            gate.freeze();
            runtime.block_on(gate.wait_empty(Duration::from_secs(30))).unwrap();
            state.store(1, Ordering::Relaxed);
            (0..100).for_each(|_| std::hint::spin_loop());
            state.store(0, Ordering::Relaxed);
            gate.thaw();
        }
        is_over.store(true, Ordering::Relaxed);
        let calls: u64 = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
        assert_eq!((gate.ended(), gate.in_flight()), (calls, 0));
    }

    #[tokio::test]
    async fn waiting_for_a_thaw_ends_with_retirement_too() {
        let gate = Arc::new(Gate::default());
        gate.freeze();
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.wait_thaw().await }
        });
        tokio::task::yield_now().await;
        gate.retire();
        waiting.await.unwrap();
    }
}
