//! Conversations: what a client says, what the stream answers, what it asks its driver for.
//!
//! Each table is held three times: with the client's lines whole, byte by byte, and in uneven pieces. The outcome has to
//! be the same.

mod beside;
mod chaos;
mod closing;
mod dialogue;
mod headers;
mod login;
mod stanzas;
