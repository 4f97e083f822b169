//! Conversations: what a client says, what the stream answers, what it asks its driver for.
//!
//! Each table is held twice, with the client's lines whole and byte by byte; the outcome has to be the same.

mod closing;
mod dialogue;
mod headers;
mod login;
mod stanzas;
