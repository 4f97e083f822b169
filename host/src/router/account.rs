//! Stanzas for accounts of this server: the rules of RFC 6121 section 8.5 applied to who is there.

use std::sync::Arc;

use super::rules::{self, Account, Address, IqRule, MessageRule, PresenceRule};
use super::{Router, Routing};
use crate::plugin::hook::HookPoint;
use crate::plugin::registration::IqTarget;
use crate::session::Session;
use crate::stanza::{
    IqType, MessageType, PresenceType, Stanza, StanzaError, StanzaErrorCondition, StanzaType,
};

/// The sessions that count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Among {
    /// All in the table.
    All,
    /// Those that still take stanzas: asked for after one of them refused.
    Open,
}

impl Router {
    /// To `localpart@vhost` or `localpart@vhost/resource`.
    pub(super) fn to_account(&self, stanza: Stanza) -> Routing {
        self.to_account_among(stanza, Among::All)
    }

    /// The same after a session was found closing: as if it were gone.
    pub(super) fn to_account_without_closed(&self, stanza: Stanza) -> Routing {
        self.to_account_among(stanza, Among::Open)
    }

    fn to_account_among(&self, stanza: Stanza, among: Among) -> Routing {
        let Some(to) = stanza.to() else { return Routing::done() };
        let bound = self.sessions().find(to).filter(|session| counts(session, among));
        let address = match (&bound, to.is_bare()) {
            (Some(_), _) => Address::Bound,
            (None, true) => Address::Bare,
            (None, false) => Address::Unbound,
        };
        match stanza.type_() {
            StanzaType::Message(kind) => self.message(kind, stanza, address, bound, among),
            StanzaType::Presence(kind) => self.presence(kind, stanza, address, bound, among),
            StanzaType::Iq(kind) => self.iq(kind, stanza, address, bound),
        }
    }

    fn message(
        &self,
        kind: MessageType,
        stanza: Stanza,
        address: Address,
        bound: Option<Arc<Session>>,
        among: Among,
    ) -> Routing {
        if let Some(session) = bound {
            return self.to_session(session, stanza);
        }
        let Some(to) = stanza.to() else { return Routing::done() };
        let resources = self.sessions().resources(to);
        let prioritised = || resources.iter().filter_map(move |session| reachable(session, among));
        let highest = prioritised().map(|(priority, _)| priority).max();
        let account = if highest.is_some() { Account::Reachable } else { Account::Unreachable };
        match rules::message(kind, address, account) {
            MessageRule::MostAvailable => {
                let most = prioritised().filter(|(priority, _)| Some(*priority) == highest);
                if most.clone().any(|(_, session)| session.is_opening()) {
                    return self.after_opening(resources.clone(), stanza);
                }
                self.to_each(most.map(|(_, session)| session), stanza, Self::to_account_without_closed)
            }
            MessageRule::AllNonNegative => {
                self.to_each(prioritised().map(|(_, session)| session), stanza, Self::ignore)
            }
            MessageRule::Offline => self.offline(stanza),
            MessageRule::Ignore => self.ignore(stanza),
            MessageRule::Bounce | MessageRule::Exact => self.unavailable_service(stanza),
        }
    }

