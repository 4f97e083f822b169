//! The gate of one instance: how many calls are inside, and whether new ones may enter.
//!
//! A swap of a stateful module closes the gate (`freeze`), waits until the last call has left, hands the state over and
//! either opens it again (`thaw`, after a refusal) or retires it for good (`retire`). Callers that find the gate closed
//! wait for `changed` and look the handler up again; whoever is inside is never disturbed, unless a brutal purge cuts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

const FROZEN: u64 = 1 << 63;
const RETIRED: u64 = 1 << 62;
const CUT: u64 = 1 << 61;
const COUNT: u64 = CUT - 1;

/// Counts calls in flight and holds new ones back.
#[derive(Debug, Default)]
pub struct Gate {
    state: AtomicU64,
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
pub struct Lease<'a>(&'a Gate);

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Gate {
    /// Enters, or says why not.
    #[inline]
    pub fn enter(&self) -> Result<Lease<'_>, Closed> {
        self.enter_raw().map(|()| Lease(self))
    }

    /// Enters whatever the gate says: for the calls of the swap itself, and the last one of all.
    pub fn enter_privileged(&self) -> Lease<'_> {
        self.state.fetch_add(1, Ordering::AcqRel);
        Lease(self)
    }

    /// Enters without a guard; `leave` must follow exactly once.
    #[inline]
    pub fn enter_raw(&self) -> Result<(), Closed> {
        let before = self.state.fetch_add(1, Ordering::AcqRel);
        if before & (FROZEN | RETIRED) == 0 {
            return Ok(());
        }
        self.leave();
        Err(if before & RETIRED != 0 { Closed::Retired } else { Closed::Frozen })
    }

    /// Leaves after `enter_raw`.
    #[inline]
    pub fn leave(&self) {
        let before = self.state.fetch_sub(1, Ordering::AcqRel);
        if before & COUNT == 1 && before & (FROZEN | RETIRED) != 0 {
            self.empty.notify_waiters();
        }
    }

    /// Calls inside at this moment.
    pub fn in_flight(&self) -> u64 {
        self.state.load(Ordering::Acquire) & COUNT
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
