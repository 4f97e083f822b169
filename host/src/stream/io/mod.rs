//! The driver's tools: a socket with or without TLS, what waits to be written to it, and the buffers of a thread.
//!
//! Nothing here awaits: everything is polled by the task that owns the connection, with buffers that belong to the
//! thread. So a connection that is idle owns no buffer at all, and a task's future holds none.

mod bosh;
mod outgoing;
mod scratch;
mod transport;
mod websocket;

pub use bosh::Bosh;
pub use outgoing::{Outgoing, Piece};
pub use scratch::{INPUT_BYTES, Lent, Scratch};
pub use transport::{Flush, Input, Transport, TransportError};
pub use websocket::{Socket, WebSocket, WebSocketFault};
