//! What the operator decides about connections, in the shape that the connections use.

use std::net::SocketAddr;
use std::time::Duration;

use super::admission::ConnectionLimits;
use super::deadlines::Intervals;
use super::shaper::Rate;
use crate::config::{ClientState, Config, Listener, ListenerKind, StreamManagement};
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
    /// Stream management.
    pub management: StreamManagement,
    /// The rate limit of clients that come over HTTP.
    pub http_shaper: Option<Rate>,
    /// Client state indication.
    pub client_state: ClientState,
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
            management: config.stream_management.clone(),
            client_state: config.client_state.clone(),
            http_shaper: http_shaper(config),
        }
    }

    pub(super) fn silence(&self) -> Intervals {
        Intervals { keepalive: self.keepalive_interval, idle: self.idle_timeout, management: None }
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
        Some(Self { address: listener.address, direct_tls, shaper: shaper(config, listener) })
    }
}

fn shaper(config: &Config, listener: &Listener) -> Option<Rate> {
    let shaper = config.shapers.get(listener.shaper.as_ref()?)?;
    Some(Rate { bytes_per_second: bounded(shaper.rate), burst: bounded(shaper.burst) })
}

/// All HTTP listeners lead to the same paths, so the first one that names a shaper names it for all.
fn http_shaper(config: &Config) -> Option<Rate> {
    let http = config.listeners.iter().filter(|listener| listener.kind == ListenerKind::Http);
    http.filter_map(|listener| shaper(config, listener)).next()
}

fn bounded(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn unless_zero(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    fn config(more: &str) -> Config {
        let text = format!("[tls]\nself_signed = true\n[vhost.\"a.example\"]\n{more}");
        let environment = BTreeMap::<&str, &str>::new();
        Config::parse(&text, Path::new("/etc/moult/moult.toml"), &environment).unwrap()
    }

    #[test]
    fn limits_arrive_where_they_are_used_and_zero_switches_off() {
        let config = config(
            "[limits]\nstanza_size_before_auth = \"10 KiB\"\nstanza_size = \"20 KiB\"\ndepth = 30\n\
             connections_per_address = 4\nnegotiation_timeout = \"5s\"\nkeepalive_interval = \"0s\"\n\
             idle_timeout = \"1h\"\nmailbox_items = 50\nlogin_attempts_per_connection = 2\n",
        );
        let settings = ConnectionSettings::from_config(&config);
        assert_eq!(settings.stream.limits_before_login.stanza_bytes, 10 * 1024);
        assert_eq!(settings.stream.limits.stanza_bytes, 20 * 1024);
        assert_eq!(settings.stream.limits.depth, 30);
        assert_eq!(settings.stream.login_attempts, 2);
        assert_eq!(settings.limits.per_address, 4);
        assert_eq!(settings.handshake_timeout, Duration::from_secs(5));
        assert_eq!((settings.keepalive_interval, settings.idle_timeout.is_some()), (None, true));
        assert_eq!(settings.mailbox.items, 50);
    }

    #[test]
    fn a_listener_has_its_shaper_and_http_is_not_ours() {
        let config = config(
            "[shaper.slow]\nrate = \"1000 B\"\nburst = \"2000 B\"\n\
             [[listener]]\nkind = \"c2s_tls\"\naddress = \"127.0.0.1\"\nport = 5223\nshaper = \"slow\"\n\
             [[listener]]\nkind = \"http\"\naddress = \"127.0.0.1\"\nport = 5280\n",
        );
        let settings = ListenerSettings::from_config(&config, &config.listeners[0]).unwrap();
        assert!(settings.direct_tls);
        assert_eq!(settings.shaper, Some(Rate { bytes_per_second: 1_000, burst: 2_000 }));
        assert_eq!(ListenerSettings::from_config(&config, &config.listeners[1]), None);
    }
}
