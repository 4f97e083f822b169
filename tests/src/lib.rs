//! End-to-end tests of Moult: the harness.
//!
//! Everything here speaks to the real binaries (`moultd`, `moultctl`) and to the real plugin libraries over real
//! sockets, as an operator and a client would; nothing of the host is linked in. A test reads as a sentence:
//! start a [`Server`], let a [`Client`] say something, assert what another client sees, [`Server::stop`] it.
//!
//! Promises: ports come from the operating system, folders are temporary, every wait has a deadline and a
//! condition, and a server that ends badly fails the test with its log.
//!
//! The load client `moult-bench` (`src/bin/moult-bench`) shares the SASL and framing code with the harness.

pub mod artifacts;
pub mod certificate;
pub mod chain;
pub mod client;
pub mod eventually;
pub mod plugin;
pub mod sasl;
pub mod server;
pub mod tls;
pub mod xml;

pub use client::{BoshClient, Client, RawStream, WebSocketClient};
pub use eventually::{eventually, eventually_some};
pub use plugin::Plugin;
pub use server::Server;
pub use xml::Element;
