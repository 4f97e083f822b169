//! Resource binding (RFC 6120 section 7): who may have which full JID, and what becomes of the one who had it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use thiserror::Error;

use super::Sessions;
use super::info::SessionInfo;
use super::mailbox::MailboxSender;
use super::presence::Farewell;
use super::session::{Parts, Session, SessionId};
use crate::config::ConflictPolicy;
use crate::stanza::{
    ErrorType, Jid, Stanza, StanzaError, StanzaErrorCondition, StreamError, StreamErrorCondition,
};

/// A stream's wish for a resource.
#[derive(Debug)]
pub struct BindRequest {
    /// The authenticated account: a bare JID.
    pub account: Jid,
    /// The resource the client asked for, as it wrote it; `None` lets the server choose.
    pub resource: Option<String>,
    /// What to do if it is taken.
    pub policy: ConflictPolicy,
    /// Where the router puts what is for this session.
    pub mailbox: MailboxSender,
    /// Facts about the connection.
    pub info: SessionInfo,
}

/// Why no resource was bound.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BindError {
    /// The peer sent something that is no resourcepart.
    #[error("The client asked for a resource that RFC 7622 does not allow.")]
    BadResource,
    /// The policy refuses newcomers.
    #[error("The resource {0} is already bound, and the newcomer is refused as configured.")]
    Conflict(Jid),
    /// The account has too many sessions.
    #[error("The account {0} already has {1} sessions, which is the configured limit.")]
    TooManySessions(Jid, usize),
    /// The server is ending.
    #[error("The server is shutting down and binds no more resources.")]
    ShuttingDown,
}

impl BindError {
    /// The stanza error of RFC 6120 section 7.6.2 and 7.7.2 for the client.
    pub fn stanza_error(&self) -> StanzaError {
        let condition = match self {
            Self::BadResource => StanzaErrorCondition::BadRequest,
            Self::Conflict(_) => StanzaErrorCondition::Conflict,
            Self::TooManySessions(..) => StanzaErrorCondition::ResourceConstraint,
            Self::ShuttingDown => StanzaErrorCondition::ServiceUnavailable,
        };
        let error = StanzaError::new(condition, self.to_string());
        match self {
            // RFC 6120 section 7.7.2.2: another resource may be asked for.
            Self::Conflict(_) => error.with_type(ErrorType::Modify),
            _ => error,
        }
    }
}

/// What remains of a session: to be announced and to be routed again.
#[derive(Debug)]
pub struct Ended {
    /// The session, out of the table by now.
    pub session: Arc<Session>,
    /// Whom to tell that it is unavailable.
    pub farewell: Farewell,
    /// What its connection never took, in order.
    pub undelivered: Vec<Stanza>,
}

/// The owner's handle of a bound resource: who drops it ends the session.
///
/// The ordinary way out is the router's `end_session`; a drop (a cancelled or crashed connection task) tells the
/// [`SessionObserver`](super::SessionObserver) instead, so that nothing is left behind on any path.
#[derive(Debug)]
pub struct BoundSession {
    session: Option<Arc<Session>>,
    sessions: Sessions,
}

impl std::ops::Deref for BoundSession {
    type Target = Arc<Session>;

    fn deref(&self) -> &Arc<Session> {
        self.session.as_ref().expect("the session is taken out only by consuming the handle")
    }
}

impl BoundSession {
    /// Takes the session out of the table and seals its mailbox.
    pub fn unbind(mut self) -> Ended {
        let session = self.session.take().expect("the session is taken out only by consuming the handle");
        self.sessions.end(session)
    }
}

impl Drop for BoundSession {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            let ended = self.sessions.end(session);
            self.sessions.tell_abandoned(ended);
        }
    }
}

/// A bound session and the one that had to go for it.
#[derive(Debug)]
pub struct Bound {
    /// The new session.
    pub session: BoundSession,
    /// The older one with its farewell, to be announced before the new one sends anything.
    pub replaced: Option<(Arc<Session>, Farewell)>,
}

