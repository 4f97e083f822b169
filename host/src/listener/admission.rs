//! Who may connect, and how all connections are told that the server stops.
//!
//! One short lock, taken when a connection comes, logs in, or goes; never for a stanza.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use tokio::sync::Notify;

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// From one address; in IPv6 from one /64, which is what one customer has.
    pub per_address: usize,
    /// In all.
    pub total: usize,
    /// Of peers that have not logged in.
    pub unauthenticated: usize,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefusedBy {
    Address,
    Total,
    Unauthenticated,
}

/// What the connections are asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    /// Read nothing more, and bring what was read to its place.
    Quieting,
    /// End every stream with `system-shutdown`.
    Closing,
    /// Let go at once.
    Cutting,
}

/// All connections of all listeners.
#[derive(Debug)]
pub(super) struct Connections {
    phase: AtomicU8,
    state: Mutex<State>,
    emptied: Notify,
    quieted: Notify,
}

#[derive(Debug)]
struct State {
    limits: ConnectionLimits,
    by_address: HashMap<IpAddr, usize>,
    unauthenticated: usize,
    /// The tasks, to be woken when the phase changes; `None` until the task has run for the first time.
    tasks: HashMap<u64, Option<Waker>>,
    /// Those that still had something to bring to its place when they were last heard of, while all are quieted.
    busy: HashSet<u64>,
    next_id: u64,
}

/// A connection's place among the others; its drop gives the place back.
#[derive(Debug)]
pub(super) struct Permit {
    connections: Arc<Connections>,
    id: u64,
    address: IpAddr,
    is_logged_in: bool,
    is_registered: bool,
}

impl Connections {
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        let state = State {
            limits,
            by_address: HashMap::new(),
            unauthenticated: 0,
            tasks: HashMap::new(),
            busy: HashSet::new(),
            next_id: 0,
        };
        let phase = AtomicU8::new(Phase::Serving as u8);
        Self { phase, state: Mutex::new(state), emptied: Notify::new(), quieted: Notify::new() }
    }

    /// Takes a place for a connection from this address.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Permit, RefusedBy> {
        let address = counted_address(address);
        let mut state = self.lock();
        let from_address = state.by_address.get(&address).copied().unwrap_or(0);
        if from_address >= state.limits.per_address {
            return Err(RefusedBy::Address);
        }
        if state.tasks.len() >= state.limits.total {
            return Err(RefusedBy::Total);
        }
        if state.unauthenticated >= state.limits.unauthenticated {
            return Err(RefusedBy::Unauthenticated);
        }
        state.by_address.insert(address, from_address + 1);
        state.unauthenticated += 1;
        let id = state.next_id;
        state.next_id += 1;
        state.tasks.insert(id, None);
        drop(state);
        Ok(Permit { connections: Arc::clone(self), id, address, is_logged_in: false, is_registered: false })
    }

    pub(super) fn set_limits(&self, limits: ConnectionLimits) {
        self.lock().limits = limits;
    }

    pub(super) fn count(&self) -> usize {
        self.lock().tasks.len()
    }

    pub(super) fn unauthenticated(&self) -> usize {
        self.lock().unauthenticated
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Quieting,
            2 => Phase::Closing,
            _ => Phase::Cutting,
        }
    }

    /// Goes on to a later phase and wakes every connection to look at it.
    pub(super) fn enter(&self, phase: Phase) {
        if phase == Phase::Quieting {
            let mut state = self.lock();
            state.busy = state.tasks.keys().copied().collect();
        }
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        let wakers: Vec<Waker> = self.lock().tasks.values().flatten().cloned().collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Waits until there is no connection.
    pub(super) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.count() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Waits until no connection has anything on its way.
    pub(super) async fn quieted(&self) {
        loop {
            let quieted = self.quieted.notified();
            if self.lock().busy.is_empty() {
                return;
            }
            quieted.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Lets the connection's task be woken when the phase changes. Its phase has to be looked at afterwards.
    pub(super) fn register(&mut self, waker: &Waker) {
        if !self.is_registered {
            self.is_registered = true;
            self.connections.lock().tasks.insert(self.id, Some(waker.clone()));
        }
    }

    /// What the peer had sent before is where it belongs.
    pub(super) fn is_quiet(&self) {
        let mut state = self.connections.lock();
        if state.busy.remove(&self.id) && state.busy.is_empty() {
            drop(state);
            self.connections.quieted.notify_waiters();
        }
    }

    /// The peer has logged in and counts no longer among those that have not.
    pub(super) fn logged_in(&mut self) {
        if !self.is_logged_in {
            self.is_logged_in = true;
            self.connections.lock().unauthenticated -= 1;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.connections.lock();
        if !self.is_logged_in {
            state.unauthenticated -= 1;
        }
        if let Some(count) = state.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                state.by_address.remove(&self.address);
            }
        }
        let waker = state.tasks.remove(&self.id);
        let was_last = state.busy.remove(&self.id) && state.busy.is_empty();
        let is_empty = state.tasks.is_empty();
        drop(state);
        drop(waker);
        if was_last {
            self.connections.quieted.notify_waiters();
        }
        if is_empty {
            self.connections.emptied.notify_waiters();
        }
    }
}

/// The address that is counted: IPv4 in IPv6 clothes counts as IPv4, IPv6 by its first half.
fn counted_address(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let network = v6.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(per_address: usize, total: usize, unauthenticated: usize) -> Arc<Connections> {
        Arc::new(Connections::new(ConnectionLimits { per_address, total, unauthenticated }))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_gets_so_many_and_its_places_come_back() {
        let connections = connections(2, 10, 10);
        let first = connections.admit(ip("192.0.2.1")).unwrap();
        let _second = connections.admit(ip("::ffff:192.0.2.1")).unwrap();
        assert_eq!(connections.admit(ip("192.0.2.1")).unwrap_err(), RefusedBy::Address);
        let _other = connections.admit(ip("192.0.2.2")).unwrap();
        drop(first);
        assert!(connections.admit(ip("192.0.2.1")).is_ok());
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let connections = connections(1, 10, 10);
        let _first = connections.admit(ip("2001:db8::1")).unwrap();
        assert_eq!(connections.admit(ip("2001:db8::ffff:1:2")).unwrap_err(), RefusedBy::Address);
        assert!(connections.admit(ip("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn logging_in_makes_room_for_the_next_stranger_but_not_for_one_more_in_all() {
        let connections = connections(10, 2, 1);
        let mut first = connections.admit(ip("192.0.2.1")).unwrap();
        assert_eq!(connections.admit(ip("192.0.2.2")).unwrap_err(), RefusedBy::Unauthenticated);
        first.logged_in();
        first.logged_in();
        let second = connections.admit(ip("192.0.2.2")).unwrap();
        assert_eq!(connections.admit(ip("192.0.2.3")).unwrap_err(), RefusedBy::Total);
        drop((first, second));
        assert_eq!((connections.count(), connections.unauthenticated()), (0, 0));
        assert!(connections.lock().by_address.is_empty());
    }

    #[tokio::test]
    async fn waiting_for_the_last_one_ends_with_the_last_one() {
        let connections = connections(10, 10, 10);
        let permit = connections.admit(ip("192.0.2.1")).unwrap();
        let mut emptied = std::pin::pin!(connections.emptied());
        let pending =
            std::future::poll_fn(|context| Poll::Ready(emptied.as_mut().poll(context).is_pending()));
        assert!(pending.await);
        drop(permit);
        emptied.await;
    }

    use std::task::Poll;
}
