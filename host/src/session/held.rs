//! What is held back from a client that nobody looks at (XEP-0352), and what is not.
//!
//! Promises: nothing is lost and the order stays: as soon as one stanza cannot wait, everything that is held goes before
//! it. Of the presence of one sender, and of the chat states of one, only the last is kept, in its own place at the end.
//! The queue is bounded; what does not fit makes everything go.

use std::collections::VecDeque;

use super::mailbox::weight;
use crate::stanza::{MessageType, PresenceType, Stanza, StanzaType, Urgency, ns};

/// What the queue may cost, whatever the configured number of stanzas.
const MAX_BYTES: usize = 128 * 1024;

/// Namespaces whose elements in a message say nothing by themselves.
const ACCOMPANIMENTS: [&str; 3] = [ns::HINTS, ns::STANZA_ID, ns::DELAY];

/// Whether a stanza can wait, and what becomes needless by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// Somebody would want to be woken for it.
    No,
    /// It can wait.
    Yes,
    /// It can wait, and of the same sender only the last one counts.
    Latest(Topic),
}

/// What only the last stanza of a sender tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topic {
    Presence,
    ChatState,
}

/// The queue of one client.
#[derive(Debug, Default)]
pub struct Held {
    waiting: VecDeque<(Stanza, Option<Topic>)>,
    bytes: usize,
}

impl Held {
    /// Takes a stanza. Gives what is to be sent now, in order: nothing, or everything with this one at the end.
    pub fn take(&mut self, stanza: Stanza, at_most: usize) -> Vec<Stanza> {
        let topic = match wait(&stanza) {
            Wait::No => return self.flush_with(stanza),
            Wait::Yes => None,
            Wait::Latest(topic) => Some(topic),
        };
        if topic.is_some() {
            self.forget(&stanza, topic);
        }
        if self.waiting.len() >= at_most || self.bytes + weight(&stanza) > MAX_BYTES {
            return self.flush_with(stanza);
        }
        self.bytes += weight(&stanza);
        self.waiting.push_back((stanza, topic));
        Vec::new()
    }

    /// Everything, in order.
    pub fn flush(&mut self) -> Vec<Stanza> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting).into_iter().map(|(stanza, _)| stanza).collect()
    }

    fn flush_with(&mut self, last: Stanza) -> Vec<Stanza> {
        let mut all = self.flush();
        all.push(last);
        all
    }

    fn forget(&mut self, newer: &Stanza, topic: Option<Topic>) {
        let is_older = |(stanza, of): &(Stanza, Option<Topic>)| *of == topic && stanza.from() == newer.from();
        if let Some(at) = self.waiting.iter().position(is_older)
            && let Some((older, _)) = self.waiting.remove(at)
        {
            self.bytes -= weight(&older);
        }
    }
}

fn wait(stanza: &Stanza) -> Wait {
    match (stanza.urgency(), by_rules(stanza)) {
        (Some(Urgency::Now), _) => Wait::No,
        // What the policy lets wait may still replace an older one.
        (Some(Urgency::Later), Wait::No) => Wait::Yes,
        (_, ruled) => ruled,
    }
}

fn by_rules(stanza: &Stanza) -> Wait {
    match stanza.type_() {
        StanzaType::Iq(_) => Wait::No,
        StanzaType::Presence(PresenceType::Available | PresenceType::Unavailable) => {
            if is_own_occupant(stanza) { Wait::No } else { Wait::Latest(Topic::Presence) }
        }
        StanzaType::Presence(_) => Wait::No,
        StanzaType::Message(MessageType::Error) => Wait::No,
        StanzaType::Message(kind) => message_by_rules(kind, stanza),
    }
}

/// A client waits for its own presence in a room it enters (XEP-0045 section 7.2.2), and has to hear that it is out.
fn is_own_occupant(presence: &Stanza) -> bool {
    if !presence.as_str().contains(ns::MUC_USER) {
        return false;
    }
    let element = presence.to_element();
    let Some(x) = element.child("x", ns::MUC_USER) else { return false };
    x.children().any(|child| child.name() == "status" && child.attribute("code") == Some("110"))
}

