//! Moult: an XMPP server whose features are hot-swappable shared libraries.
//!
//! What must stay true everywhere in this crate:
//!
//! 1. A module update never drops a session, never loses or doubles a stanza, never leaves an IQ unanswered.
//! 2. An update that cannot succeed changes nothing: the old generation goes on serving.
//! 3. Nothing from the network, a file or a module takes the host down, as far as a process can promise it.
//! 4. An old generation's library is really unmapped, or `update_info` says what still holds it.
//!
//! The rooms, in layer order: a room may use those above it as the table in `tests/rooms.rs` allows, never those below.

pub mod wake;

pub mod xml;

pub mod stanza;

pub mod config;

pub mod storage;

pub mod auth;

pub mod session;

pub mod stream;

pub mod plugin;

pub mod iq;

pub mod router;

pub mod command;

pub mod ctl;

pub mod http;

pub mod listener;

pub mod server;
