//! `[limits]` and `[shaper.NAME]`: what one peer may cost the server.

use std::time::Duration;

use serde::Serialize;

use super::reader::{COUNT, DAY, HOUR, SECOND, Section};
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
    /// Failed logins to one account within the window.
    pub login_attempts_per_account: u32,
    /// Failed logins from one address within the window.
    pub login_attempts_per_address: u32,
    /// How long a failed login counts against its account and its address.
    #[serde(serialize_with = "units::serialize_duration")]
    pub login_attempts_window: Duration,
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

/// RFC 6120 section 13.12 asks every server to take stanzas of 10,000 bytes.
const MIN_STANZA_SIZE: usize = 10_000;
const MAX_STANZA_SIZE: usize = 64 * 1024 * 1024;
const LOGIN_ATTEMPTS: std::ops::RangeInclusive<u32> = 1..=1_000_000;

impl Limits {
    pub(super) fn read(section: Section<'_>) -> Limits {
        let d = Limits::default();
        let stanza_sizes = MIN_STANZA_SIZE..=MAX_STANZA_SIZE;
        let limits = Limits {
            stanza_size_before_auth: section.size(
                "stanza_size_before_auth",
                d.stanza_size_before_auth,
                stanza_sizes.clone(),
            ),
            stanza_size: section.size("stanza_size", d.stanza_size, stanza_sizes),
            depth: section.number("depth", d.depth, 4..=1_024),
            attributes: section.number("attributes", d.attributes, 8..=1_024),
            connections_per_address: section.number(
                "connections_per_address",
                d.connections_per_address,
                COUNT,
            ),
            connections: section.number("connections", d.connections, COUNT),
            unauthenticated_connections: section.number(
                "unauthenticated_connections",
                d.unauthenticated_connections,
                COUNT,
            ),
            negotiation_timeout: section.duration(
                "negotiation_timeout",
                d.negotiation_timeout,
                SECOND..=HOUR,
            ),
            keepalive_interval: section.duration(
                "keepalive_interval",
                d.keepalive_interval,
                Duration::ZERO..=DAY,
            ),
            idle_timeout: section.duration("idle_timeout", d.idle_timeout, Duration::ZERO..=DAY),
            write_timeout: section.duration("write_timeout", d.write_timeout, SECOND..=HOUR),
            login_attempts_per_account: section.number(
                "login_attempts_per_account",
                d.login_attempts_per_account,
                LOGIN_ATTEMPTS,
            ),
            login_attempts_per_address: section.number(
                "login_attempts_per_address",
                d.login_attempts_per_address,
                LOGIN_ATTEMPTS,
            ),
            login_attempts_window: section.duration(
                "login_attempts_window",
                d.login_attempts_window,
                SECOND..=DAY,
            ),
            login_attempts_per_connection: section.number(
                "login_attempts_per_connection",
                d.login_attempts_per_connection,
                1..=100,
            ),
            mailbox_items: section.number("mailbox_items", d.mailbox_items, 8..=1_000_000),
            mailbox_bytes: section.size("mailbox_bytes", d.mailbox_bytes, MIN_STANZA_SIZE..=1 << 30),
            resources_per_account: section.number(
                "resources_per_account",
                d.resources_per_account,
                1..=1_000,
            ),
            directed_presences: section.number("directed_presences", d.directed_presences, 1..=100_000),
        };
        check_mailbox_holds_a_stanza(&section, &limits);
        section.finish();
        limits
    }
}

impl Shaper {
    pub(super) fn read(section: Section<'_>) -> Shaper {
        let rate = section.size("rate", 0, 1..=1 << 40);
        if !section.has("rate") {
            section
                .context
                .error(section.line, format!("{} lacks \"rate\", in bytes per second.", section.name));
        }
        let shaper = Shaper { rate, burst: section.size("burst", rate, 1..=1 << 40) };
        section.finish();
        shaper
    }
}

fn check_mailbox_holds_a_stanza(section: &Section<'_>, limits: &Limits) {
    if limits.mailbox_bytes < limits.stanza_size {
        let message = "\"mailbox_bytes\" in [limits] is smaller than \"stanza_size\", so the largest stanza \
                       could never be delivered.";
        let line = section.line_of("mailbox_bytes").max(section.line_of("stanza_size"));
        section.context.error(line, message.to_owned());
    }
}
