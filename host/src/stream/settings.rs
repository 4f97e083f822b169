//! What the operator decides about every stream.

use crate::config::{self, Config};
use crate::xml::Limits;

/// The rules of negotiation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// Whether nothing but STARTTLS is offered until TLS is spoken.
    pub tls_required: bool,
    /// What a peer may send before it has logged in.
    pub limits_before_login: Limits,
    /// What it may send afterwards.
    pub limits: Limits,
    /// Failed logins on one stream until it is closed (RFC 6120 section 6.4.5 asks for two to five retries).
    pub login_attempts: u32,
    /// Whether stream management is offered (XEP-0198).
    pub management: bool,
    /// Whether client state indication is offered (XEP-0352).
    pub client_state: bool,
}

impl Default for StreamSettings {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            tls_required: true,
            limits_before_login: Limits { stanza_bytes: 16 * 1024, ..limits },
            limits,
            login_attempts: 3,
            management: false,
            client_state: false,
        }
    }
}

impl StreamSettings {
    /// As configured.
    pub fn from_config(config: &Config) -> Self {
        let limits = &config.limits;
        Self {
            tls_required: config.tls.required,
            limits_before_login: framing(limits, limits.stanza_size_before_auth),
            limits: framing(limits, limits.stanza_size),
            login_attempts: limits.login_attempts_per_connection,
            management: config.stream_management.enabled,
            client_state: config.client_state.enabled,
        }
    }
}

fn framing(limits: &config::Limits, stanza_size: usize) -> Limits {
    Limits {
        stanza_bytes: u32::try_from(stanza_size).unwrap_or(u32::MAX),
        depth: u16::try_from(limits.depth).unwrap_or(u16::MAX),
        attributes: u16::try_from(limits.attributes).unwrap_or(u16::MAX),
        ..Limits::default()
    }
}
