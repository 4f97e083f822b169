//! Contacts and presence: what a module that keeps rosters tells the server, and what it hands to an account's sessions.
//! Since API 1.1.
//!
//! The server owns presence. It asks for an account's contacts by the hook `contacts` when it must know who sees whom,
//! keeps them while the account has sessions, and is told of every change by [`Host::contact_changed`]: so a swap of the
//! module is not felt.

use super::ask::{nothing, text_as_json};
use super::element::Element;
use super::op::Op;
use super::{Host, Jid};
use crate::abi::v1::op;
use crate::hooks::{Contact, Subscription};
use serde_json::json;

/// Which sessions of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    /// Those that have sent presence.
    Available,
    /// Those that have asked for the roster (RFC 6121 section 2.1.6).
    Interested,
    /// All.
    Connected,
}

impl Among {
    fn name(self) -> &'static str {
        match self {
            Among::Available => "available",
            Among::Interested => "interested",
            Among::Connected => "connected",
        }
    }
}

impl Host {
    /// The contacts of an account.
    pub fn contacts_of(&self, account: &Jid<'_>) -> Op<Vec<Contact>> {
        self.op(op::CONTACTS_OF, 0, &json!({"jid": account.bare().as_str()}), b"", text_as_json)
    }

    /// Tells the server that the subscription between an account and a contact has changed, after the change was stored.
    /// The server sends what follows for presence: the account's presence to a contact that sees it from now on,
    /// unavailable presence to one that no longer does.
    pub fn contact_changed(
        &self,
        account: &Jid<'_>,
        contact: &Jid<'_>,
        subscription: Subscription,
    ) -> Op<()> {
        let args = json!({
            "account": account.bare().as_str(),
            "contact": contact.as_str(),
            "subscription": subscription,
        });
        self.op(op::CONTACT_CHANGED, 0, &args, b"", nothing)
    }

    /// Puts a stanza into the mailboxes of an account's sessions, or of one session where `to` is a full JID, without the
    /// rules of routing: roster pushes, subscription requests, stored messages. Gives how many sessions took it; nobody
    /// is told of those that did not.
    pub fn deliver(&self, to: &Jid<'_>, among: Among, stanza: &Element) -> Op<u64> {
        let args = json!({"to": to.as_str(), "among": among.name()});
        self.op(op::DELIVER, 0, &args, &stanza.to_bytes(), |answer| {
            Ok(u64::try_from(answer.number).unwrap_or(0))
        })
    }
}
