//! One bound resource.

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicBool, AtomicI16, AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;

use super::info::SessionInfo;
use super::mailbox::MailboxSender;
use super::patience::Patience;
use super::presence::{Directed, Farewell, Presence, PresenceState, SessionEnded};
use crate::stanza::{Jid, StreamError, StreamErrorCondition};

/// Below every lawful priority.
const NOT_AVAILABLE: i16 = i16::MIN;

/// Number of a session, unique in the life of the process: tells a resource from its successor of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// A bound resource: its full JID, its mailbox and its presence. Shared by the table, the router and the connection.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    full: Jid,
    account: Jid,
    mailbox: MailboxSender,
    info: ArcSwap<SessionInfo>,
    live: AtomicBool,
    interested: AtomicBool,
    opening: AtomicBool,
    /// Its client is gone and may come back.
    detached: AtomicBool,
    /// Nobody looks at its client (XEP-0352).
    inactive: AtomicBool,
    closed_for: OnceLock<StreamErrorCondition>,
    /// Repeats the priority of `presence` so that routing reads it without the lock.
    priority: AtomicI16,
    presence: Mutex<PresenceState>,
    directed_limit: usize,
    /// Sessions of its vhost.
    pub(super) population: Arc<AtomicUsize>,
    patience: Patience,
}

/// What a session is made of.
pub(super) struct Parts {
    pub id: SessionId,
    pub full: Jid,
    pub mailbox: MailboxSender,
    pub info: SessionInfo,
    pub directed_limit: usize,
    pub population: Arc<AtomicUsize>,
}

impl Session {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            id: parts.id,
            account: parts.full.bare(),
            full: parts.full,
            mailbox: parts.mailbox,
            info: ArcSwap::from_pointee(parts.info),
            live: AtomicBool::new(true),
            interested: AtomicBool::new(false),
            opening: AtomicBool::new(false),
            detached: AtomicBool::new(false),
            inactive: AtomicBool::new(false),
            closed_for: OnceLock::new(),
            priority: AtomicI16::new(NOT_AVAILABLE),
            presence: Mutex::default(),
            directed_limit: parts.directed_limit,
            population: parts.population,
            patience: Patience::default(),
        }
    }

    /// Number of this session.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Its full JID.
    pub fn full_jid(&self) -> &Jid {
        &self.full
    }

    /// Its account: the bare JID.
    pub fn bare_jid(&self) -> &Jid {
        &self.account
    }

    /// Its resourcepart.
    pub fn resource(&self) -> &str {
        self.full.resource().unwrap_or_default()
    }

    /// Its domainpart.
    pub fn vhost(&self) -> &str {
        self.full.domain()
    }

    /// The queue to its connection.
    pub fn mailbox(&self) -> &MailboxSender {
        &self.mailbox
    }

    /// How long it may be held up by the mailboxes of others.
    pub fn patience(&self) -> &Patience {
        &self.patience
    }

    /// Facts for commands and logs.
    pub fn info(&self) -> Arc<SessionInfo> {
        self.info.load_full()
    }

    /// Its client has lost the connection and may come back (XEP-0198).
    pub fn detach(&self) {
        self.detached.store(true, Ordering::Release);
    }

    /// Its client has come back, perhaps from elsewhere.
    pub fn attach(&self, info: SessionInfo) {
        self.info.store(Arc::new(info));
        self.set_inactive(false);
        self.detached.store(false, Ordering::Release);
    }

    /// Whether nobody looks at its client, as it says (XEP-0352).
    pub fn set_inactive(&self, inactive: bool) {
        self.inactive.store(inactive, Ordering::Relaxed);
    }

    /// The same.
    pub fn is_inactive(&self) -> bool {
        self.inactive.load(Ordering::Relaxed)
    }

    /// Whether it waits for its client to come back.
    pub fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Acquire)
    }

    /// False once it was replaced, kicked or ended: what still comes from its stream is not processed any more.
    pub fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    /// Processes nothing more from its stream.
    pub(super) fn retire(&self) {
        self.live.store(false, Ordering::Release);
    }

    /// Asks the connection to end, after what already waits in the mailbox.
    pub fn close(&self, reason: StreamError) {
        self.retire();
        // The first reason is the one the client is told.
        let _ = self.closed_for.set(reason.condition);
        self.mailbox.close(reason);
    }

    /// Whether it has asked for the roster, so that it is told of its changes (RFC 6121 section 2.1.6).
    pub fn is_interested(&self) -> bool {
        self.interested.load(Ordering::Acquire)
    }

    /// It has asked for the roster.
    pub fn set_interested(&self) {
        self.interested.store(true, Ordering::Release);
    }

    /// Whether it has just begun to take messages, and modules are about to give it those that they have kept: what is
    /// sent now comes after them.
    pub fn is_opening(&self) -> bool {
        self.opening.load(Ordering::Acquire)
    }

    /// Begins or ends that time.
    pub fn set_opening(&self, opening: bool) {
        self.opening.store(opening, Ordering::Release);
    }

    /// Why the server closed it, if it did.
    pub fn closed_for(&self) -> Option<StreamErrorCondition> {
        self.closed_for.get().copied()
    }

    /// Its priority if it is available (RFC 6121 section 4.7.2.3).
    pub fn priority(&self) -> Option<i8> {
        i8::try_from(self.priority.load(Ordering::Acquire)).ok()
    }

    /// Whether it has sent initial presence and no unavailable one since.
    pub fn is_available(&self) -> bool {
        self.priority().is_some()
    }

    /// Its last broadcast presence if it is available.
    pub fn presence(&self) -> Option<Presence> {
        self.state().current().cloned()
    }

    /// Makes it available; gives the presence before.
    pub fn set_presence(&self, presence: Presence) -> Result<Option<Presence>, SessionEnded> {
        let mut state = self.state();
        let priority = presence.priority;
        let before = state.replace(presence)?;
        self.priority.store(priority.into(), Ordering::Release);
        Ok(before)
    }

    /// Makes it unavailable and forgets its directed presence. What must be announced is given once.
    pub fn take_presence(&self) -> Farewell {
        let mut state = self.state();
        self.priority.store(NOT_AVAILABLE, Ordering::Release);
        state.take()
    }

    /// As [`Self::take_presence`], and it never becomes available again.
    pub(super) fn end_presence(&self) -> Farewell {
        let mut state = self.state();
        self.priority.store(NOT_AVAILABLE, Ordering::Release);
        state.end()
    }

    /// Remembers that the entity was told directly that this resource is available.
    pub fn keep_directed(&self, entity: &Jid) -> Directed {
        self.state().keep_directed(entity, self.directed_limit)
    }

    /// Forgets it again; says whether it was there.
    pub fn drop_directed(&self, entity: &Jid) -> bool {
        self.state().drop_directed(entity)
    }

    /// Whether the entity, or its bare JID, was told directly.
    pub fn has_directed(&self, entity: &Jid) -> bool {
        self.state().has_directed(entity)
    }

    fn state(&self) -> MutexGuard<'_, PresenceState> {
        // Nothing panics while it holds the lock; a poisoned state is still whole.
        self.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
