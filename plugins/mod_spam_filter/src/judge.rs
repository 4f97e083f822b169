//! The judgement over one stanza.

use crate::rates::Limit;
use crate::{Rule, SpamFilter};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::now_ms;
use std::sync::Arc;

/// The mark on a stanza that is let through.
const TAG: &str = "urn:moult:spam:0";
/// How long a contact is one without looking into the roster again.
const CONTACT_MS: i64 = 60_000;
/// As much of a text is held against the patterns.
const TEXT: usize = 16 << 10;

/// What can be unwanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Message,
    Subscribe,
    Presence,
    Request,
}

impl Kind {
    /// Errors, answers and messages of rooms are none of this module's business; what ends a subscription harms nobody.
    fn of(stanza: &Stanza<'_>) -> Option<Self> {
        let kind = stanza.type_attr();
        let kind = kind.as_deref();
        match stanza.bytes() {
            message if message.starts_with(b"<message") => {
                (!matches!(kind, Some("error" | "groupchat"))).then_some(Self::Message)
            }
            presence if presence.starts_with(b"<presence") => match kind {
                Some("subscribe") => Some(Self::Subscribe),
                None => Some(Self::Presence),
                Some(_) => None,
            },
            _ => matches!(kind, Some("get" | "set")).then_some(Self::Request),
        }
    }
}

impl SpamFilter {
    /// The hook: what is certainly wanted passes at once; for the rest the recipient's roster is asked.
    pub(crate) fn judge(self: &Arc<Self>, stanza: &Stanza<'_>) -> Soon<Packet> {
        let Some(kind) = Kind::of(stanza) else { return Packet::Pass.into() };
        let (sender, account) = (stanza.from().bare(), stanza.to().bare());
        let now = now_ms();
        if matches!(kind, Kind::Message | Kind::Subscribe) && self.is_account(&sender) {
            self.note_answer(&sender, &account, now);
        }
        if !self.is_account(&account) || sender == account || self.is_server(&sender) {
            return Packet::Pass.into();
        }
        if self.rules.get().allows(&sender) || self.senders().knows(account.as_str(), sender.as_str(), now) {
            return Packet::Pass.into();
        }
        let broken = self.broken_rule(kind, stanza, &sender);
        let counted = matches!(kind, Kind::Message | Kind::Subscribe) && self.options.get().rate > 0;
        if broken.is_none() && !counted {
            return Packet::Pass.into();
        }
        let (this, stanza) = (Arc::clone(self), stanza.clone().into_owned());
        Soon::later(async move { this.judge_stranger(kind, stanza, broken).await })
    }

    fn is_account(&self, jid: &Jid<'_>) -> bool {
        jid.localpart().is_some() && jid.domain() == self.host.vhost()
    }

    /// The server writes to its users, as announcements do.
    fn is_server(&self, jid: &Jid<'_>) -> bool {
        jid.localpart().is_none() && jid.domain() == self.host.vhost()
    }

    /// Whoever an account wrote to may answer.
    fn note_answer(&self, account: &Jid<'_>, peer: &Jid<'_>, now: i64) {
        let options = self.options.get();
        let until = now.saturating_add(millis(options.answers));
        self.senders().note(account.as_str(), peer.as_str(), until, options.max_senders, now);
    }

    fn broken_rule(&self, kind: Kind, stanza: &Stanza<'_>, sender: &Jid<'_>) -> Option<Rule> {
        let rules = self.rules.get();
        if rules.blocks(sender) {
            return Some(Rule::List);
        }
        let is_text = matches!(kind, Kind::Message | Kind::Subscribe) && rules.has_patterns();
        (is_text && stanza.element().is_ok_and(|element| rules.matches(&text(element))))
            .then_some(Rule::Content)
    }

    async fn judge_stranger(&self, kind: Kind, stanza: Stanza<'static>, broken: Option<Rule>) -> Packet {
        let (sender, account) = (stanza.from().bare(), stanza.to().bare());
        let contacts = match self.host.contacts_of(&account).await {
            Ok(contacts) => contacts,
            Err(error) => {
                warn!(self.host.about(&account), "whether a sender is a contact is unknown: {error}");
                return Packet::Pass;
            }
        };
        let (now, options) = (now_ms(), self.options.get());
        if contacts.iter().any(|contact| sender == contact.jid.as_str()) {
            let until = now.saturating_add(CONTACT_MS);
            self.senders().note(account.as_str(), sender.as_str(), until, options.max_senders, now);
            return Packet::Pass;
        }
        let counted = matches!(kind, Kind::Message | Kind::Subscribe) && options.rate > 0;
        let limit = Limit {
            count: options.rate,
            interval: millis(options.rate_interval),
            senders: options.max_senders,
        };
        let within = !counted || self.senders().count(sender.as_str(), limit, now);
        match broken.or((!within).then_some(Rule::Rate)) {
            Some(rule) => self.act(rule, kind, &stanza),
            None => Packet::Pass,
        }
    }

    fn act(&self, rule: Rule, kind: Kind, stanza: &Stanza<'_>) -> Packet {
        let options = self.options.get();
        let (action, counter) = match rule {
            Rule::List => (&options.list_action, "listed"),
            Rule::Content => (&options.content_action, "matched"),
            Rule::Rate => (&options.rate_action, "too_many"),
        };
        self.host.count(counter, 1);
        debug!(self.host.about(stanza.from()), "{counter}: {action}");
        match (action.as_str(), kind) {
            ("tag", Kind::Message | Kind::Subscribe) => self.tag(rule, stanza),
            ("tag", _) => Packet::Pass,
            // A request is answered by the host, which knows this condition; it has an answer in any case.
            (_, Kind::Request) => Packet::refuse(Condition::PolicyViolation),
            ("bounce", Kind::Message | Kind::Subscribe) => self.bounce(stanza),
            _ => {
                self.host.count("dropped", 1);
                Packet::Drop("unwanted".to_owned())
            }
        }
    }

    fn tag(&self, rule: Rule, stanza: &Stanza<'_>) -> Packet {
        self.host.count("tagged", 1);
        match stanza.element() {
            Ok(element) => {
                let tag = Element::new("spam").with_ns(TAG).with_attr("rule", rule.name());
                Packet::replace(&element.clone().with_child(tag))
            }
            Err(_) => Packet::Pass,
        }
    }

    fn bounce(&self, stanza: &Stanza<'_>) -> Packet {
        self.host.count("bounced", 1);
        let error = StanzaError::new(Condition::PolicyViolation, "This was taken for something unwanted.");
        let mut reply = Element::new(stanza.name()).with_attr("type", "error");
        if let Some(id) = stanza.id() {
            reply.set_attr("id", id);
        }
        let reply = reply.with_child(error.to_element());
        if let Err(error) = self.host.route_element(stanza.to(), stanza.from(), &reply) {
            debug!(self.host.about(stanza.from()), "an error was not sent: {error}");
        }
        Packet::answered()
    }
}

/// What a person would read: subject and body of a message, the reason of a request.
fn text(stanza: &Element) -> String {
    let mut text = String::new();
    for part in stanza.elements().filter(|part| matches!(part.name(), "subject" | "body" | "status")) {
        text.push_str(&part.text());
        text.push('\n');
    }
    if text.len() > TEXT {
        let end = (0..=TEXT).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

fn millis(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
