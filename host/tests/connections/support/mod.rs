//! A server of which only the connections are real, and clients that say exactly what they are told to.

mod certificate;
mod client;
mod inward;
pub mod scram;
mod server;

pub use certificate::TestCertificate;
pub use client::{Client, bind_request, plain_auth};
pub use inward::DOMAIN;
pub use server::{Server, ServerBuilder};

use std::time::{Duration, Instant};

/// How long anything may take that should happen at all.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until the condition holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "this did not happen in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The stream header of a client of this domain.
pub fn open(domain: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams'>"
    )
}
