//! Namespaces, one constant each, with the document that defines it.
//!
//! Only names live here. What a namespace means is decided where it is handled.

/// Content namespace of client streams (RFC 6120 4.8.2).
pub const CLIENT: &str = "jabber:client";
/// Content namespace of server-to-server streams (RFC 6120 4.8.2).
pub const SERVER: &str = "jabber:server";
/// Content namespace of a component that connects to the server (XEP-0114).
pub const COMPONENT_ACCEPT: &str = "jabber:component:accept";
/// The stream element itself (RFC 6120 4.8.1).
pub const STREAMS: &str = "http://etherx.jabber.org/streams";
/// Stream error conditions (RFC 6120 4.9.2).
pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// Stanza error conditions (RFC 6120 8.3.2).
pub const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// STARTTLS negotiation (RFC 6120 5.4).
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// SASL negotiation (RFC 6120 6.4).
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// Resource binding (RFC 6120 7).
pub const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// Session establishment, kept for old clients (RFC 3921 3).
pub const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
/// Roster management (RFC 6121 2).
pub const ROSTER: &str = "jabber:iq:roster";
/// Roster versioning stream feature (RFC 6121 2.6).
pub const ROSTER_VERSIONING: &str = "urn:xmpp:features:rosterver";
/// Pre-approved subscriptions stream feature (RFC 6121 3.4).
pub const PRE_APPROVAL: &str = "urn:xmpp:features:pre-approval";
/// XMPP over WebSocket framing (RFC 7395 3.3).
pub const FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";
/// The wrapper of BOSH (XEP-0124 6).
pub const HTTP_BIND: &str = "http://jabber.org/protocol/httpbind";
/// XMPP in BOSH (XEP-0206).
pub const XBOSH: &str = "urn:xmpp:xbosh";
/// The `xml` prefix (Namespaces in XML 1.0, section 3).
pub const XML: &str = crate::xml::XML_NAMESPACE;
/// The `xmlns` prefix (Namespaces in XML 1.0, section 3).
pub const XMLNS: &str = crate::xml::XMLNS_NAMESPACE;

/// Data forms (XEP-0004).
pub const DATA_FORMS: &str = "jabber:x:data";
/// Service discovery, information (XEP-0030).
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// Service discovery, items (XEP-0030).
pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
/// Extended stanza addressing (XEP-0033).
pub const ADDRESS: &str = "http://jabber.org/protocol/address";
/// Multi-user chat (XEP-0045).
pub const MUC: &str = "http://jabber.org/protocol/muc";
/// Multi-user chat, what occupants are told (XEP-0045).
pub const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
/// Ad-hoc commands (XEP-0050).
pub const COMMANDS: &str = "http://jabber.org/protocol/commands";
/// vcard-temp (XEP-0054).
pub const VCARD_TEMP: &str = "vcard-temp";
/// Publish-subscribe (XEP-0060).
pub const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
/// What publish-subscribe tells subscribers (XEP-0060).
pub const PUBSUB_EVENT: &str = "http://jabber.org/protocol/pubsub#event";
/// In-band registration (XEP-0077).
pub const REGISTER: &str = "jabber:iq:register";
/// Invitation tokens (XEP-0379, XEP-0445).
pub const PRE_AUTH: &str = "urn:xmpp:pars:0";
/// In-band registration as a stream feature (XEP-0077 8).
pub const REGISTER_FEATURE: &str = "http://jabber.org/features/iq-register";
/// Chat states (XEP-0085).
pub const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";
/// Software version (XEP-0092).
pub const VERSION: &str = "jabber:iq:version";
/// Entity capabilities (XEP-0115).
pub const CAPS: &str = "http://jabber.org/protocol/caps";
/// Message archive (XEP-0313).
pub const MAM: &str = "urn:xmpp:mam:2";
/// Receipts (XEP-0184).
pub const RECEIPTS: &str = "urn:xmpp:receipts";
/// Stream management (XEP-0198).
pub const STREAM_MANAGEMENT: &str = "urn:xmpp:sm:3";
/// Ping (XEP-0199).
pub const PING: &str = "urn:xmpp:ping";
/// Entity time (XEP-0202).
pub const TIME: &str = "urn:xmpp:time";
/// Delayed delivery (XEP-0203).
pub const DELAY: &str = "urn:xmpp:delay";
/// Message carbons (XEP-0280).
pub const CARBONS: &str = "urn:xmpp:carbons:2";
/// Stanza forwarding (XEP-0297).
pub const FORWARD: &str = "urn:xmpp:forward:0";
/// Message processing hints (XEP-0334).
pub const HINTS: &str = "urn:xmpp:hints";
/// Client state indication (XEP-0352).
pub const CLIENT_STATE: &str = "urn:xmpp:csi:0";
/// Unique and stable stanza ids (XEP-0359).
pub const STANZA_ID: &str = "urn:xmpp:sid:0";
/// Extensible SASL profile (XEP-0388).
pub const SASL2: &str = "urn:xmpp:sasl:2";
/// Channel-binding types the server supports (XEP-0440).
pub const SASL_CHANNEL_BINDING: &str = "urn:xmpp:sasl-cb:0";
