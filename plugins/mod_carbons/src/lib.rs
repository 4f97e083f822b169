//! Message carbons (XEP-0280): whoever uses several clients sees each conversation on all of them.
//!
//! A client enables copies for itself. What another client of the account sends, and what arrives for another one, then reaches
//! it as well, wrapped and sent by the account's own bare JID, which nobody else can send from. Private messages, copies, and
//! messages that belong to one client alone are not copied; the mark `private` is taken off before a message is delivered.
//!
//! Copies are made once for each message, when it is routed, so a message for several resources is not copied several times.
//! The state is which client wants copies, and it is handed over when the module is swapped.

mod clients;
mod rules;

use clients::Clients;
use moult_plugin_api::hooks::{PresenceChanged, SessionClosed};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::Node;
use moult_plugin_api::sdk::hooks::Notice;
use moult_plugin_api::serde_json;
use rules::{Direction, NS, is_copied};
use std::sync::{Mutex, MutexGuard, PoisonError};

const SCHEMA: u32 = 1;
/// XEP-0297.
const FORWARD: &str = "urn:xmpp:forward:0";
/// After filters and archives, so that copies carry what those added.
const LATE: i32 = 90;

/// The module on one vhost.
#[derive(Debug)]
pub struct Carbons {
    host: Host,
    clients: Mutex<Clients>,
}

impl Module for Carbons {
    type Options = ();

    fn start(host: &Host, (): ()) -> Result<Started<Self>, Stop> {
        host.on_iq(IqSpec::new(NS).on_accounts().no_queue(), Self::switch)?;
        // XEP-0280 3: the server announces it, and that it knows which messages to copy (0280 6.1).
        host.feature(NS, Target::Server)?;
        host.feature("urn:xmpp:carbons:rules:0", Target::Server)?;
        host.on_user_send_packet(LATE, Self::sent)?;
        host.on_filter_packet(LATE, Self::received)?;
        host.on_presence_changed(LATE, Self::presence)?;
        host.on_session_closed(LATE, Self::closed)?;
        Started::running(Self { host: host.clone(), clients: Mutex::default() })
    }

    /// A module that is loaded into a running server learns who is available; one that takes over is told.
    fn on_started(&self) -> Result<(), Stop> {
        if self.host.is_swap() {
            return Ok(());
        }
        let mut after = String::new();
        loop {
            let page = self.host.sessions(&after, 500).wait()?;
            for jid in &page {
                self.learn(jid)?;
            }
            match page.last() {
                Some(last) if page.len() == 500 => after.clone_from(last),
                _ => return Ok(()),
            }
        }
    }

    fn export_state(&self) -> Option<(u32, Vec<u8>)> {
        Some((SCHEMA, serde_json::to_vec(&*self.clients()).expect("texts and numbers are JSON")))
    }

    fn import_state(&self, schema: u32, bytes: &[u8]) -> Result<(), Stop> {
        if schema != SCHEMA {
            return Err(Stop::new(format!("state of schema {schema} cannot be read")));
        }
        *self.clients() = serde_json::from_slice(bytes)?;
        Ok(())
    }
}

