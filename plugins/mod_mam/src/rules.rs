//! Which messages belong into an archive (XEP-0313 5.1), with the hints of XEP-0334.

use crate::STANZA_ID;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::Node;

const HINTS: &str = "urn:xmpp:hints";

/// What makes a message worth keeping without a body: receipts, markers, encrypted content, calls, reactions, retractions.
const KEPT_WITHOUT_BODY: [&str; 8] = [
    "urn:xmpp:receipts",
    "urn:xmpp:chat-markers:0",
    "eu.siacs.conversations.axolotl",
    "urn:xmpp:omemo:1",
    "urn:xmpp:omemo:2",
    "urn:xmpp:jingle-message:0",
    "urn:xmpp:reactions:0",
    "urn:xmpp:message-retract:1",
];

/// Whether the message is one of a conversation that its parties want to find again.
pub fn is_archived(message: &Element) -> bool {
    if !matches!(message.attr_s("type"), "" | "chat" | "normal") {
        return false;
    }
    let hint = |name: &str| message.elements().any(|e| e.is(name, HINTS));
    if hint("no-store") || hint("no-permanent-store") {
        return false;
    }
    let has_body = message.elements().any(|e| e.name() == "body" && e.ns().is_none_or(|ns| ns == ns::CLIENT));
    let has_payload = || {
        message
            .elements()
            .any(|e| e.ns().is_some_and(|ns| KEPT_WITHOUT_BODY.contains(&ns)) && e.name() != "request")
    };
    has_body || hint("store") || has_payload()
}

/// Takes out ids in the name of this archive; says whether there were any (XEP-0359, business rule 5).
pub fn without_ids_by(message: &mut Element, by: &Jid<'_>) -> bool {
    let forged = |node: &Node| {
        matches!(node, Node::Element(e) if e.is("stanza-id", STANZA_ID)
            && Jid::parse(e.attr_s("by")).is_ok_and(|named| named == *by))
    };
    let before = message.children().len();
    message.children_mut().retain(|node| !forged(node));
    message.children().len() != before
}

/// The message with the archive's id.
pub fn with_id(mut message: Element, by: &Jid<'_>, id: &str) -> Element {
    message
        .push(Element::new("stanza-id").with_ns(STANZA_ID).with_attr("by", by.as_str()).with_attr("id", id));
    message
}
