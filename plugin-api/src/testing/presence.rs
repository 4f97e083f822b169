//! Contacts and deliveries of the fake host.

use super::ops::{State, failed, json, number, text};
use super::world::{FakeHost, bare};
use crate::abi::v1::op;
use crate::hooks::{Contact, Subscription};
use crate::sdk::Element;
use crate::sdk::element::parse_element;
use serde_json::Value;

/// A change of a contact that a module told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactChange {
    /// Whose contact.
    pub account: String,
    /// Who.
    pub contact: String,
    /// As it is now.
    pub subscription: Subscription,
}

/// A stanza that a module put into a session's mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The session's full JID.
    pub session: String,
    /// What.
    pub stanza: Element,
}

impl FakeHost {
    /// Gives an account contacts, as [`Host::contacts_of`](crate::sdk::Host::contacts_of) tells them.
    pub fn set_contacts(&self, account: &str, contacts: &[(&str, Subscription)]) {
        let contacts = contacts
            .iter()
            .map(|(jid, subscription)| Contact { jid: (*jid).to_owned(), subscription: *subscription });
        self.world().contacts.insert(bare(account), contacts.collect());
    }

    /// The session has asked for the roster.
    pub fn set_interested(&self, full: &str) {
        self.world().interested.push(full.to_owned());
    }

    /// What modules told of contacts since this was last called.
    pub fn take_contact_changes(&self) -> Vec<ContactChange> {
        std::mem::take(&mut self.world().changes)
    }

    /// What modules put into mailboxes since this was last called.
    pub fn take_delivered(&self) -> Vec<Delivered> {
        std::mem::take(&mut self.world().delivered)
    }

    pub(super) fn presence_op(&self, kind: u32, args: &Value, body: &[u8]) -> State {
        match kind {
            op::CONTACTS_OF => {
                let contacts = self.world().contacts.get(&bare(text(args, "jid"))).cloned();
                json(&serde_json::json!(contacts.unwrap_or_default()))
            }
            op::CONTACT_CHANGED => self.contact_changed(args),
            _ => self.deliver(args, body),
        }
    }

    fn contact_changed(&self, args: &Value) -> State {
        let subscription = serde_json::from_value(args["subscription"].clone()).unwrap_or_default();
        let (account, contact) = (text(args, "account").to_owned(), text(args, "contact").to_owned());
        self.world().changes.push(ContactChange { account, contact, subscription });
        number(0)
    }

    fn deliver(&self, args: &Value, body: &[u8]) -> State {
        let stanza = std::str::from_utf8(body).ok().and_then(|text| parse_element(text).ok());
        let Some(stanza) = stanza else { return failed("bad-request", "what was delivered is no stanza") };
        let (to, among) = (text(args, "to"), text(args, "among"));
        let mut world = self.world();
        let meant = world.sessions.iter().filter(|session| match (to.contains('/'), among) {
            (true, _) => session.jid == to,
            (false, _) if bare(&session.jid) != to => false,
            (false, "interested") => world.interested.contains(&session.jid),
            (false, "connected") => true,
            (false, _) => session.available,
        });
        let taken: Vec<Delivered> =
            meant.map(|s| Delivered { session: s.jid.clone(), stanza: stanza.clone() }).collect();
        let count = taken.len();
        world.delivered.extend(taken);
        number(i64::try_from(count).unwrap_or(i64::MAX))
    }
}
