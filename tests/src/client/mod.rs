//! XMPP clients for tests.
//!
//! [`Client`] is a logged-in client that speaks stanzas; [`Login`] says how it gets there. [`RawStream`] sends and
//! receives bytes, for everything that a well-behaved client would not do. Neither runs a background task: what
//! was received and not asked for yet waits in order.

mod bosh;
mod login;
mod raw;
mod session;
mod websocket;

pub use bosh::BoshClient;
pub use login::{Login, LoginError, Security};
pub use raw::RawStream;
pub use session::{Client, Incoming};
pub use websocket::{WebSocketClient, upgrade_request};

/// Opens a stream to `domain`, as a client of RFC 6120 does.
pub fn stream_header(domain: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xml:lang='en' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams'>"
    )
}
