//! The local router: stanzas for a vhost itself, `domain` or `domain/resource` (S2-43).

use super::{Router, Routing};
use crate::plugin::hook::HookPoint;
use crate::plugin::registration::IqTarget;
use crate::stanza::{IqType, MessageType, PresenceType, Stanza, StanzaType};

impl Router {
    pub(super) fn to_vhost(&self, stanza: Stanza) -> Routing {
        match stanza.type_() {
            StanzaType::Iq(IqType::Get | IqType::Set) => self.handle_iq(IqTarget::Server, &stanza),
            StanzaType::Iq(IqType::Result | IqType::Error) => self.unmatched(stanza),
            StanzaType::Message(MessageType::Error | MessageType::Headline) => {
                self.offer_local(stanza, Self::ignore)
            }
            // RFC 6120 section 10.5.1: a server that does not process the message says so.
            StanzaType::Message(_) => self.offer_local(stanza, Self::unavailable_service),
            StanzaType::Presence(PresenceType::Error) => self.ignore(stanza),
            StanzaType::Presence(_) => self.offer_local(stanza, Self::ignore),
        }
    }

    fn offer_local(&self, stanza: Stanza, otherwise: fn(&Self, Stanza) -> Routing) -> Routing {
        self.inner.counts.to_vhosts();
        let vhost = stanza.to().map(|to| to.domain().to_owned()).unwrap_or_default();
        self.offered(HookPoint::LocalPacket, &vhost, stanza, String::new(), otherwise)
    }
}
