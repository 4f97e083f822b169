//! `[tls]`: certificates and protocol versions.

use std::path::PathBuf;

use serde::Serialize;

/// `[tls]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tls {
    /// Certificate and key for every vhost without its own; `None` only where every vhost has one or none needs it.
    #[serde(flatten)]
    pub certificate: Option<Certificate>,
    /// The oldest version that is accepted.
    pub min_version: TlsVersion,
    /// Whether a client must start TLS before it may log in.
    pub required: bool,
    /// Whether to make a certificate of our own where none is configured or its files are missing: for trying things out.
    pub self_signed: bool,
}

/// A PEM certificate chain and its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum TlsVersion {
    /// RFC 5246.
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}
