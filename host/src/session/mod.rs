//! Bound resources: full JID to bounded mailbox, priority, presence. Holds no sockets.
//!
//! * [`mailbox`]: the queue between router and connection, bounded, with its two ways of refusing;
//! * [`Sessions`]: the table, binding with conflict policies, kicking, counting;
//! * [`Session`]: one resource with its presence and the entities it told directly;
//! * [`ContactCache`]: who sees the presence of the accounts that have sessions;
//! * [`BoundSession`]: the connection's handle; when it goes, the session goes.
//!
//! Where a stanza goes is decided in `router`; this room only answers "who is there".

mod bind;
mod contacts;
mod held;
mod info;
pub mod mailbox;
mod patience;
mod presence;
#[allow(clippy::module_inception, reason = "the room is named after its subject")]
mod session;
mod table;
#[cfg(test)]
mod tests;
mod unacked;

use std::collections::BinaryHeap;
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;

pub use bind::{BindError, BindRequest, Bound, BoundSession, Ended};
pub use contacts::{Changed, Contact, ContactCache, Contacts, Loading};
pub use held::Held;
pub use info::SessionInfo;
pub use mailbox::{
    Batch, Delivery, MailboxLimits, MailboxReceiver, MailboxSender, Refusal, Refused, SharedCopies,
};
pub use presence::{Directed, Farewell, Presence, SessionEnded, Show};
pub use session::{Session, SessionId};
pub use table::Resources;
pub use unacked::{AckQueue, HandledTooMuch, Unacked};

use crate::stanza::{Jid, StreamError};
use table::Table;

/// Bounds of the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Of every mailbox made from now on.
    pub mailbox: MailboxLimits,
    /// Resources that one account may have bound at the same time.
    pub sessions_per_account: usize,
    /// Entities that one session may tell of its presence directly, chat rooms among them.
    pub directed_presences: usize,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { mailbox: MailboxLimits::default(), sessions_per_account: 20, directed_presences: 1_000 }
    }
}

/// Hears of sessions that ended without the router being asked: their connection task was cancelled or crashed.
pub trait SessionObserver: Send + Sync {
    /// Announces the end and routes again what was left. Called from a drop: it must not block.
    fn abandoned(&self, ended: Ended);
}

/// The table of sessions. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    inner: Arc<Inner>,
}

struct Inner {
    table: Table,
    limits: ArcSwap<SessionLimits>,
    next_id: AtomicU64,
    shutting_down: AtomicBool,
    observer: OnceLock<Arc<dyn SessionObserver>>,
    /// Ends that no observer heard of; not zero only in tests and during assembly.
    unheard: AtomicUsize,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("count", &self.count_all()).finish_non_exhaustive()
    }
}

impl Sessions {
    /// An empty table.
    pub fn new(limits: SessionLimits) -> Self {
        let inner = Inner {
            table: Table::new(),
            limits: ArcSwap::from_pointee(limits),
            next_id: AtomicU64::new(1),
            shutting_down: AtomicBool::new(false),
            observer: OnceLock::new(),
            unheard: AtomicUsize::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Bounds in force.
    pub fn limits(&self) -> SessionLimits {
        **self.inner.limits.load()
    }

    /// Bounds for sessions bound from now on.
    pub fn set_limits(&self, limits: SessionLimits) {
        self.inner.limits.store(Arc::new(limits));
    }

    /// A mailbox with the bounds in force, to be given to [`BindRequest`].
    pub fn mailbox(&self) -> (MailboxSender, MailboxReceiver) {
        mailbox::mailbox(self.limits().mailbox)
    }

    /// The session of a full JID.
    pub fn find(&self, full: &Jid) -> Option<Arc<Session>> {
        self.inner.table.find(full)
    }

    /// All sessions of the account that this JID belongs to, in order of binding.
    pub fn resources(&self, jid: &Jid) -> Resources {
        self.inner.table.resources(jid.bare_str())
    }

    /// Sessions of one vhost.
    pub fn count(&self, vhost: &str) -> usize {
        self.inner.table.count(vhost)
    }

    /// Sessions of all vhosts.
    pub fn count_all(&self) -> usize {
        self.inner.table.count_all()
    }

    /// Visits every session, in no order; sessions that come or go meanwhile may be missed.
    pub fn for_each(&self, visit: impl FnMut(&Arc<Session>)) {
        self.inner.table.for_each(visit);
    }

    /// The first `limit` sessions of a vhost in the order of their JIDs, after a given one.
    pub fn page(&self, vhost: &str, after: Option<&Jid>, limit: usize) -> Vec<Arc<Session>> {
        let mut smallest = BinaryHeap::with_capacity(limit.saturating_add(1).min(4_096));
        self.for_each(|session| {
            let jid = session.full_jid();
            if session.vhost() == vhost && after.is_none_or(|after| jid > after) {
                smallest.push(ByJid(session.clone()));
                if smallest.len() > limit {
                    smallest.pop();
                }
            }
        });
        smallest.into_sorted_vec().into_iter().map(|ByJid(session)| session).collect()
    }

    /// Closes one session; says whether it was there.
    pub fn kick(&self, full: &Jid, reason: &StreamError) -> bool {
        let session = self.find(full);
        if let Some(session) = &session {
            session.close(reason.clone());
        }
        session.is_some()
    }

    /// Closes all sessions of an account; gives their number.
    pub fn kick_account(&self, account: &Jid, reason: &StreamError) -> usize {
        let sessions = self.resources(account);
        sessions.iter().for_each(|session| session.close(reason.clone()));
        sessions.len()
    }

    /// Binds nothing any more and closes all sessions; gives their number.
    pub fn close_all(&self, reason: &StreamError) -> usize {
        self.inner.shutting_down.store(true, Ordering::Release);
        // Nobody may send any more when the first one goes: what one sends to another would miss it.
        self.for_each(|session| session.retire());
        let mut closed = 0;
        self.for_each(|session| {
            session.close(reason.clone());
            closed += 1;
        });
        closed
    }

    /// Names who hears of abandoned sessions. Once; a second call changes nothing.
    pub fn observe(&self, observer: Arc<dyn SessionObserver>) {
        let _already_observed = self.inner.observer.set(observer);
    }

    fn tell_abandoned(&self, ended: Ended) {
        match self.inner.observer.get() {
            Some(observer) => observer.abandoned(ended),
            None => {
                self.inner.unheard.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Sessions ordered by full JID.
struct ByJid(Arc<Session>);

impl Ord for ByJid {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.full_jid().cmp(other.0.full_jid())
    }
}

impl PartialOrd for ByJid {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByJid {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ByJid {}