fn message_by_rules(kind: MessageType, message: &Stanza) -> Wait {
    // Most messages say something; that is found out without a tree.
    if message.as_str().contains("<body") {
        return Wait::No;
    }
    let element = message.to_element();
    let mut has_state = false;
    for child in element.children() {
        match child.namespace() {
            ns::CHAT_STATES => has_state = true,
            ns::PUBSUB_EVENT if kind == MessageType::Headline => return Wait::Yes,
            ns::CLIENT if child.name() == "thread" => {}
            namespace if ACCOMPANIMENTS.contains(&namespace) => {}
            _ => return Wait::No,
        }
    }
    if has_state { Wait::Latest(Topic::ChatState) } else { Wait::No }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stanza(xml: &str) -> Stanza {
        Stanza::parse(xml.as_bytes()).unwrap_or_else(|error| panic!("{xml}: {error}"))
    }

    fn presence(from: &str, show: &str) -> Stanza {
        stanza(&format!("<presence from='{from}'><show>{show}</show></presence>"))
    }

    fn state(from: &str, state: &str) -> Stanza {
        stanza(&format!(
            "<message from='{from}' type='chat'><{state} xmlns='http://jabber.org/protocol/chatstates'/></message>"
        ))
    }

    fn texts(stanzas: &[Stanza]) -> String {
        stanzas.iter().map(|stanza| stanza.as_str()).collect()
    }

    #[test]
    fn only_the_last_presence_and_chat_state_of_each_is_kept_and_order_stays() {
        let mut held = Held::default();
        for stanza in [
            presence("romeo@b.example/a", "away"),
            state("romeo@b.example/a", "composing"),
            presence("nurse@b.example/b", "dnd"),
            presence("romeo@b.example/c", "chat"),
            presence("romeo@b.example/a", "xa"),
            state("romeo@b.example/a", "paused"),
        ] {
            assert!(held.take(stanza, 100).is_empty());
        }
        let expected = [
            presence("nurse@b.example/b", "dnd"),
            presence("romeo@b.example/c", "chat"),
            presence("romeo@b.example/a", "xa"),
            state("romeo@b.example/a", "paused"),
        ];
        assert_eq!(texts(&held.flush()), texts(&expected));
        assert_eq!((held.bytes, held.flush().len()), (0, 0));
    }

    #[test]
    fn what_cannot_wait_takes_everything_with_it() {
        let mut held = Held::default();
        let (away, message) =
            (presence("romeo@b.example/a", "away"), stanza("<message><body>hi</body></message>"));
        assert!(held.take(away.clone(), 100).is_empty());
        assert_eq!(texts(&held.take(message.clone(), 100)), texts(&[away, message]));
        assert!(held.flush().is_empty());
    }

    #[test]
    fn a_full_queue_goes_as_a_whole() {
        let mut held = Held::default();
        let from = |n: usize| presence(&format!("romeo@b.example/{n}"), "away");
        assert!(held.take(from(0), 2).is_empty() && held.take(from(1), 2).is_empty());
        assert!(held.take(from(1), 2).is_empty(), "one that replaces another needs no more room");
        assert_eq!(held.take(from(2), 2).len(), 3);
        let large = format!(
            "<presence from='romeo@b.example/x'><status>{}</status></presence>",
            "x".repeat(MAX_BYTES)
        );
        assert_eq!(held.take(stanza(&large), 2).len(), 1);
    }

    #[test]
    fn a_policy_may_decide_otherwise() {
        let mut held = Held::default();
        let message = stanza("<message><body>noise</body></message>").with_urgency(Urgency::Later);
        assert!(held.take(message, 100).is_empty());
        let status = |show| presence("romeo@b.example/a", show).with_urgency(Urgency::Later);
        assert!(held.take(status("away"), 100).is_empty() && held.take(status("xa"), 100).is_empty());
        let urgent = presence("boss@b.example/a", "chat").with_urgency(Urgency::Now);
        assert_eq!(held.take(urgent, 100).len(), 3);
    }

    #[test]
    fn the_rules_tell_what_can_wait() {
        let event = "<event xmlns='http://jabber.org/protocol/pubsub#event'/>";
        let active = "<active xmlns='http://jabber.org/protocol/chatstates'/>";
        let muc = |code: &str| {
            format!(
                "<presence from='r@m.example/a'><x xmlns='http://jabber.org/protocol/muc#user'>\
                 <item role='none'/><status code='{code}'/></x></presence>"
            )
        };
        let latest = |topic| Wait::Latest(topic);
        let cases = [
            ("<presence type='unavailable'/>".to_owned(), latest(Topic::Presence)),
            ("<presence type='subscribe'/>".into(), Wait::No),
            ("<presence type='error' id='1'/>".into(), Wait::No),
            (muc("110"), Wait::No),
            (muc("307"), latest(Topic::Presence)),
            ("<iq type='result' id='1'/>".into(), Wait::No),
            (format!("<message>{active}<thread>1</thread></message>"), latest(Topic::ChatState)),
            (
                format!("<message>{active}<no-store xmlns='urn:xmpp:hints'/></message>"),
                latest(Topic::ChatState),
            ),
            (format!("<message>{active}<received xmlns='urn:xmpp:receipts' id='1'/></message>"), Wait::No),
            (format!("<message>{active}<body>hi</body></message>"), Wait::No),
            (format!("<message type='error' id='1'>{active}</message>"), Wait::No),
            (format!("<message type='headline'>{event}</message>"), Wait::Yes),
            (format!("<message>{event}</message>"), Wait::No),
            ("<message/>".into(), Wait::No),
        ];
        for (xml, expected) in cases {
            assert_eq!(by_rules(&stanza(&xml)), expected, "{xml}");
        }
    }
}
