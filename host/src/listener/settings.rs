//! What the operator decides about connections, in the shape that the connections use.

use std::net::SocketAddr;
use std::time::Duration;

use super::admission::ConnectionLimits;
use super::deadlines::Intervals;
use super::shaper::Rate;
use crate::config::{Config, Listener, ListenerKind};
use crate::session::MailboxLimits;
use crate::stream::StreamSettings;

/// How long a TLS handshake may take; it is two round trips, not a conversation.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a peer may take to close its side after we have closed ours (RFC 6120 section 4.4).
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the announcements after the end of a session may take.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(30);

/// The rules for every connection that begins from now on.
#[derive(Debug, Clone)]
pub struct ConnectionSettings {
    /// The rules of negotiation.
    pub stream: StreamSettings,
    /// How many connections there may be.
    pub limits: ConnectionLimits,
    /// From accept to bound resource.
    pub negotiation_timeout: Duration,
    /// For a TLS handshake.
    pub handshake_timeout: Duration,
    /// Silence of a peer before white space is sent to it.
    pub keepalive_interval: Option<Duration>,
    /// Silence of a peer before its stream ends.
    pub idle_timeout: Option<Duration>,
    /// How long a peer may take nothing of what was written to it.
    pub write_timeout: Duration,
    /// How long a peer may take to close its side.
    pub close_timeout: Duration,
    /// How long the announcements after the end of a session may take.
    pub farewell_timeout: Duration,
    /// The bounds of the mailbox.
    pub mailbox: MailboxLimits,
}

/// One socket to accept on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Where.
    pub address: SocketAddr,
    /// Whether TLS is spoken from the first byte (XEP-0368).
    pub direct_tls: bool,
    /// The rate limit of each connection.
    pub shaper: Option<Rate>,
}

impl ConnectionSettings {
    /// As configured.
    pub fn from_config(config: &Config) -> Self {
        let limits = &config.limits;
        Self {
            stream: StreamSettings::from_config(config),
            limits: ConnectionLimits {
                per_address: limits.connections_per_address,
                total: limits.connections,
                unauthenticated: limits.unauthenticated_connections,
            },
            negotiation_timeout: limits.negotiation_timeout,
            handshake_timeout: HANDSHAKE_TIMEOUT.min(limits.negotiation_timeout),
            keepalive_interval: unless_zero(limits.keepalive_interval),
            idle_timeout: unless_zero(limits.idle_timeout),
            write_timeout: limits.write_timeout,
            close_timeout: CLOSE_TIMEOUT,
            farewell_timeout: FAREWELL_TIMEOUT,
            mailbox: MailboxLimits {
                items: limits.mailbox_items,
                bytes: limits.mailbox_bytes,
                stalled_after: limits.write_timeout,
            },
        }
    }

    pub(super) fn silence(&self) -> Intervals {
        Intervals { keepalive: self.keepalive_interval, idle: self.idle_timeout }
    }
}

impl ListenerSettings {
    /// As configured; `None` if the listener does not speak XMPP.
    pub fn from_config(config: &Config, listener: &Listener) -> Option<Self> {
        let direct_tls = match listener.kind {
            ListenerKind::C2s => false,
            ListenerKind::C2sTls => true,
            ListenerKind::Http => return None,
        };
        let shaper = listener.shaper.as_ref().and_then(|name| config.shapers.get(name));
        let shaper = shaper
            .map(|shaper| Rate { bytes_per_second: bounded(shaper.rate), burst: bounded(shaper.burst) });
        Some(Self { address: listener.address, direct_tls, shaper })
    }
}

fn bounded(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn unless_zero(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}
