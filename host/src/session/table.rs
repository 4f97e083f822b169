//! The table of bound resources: bare JID to its sessions, read without a lock.
//!
//! Writers of one account take turns on a striped lock; readers take a snapshot of the account's short list. The list
//! is in the order of binding. No lock is held while anything outside this room is called.

use std::hash::BuildHasher;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use super::session::Session;
use crate::stanza::Jid;

/// The sessions of one account at one moment.
pub type Resources = Arc<[Arc<Session>]>;

/// Writers of different accounts seldom meet.
const STRIPES: usize = 64;

#[derive(Debug)]
pub(super) struct Table {
    accounts: papaya::HashMap<Arc<str>, Resources>,
    vhosts: papaya::HashMap<Arc<str>, Arc<AtomicUsize>>,
    writers: [Mutex<()>; STRIPES],
    hasher: std::hash::RandomState,
    none: Resources,
}

/// Right to change one account's list; held for as long as the decision takes.
pub(super) struct AccountWriter<'a> {
    table: &'a Table,
    account: &'a str,
    _turn: MutexGuard<'a, ()>,
}

impl Table {
    pub fn new() -> Self {
        Self {
            accounts: papaya::HashMap::new(),
            vhosts: papaya::HashMap::new(),
            writers: std::array::from_fn(|_| Mutex::new(())),
            hasher: std::hash::RandomState::new(),
            none: Arc::new([]),
        }
    }

    pub fn find(&self, full: &Jid) -> Option<Arc<Session>> {
        let resource = full.resource()?;
        let accounts = self.accounts.pin();
        let sessions = accounts.get(full.bare_str())?;
        sessions.iter().find(|session| session.resource() == resource).cloned()
    }

    pub fn resources(&self, account: &str) -> Resources {
        self.accounts.pin().get(account).unwrap_or(&self.none).clone()
    }

    pub fn write<'a>(&'a self, account: &'a str) -> AccountWriter<'a> {
        let stripe = self.hasher.hash_one(account) as usize % STRIPES;
        let turn = self.writers[stripe].lock().unwrap_or_else(PoisonError::into_inner);
        AccountWriter { table: self, account, _turn: turn }
    }

    /// The counter of a vhost's sessions.
    pub fn population(&self, vhost: &str) -> Arc<AtomicUsize> {
        let vhosts = self.vhosts.pin();
        if let Some(counter) = vhosts.get(vhost) {
            return counter.clone();
        }
        vhosts.get_or_insert_with(vhost.into(), Arc::default).clone()
    }

    pub fn count(&self, vhost: &str) -> usize {
        self.vhosts.pin().get(vhost).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    pub fn count_all(&self) -> usize {
        self.vhosts.pin().values().map(|counter| counter.load(Ordering::Relaxed)).sum()
    }

    pub fn for_each(&self, mut visit: impl FnMut(&Arc<Session>)) {
        for sessions in self.accounts.pin().values() {
            sessions.iter().for_each(&mut visit);
        }
    }
}

impl AccountWriter<'_> {
    pub fn current(&self) -> Resources {
        self.table.resources(self.account)
    }

    /// Replaces the session of the same resourcepart, or appends.
    pub fn put(&self, session: Arc<Session>) {
        session.population.fetch_add(1, Ordering::Relaxed);
        let current = self.current();
        let others = current.iter().filter(|other| other.resource() != session.resource());
        self.store(others.cloned().chain([session.clone()]).collect());
    }

    /// Removes exactly this session, not a successor of the same name. Says whether it was there.
    pub fn remove(&self, session: &Session) -> bool {
        let current = self.current();
        if !current.iter().any(|other| other.id() == session.id()) {
            return false;
        }
        session.population.fetch_sub(1, Ordering::Relaxed);
        self.store(current.iter().filter(|other| other.id() != session.id()).cloned().collect());
        true
    }

    fn store(&self, sessions: Vec<Arc<Session>>) {
        let accounts = self.table.accounts.pin();
        if sessions.is_empty() {
            accounts.remove(self.account);
        } else {
            accounts.insert(self.account.into(), sessions.into());
        }
    }
}
