//! What makes a notification: a message for somebody who is not there, and what was sent to somebody who had gone.

use crate::Push;
use crate::notify::News;
use crate::registration::Registration;
use moult_plugin_api::hooks::{PresenceChanged, SessionSuspended};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::ask::Session;
use moult_plugin_api::sdk::hooks::Notice;
use std::sync::Arc;

/// Content of a message without a body that concerns a person at once: encrypted messages and calls.
const URGENT: [(&str, &str); 4] = [
    ("encrypted", "eu.siacs.conversations.axolotl"),
    ("encrypted", "urn:xmpp:omemo:1"),
    ("encrypted", "urn:xmpp:omemo:2"),
    ("propose", "urn:xmpp:jingle-message:0"),
];
/// XEP-0203.
const DELAY: &str = "urn:xmpp:delay";
const CARBONS: &str = "urn:xmpp:carbons:2";
/// The longest text that is told, in characters.
const LONGEST: usize = 200;

impl Push {
    /// Nobody took it. Whoever keeps messages comes later.
    pub(crate) fn offline(&self, stanza: &Stanza<'_>) -> Taken {
        let account = stanza.to().bare();
        if self.has(account.as_str())
            && !self.was_told(stanza)
            && let Some(news) = self.news(stanza)
        {
            for registration in self.of(account.as_str()) {
                self.tell(account.as_str(), &registration, news.clone());
            }
        }
        Taken::No
    }

    /// What a session that waited has left carries the time at which it came: it was told of then.
    fn was_told(&self, stanza: &Stanza<'_>) -> bool {
        let delay = stanza.element().ok().and_then(|message| message.subtag_ns("delay", DELAY));
        delay.is_some_and(|delay| delay.attr("from") == Some(self.host.vhost()))
    }

    /// It goes to a session; whether that one waits for its client is asked only where somebody would be told.
    pub(crate) fn received(&self, stanza: &Stanza<'_>) -> Packet {
        if !stanza.bytes().starts_with(b"<message") || !self.has(stanza.to().bare().as_str()) {
            return Packet::Pass;
        }
        let Some(news) = self.news(stanza) else { return Packet::Pass };
        let (this, session) = (self.clone(), stanza.to().clone().into_owned());
        // Asked now: a session that loses its connection after this tells of the message itself.
        let asked = self.host.sessions_of(&session);
        let spawned = self.host.spawn(async move {
            let sessions = asked.await.unwrap_or_default();
            let is_gone = sessions.iter().any(|other| other.detached && session == *other.jid.as_str());
            if is_gone {
                this.tell_apps_of(&session, &sessions, &news);
            }
        });
        if let Err(error) = spawned {
            debug!(self.host, "a push service is not told: {error}");
        }
        Packet::Pass
    }

    /// What was sent to a session and never acknowledged, when its connection is lost.
    pub(crate) async fn suspended(self: Arc<Self>, notice: Notice<'static, SessionSuspended>) {
        let messages = notice.what.messages;
        if messages == 0 || !self.has(notice.jid.bare().as_str()) {
            return;
        }
        let sessions = self.host.sessions_of(&notice.jid).await.unwrap_or_default();
        self.tell_apps_of(&notice.jid, &sessions, &News { count: messages, ..News::default() });
    }

    /// The app that a session belongs to, or else those that have no session.
    fn tell_apps_of(&self, session: &Jid<'_>, sessions: &[Session], news: &News) {
        let (account, resource) = (session.bare(), session.resource().unwrap_or_default());
        let all = self.of(account.as_str());
        let is_here = |app: &Registration| {
            let of_app =
                |jid: &Session| jid.jid.split_once('/').is_some_and(|(_, name)| name == app.resource);
            sessions.iter().any(|session| !session.detached && of_app(session))
        };
        let is_own = |app: &&Registration| app.resource == resource;
        let own = all.iter().any(|app| is_own(&app));
        for app in all.iter().filter(|app| if own { is_own(app) } else { !is_here(app) }) {
            self.tell(account.as_str(), app, news.clone());
        }
    }

    /// The client is connected, but nobody looks at it.
    pub(crate) fn inactive(&self, stanza: &Stanza<'_>) -> Urgency {
        let account = stanza.to().bare();
        if self.options.get().inactive
            && stanza.bytes().starts_with(b"<message")
            && self.has(account.as_str())
            && let Some(news) = self.news(stanza)
        {
            let resource = stanza.to().resource().unwrap_or_default();
            for app in self.of(account.as_str()).iter().filter(|app| app.resource == resource) {
                self.tell(account.as_str(), app, news.clone());
            }
        }
        Urgency::Unknown
    }

    /// Somebody is there: nothing waits any longer.
    pub(crate) fn presence(&self, notice: &Notice<'_, PresenceChanged>) {
        if notice.what.available && !notice.what.was_available {
            self.state().waiting.remove(notice.jid.bare().as_str());
        }
    }

    /// What there is to tell of a message; `None` where it concerns no person at once.
    fn news(&self, stanza: &Stanza<'_>) -> Option<News> {
        let message = stanza.element().ok()?;
        if !matches!(message.attr_s("type"), "" | "normal" | "chat") {
            return None;
        }
        if message.elements().any(|child| child.ns() == Some(CARBONS)) {
            return None;
        }
        let body = message.elements().find(|child| child.name() == "body");
        let is_urgent = || URGENT.iter().any(|(name, ns)| message.subtag_ns(name, ns).is_some());
        if body.is_none() && !is_urgent() {
            return None;
        }
        let options = self.options.get();
        let text =
            body.filter(|_| options.include_body).map(|body| body.text().chars().take(LONGEST).collect());
        let sender = options.include_sender.then(|| stanza.from().as_str().to_owned());
        Some(News { count: 1, sender: sender.unwrap_or_default(), body: text.unwrap_or_default() })
    }
}
