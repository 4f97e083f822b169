//! JIDs, stanzas as shared bytes, error conditions and namespaces.

mod error;
mod jid;
pub mod ns;
mod prep;
#[allow(clippy::module_inception)]
mod stanza;
mod stream_error;

pub use error::{ErrorType, StanzaError, StanzaErrorCondition};
pub use jid::{Jid, JidError, MAX_PART_BYTES};
pub use stanza::{IqType, Kind, MessageType, PayloadName, PresenceType, Stanza, StanzaFault, StanzaType};
pub use stream_error::{StreamError, StreamErrorCondition};
