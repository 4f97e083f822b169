//! `[limits]` and `[shaper.NAME]`: what one peer may cost the server.

use std::time::Duration;

use serde::Serialize;

use super::units;

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Largest stanza of a client that has not logged in.
    #[serde(serialize_with = "units::serialize_size")]
    pub stanza_size_before_auth: usize,
    /// Largest stanza of a client that has.
    #[serde(serialize_with = "units::serialize_size")]
    pub stanza_size: usize,
    /// Elements inside elements in one stanza.
    pub depth: usize,
    /// Attributes of one element.
    pub attributes: usize,
    /// Client connections from one address.
    pub connections_per_address: usize,
    /// Client connections over all listeners.
    pub connections: usize,
    /// Client connections that have not logged in yet.
    pub unauthenticated_connections: usize,
    /// From accept to bound resource.
    #[serde(serialize_with = "units::serialize_duration")]
    pub negotiation_timeout: Duration,
    /// Silence of a client before a white-space keepalive is sent to it; 0 switches that off.
    #[serde(serialize_with = "units::serialize_duration")]
    pub keepalive_interval: Duration,
    /// Silence of a client before its stream ends; 0 switches that off.
    #[serde(serialize_with = "units::serialize_duration")]
    pub idle_timeout: Duration,
    /// How long a peer may take to accept what we wrote to it.
    #[serde(serialize_with = "units::serialize_duration")]
    pub write_timeout: Duration,
    /// Failed logins from one address in a minute.
    pub login_attempts_per_minute: u32,
    /// Failed logins on one connection.
    pub login_attempts_per_connection: u32,
    /// Stanzas waiting for one client.
    pub mailbox_items: usize,
    /// Bytes waiting for one client.
    #[serde(serialize_with = "units::serialize_size")]
    pub mailbox_bytes: usize,
    /// Bound resources of one account.
    pub resources_per_account: usize,
    /// Addresses one client may have sent directed presence to.
    pub directed_presences: usize,
}

/// `[shaper.NAME]`: a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shaper {
    /// Bytes per second in the long run.
    #[serde(serialize_with = "units::serialize_size")]
    pub rate: usize,
    /// Bytes that may come at once.
    #[serde(serialize_with = "units::serialize_size")]
    pub burst: usize,
}
