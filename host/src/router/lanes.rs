//! Stanzas that nobody awaits (of modules, commands, and answers of queued handlers), each pair of sender and receiver
//! in order although some of them must wait for a hook or the storage.
//!
//! As long as nothing has to wait, a lane is never entered: the stanza is routed at once by whoever brings it.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Rejected, Router, Routing};
use crate::stanza::Stanza;
use crate::wake;

const LANES: usize = 256;
/// Stanzas that may wait in one lane.
const LANE_BOUND: usize = 1_024;

enum Waiting {
    Stanza(Stanza),
    /// Begun by a thread that found the lane idle, while another one occupied it.
    Begun(Routing),
}

#[derive(Default)]
struct Lane {
    /// Somebody drains it.
    busy: bool,
    waiting: VecDeque<Waiting>,
}

/// The lanes of a router.
pub(super) struct Lanes {
    hasher: RandomState,
    lanes: Vec<Arc<Mutex<Lane>>>,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { hasher: RandomState::new(), lanes: (0..LANES).map(|_| Arc::default()).collect() }
    }
}

impl Lanes {
    fn of(&self, stanza: &Stanza) -> &Arc<Mutex<Lane>> {
        let hash = self.hasher.hash_one((stanza.from(), stanza.to()));
        &self.lanes[hash as usize % LANES]
    }
}

impl Router {
    /// Routes behind the caller's back, after what of the same pair still waits.
    pub(super) fn detached(&self, stanza: Stanza) -> Result<(), Rejected> {
        let lane = self.inner.lanes.of(&stanza);
        {
            let mut state = lock(lane);
            if state.is_occupied() {
                state.append(stanza)?;
                self.drain_unless_busy(lane, &mut state, Routing::done());
                return Ok(());
            }
        }
        let routing = self.dispatch(stanza);
        if routing.is_done() {
            return Ok(());
        }
        let mut state = lock(lane);
        if state.is_occupied() {
            // Begun already, so it is past the bound; there are at most as many of these as threads.
            state.waiting.push_back(Waiting::Begun(routing));
            self.drain_unless_busy(lane, &mut state, Routing::done());
        } else {
            self.drain_unless_busy(lane, &mut state, routing);
        }
        Ok(())
    }

    /// As [`Self::detached`] for stanzas whose sender cannot be told.
    pub(super) fn detached_or_log(&self, stanza: Stanza) {
        let (from, to) = (stanza.from().cloned(), stanza.to().cloned());
        if let Err(reason) = self.detached(stanza) {
            let (from, to) = (from.map(tracing::field::display), to.map(tracing::field::display));
            tracing::error!(from, to, %reason, "a stanza was dropped");
        }
    }

    fn drain_unless_busy(&self, lane: &Arc<Mutex<Lane>>, state: &mut Lane, first: Routing) {
        if !state.busy {
            state.busy = true;
            wake::note();
            self.inner.runtime.spawn(self.clone().drain(lane.clone(), first));
        }
    }

    async fn drain(self, lane: Arc<Mutex<Lane>>, first: Routing) {
        let place = Place(&lane);
        let mut current = first;
        loop {
            current.await;
            current = match place.next() {
                None => return,
                Some(Waiting::Stanza(stanza)) => self.dispatch(stanza),
                Some(Waiting::Begun(routing)) => routing,
            };
        }
    }
}

/// The right to drain a lane, given back even when a drain is cancelled or panics.
struct Place<'a>(&'a Mutex<Lane>);

impl Place<'_> {
    fn next(&self) -> Option<Waiting> {
        let mut lane = lock(self.0);
        let next = lane.waiting.pop_front();
        lane.busy = next.is_some();
        next
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // After the last `next` somebody else may be busy already; then this one is not the drainer any more.
        if std::thread::panicking() {
            lock(self.0).busy = false;
        }
    }
}

impl Lane {
    fn is_occupied(&self) -> bool {
        self.busy || !self.waiting.is_empty()
    }

    fn append(&mut self, stanza: Stanza) -> Result<(), Rejected> {
        if self.waiting.len() >= LANE_BOUND {
            return Err(Rejected::Busy);
        }
        self.waiting.push_back(Waiting::Stanza(stanza));
        Ok(())
    }
}

fn lock(lane: &Mutex<Lane>) -> MutexGuard<'_, Lane> {
    // Nothing panics while it holds the lock; a poisoned lane is still whole.
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}
