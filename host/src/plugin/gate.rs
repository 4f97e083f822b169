//! The gate of one instance: how many calls are inside, how many have ended, and whether new ones may enter.
//!
//! A swap of a stateful module closes the gate (`freeze`), waits until the last call has left, hands the state over and
//! either opens it again (`thaw`, after a refusal) or retires it for good (`retire`). Callers that find the gate closed
//! wait for `changed` and look the handler up again; whoever is inside is never disturbed, unless a brutal purge cuts.
//!
//! All of it is one word, so that a call costs two locked instructions and not three: the one that says it has left says
//! as well that it has ended.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

const FROZEN: u64 = 1 << 63;
const RETIRED: u64 = 1 << 62;
const CUT: u64 = 1 << 61;
/// The highest bit of the count of ended calls: when it is set, it is carried over.
const CARRY: u64 = 1 << 60;
/// One call that has ended. Below it the calls inside are counted: sixteen million places, each of which needs a
/// connection or a place in a bounded queue.
const ENDED: u64 = 1 << 24;
const INSIDE: u64 = ENDED - 1;
/// One call in so many is timed, because two clock reads cost as much as the call.
const SAMPLE: u64 = 16;

/// Counts calls in flight and holds new ones back.
#[derive(Debug, Default)]
pub struct Gate {
    state: AtomicU64,
    /// What was carried over from the count of ended calls.
    carried: AtomicU64,
    /// Woken when the last call leaves a closed gate.
    empty: Notify,
    /// Woken when the gate opens, retires or cuts.
    changed: Notify,
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
        self.state.fetch_add(1, Ordering::AcqRel);
        Lease { gate: self, is_sample: false }
    }

    /// Enters without a guard; one of the two ways to leave must follow exactly once. Gives the word as it was.
    ///
    /// `Acquire`: what the swap that opened this gate wrote is seen inside. The closing and the counting of calls are
    /// changes of the same word, so of a call and a `freeze` one always sees the other.
    #[inline]
    fn enter_raw(&self) -> Result<u64, Closed> {
        let before = self.state.fetch_add(1, Ordering::AcqRel);
        if before & (FROZEN | RETIRED) == 0 {
            return Ok(before);
        }
        self.leave();
        Err(if before & RETIRED != 0 { Closed::Retired } else { Closed::Frozen })
    }

    /// Leaves without having ended a call: one that was given up, or none at all.
    #[inline]
    pub fn leave(&self) {
        let before = self.state.fetch_sub(1, Ordering::AcqRel);
        self.tell_if_empty(before);
    }

    /// Leaves at the end of a call, which is counted.
    ///
    /// `Release`: what the call did in the module is seen by the swap that finds the gate empty.
    #[inline]
    pub fn leave_ended(&self) {
        let before = self.state.fetch_add(ENDED - 1, Ordering::AcqRel);
        if before & CARRY != 0 {
            self.carry();
        }
        self.tell_if_empty(before);
    }

    #[inline]
    fn tell_if_empty(&self, before: u64) {
        if before & INSIDE == 1 && before & (FROZEN | RETIRED) != 0 {
            self.empty.notify_waiters();
        }
    }

    /// Takes the highest bit of the count out of the word. As many calls as it stands for would have to end between its
    /// setting and this to reach the flags above it.
    #[cold]
    fn carry(&self) {
        if self.state.fetch_and(!CARRY, Ordering::AcqRel) & CARRY != 0 {
            self.carried.fetch_add(CARRY / ENDED, Ordering::Relaxed);
        }
    }

    /// Calls inside at this moment.
    pub fn in_flight(&self) -> u64 {
        self.state.load(Ordering::Acquire) & INSIDE
    }

    /// Calls that have ended, well or not.
    pub fn ended(&self) -> u64 {
        let state = self.state.load(Ordering::Acquire);
        self.carried.load(Ordering::Relaxed) + (state & (CUT - 1)) / ENDED
    }

    /// Whether a swap holds the gate closed.
    pub fn is_frozen(&self) -> bool {
        self.state.load(Ordering::Acquire) & FROZEN != 0
    }

    /// Whether the instance is out of service for good.
    pub fn is_retired(&self) -> bool {
        self.state.load(Ordering::Acquire) & RETIRED != 0
    }

    /// Whether unfinished tasks of this instance must end with an error now.
    pub fn is_cut(&self) -> bool {
        self.state.load(Ordering::Acquire) & CUT != 0
    }

    /// Holds new calls back.
    pub fn freeze(&self) {
        self.state.fetch_or(FROZEN, Ordering::AcqRel);
    }

    /// Lets them in again.
    pub fn thaw(&self) {
        self.state.fetch_and(!FROZEN, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    /// Sends new calls elsewhere for ever.
    pub fn retire(&self) {
        self.state.fetch_or(RETIRED, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    /// Tells unfinished tasks to end.
    pub fn cut(&self) {
        self.state.fetch_or(CUT, Ordering::AcqRel);
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
                if self.in_flight() == 0 {
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
    fn a_full_count_is_carried_over_without_touching_anything_else() {
        let gate = Gate::default();
        gate.state.store(CARRY - ENDED, Ordering::Relaxed);
        let full = CARRY / ENDED;
        let inside = gate.enter().unwrap();
        gate.enter().unwrap().end();
        assert_eq!((gate.ended(), gate.in_flight()), (full, 1));
        gate.freeze();
        inside.end();
        assert_eq!((gate.ended(), gate.in_flight()), (full + 1, 0));
        assert_eq!(gate.state.load(Ordering::Relaxed), FROZEN | ENDED);
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