    /// One copy each; the usual single receiver gets the stanza itself.
    fn to_each<'a>(
        &self,
        mut sessions: impl Iterator<Item = &'a Arc<Session>>,
        stanza: Stanza,
        nobody: fn(&Self, Stanza) -> Routing,
    ) -> Routing {
        match (sessions.next(), sessions.next()) {
            (None, _) => nobody(self, stanza),
            (Some(only), None) => self.to_session(only.clone(), stanza),
            (Some(first), Some(second)) => {
                let all = [first, second].into_iter().chain(sessions).cloned().collect();
                self.to_sessions(all, stanza, nobody)
            }
        }
    }

    fn presence(
        &self,
        kind: PresenceType,
        stanza: Stanza,
        address: Address,
        bound: Option<Arc<Session>>,
        among: Among,
    ) -> Routing {
        match (rules::presence(kind, address), bound) {
            (PresenceRule::Exact, Some(session)) => self.to_session(session, stanza),
            (PresenceRule::AllAvailable, _) => {
                let Some(to) = stanza.to() else { return Routing::done() };
                let sessions = self.sessions().resources(to);
                let available =
                    sessions.iter().filter(|session| session.is_available() && counts(session, among));
                Routing::all(available.map(|session| self.to_session(session.clone(), stanza.clone())))
            }
            (PresenceRule::Subscription, _) => self.inbound_subscription(stanza),
            (PresenceRule::Probe, _) => self.probe(stanza),
            (PresenceRule::Ignore | PresenceRule::Exact, _) => self.ignore(stanza),
        }
    }

    fn iq(&self, kind: IqType, stanza: Stanza, address: Address, bound: Option<Arc<Session>>) -> Routing {
        match (rules::iq(kind, address), bound) {
            (IqRule::Exact, Some(session)) => self.to_session(session, stanza),
            (IqRule::OnBehalf, _) => self.on_behalf(stanza),
            (IqRule::Bounce | IqRule::Exact, _) => self.unavailable_service(stanza),
            (IqRule::Unmatched, _) => self.unmatched(stanza),
        }
    }

    /// A message that no resource takes: to a module that keeps it, else back (RFC 6121 section 8.5.2.2.1).
    fn offline(&self, stanza: Stanza) -> Routing {
        self.inner.counts.offline();
        let Some(to) = stanza.to() else { return Routing::done() };
        if !self.inner.modules.is_hooked(HookPoint::OfflineMessage, to.domain()) {
            return self.unavailable_service(stanza);
        }
        let vhost = to.domain().to_owned();
        self.if_exists(stanza, Self::unavailable_service, move |router, stanza| {
            router.offered(
                HookPoint::OfflineMessage,
                &vhost,
                stanza,
                String::new(),
                Self::unavailable_service,
            )
        })
    }

    /// A request to a bare JID, answered in the account's place (RFC 6121 section 8.5.2.1.3).
    fn on_behalf(&self, stanza: Stanza) -> Routing {
        let own = match (stanza.from(), stanza.to()) {
            (Some(from), Some(to)) => from.same_bare(to),
            _ => false,
        };
        let handle = |router: &Self, stanza: Stanza| router.handle_iq(IqTarget::Bare, &stanza);
        if own && let Some(session) = stanza.from().and_then(|from| self.sessions().find(from)) {
            super::outbound::note_interest(&session, &stanza);
        }
        if own { handle(self, stanza) } else { self.if_exists(stanza, Self::unavailable_service, handle) }
    }

    /// Goes on by whether the recipient's account exists; asks the storage only if no resource proves it.
    pub(super) fn if_exists(
        &self,
        stanza: Stanza,
        missing: impl FnOnce(&Self, Stanza) -> Routing + Send + 'static,
        exists: impl FnOnce(&Self, Stanza) -> Routing + Send + 'static,
    ) -> Routing {
        let Some(to) = stanza.to() else { return Routing::done() };
        if !self.sessions().resources(to).is_empty() {
            return exists(self, stanza);
        }
        let (router, asked) = (self.clone(), self.inner.accounts.exists(&to.bare()));
        Routing::later(async move {
            let routing = if asked.await { exists(&router, stanza) } else { missing(&router, stanza) };
            routing.await;
        })
    }

    /// RFC 6121 allows or demands that nothing happens.
    pub(super) fn ignore(&self, _stanza: Stanza) -> Routing {
        self.inner.counts.ignored();
        Routing::done()
    }

    /// An answer that nobody waits for.
    pub(super) fn unmatched(&self, _stanza: Stanza) -> Routing {
        self.inner.pending.count_unmatched();
        Routing::done()
    }

    pub(super) fn unavailable_service(&self, stanza: Stanza) -> Routing {
        self.bounce(&stanza, StanzaError::from(StanzaErrorCondition::ServiceUnavailable))
    }
}

/// A session that takes messages for its account, with its priority (RFC 6121 section 8.5.2.1.1).
fn reachable(session: &Arc<Session>, among: Among) -> Option<(i8, &Arc<Session>)> {
    let priority = session.priority().filter(|priority| *priority >= 0)?;
    counts(session, among).then_some((priority, session))
}

fn counts(session: &Session, among: Among) -> bool {
    among == Among::All || session.mailbox().is_open()
}
