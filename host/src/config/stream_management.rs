//! `[stream_management]` and `[client_state]`: what is kept for clients that lose their connection or sleep.

use std::time::Duration;

use serde::Serialize;

use super::reader::{COUNT, DAY, HOUR, SECOND, Section};
use super::units;

/// `[stream_management]` (XEP-0198).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamManagement {
    /// Whether it is offered.
    pub enabled: bool,
    /// How long a session waits for its client; 0 keeps no session.
    #[serde(serialize_with = "units::serialize_duration")]
    pub resume_timeout: Duration,
    /// Sessions that may wait for their clients at the same time.
    pub max_detached: usize,
    /// Stanzas that may wait for one client's acknowledgement.
    pub queue_items: usize,
    /// Their bytes.
    #[serde(serialize_with = "units::serialize_size")]
    pub queue_bytes: usize,
    /// Stanzas after which the client is asked what it has got.
    pub ack_every: usize,
    /// Time after which it is asked when there were fewer.
    #[serde(serialize_with = "units::serialize_duration")]
    pub ack_after: Duration,
    /// How long it may take to answer before its connection counts as lost.
    #[serde(serialize_with = "units::serialize_duration")]
    pub ack_timeout: Duration,
    /// Where clients should connect to first when they resume: `host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

impl StreamManagement {
    pub(super) fn read(section: Section<'_>) -> StreamManagement {
        let d = StreamManagement::default();
        let management = StreamManagement {
            enabled: section.flag("enabled", d.enabled),
            resume_timeout: section.duration("resume_timeout", d.resume_timeout, Duration::ZERO..=DAY),
            max_detached: section.number("max_detached", d.max_detached, COUNT),
            queue_items: section.number("queue_items", d.queue_items, 8..=1_000_000),
            queue_bytes: section.size("queue_bytes", d.queue_bytes, 10_000..=1 << 30),
            ack_every: section.number("ack_every", d.ack_every, 1..=10_000),
            ack_after: section.duration("ack_after", d.ack_after, Duration::ZERO..=HOUR),
            ack_timeout: section.duration("ack_timeout", d.ack_timeout, SECOND..=HOUR),
            location: section.text("location").map(|(text, _)| text.to_owned()),
        };
        if management.ack_every > management.queue_items {
            let message = "\"ack_every\" in [stream_management] is larger than \"queue_items\", so a client would \
                           be asked too late.";
            let line = section.line_of("ack_every").max(section.line_of("queue_items"));
            section.context.error(line, message.to_owned());
        }
        section.finish();
        management
    }
}

/// `[client_state]` (XEP-0352).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClientState {
    /// Whether it is offered.
    pub enabled: bool,
    /// Stanzas that may be held back from one client that sleeps; then all of them are sent.
    pub queue_items: usize,
}

impl ClientState {
    pub(super) fn read(section: Section<'_>) -> ClientState {
        let d = ClientState::default();
        let client_state = ClientState {
            enabled: section.flag("enabled", d.enabled),
            queue_items: section.number("queue_items", d.queue_items, 1..=10_000),
        };
        section.finish();
        client_state
    }
}
