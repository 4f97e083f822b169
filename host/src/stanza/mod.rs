//! JIDs, stanzas as shared bytes, error conditions and namespaces.

mod canonical;
mod delay;
mod error;
mod fault;
mod ingress;
mod jid;
mod kind;
mod layout;
pub mod ns;
mod prep;
mod reply;
#[allow(clippy::module_inception)]
mod stanza;
mod stream_error;

pub use delay::date;
pub use error::{ErrorType, StanzaError, StanzaErrorCondition};
pub use fault::StanzaFault;
pub use ingress::Ingress;
pub use jid::{Jid, JidError, MAX_PART_BYTES};
pub use kind::{IqType, Kind, MessageType, PresenceType, StanzaType};
pub use stanza::{PayloadName, Stanza, Urgency};
pub use stream_error::{StreamError, StreamErrorCondition};

#[cfg(test)]
mod tests;
