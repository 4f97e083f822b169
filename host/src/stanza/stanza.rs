//! Stanzas as shared bytes with the few facts that routing needs.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Jid, StanzaError, StreamErrorCondition};
use crate::xml::{Element, FrameError, Framed};

/// The three stanzas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `<message/>`
    Message,
    /// `<presence/>`
    Presence,
    /// `<iq/>`
    Iq,
}

/// The type of a message (RFC 6121 5.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum MessageType {
    Normal,
    Chat,
    Groupchat,
    Headline,
    Error,
}

/// The type of a presence (RFC 6121 4.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum PresenceType {
    Available,
    Unavailable,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
    Probe,
    Error,
}

/// The type of an IQ (RFC 6120 8.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum IqType {
    Get,
    Set,
    Result,
    Error,
}

/// Kind and type of a stanza in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StanzaType {
    /// A message; types unknown to RFC 6121 count as `Normal`, as it demands.
    Message(MessageType),
    /// A presence.
    Presence(PresenceType),
    /// An IQ.
    Iq(IqType),
}

/// Name and namespace of the first child element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadName<'a> {
    /// The name without prefix.
    pub name: &'a str,
    /// The namespace, decoded; `jabber:client` where the child declares none.
    pub ns: &'a str,
}

/// A stanza: shared, immutable, canonical text and the facts about its start tag. Cloning counts references.
///
/// The text is written as on a `jabber:client` stream: the outermost tag has no prefix and no `xmlns`.
#[derive(Clone, Debug)]
pub struct Stanza {
    text: Arc<str>,
    hops: u8,
}

/// Why something cannot become a stanza. Every variant is the fault of who sent it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StanzaFault {
    /// A top-level element that is no stanza.
    #[error("the peer sent <{name} xmlns='{namespace}'/>, which is no stanza")]
    NotAStanza {
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// A stanza's name in a namespace that is not the content namespace.
    #[error("the peer sent a stanza <{name}/> in the namespace '{namespace}' instead of its stream's")]
    WrongNamespace {
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// A `from` that is neither the full nor the bare JID of the session.
    #[error("the session of {session} sent a stanza from '{from}'")]
    InvalidFrom {
        /// The session's JID.
        session: Jid,
        /// What it claimed to be.
        from: String,
    },
    /// The stanza alone is refused; the stream goes on.
    #[error("the stanza is refused: {error}")]
    Refused {
        /// Why.
        error: Box<StanzaError>,
        /// What to send back to the sender; nothing for a stanza that must not be answered.
        reply: Option<Box<Stanza>>,
    },
    /// What a module or command wrote is not XML that XMPP allows.
    #[error("the stanza is not XML that XMPP allows: {0}")]
    Xml(#[from] FrameError),
}

impl StanzaFault {
    /// The stream error that ends the stream, unless only the stanza is refused.
    pub fn stream_error(&self) -> Option<StreamErrorCondition> {
        match self {
            Self::NotAStanza { .. } => Some(StreamErrorCondition::UnsupportedStanzaType),
            Self::WrongNamespace { .. } => Some(StreamErrorCondition::InvalidNamespace),
            Self::InvalidFrom { .. } => Some(StreamErrorCondition::InvalidFrom),
            Self::Xml(error) => Some(error.into()),
            Self::Refused { .. } => None,
        }
    }
}

impl Stanza {
    /// Takes a stanza off a client's stream: stamps `from`, makes it self-contained.
    pub fn from_stream(framed: Framed<'_>, _stamped_from: &Jid) -> Result<Self, StanzaFault> {
        Ok(Self { text: framed.as_str().into(), hops: 0 })
    }

    /// Takes a whole stanza from a module or a command, with its `from` and `to` as written.
    pub fn parse(bytes: &[u8]) -> Result<Self, StanzaFault> {
        Ok(Self {
            text: crate::xml::frame_whole(
                bytes,
                &Default::default(),
                &crate::xml::Scope::with_default("jabber:client"),
            )?
            .as_str()
            .into(),
            hops: 0,
        })
    }

    /// Which of the three it is.
    pub fn kind(&self) -> Kind {
        match self.type_() {
            StanzaType::Message(_) => Kind::Message,
            StanzaType::Presence(_) => Kind::Presence,
            StanzaType::Iq(_) => Kind::Iq,
        }
    }

    /// Kind and type.
    pub fn type_(&self) -> StanzaType {
        StanzaType::Message(MessageType::Normal)
    }

    /// The `type` attribute as it was written.
    pub fn raw_type(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// Whether it is of type `error`.
    pub fn is_error(&self) -> bool {
        matches!(
            self.type_(),
            StanzaType::Message(MessageType::Error)
                | StanzaType::Presence(PresenceType::Error)
                | StanzaType::Iq(IqType::Error)
        )
    }

    /// The sender.
    pub fn from(&self) -> Option<&Jid> {
        None
    }

    /// The recipient.
    pub fn to(&self) -> Option<&Jid> {
        None
    }

    /// The `id` attribute, decoded.
    pub fn id(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// The `xml:lang` attribute, decoded.
    pub fn lang(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// The first child element.
    pub fn payload(&self) -> Option<PayloadName<'_>> {
        None
    }

    /// How many child elements there are.
    pub fn child_count(&self) -> usize {
        0
    }

    /// How often modules have passed this on since a client, a command or a module's own idea sent it: what the router
    /// ends circles by. Stanzas made of another one (other addresses, replies) keep its number.
    pub fn hops(&self) -> u8 {
        self.hops
    }

    /// The same stanza with another number of hops.
    pub fn with_hops(self, hops: u8) -> Self {
        Self { hops, ..self }
    }

    /// The stanza as XML.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The stanza as bytes of XML.
    pub fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The tree of the stanza, built anew at each call.
    pub fn to_element(&self) -> Element {
        unreachable!("bodies follow")
    }

    /// The same stanza to another recipient.
    pub fn with_to(&self, _to: &Jid) -> Self {
        self.clone()
    }

    /// The same stanza from another sender.
    pub fn with_from(&self, _from: &Jid) -> Self {
        self.clone()
    }

    /// The error reply to this stanza; nothing for errors and IQ results, which are never answered
    /// (RFC 6120 8.3.1).
    pub fn error_reply(&self, _error: &StanzaError) -> Option<Self> {
        None
    }

    /// The result of this IQ, with addresses swapped; `payload` is well-formed XML or empty.
    pub fn iq_result(&self, _payload: &[u8]) -> Result<Self, StanzaFault> {
        Ok(self.clone())
    }
}
