//! Why something cannot become a stanza, and what to do about it.

use super::{Jid, Stanza, StanzaError, StreamErrorCondition};
use crate::xml::FrameError;

/// Why something cannot become a stanza. Every variant is the fault of who sent it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StanzaFault {
    /// A top-level element that is no stanza.
    #[error("<{name} xmlns='{namespace}'/> is no stanza")]
    NotAStanza {
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// A stanza's name in a namespace that is not the content namespace.
    #[error("the stanza <{name}/> is in the namespace '{namespace}' instead of its stream's")]
    WrongNamespace {
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// A stanza whose name has a prefix while another namespace is the default inside of it (RFC 6120 4.8.5).
    #[error("the stanza <{prefix}:{name}/> has a prefix, but the default namespace is not its own")]
    UnsupportedPrefix {
        /// Its prefix.
        prefix: String,
        /// Its name.
        name: String,
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
            Self::UnsupportedPrefix { .. } => Some(StreamErrorCondition::BadNamespacePrefix),
            Self::InvalidFrom { .. } => Some(StreamErrorCondition::InvalidFrom),
            Self::Xml(error) => Some(error.into()),
            Self::Refused { .. } => None,
        }
    }
}
