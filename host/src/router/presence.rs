//! Presence of this server's sessions (RFC 6121 section 4): told to the account's own resources, to its contacts (see
//! [`super::contacts`]) and to entities told directly; probes from any of them.

use std::sync::Arc;

use moult_plugin_api::hooks::PresenceChanged;

use super::{Router, Routing};
use crate::plugin::hook::HookPoint;
use crate::session::{Farewell, Presence, Session, Show};
use crate::stanza::{Jid, Stanza, StanzaError, StanzaErrorCondition, ns};

impl Router {
    /// Sections 4.2.2 and 4.4.2: tell the own available resources, this one included, and the contacts; at first also
    /// tell it of them.
    pub(super) fn became_available(&self, session: &Arc<Session>, stanza: Stanza) -> Routing {
        let presence = match read_presence(&stanza) {
            Ok(presence) => presence,
            Err(error) => return self.bounce(&stanza, error),
        };
        let args = PresenceChanged {
            available: true,
            priority: presence.priority,
            show: shown(presence.show),
            ..PresenceChanged::default()
        };
        let opening = self.opening(session, presence.priority);
        let Ok(before) = session.set_presence(presence) else { return Routing::done() };
        let initial = before.is_none();
        let was_priority = before.map(|presence| presence.priority);
        let args = PresenceChanged { was_available: !initial, was_priority, ..args };
        let own = self.tell_own(session, &stanza, initial);
        let contacts = self.tell_available(session, &stanza, initial);
        let told = self.tell_modules(session, stanza, args);
        let told = match opening {
            Some(opening) => opening.until(told),
            None => told,
        };
        Routing::all([own, contacts, told])
    }

    fn tell_own(&self, session: &Arc<Session>, stanza: &Stanza, initial: bool) -> Routing {
        let resources = self.sessions().resources(session.bare_jid());
        let available = || resources.iter().filter(|other| other.is_available());
        let told = available().map(|other| self.to_session(other.clone(), stanza.with_to(other.full_jid())));
        let others = available().filter(|other| initial && other.id() != session.id());
        let shown = others.filter_map(|other| self.show_presence(other, session));
        Routing::all(told.chain(shown))
    }

    fn tell_available(&self, session: &Arc<Session>, stanza: &Stanza, initial: bool) -> Routing {
        let (session, stanza) = (session.clone(), stanza.clone());
        let account = session.bare_jid().clone();
        self.after(self.contacts(&account), move |router, contacts| {
            let Some(contacts) = contacts else { return Routing::done() };
            let told = router.tell_contacts(&account, &contacts, &stanza);
            if !initial {
                return told;
            }
            Routing::all([told, router.probe_contacts(&session, &contacts)])
        })
    }

