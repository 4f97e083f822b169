//! What the operator decides about every stream.

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
}

impl Default for StreamSettings {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            tls_required: true,
            limits_before_login: Limits { stanza_bytes: 16 * 1024, ..limits },
            limits,
            login_attempts: 3,
        }
    }
}
