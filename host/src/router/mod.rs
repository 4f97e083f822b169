//! Where one stanza goes (RFC 6120 section 10, RFC 6121 section 8).
//!
//! ```text
//! from_session -> hooks user_send_packet -> outbound rules (no `to`, presence)
//!                                                |
//! inject (modules, commands) --------------------+-> dispatch: hooks filter_packet
//!                                                      -> own vhost? without localpart: `vhost`, with: `account`
//!                                                      -> a module's domain (LOCAL, then GLOBAL table)
//!                                                      -> other servers
//! account -> rules of RFC 6121 8.5 -> hooks user_receive_packet -> the session's mailbox
//! ```
//!
//! Promises: an IQ request gets exactly one answer; an error is never answered; the order of each pair of sender and
//! receiver is kept; nobody waits for a slow receiver; where nothing is hooked, no future is boxed and nothing is
//! awaited. Where the RFC leaves a choice, [`rules`] has made it.
//!
//! It keeps no roster: who besides the own resources hears of a presence, modules tell by the hook `contacts`, and
//! `contacts` remembers it while the account has sessions.

mod account;
mod contacts;
mod counts;
mod deliver;
mod hooks;
mod iqs;
mod lanes;
mod modules;
mod opening;
mod outbound;
mod outside;
mod place;
mod presence;
mod routing;
pub mod rules;
mod sessions;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod vhost;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::Notify;

pub use contacts::Among;
pub use counts::RouterCounts;
pub use modules::Modules;
pub use outside::{AccountDirectory, NoFederation, RemoteDomains};
pub use place::Place;
pub use routing::{BoxFuture, Routing};

use crate::iq::{Dispatcher, OwedAnswers, PendingIq, PendingIqs};
use crate::plugin::hook::HookPoint;
use crate::session::{ContactCache, Sessions};
use crate::stanza::{IqType, Stanza, StanzaError, StanzaErrorCondition, StanzaType};
use counts::Counts;
use lanes::Lanes;

/// A stanza that modules sent back and forth this often is going in a circle.
pub const MAX_HOPS: u8 = 20;

/// What the router is made of.
pub struct RouterParts {
    /// The domains of this server.
    pub vhosts: Vec<Arc<str>>,
    /// Its bound resources.
    pub sessions: Sessions,
    /// Its modules.
    pub modules: Arc<dyn Modules>,
    /// Its accounts.
    pub accounts: Arc<dyn AccountDirectory>,
    /// The way to other servers.
    pub remote: Arc<dyn RemoteDomains>,
    /// Where what nobody awaits runs on.
    pub runtime: Handle,
    /// How long a module may owe an answer.
    pub answer_deadline: Duration,
    /// Requests of the server and of modules that may wait for answers at the same time.
    pub pending_iqs: usize,
    /// Answers that modules may owe at the same time.
    pub owed_answers: usize,
}

/// Why a stanza of a module or command was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Rejected {
    /// It lacks an address.
    #[error("A stanza needs a sender and a recipient to be routed.")]
    NoAddress,
    /// It comes after the deadline answered.
    #[error("The answer comes too late: the request was answered with an error already.")]
    TooLate,
    /// It goes round.
    #[error("The stanza was dropped because modules sent it in a circle ({MAX_HOPS} hops).")]
    Loop,
    /// Too many stanzas of this pair wait for hooks.
    #[error("Too many stanzas wait to be routed; retry later.")]
    Busy,
}

impl Rejected {
    /// The stanza error condition that says the same.
    pub fn condition(&self) -> StanzaErrorCondition {
        match self {
            Self::NoAddress => StanzaErrorCondition::JidMalformed,
            Self::TooLate => StanzaErrorCondition::UnexpectedRequest,
            Self::Loop => StanzaErrorCondition::PolicyViolation,
            Self::Busy => StanzaErrorCondition::ResourceConstraint,
        }
    }
}

/// The router. Cheap to clone.
#[derive(Clone)]
pub struct Router {
    inner: Arc<Inner>,
}

struct Inner {
    vhosts: ArcSwap<HashSet<Arc<str>>>,
    sessions: Sessions,
    contacts: ContactCache,
    modules: Arc<dyn Modules>,
    accounts: Arc<dyn AccountDirectory>,
    remote: Arc<dyn RemoteDomains>,
    runtime: Handle,
    iqs: Dispatcher,
    owed: Arc<OwedAnswers>,
    pending: PendingIqs,
    lanes: Lanes,
    counts: Counts,
    /// Told when a session is no longer opening.
    opened: Notify,
}

impl Router {
    /// Puts the router together and lets it hear of sessions that end without it.
    pub fn new(parts: RouterParts) -> Self {
        let owed = Arc::new(OwedAnswers::new(parts.owed_answers));
        let handlers = Arc::new(iqs::ModuleHandlers(parts.modules.clone()));
        let inner = Inner {
            vhosts: ArcSwap::from_pointee(parts.vhosts.into_iter().collect()),
            sessions: parts.sessions,
            contacts: ContactCache::default(),
            modules: parts.modules,
            accounts: parts.accounts,
            remote: parts.remote,
            runtime: parts.runtime,
            iqs: Dispatcher::new(handlers, owed.clone(), parts.answer_deadline),
            owed,
            pending: PendingIqs::new(parts.pending_iqs),
            lanes: Lanes::default(),
            counts: Counts::default(),
            opened: Notify::new(),
        };
        let router = Self { inner: Arc::new(inner) };
        router.sessions().observe(Arc::new(sessions::Observer(Arc::downgrade(&router.inner))));
        router
    }

    /// The sessions it delivers to.
    pub fn sessions(&self) -> &Sessions {
        &self.inner.sessions
    }

