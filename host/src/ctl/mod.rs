//! The control socket: HTTP and JSON over a Unix socket of mode 0600, and the client of it, `moultctl`.
//!
//! Whoever may open the socket may do everything; the file system decides who that is. Requests are parsed and
//! answers are printed here, nothing is decided: [`crate::command::Table`] does the rest.

pub mod client;

mod server;
mod socket;

pub use server::{Control, LogSource};
pub use socket::{ControlSocket, InstanceLock, SocketError};

#[cfg(test)]
mod tests;
