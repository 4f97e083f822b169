//! TLS for client streams: certificates that are replaced while the server runs, and one TLS session per connection.
//!
//! [`Certificates`] is the table of certificates, read without a lock and replaced as a whole when files change.
//! [`TlsSession`] drives rustls without doing any input or output of its own: the connection's task hands it
//! ciphertext and takes ciphertext from it.
//!
//! Everything that knows rustls is in this folder, so that another version of rustls touches nothing else: the handshake
//! is rustls', the records after it are ours (`records`), which leaves an idle session nothing but its keys. Only the aws-lc-rs provider is used, always named explicitly: a process-wide default provider
//! would be a static of which every loaded module has its own copy.
//!
//! Not here: client certificates (SASL EXTERNAL) and outgoing connections, which federation will bring.

mod binding;
mod certificate;
mod certificates;
mod contexts;
mod handshake;
mod keys;
#[cfg(test)]
mod record_tests;
mod records;
mod secrets;
mod session;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use crate::config::{self, Config};

pub use certificate::{CertificateSource, CertificateSummary};
pub use certificates::{Certificates, ReloadReport};
pub use records::RecordFault;
pub use session::{Received, TlsFacts, TlsSession};

/// The oldest TLS version that is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MinimumVersion {
    /// TLS 1.2 with the extended master secret (RFC 7627), and TLS 1.3.
    #[default]
    Tls12,
    /// TLS 1.3 alone.
    Tls13,
}

/// What TLS needs to know from the operator.
#[derive(Debug, Clone, Default)]
pub struct TlsSettings {
    /// The certificates; the first one answers clients that ask for a name nobody has.
    pub certificates: Vec<CertificateSource>,
    /// The oldest accepted version.
    pub minimum_version: MinimumVersion,
}

impl TlsSettings {
    /// As configured: the server's own certificate first, then those of single vhosts.
    pub fn from_config(config: &Config) -> Self {
        let own = config.tls.certificate.as_ref().map(|files| source(files, Vec::new()));
        let of_vhosts = config.vhosts.iter().filter_map(|(name, vhost)| {
            let files = vhost.certificate.as_ref()?;
            Some(source(files, vec![name.clone()]))
        });
        Self {
            certificates: own.into_iter().chain(of_vhosts).collect(),
            minimum_version: match config.tls.min_version {
                config::TlsVersion::Tls12 => MinimumVersion::Tls12,
                config::TlsVersion::Tls13 => MinimumVersion::Tls13,
            },
        }
    }
}

fn source(files: &config::Certificate, hosts: Vec<String>) -> CertificateSource {
    CertificateSource { chain: files.certificate.clone(), key: files.key.clone(), hosts }
}

/// Why a certificate could not be taken into service. Each of these is the operator's to cure.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file could not be read.
    #[error("the configuration names the file {path}, which cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is not PEM or has no certificate in it.
    #[error("the file {path} holds no PEM certificate that can be used: {reason}")]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file has no private key in it, or one of a kind that TLS cannot use.
    #[error("the file {path} holds no PEM private key that can be used: {reason}")]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key belongs to another certificate, as in the moment between two files being replaced.
    #[error("the private key in {key} does not belong to the certificate in {chain}")]
    KeyMismatch {
        /// The certificate's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// rustls refused the settings; a bug of ours unless the random generator failed.
    #[error("TLS cannot be set up with the certificate in {path}: {source}")]
    Setup {
        /// The certificate's file.
        path: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
}

/// Why a TLS session ended before its time. The peer's doing, unless the message says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// The peer broke the protocol or offered nothing that both sides can speak.
    #[error("the peer's TLS cannot be accepted: {0}")]
    Protocol(#[from] rustls::Error),
    /// A record after the handshake cannot be accepted.
    #[error("the peer sent a TLS record that cannot be accepted: {0}")]
    Record(#[from] RecordFault),
    /// A handshake message is larger than any that is accepted.
    #[error("the peer sent a TLS handshake message larger than any that is accepted")]
    Oversized,
    /// There is no certificate to serve with.
    #[error("the operator's configuration names no certificate that could be used, so TLS cannot be served")]
    NoCertificate,
    /// Records arrived after the session had ended.
    #[error("the peer sent TLS records after the session had failed")]
    AfterFailure,
}
