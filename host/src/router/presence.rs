//! Presence of this server's sessions (RFC 6121 section 4) as far as it can be kept without a roster: the account's own
//! resources, entities told directly, and probes from either. Contacts are told by the module behind the hook
//! `presence_changed`.

use std::sync::Arc;

use moult_plugin_api::hooks::PresenceChanged;

use super::{Router, Routing};
use crate::plugin::hook::HookPoint;
use crate::session::{Farewell, Presence, Session, Show};
use crate::stanza::{Jid, Stanza, StanzaError, StanzaErrorCondition, ns};

impl Router {
    /// Sections 4.2.2 and 4.4.2: tell the own available resources, this one included; at first also tell it of them.
    pub(super) fn became_available(&self, session: &Arc<Session>, stanza: Stanza) -> Routing {
        let presence = match read_presence(&stanza) {
            Ok(presence) => presence,
            Err(error) => return self.bounce(&stanza, error),
        };
        let args = PresenceChanged {
            available: true,
            was_available: false,
            priority: presence.priority,
            show: shown(presence.show),
        };
        let Ok(before) = session.set_presence(presence) else { return Routing::done() };
        let resources = self.sessions().resources(session.bare_jid());
        let available = || resources.iter().filter(|other| other.is_available());
        let told = available().map(|other| self.to_session(other.clone(), stanza.with_to(other.full_jid())));
        let mut steps: Vec<Routing> = told.collect();
        if before.is_none() {
            let others = available().filter(|other| other.id() != session.id());
            steps.extend(others.filter_map(|other| self.show_presence(other, session)));
        }
        let args = PresenceChanged { was_available: before.is_some(), ..args };
        steps.push(self.tell(HookPoint::PresenceChanged, session, Some(&stanza), || args));
        Routing::all(steps)
    }

    /// Section 4.5.2.
    pub(super) fn became_unavailable(&self, session: &Arc<Session>, stanza: Stanza) -> Routing {
        let farewell = session.take_presence();
        let was_available = farewell.presence.is_some();
        let others = self.say_farewell(session, farewell, &stanza);
        let itself = if was_available {
            self.to_session(session.clone(), stanza.with_to(session.full_jid()))
        } else {
            Routing::done()
        };
        Routing::all([others, itself])
    }

    /// Tells the own available resources and the entities with directed presence that the session is unavailable.
    pub(super) fn say_farewell(
        &self,
        session: &Arc<Session>,
        farewell: Farewell,
        stanza: &Stanza,
    ) -> Routing {
        let mut steps = Vec::new();
        if farewell.presence.is_some() {
            let resources = self.sessions().resources(session.bare_jid());
            let available = resources.iter().filter(|other| other.is_available());
            steps.extend(
                available.map(|other| self.to_session(other.clone(), stanza.with_to(other.full_jid()))),
            );
            let args = || PresenceChanged { was_available: true, ..PresenceChanged::default() };
            steps.push(self.tell(HookPoint::PresenceChanged, session, Some(stanza), args));
        }
        steps.extend(farewell.directed.iter().map(|entity| self.dispatch(stanza.with_to(entity))));
        Routing::all(steps)
    }

    /// Section 4.3.2. Answered to resources of the same account, which are subscribed to themselves, and to entities
    /// that were told directly; anybody else is the business of the module that keeps rosters. Without one the probe is
    /// ignored: an answer `unsubscribed` would make the contact's server forget a subscription that a roster may hold.
    pub(super) fn probe(&self, stanza: Stanza) -> Routing {
        let (Some(asker), Some(asked)) = (stanza.from(), stanza.to()) else { return Routing::done() };
        let resources = self.sessions().resources(asked);
        let meant = resources.iter().filter(|session| asked.is_bare() || session.full_jid() == asked);
        let visible: Vec<_> = meant.filter(|session| may_see(asker, session)).collect();
        if !visible.is_empty() || asker.same_bare(asked) {
            let presences = visible.into_iter().filter_map(|session| session.presence());
            return Routing::all(presences.map(|presence| self.dispatch(presence.stanza.with_to(asker))));
        }
        self.inbound_subscription(stanza)
    }

    /// Section 3 and probes of strangers: a module's, or nobody's.
    pub(super) fn inbound_subscription(&self, stanza: Stanza) -> Routing {
        let Some(to) = stanza.to() else { return Routing::done() };
        if !self.inner.modules.is_hooked(HookPoint::SubscriptionPacket, to.domain()) {
            return self.ignore(stanza);
        }
        let vhost = to.domain().to_owned();
        self.if_exists(stanza, Self::ignore, move |router, stanza| {
            let args = super::outbound::subscription_args("in", &stanza);
            router.offered(HookPoint::SubscriptionPacket, &vhost, stanza, args, Self::ignore)
        })
    }

    fn show_presence(&self, of: &Session, to: &Arc<Session>) -> Option<Routing> {
        let presence = of.presence()?;
        Some(self.to_session(to.clone(), presence.stanza.with_to(to.full_jid())))
    }
}

/// An account's resources see each other; others only what they were told.
fn may_see(asker: &Jid, session: &Session) -> bool {
    asker.same_bare(session.bare_jid()) || session.has_directed(asker)
}

/// As hooks are told it: empty where the presence says nothing.
fn shown(show: Show) -> String {
    if show == Show::Online { String::new() } else { show.as_str().to_owned() }
}

/// Section 4.7: priority, show and status of an available presence.
fn read_presence(stanza: &Stanza) -> Result<Presence, StanzaError> {
    let mut presence =
        Presence { stanza: stanza.clone(), priority: 0, show: Show::default(), status: String::new() };
    if stanza.child_count() == 0 {
        return Ok(presence);
    }
    let element = stanza.to_element();
    if let Some(priority) = element.child("priority", ns::CLIENT) {
        presence.priority = priority.text().trim().parse().map_err(|_| {
            let text = "The priority of a presence is a whole number from -128 to 127.";
            StanzaError::new(StanzaErrorCondition::BadRequest, text)
        })?;
    }
    if let Some(show) = element.child("show", ns::CLIENT) {
        presence.show = Show::parse(show.text().trim());
    }
    if let Some(status) = element.child("status", ns::CLIENT) {
        presence.status = status.text();
    }
    Ok(presence)
}