    /// Requests that wait for answers of others.
    pub fn pending(&self) -> &PendingIqs {
        &self.inner.pending
    }

    /// Where IQ requests are handled; for its deadline.
    pub fn dispatcher(&self) -> &Dispatcher {
        &self.inner.iqs
    }

    /// What it has done since start.
    pub fn counts(&self) -> RouterCounts {
        self.inner.counts.report()
    }

    /// Whether this is one of its own domains.
    pub fn is_vhost(&self, domain: &str) -> bool {
        self.inner.vhosts.load().contains(domain)
    }

    /// Its own domains.
    pub fn vhosts(&self) -> Arc<HashSet<Arc<str>>> {
        self.inner.vhosts.load_full()
    }

    /// Replaces its own domains.
    pub fn set_vhosts(&self, vhosts: impl IntoIterator<Item = Arc<str>>) {
        self.inner.vhosts.store(Arc::new(vhosts.into_iter().collect()));
    }

    /// Takes a stanza of a module or a command, with `from` and `to` as it wants them. Returns at once; what has to
    /// wait for hooks or storage is done behind its back, in order.
    pub fn inject(&self, stanza: Stanza) -> Result<(), Rejected> {
        self.inner.counts.sent_by_modules();
        if stanza.from().is_none() || stanza.to().is_none() {
            return Err(Rejected::NoAddress);
        }
        if stanza.hops() > MAX_HOPS {
            return Err(self.refuse_loop(&stanza));
        }
        if is_answer(&stanza) && !self.settle_owed(&stanza) {
            return Err(Rejected::TooLate);
        }
        self.detached(stanza)
    }

    /// Sends a request of the server or a module; its answer is awaited through the value given back.
    pub fn request(&self, request: Stanza, timeout: Duration) -> Result<PendingIq, RequestError> {
        let pending = self.inner.pending.expect(&request, timeout)?;
        self.inject(request)?;
        Ok(pending)
    }

    /// Answers requests in the place of modules that did not in time. To be called every second or so.
    pub fn answer_overdue(&self) {
        let remember = self.inner.iqs.deadline();
        for request in self.inner.owed.expire(Instant::now(), remember) {
            let text = "The module that handles this request did not answer in time.";
            let error = StanzaError::new(StanzaErrorCondition::RemoteServerTimeout, text);
            if let Some(reply) = request.error_reply(&error) {
                self.inner.counts.bounced();
                self.detached_or_log(reply);
            }
        }
    }

    /// Sends a stanza on its way: hooks, then the route tables in the order of S2-42.
    fn dispatch(&self, stanza: Stanza) -> Routing {
        if !self.inner.modules.is_hooked_anywhere(HookPoint::FilterPacket) {
            return self.forward(stanza);
        }
        match self.concerned_vhost(&stanza) {
            Some(vhost) => self.hooked(HookPoint::FilterPacket, &vhost, stanza, Self::forward),
            None => self.forward(stanza),
        }
    }

    fn forward(&self, stanza: Stanza) -> Routing {
        if is_answer(&stanza) {
            let unwanted = self.inner.pending.answer(stanza);
            return unwanted.map_or(Routing::done(), |stanza| self.to_domain(stanza));
        }
        self.to_domain(stanza)
    }

    fn to_domain(&self, stanza: Stanza) -> Routing {
        let Some(to) = stanza.to() else {
            self.inner.counts.ignored();
            return Routing::done();
        };
        match self.look_up(to) {
            Place::Account => self.to_account(stanza),
            Place::Vhost => self.to_vhost(stanza),
            Place::Module(table) => self.to_module(stanza, table),
            Place::Elsewhere => self.to_elsewhere(&stanza),
        }
    }

    fn to_elsewhere(&self, stanza: &Stanza) -> Routing {
        self.inner.counts.to_remote();
        match self.inner.remote.send(stanza) {
            Ok(()) => Routing::done(),
            Err(condition) => self.bounce(stanza, condition.into()),
        }
    }

    /// Sends the error back to who sent the stanza, unless an error must not follow (RFC 6120 section 8.3.1).
    fn bounce(&self, stanza: &Stanza, error: StanzaError) -> Routing {
        match stanza.error_reply(&error) {
            Some(reply) => {
                self.inner.counts.bounced();
                self.dispatch(reply)
            }
            None => Routing::done(),
        }
    }

    /// The vhost whose hooks concern the stanza: the recipient's, else the sender's.
    fn concerned_vhost(&self, stanza: &Stanza) -> Option<Arc<str>> {
        let vhosts = self.inner.vhosts.load();
        let of = |jid: Option<&crate::stanza::Jid>| vhosts.get(jid?.domain()).cloned();
        of(stanza.to()).or_else(|| of(stanza.from()))
    }

    fn refuse_loop(&self, stanza: &Stanza) -> Rejected {
        self.inner.counts.loops();
        let (from, to) =
            (stanza.from().map(tracing::field::display), stanza.to().map(tracing::field::display));
        tracing::warn!(from, to, "modules send a stanza in a circle; it was dropped");
        Rejected::Loop
    }
}

/// Why a request was not sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// It cannot wait for an answer.
    #[error(transparent)]
    Pending(#[from] crate::iq::PendingError),
    /// It was not taken.
    #[error(transparent)]
    Rejected(#[from] Rejected),
}

/// Whether the stanza is an IQ result or error.
fn is_answer(stanza: &Stanza) -> bool {
    matches!(stanza.type_(), StanzaType::Iq(IqType::Result | IqType::Error))
}

/// Whether the stanza is an IQ get or set.
fn is_request(stanza: &Stanza) -> bool {
    matches!(stanza.type_(), StanzaType::Iq(IqType::Get | IqType::Set))
}
