//! Client connections: accepting them, limiting them, and the one task that each of them is.
//!
//! * [`Listening`] accepts on one socket;
//! * [`Hub`] is what all connections share: the way inwards, certificates, rules, and the means to end them all;
//! * `Connection` is the task: it waits for its socket, its mailbox and its deadlines at once, reads into buffers of the
//!   thread, hands each stanza inwards, and writes what its mailbox holds in one piece;
//! * a keeper holds a session whose client has lost its connection and may come back (XEP-0198).
//!
//! Promises: an idle connection owns no buffer and no timer but one; what a peer does not read is bounded, and so is the
//! time that it may not read it; no peer can make the server wait without a deadline; no stanza that was taken from a
//! peer or from a mailbox is lost because its connection breaks: the former is handed inwards, the latter handed back.
//!
//! This room decides nothing about stanzas and knows no account: that is behind [`Inward`].

mod accept;
mod admission;
mod by_http;
mod connection;
mod deadlines;
mod hub;
mod keeper;
mod refusal;
mod resumption;
mod settings;
mod shaper;

pub use accept::{ListenError, ListenerShaper, Listening};
pub use admission::ConnectionLimits;
pub use by_http::Admitted;
pub use hub::{ConnectionCounts, Hub, Inward};
pub use settings::{ConnectionSettings, ListenerSettings};
pub use shaper::Rate;
