//! The policy, pure: from a stanza to whether it can wait.

use crate::Options;
use moult_plugin_api::prelude::*;
use std::collections::HashSet;

const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";
const MUC_USER: &[u8] = b"http://jabber.org/protocol/muc#user";
const EVENT: &str = "http://jabber.org/protocol/pubsub#event";
/// What tells somebody that something has arrived or was read: XEP-0184, XEP-0333.
const RECEIPTS: [&str; 2] = ["urn:xmpp:receipts", "urn:xmpp:chat-markers:0"];
/// What accompanies a message and says nothing by itself: XEP-0334, XEP-0359, XEP-0203.
const ACCOMPANIMENTS: [&str; 3] = ["urn:xmpp:hints", "urn:xmpp:sid:0", "urn:xmpp:delay"];

/// The options, read.
#[derive(Debug)]
pub struct Policy {
    presence: Urgency,
    chat_states: Urgency,
    receipts: Urgency,
    events: Urgency,
    groupchat: Urgency,
    headlines: Urgency,
    urgent_from: HashSet<String>,
    patient_from: HashSet<String>,
    urgent: HashSet<String>,
}

/// What the children of a message come to.
#[derive(Debug, Default)]
struct Content {
    body: bool,
    state: bool,
    receipt: bool,
    event: bool,
    urgent: bool,
    other: bool,
}

impl Policy {
    /// Reads the options; senders are bare JIDs or domains.
    pub fn read(options: &Options) -> Result<Self, Stop> {
        Ok(Self {
            presence: word(&options.presence),
            chat_states: word(&options.chat_states),
            receipts: word(&options.receipts),
            events: word(&options.events),
            groupchat: word(&options.groupchat),
            headlines: word(&options.headlines),
            urgent_from: senders(&options.urgent_from)?,
            patient_from: senders(&options.patient_from)?,
            urgent: options.urgent.iter().cloned().collect(),
        })
    }

    /// Whether a stanza can wait.
    pub fn of(&self, stanza: &Stanza<'_>) -> Urgency {
        let kind = stanza.type_attr();
        match stanza.bytes() {
            bytes if bytes.starts_with(b"<message") => {
                self.message(stanza, kind.as_deref().unwrap_or("normal"))
            }
            bytes if bytes.starts_with(b"<presence") => {
                let tells = matches!(kind.as_deref(), None | Some("unavailable"));
                // One's own presence in a room is an answer; the server knows which it is.
                let of_room = bytes.windows(MUC_USER.len()).any(|window| window == MUC_USER);
                match tells && !of_room {
                    true if lists(&self.patient_from, stanza.from()) => Urgency::Later,
                    true => self.presence,
                    false => Urgency::Unknown,
                }
            }
            _ => Urgency::Unknown,
        }
    }

    fn message(&self, stanza: &Stanza<'_>, kind: &str) -> Urgency {
        let Ok(message) = stanza.element() else { return Urgency::Unknown };
        if kind == "error" {
            return Urgency::Unknown;
        }
        let content = self.content(message);
        if content.urgent || lists(&self.urgent_from, stanza.from()) {
            return Urgency::Now;
        }
        if lists(&self.patient_from, stanza.from()) {
            return Urgency::Later;
        }
        match kind {
            "groupchat" => self.groupchat,
            "headline" if content.body => self.headlines,
            _ if content.body => Urgency::Now,
            // What this module does not know may be anything.
            _ if content.other => Urgency::Unknown,
            _ if content.receipt => self.receipts,
            _ if content.event => self.events,
            _ if content.state => self.chat_states,
            _ => Urgency::Unknown,
        }
    }

    fn content(&self, message: &Element) -> Content {
        let mut content = Content::default();
        for child in message.elements() {
            let ns = child.ns().unwrap_or_default();
            match (child.name(), ns) {
                _ if self.urgent.contains(ns) => content.urgent = true,
                (_, CHAT_STATES) => content.state = true,
                (_, EVENT) => content.event = true,
                ("request" | "markable", ns) if RECEIPTS.contains(&ns) => {}
                (_, ns) if RECEIPTS.contains(&ns) => content.receipt = true,
                (_, ns) if ACCOMPANIMENTS.contains(&ns) => {}
                ("body", _) => content.body = true,
                ("thread", _) => {}
                _ => content.other = true,
            }
        }
        content
    }
}

fn word(option: &str) -> Urgency {
    match option {
        "now" => Urgency::Now,
        "never" => Urgency::Never,
        _ => Urgency::Later,
    }
}

fn senders(texts: &[String]) -> Result<HashSet<String>, Stop> {
    let sender = |text: &String| match Jid::parse(text) {
        Ok(jid) if jid.is_bare() => Ok(jid.as_str().to_owned()),
        _ => Err(Stop::new(format!("\"{text}\" is neither a bare JID nor a domain"))),
    };
    texts.iter().map(sender).collect()
}

fn lists(senders: &HashSet<String>, from: &Jid<'_>) -> bool {
    !senders.is_empty() && (senders.contains(from.bare().as_str()) || senders.contains(from.domain()))
}
