//! What a client's stanza means before it is routed (RFC 6120 section 10.3, RFC 6121 sections 3 and 4).

use std::sync::Arc;

use moult_plugin_api::hooks::SubscriptionArgs;

use super::{Router, Routing};
use crate::plugin::call::Passing;
use crate::plugin::hook::HookPoint;
use crate::plugin::registration::IqTarget;
use crate::session::{Directed, Session};
use crate::stanza::{IqType, PresenceType, Stanza, StanzaError, StanzaErrorCondition, StanzaType, ns};

impl Router {
    /// Routes a stanza that came from a bound session's stream, stamped with its full JID. The caller awaits the
    /// routing before it gives the next stanza of the same session. Stanzas of a session that was replaced or kicked
    /// are not processed any more: its stream has ended for the server.
    pub fn from_session(&self, session: &Arc<Session>, stanza: Stanza) -> Routing {
        self.take_from_session(session, stanza).unwrap_or(Routing::done())
    }

    /// The same; `None` says that the stanza was not processed for that reason.
    pub fn take_from_session(&self, session: &Arc<Session>, stanza: Stanza) -> Option<Routing> {
        session.is_live().then(|| self.take_from_live(session, stanza))
    }

    fn take_from_live(&self, session: &Arc<Session>, stanza: Stanza) -> Routing {
        self.inner.counts.sent_by_clients();
        let passing = Passing::of(&stanza);
        let Some(ended) = self.inner.modules.pass(HookPoint::UserSendPacket, session.vhost(), passing) else {
            return self.outbound(session, stanza);
        };
        let sender = session.clone();
        self.after_hooks(ended, stanza, move |router, stanza| router.outbound(&sender, stanza))
    }

    fn outbound(&self, session: &Arc<Session>, stanza: Stanza) -> Routing {
        match stanza.type_() {
            StanzaType::Presence(kind) => self.outbound_presence(session, kind, stanza),
            _ if stanza.to().is_some() => self.dispatch(stanza),
            // RFC 6120 10.3.1: a message without `to` is for the sender's own account.
            StanzaType::Message(_) => self.dispatch(stanza.with_to(session.bare_jid())),
            // RFC 6120 10.3.3: an IQ without `to` is handled on behalf of the sender's account.
            StanzaType::Iq(IqType::Get | IqType::Set) => self.own_request(session, stanza),
            StanzaType::Iq(IqType::Result | IqType::Error) => self.unmatched(stanza),
        }
    }

    fn own_request(&self, session: &Arc<Session>, stanza: Stanza) -> Routing {
        if stanza.payload().is_some_and(|payload| payload.ns == ns::SESSION) {
            // RFC 3921 section 3 asked for this step; since RFC 6121 it means nothing, but old clients wait for it.
            let done = stanza.iq_result(&[]).ok();
            return done.map_or(Routing::done(), |reply| self.dispatch(reply));
        }
        note_interest(session, &stanza);
        self.handle_iq(IqTarget::Bare, &stanza.with_to(session.bare_jid()))
    }

    fn outbound_presence(&self, session: &Arc<Session>, kind: PresenceType, stanza: Stanza) -> Routing {
        use PresenceType::{
            Available, Error, Probe, Subscribe, Subscribed, Unavailable, Unsubscribe, Unsubscribed,
        };
        match (kind, stanza.to().is_some()) {
            (Available, false) => self.became_available(session, stanza),
            (Unavailable, false) => self.became_unavailable(session, stanza),
            (Subscribe | Subscribed | Unsubscribe | Unsubscribed, true) => {
                self.outbound_subscription(session, stanza)
            }
            (Subscribe | Subscribed | Unsubscribe | Unsubscribed, false) => {
                self.bounce(&stanza, StanzaErrorCondition::BadRequest.into())
            }
            (Available | Unavailable, true) => self.directed(session, kind, stanza),
            (Probe | Error, true) => self.dispatch(stanza),
            (Probe | Error, false) => self.ignore(stanza),
        }
    }

    /// RFC 6121 section 4.6: presence to one entity, remembered so that it hears of the end.
    fn directed(&self, session: &Arc<Session>, kind: PresenceType, stanza: Stanza) -> Routing {
        let Some(to) = stanza.to() else { return Routing::done() };
        // The own resources are told of every change anyway.
        if !to.same_bare(session.bare_jid()) {
            if kind == PresenceType::Unavailable {
                session.drop_directed(to);
            } else if session.keep_directed(to) == Directed::Refused {
                let text = "You have sent directed presence to too many addresses.";
                let error = StanzaError::new(StanzaErrorCondition::ResourceConstraint, text);
                return self.bounce(&stanza, error);
            }
        }
        self.dispatch(stanza)
    }

    /// RFC 6121 section 3: between bare JIDs, and the business of a module that keeps rosters. Without one there are no
    /// subscriptions here, and the client is told so.
    fn outbound_subscription(&self, session: &Arc<Session>, stanza: Stanza) -> Routing {
        let vhost = session.vhost();
        if !self.inner.modules.is_hooked(HookPoint::SubscriptionPacket, vhost) {
            return self.unavailable_service(stanza);
        }
        let Some(to) = stanza.to() else { return Routing::done() };
        let between_accounts = stanza.with_from(session.bare_jid()).with_to(&to.bare());
        let args = subscription_args("out", &stanza);
        self.offered(HookPoint::SubscriptionPacket, vhost, between_accounts, args, Self::dispatch)
    }
}

/// A resource that asks for its roster wants to hear of changes (RFC 6121 section 2.1.6).
pub(super) fn note_interest(session: &Session, request: &Stanza) {
    let get = request.type_() == StanzaType::Iq(IqType::Get);
    if get && request.payload().is_some_and(|payload| payload.ns == ns::ROSTER) {
        session.set_interested();
    }
}

/// What the hook `subscription_packet` gets beside the stanza. Probes of strangers come to it as well.
pub(super) fn subscription_args(direction: &str, stanza: &Stanza) -> String {
    let kind = stanza.raw_type().unwrap_or_default().into_owned();
    super::hooks::json(&SubscriptionArgs { direction: direction.to_owned(), kind })
}