impl Carbons {
    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, jid: &str) -> Result<(), Stop> {
        let Ok(jid) = Jid::parse(jid) else { return Ok(()) };
        for session in self.host.sessions_of(&jid).wait()? {
            if session.available && jid == session.jid.as_str() {
                self.clients().available(&jid, Some(session.priority));
            }
        }
        Ok(())
    }

    /// XEP-0280 4 and 5: each client for itself.
    fn switch(&self, iq: &Iq<'_>) -> Result<(), StanzaError> {
        if iq.from().bare() != iq.to().bare() || iq.from().resource().is_none() {
            return Err(StanzaError::forbidden("copies are for one's own clients"));
        }
        let enabled = match (iq.is_set(), iq.payload()?.name()) {
            (true, "enable") => true,
            (true, "disable") => false,
            (false, _) => return Err(StanzaError::not_allowed("copies are enabled and disabled by a set")),
            _ => return Err(StanzaError::bad_request("this neither enables nor disables copies")),
        };
        self.clients().enable(iq.from(), enabled);
        Ok(())
    }

    fn presence(&self, presence: &Notice<'_, PresenceChanged>) {
        let priority = presence.what.available.then_some(presence.what.priority);
        self.clients().available(&presence.jid, priority);
    }

    fn closed(&self, session: &Notice<'_, SessionClosed>) {
        self.clients().gone(&session.jid);
    }

    fn sent(&self, stanza: &Stanza<'_>) -> Packet {
        if !stanza.bytes().starts_with(b"<message") {
            return Packet::Pass;
        }
        let resource = stanza.from().resource().unwrap_or_default();
        let wanting = self.clients().for_sent(stanza.from().bare().as_str(), resource);
        self.copy(stanza, Direction::Sent, &stanza.from().bare(), &wanting);
        Packet::Pass
    }

    fn received(&self, stanza: &Stanza<'_>) -> Packet {
        if !stanza.bytes().starts_with(b"<message") || stanza.to().localpart().is_none() {
            return Packet::Pass;
        }
        let (account, resource) = (stanza.to().bare(), stanza.to().resource());
        // What a client sends to its own account has been copied when it was sent.
        if stanza.from().bare() != account {
            let wanting = self.clients().for_received(account.as_str(), resource);
            self.copy(stanza, Direction::Received, &account, &wanting);
        }
        self.without_mark(stanza)
    }

    /// XEP-0280 6.4: the mark is for servers; it goes before the message is delivered.
    fn without_mark(&self, stanza: &Stanza<'_>) -> Packet {
        if stanza.to().domain() != self.host.vhost() || !contains(stanza.bytes(), NS.as_bytes()) {
            return Packet::Pass;
        }
        let is_mark = |node: &Node| matches!(node, Node::Element(e) if e.is("private", NS));
        match stanza.element() {
            Ok(message) if message.children().iter().any(is_mark) => {
                let mut message = message.clone();
                message.children_mut().retain(|node| !is_mark(node));
                Packet::replace(&message)
            }
            _ => Packet::Pass,
        }
    }

    fn copy(&self, stanza: &Stanza<'_>, direction: Direction, account: &Jid<'_>, wanting: &[String]) {
        if wanting.is_empty() {
            return;
        }
        let Ok(message) = stanza.element() else { return };
        if !is_copied(message, direction) {
            return;
        }
        let original = message
            .clone()
            .with_attr("xmlns", ns::CLIENT)
            .with_attr("from", stanza.from().as_str())
            .with_attr("to", stanza.to().as_str());
        let forwarded = Element::new("forwarded").with_ns(FORWARD).with_child(original);
        let wrapper = Element::new(direction.name()).with_ns(NS).with_child(forwarded);
        let kind = message.attr("type").unwrap_or("normal");
        // The copy of an error must not look like an error to the account that gets it.
        let kind = if kind == "error" { "chat" } else { kind };
        let copy = Element::new("message").with_attr("type", kind).with_child(wrapper);
        for resource in wanting {
            let sent = account.with_resource(resource).map_err(|error| error.to_string());
            let sent =
                sent.and_then(|to| self.host.route_element(account, &to, &copy).map_err(|e| e.to_string()));
            match sent {
                Ok(()) => self.host.count("copies", 1),
                Err(error) => debug!(self.host.about(account), "a copy was not sent: {error}"),
            }
        }
    }
}

/// Whether the bytes hold that text somewhere: a cheap look before a tree is built.
fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

export_module! {
    module: Carbons,
    state: { writes: 1, reads: 1 },
    xeps: ["0280" "1.0.1", "0297" "1.0" "partial", "0334" "0.4.0"],
}

#[cfg(test)]
mod tests;