impl Sessions {
    /// Binds a resource. See `router::Router::bind` for the whole act with its announcements.
    pub fn bind(&self, request: BindRequest) -> Result<Bound, BindError> {
        if self.inner.shutting_down.load(Ordering::Acquire) {
            return Err(BindError::ShuttingDown);
        }
        let limits = self.limits();
        let wanted = wanted_jid(&request)?;
        let account = request.account.bare();
        let writer = self.inner.table.write(account.bare_str());
        let current = writer.current();
        let (full, replaced) = settle_conflict(request.policy, wanted, &current)?;
        let replaced = match replaced {
            None if current.len() >= limits.sessions_per_account => {
                // One that waits for a client that may never come makes room for one that is here.
                let oldest = current.iter().find(|session| session.is_detached()).cloned();
                let refused = || BindError::TooManySessions(account.clone(), current.len());
                Some(oldest.ok_or_else(refused)?)
            }
            replaced => replaced,
        };
        if let Some(old) = &replaced {
            writer.remove(old);
        }
        let session = Arc::new(Session::new(Parts {
            id: SessionId(self.inner.next_id.fetch_add(1, Ordering::Relaxed)),
            population: self.inner.table.population(full.domain()),
            full,
            mailbox: request.mailbox,
            info: request.info,
            directed_limit: limits.directed_presences,
        }));
        writer.put(session.clone());
        drop(writer);
        if self.inner.shutting_down.load(Ordering::Acquire) {
            // The sweep of `close_all` may have passed this account already.
            session.close(StreamErrorCondition::SystemShutdown.into());
        }
        let replaced = replaced.map(supersede);
        Ok(Bound { session: BoundSession { session: Some(session), sessions: self.clone() }, replaced })
    }

    fn end(&self, session: Arc<Session>) -> Ended {
        session.retire();
        self.inner.table.write(session.bare_jid().bare_str()).remove(&session);
        let farewell = session.end_presence();
        // Sealed last: whoever found the session before it left the table is told "closed" and routes again.
        let undelivered = session.mailbox().seal();
        Ended { session, farewell, undelivered }
    }
}

fn wanted_jid(request: &BindRequest) -> Result<Jid, BindError> {
    match request.resource.as_deref().filter(|wanted| !wanted.is_empty()) {
        Some(wanted) => request.account.with_resource(wanted).map_err(|_| BindError::BadResource),
        None => Ok(generated(&request.account)),
    }
}

fn settle_conflict(
    policy: ConflictPolicy,
    wanted: Jid,
    current: &[Arc<Session>],
) -> Result<(Jid, Option<Arc<Session>>), BindError> {
    let holder = |jid: &Jid| current.iter().find(|other| other.full_jid() == jid).cloned();
    match (holder(&wanted), policy) {
        (None, _) => Ok((wanted, None)),
        (Some(old), ConflictPolicy::ReplaceOld) => Ok((wanted, Some(old))),
        // Whoever holds it is not here; a client that could not resume must not be locked out by itself.
        (Some(old), ConflictPolicy::RefuseNew) if old.is_detached() => Ok((wanted, Some(old))),
        (Some(_), ConflictPolicy::RefuseNew) => Err(BindError::Conflict(wanted)),
        (Some(_), ConflictPolicy::NumberNew) => {
            let free = (2..).map(|n| numbered(&wanted, n)).find(|jid| holder(jid).is_none());
            Ok((free.unwrap_or_else(|| generated(&wanted)), None))
        }
    }
}

/// The wanted JID with a number appended; one the server makes up if that would be too long.
fn numbered(wanted: &Jid, number: u32) -> Jid {
    let resource = format!("{}-{number}", wanted.resource().unwrap_or_default());
    wanted.with_resource(&resource).unwrap_or_else(|_| generated(wanted))
}

/// Ends the older session of the same name, whose connection still has to notice.
fn supersede(old: Arc<Session>) -> (Arc<Session>, Farewell) {
    old.close(StreamError::new(StreamErrorCondition::Conflict, "The resource was bound by another stream."));
    let farewell = old.end_presence();
    (old, farewell)
}

/// A full JID with an unguessable resource of 16 hexadecimal digits.
fn generated(account: &Jid) -> Jid {
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random)
        .expect("the operating system's random source does not fail after start");
    let resource = format!("{:016x}", u64::from_le_bytes(random));
    account.with_resource(&resource).expect("hexadecimal digits are a lawful resourcepart")
}
