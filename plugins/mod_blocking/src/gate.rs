//! The hooks that stop stanzas. They are registered only while somebody blocks somebody.

use crate::Blocking;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::ErrorType;
use std::sync::PoisonError;

/// After whoever tells contacts.
const LAST: i32 = 90;
/// Before archives, copies and everything else that would keep or spread a stanza.
const FIRST: i32 = 10;

/// The registrations, while they are needed.
#[derive(Debug, Default)]
pub struct Gate(Vec<Registration>);

impl Blocking {
    /// Opens the gate for good when nobody blocks anybody, and closes it with the first list.
    pub fn adjust_gate(&self) -> Result<(), HostError> {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let needed = !self.rules().is_empty();
        if needed && gate.0.is_empty() {
            gate.0 = vec![
                self.host.on_user_send_packet(FIRST, Self::outbound)?,
                self.host.on_filter_packet(FIRST, Self::inbound)?,
                self.host.on_contacts(LAST, Self::contacts)?,
            ];
        } else if !needed {
            for registration in gate.0.drain(..) {
                self.host.unregister(registration);
            }
        }
        Ok(())
    }

    /// XEP-0191 3.2: what goes to a blocked address comes back. Errors and answers do not, for nobody answers those.
    fn outbound(&self, stanza: &Stanza<'_>) -> Packet {
        if stanza.to().is_empty() || !self.rules().blocks(stanza.from(), stanza.to()) {
            return Packet::Pass;
        }
        let kind = stanza.type_attr().unwrap_or_default();
        if stanza.bytes().starts_with(b"<presence")
            && matches!(kind.as_str(), "unavailable" | "unsubscribe" | "unsubscribed")
        {
            return Packet::Pass;
        }
        if !matches!(kind.as_str(), "error" | "result") {
            self.send_back(stanza);
        }
        Packet::answered()
    }

    /// The error goes into the client's mailbox at once: on the usual way this gate would take it for one of the blocked address.
    fn send_back(&self, stanza: &Stanza<'_>) {
        let Ok(element) = stanza.element() else { return };
        let mut error = StanzaError::new(Condition::NotAcceptable, "You have blocked this address.");
        error.kind = ErrorType::Cancel;
        let blocked = Element::new("blocked").with_ns("urn:xmpp:blocking:errors");
        let reply = error_reply(element)
            .with_attr("from", stanza.to().as_str())
            .with_attr("to", stanza.from().as_str())
            .with_child(error.to_element().with_child(blocked));
        let (host, client) = (self.host.clone(), stanza.from().borrowed().into_owned());
        let sent = self.host.spawn(async move {
            if let Err(error) = host.deliver(&client, Among::Connected, &reply).await {
                debug!(host.about(&client), "an error was not sent: {error}");
            }
        });
        if let Err(error) = sent {
            debug!(self.host.about(stanza.from()), "an error was not sent: {error}");
        }
    }

    /// XEP-0191 3.2: what comes from a blocked address, and the presence that the server would tell one.
    fn inbound(&self, stanza: &Stanza<'_>) -> Packet {
        if !self.rules().blocks(stanza.to(), stanza.from()) {
            return self.broadcast(stanza);
        }
        if !stanza.bytes().starts_with(b"<message") {
            // A request is answered by the host, which knows this condition; presence vanishes.
            return Packet::refuse(Condition::ServiceUnavailable);
        }
        let kind = stanza.type_attr().unwrap_or_default();
        if !matches!(kind.as_str(), "error" | "headline" | "groupchat")
            && let Ok(element) = stanza.element()
        {
            let error = StanzaError::new(Condition::ServiceUnavailable, "").to_element();
            let reply = error_reply(element).with_child(error);
            if let Err(error) = self.host.route_element(stanza.to(), stanza.from(), &reply) {
                debug!(self.host.about(stanza.from()), "an error was not sent: {error}");
            }
        }
        self.host.count("blocked", 1);
        Packet::answered()
    }

    fn broadcast(&self, stanza: &Stanza<'_>) -> Packet {
        let is_available = || stanza.bytes().starts_with(b"<presence") && stanza.type_attr().is_none();
        if self.rules().blocks(stanza.from(), stanza.to()) && is_available() {
            return Packet::Drop("the recipient is blocked by the sender".to_owned());
        }
        Packet::Pass
    }
}

/// The stanza as an error without its content.
fn error_reply(stanza: &Element) -> Element {
    let reply = Element::new(stanza.name()).with_attr("type", "error");
    match stanza.attr("id") {
        Some(id) => reply.with_attr("id", id),
        None => reply,
    }
}
