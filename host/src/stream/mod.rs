//! One XML stream of a client: what RFC 6120 lets the two sides say to each other, and in which order.
//!
//! * [`Stream`] is the core. It does no input or output: bytes from the peer go in, bytes for the peer and [`Action`]s
//!   come out, and whoever drives it tells it how each action ended. Its states are named for what they await.
//! * [`io`] and [`tls`] are the tools of the driver, which is the task per connection in `listener`.
//! * [`StreamHost`] and [`StreamEvents`] are what a stream asks of the rest of the server. The stream knows no router
//!   and no session table.
//!
//! Promises: input may come byte by byte or with everything pipelined that may be pipelined; every violation ends in the
//! stream error that RFC 6120 section 4.9.3 names for it; no stanza is looked at before the peer is authenticated and
//! bound, except IQs that the host expressly takes before (in-band registration); bytes that were pipelined before TLS
//! started are never believed.
//!
//! Stream management (XEP-0198) and client state (XEP-0352) enter where [`Stream`] meets a first-level element that is
//! no stanza; it reads them in [`management`] and passes them on. In WebSockets (RFC 7395) the same stream is spoken in
//! elements that stand alone, which `websocket` translates; in [`bosh`] these come in requests and answers of HTTP. A seam, not built here: federation is another role beside
//! [`Stream`] over the same `io`, `tls` and `header`.

mod action;
mod bind;
mod events;
mod features;
mod header;
mod login;
mod negotiation;
mod sasl;
mod settings;
mod units;
mod websocket;

pub mod bosh;
pub mod io;
pub mod management;
pub mod tls;

#[cfg(test)]
mod tests;

pub use action::{Action, LoginStep};
pub use events::{BindRequest, Client, FeatureStage, StreamEvents, StreamHost, Suspended, Taken, Via, Work};
pub use login::{LoginDriver, LoginEnd, LoginOutcome};
pub use negotiation::Stream;
pub use settings::StreamSettings;
