//! Client connections over real sockets, with everything behind the stream played by the tests.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod client_state;
mod ending;
mod limits;
mod management;
mod negotiation;
mod support;
mod tls;
mod traffic;
mod websocket;
