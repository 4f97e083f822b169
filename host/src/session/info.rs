//! What is known about a session beside its stanzas: for commands, logs and policies.

use std::net::SocketAddr;
use std::time::SystemTime;

/// Facts that the stream learned while it negotiated. They do not change during the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Address of the client, if it has one.
    pub peer: Option<SocketAddr>,
    /// Kind of connection as ejabberd names it: `c2s`, `c2s_tls`, `websocket`, `bosh`.
    pub connection: &'static str,
    /// SASL mechanism that authenticated the account, as on the wire.
    pub mechanism: String,
    /// TLS version and cipher suite, `None` on a plain stream.
    pub tls: Option<String>,
    /// The stream's id, to find it in the log.
    pub stream_id: String,
    /// When the resource was bound.
    pub since: SystemTime,
}

impl Default for SessionInfo {
    fn default() -> Self {
        Self {
            peer: None,
            connection: "c2s",
            mechanism: String::new(),
            tls: None,
            stream_id: String::new(),
            since: SystemTime::now(),
        }
    }
}