    /// Modules hear of a change when everybody else was told, which may have to wait for them.
    fn tell_modules(&self, session: &Arc<Session>, stanza: Stanza, args: PresenceChanged) -> Routing {
        if !self.inner.modules.is_hooked(HookPoint::PresenceChanged, session.vhost()) {
            return Routing::done();
        }
        let (router, session) = (self.clone(), session.clone());
        Routing::later(async move {
            router.tell(HookPoint::PresenceChanged, &session, Some(&stanza), || args).await;
        })
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

    /// Tells the own available resources, the contacts and the entities with directed presence that the session is
    /// unavailable.
    pub(super) fn say_farewell(
        &self,
        session: &Arc<Session>,
        farewell: Farewell,
        stanza: &Stanza,
    ) -> Routing {
        let Some(presence) = farewell.presence else {
            let told = farewell.directed.iter().map(|entity| self.dispatch(stanza.with_to(entity)));
            return Routing::all(told);
        };
        let own = self.tell_own(session, stanza, false);
        let others = self.tell_unavailable(session, stanza, farewell.directed);
        let was_priority = Some(presence.priority);
        let args = PresenceChanged { was_available: true, was_priority, ..PresenceChanged::default() };
        Routing::all([own, others, self.tell_modules(session, stanza.clone(), args)])
    }

    /// Contacts, and those told directly who are none (section 4.6.3).
    fn tell_unavailable(&self, session: &Session, stanza: &Stanza, directed: Vec<Jid>) -> Routing {
        let (account, stanza) = (session.bare_jid().clone(), stanza.clone());
        self.after(self.contacts(&account), move |router, contacts| {
            let contacts = contacts.unwrap_or_default();
            let told = router.tell_contacts(&account, &contacts, &stanza);
            let others = directed.iter().filter(|entity| !contacts.shows_to(entity));
            let others = others.map(|entity| router.dispatch(stanza.with_to(entity)));
            Routing::all([told].into_iter().chain(others))
        })
    }

    /// Section 4.3.2. Resources of the same account are subscribed to themselves; entities that were told directly are
    /// answered; of others the contacts decide. Without a module that keeps contacts the probe is ignored: an answer
    /// `unsubscribed` would make the contact's server forget a subscription that a roster may hold.
    pub(super) fn probe(&self, stanza: Stanza) -> Routing {
        let (Some(asker), Some(asked)) = (stanza.from(), stanza.to()) else { return Routing::done() };
        let resources = self.sessions().resources(asked);
        let meant = resources.iter().filter(|session| asked.is_bare() || session.full_jid() == asked);
        let visible: Vec<_> = meant.filter(|session| may_see(asker, session)).collect();
        if !visible.is_empty() || asker.same_bare(asked) {
            let presences = visible.into_iter().filter_map(|session| session.presence());
            return Routing::all(presences.map(|presence| self.dispatch(presence.stanza.with_to(asker))));
        }
        if !self.inner.modules.is_hooked(HookPoint::Contacts, asked.domain()) {
            return self.inbound_subscription(stanza);
        }
        let (asker, asked) = (asker.clone(), asked.clone());
        self.after(self.contacts(&asked), move |router, contacts| match contacts {
            None => Routing::done(),
            Some(contacts) if contacts.shows_to(&asker) => router.answer_probe(&asker, &asked),
            Some(_) => router.deny_probe(&asker, &asked),
        })
    }

    /// The presence of each resource asked for; that there is none, where there is none.
    fn answer_probe(&self, asker: &Jid, asked: &Jid) -> Routing {
        let resources = self.sessions().resources(asked);
        let meant = resources.iter().filter(|session| asked.is_bare() || session.full_jid() == asked);
        let mut presences = meant.filter_map(|session| session.presence()).peekable();
        if presences.peek().is_none() {
            let answer = unavailable(asked).map(|stanza| self.dispatch(stanza.with_to(asker)));
            return answer.unwrap_or(Routing::done());
        }
        Routing::all(presences.map(|presence| self.dispatch(presence.stanza.with_to(asker))))
    }

    /// Who may not see the account is told so: its server corrects what it believes. An unknown account answers alike.
    fn deny_probe(&self, asker: &Jid, asked: &Jid) -> Routing {
        let Ok(denial) = Stanza::parse(b"<presence type='unsubscribed'/>") else { return Routing::done() };
        self.dispatch(denial.readdressed(Some(asked.bare()), Some(asker.bare())))
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

    /// Gives a session the presence that it had before a restart. Nobody is told: nobody has heard of its end.
    pub fn restore_presence(&self, session: &Session, presence: Option<Stanza>, directed: &[Jid]) {
        if let Some(presence) = presence.and_then(|stanza| read_presence(&stanza).ok()) {
            // A session that has ended meanwhile has no presence to get back.
            let _ = session.set_presence(presence);
        }
        for entity in directed {
            session.keep_directed(entity);
        }
    }

    pub(super) fn show_presence(&self, of: &Session, to: &Arc<Session>) -> Option<Routing> {
        let presence = of.presence()?;
        Some(self.to_session(to.clone(), presence.stanza.with_to(to.full_jid())))
    }
}

/// An account's resources see each other; others only what they were told.
fn may_see(asker: &Jid, session: &Session) -> bool {
    asker.same_bare(session.bare_jid()) || session.has_directed(asker)
}

/// `<presence type='unavailable'/>` from this JID.
pub(super) fn unavailable(from: &Jid) -> Option<Stanza> {
    let stanza = Stanza::parse(b"<presence type='unavailable'/>").ok()?;
    Some(stanza.with_from(from))
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
