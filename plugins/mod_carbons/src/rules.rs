//! Which messages are copied (XEP-0280 section 6), with the hints of XEP-0334.

use moult_plugin_api::prelude::*;

/// XEP-0280.
pub const NS: &str = "urn:xmpp:carbons:2";
const HINTS: &str = "urn:xmpp:hints";
const MUC_USER: &str = "http://jabber.org/protocol/muc#user";

/// Payloads that make a message of type `normal` one of a conversation even without a body.
const IM_PAYLOADS: [&str; 6] = [
    // XEP-0184, 0085, 0333, 0334 with 0384's header, 0353, 0466 (reactions, retractions come as fallbacks with a body).
    "urn:xmpp:receipts",
    "http://jabber.org/protocol/chatstates",
    "urn:xmpp:chat-markers:0",
    "eu.siacs.conversations.axolotl",
    "urn:xmpp:jingle-message:0",
    "urn:xmpp:omemo:2",
];

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Sent,
    Received,
}

impl Direction {
    pub fn name(self) -> &'static str {
        match self {
            Direction::Sent => "sent",
            Direction::Received => "received",
        }
    }
}

/// Whether the message is to be copied.
pub fn is_copied(message: &Element, direction: Direction) -> bool {
    if is_private(message) || is_copy(message) {
        return false;
    }
    match message.attr_s("type") {
        "chat" => !is_private_of_room(message, direction),
        "" | "normal" => is_conversation(message) && !is_private_of_room(message, direction),
        // A copy of the error to a message that all clients have seen.
        "error" => direction == Direction::Received,
        _ => false,
    }
}

/// Whether its sender wants no copies (XEP-0280 6.4, XEP-0334 4.3).
pub fn is_private(message: &Element) -> bool {
    message.elements().any(|e| e.is("private", NS) || e.is("no-copy", HINTS))
}

/// A copy must never be copied.
fn is_copy(message: &Element) -> bool {
    message.elements().any(|e| e.is("sent", NS) || e.is("received", NS))
}

fn is_conversation(message: &Element) -> bool {
    message.elements().any(|e| e.name() == "body" || e.ns().is_some_and(|ns| IM_PAYLOADS.contains(&ns)))
}

/// A private message of a room's occupant is the business of the client that is in the room: the others are not.
/// Invitations carry the same namespace and are copied.
fn is_private_of_room(message: &Element, direction: Direction) -> bool {
    let marked = message.elements().find(|e| e.is("x", MUC_USER));
    direction == Direction::Received
        && marked.is_some_and(|x| x.subtag("invite").is_none() && x.subtag("decline").is_none())
}
