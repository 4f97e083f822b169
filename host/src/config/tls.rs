//! `[tls]`: certificates and protocol versions.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::reader::Section;

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

impl Tls {
    pub(super) fn read(section: Section<'_>) -> Tls {
        let default = Tls::default();
        let versions = [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
        let self_signed = section.flag("self_signed", default.self_signed);
        let tls = Tls {
            certificate: Certificate::read(&section, self_signed),
            min_version: section.choice("min_version", default.min_version, &versions),
            required: section.flag("required", default.required),
            self_signed,
        };
        section.finish();
        tls
    }
}

impl Certificate {
    /// Reads `certificate` and `key`. Their files must be readable, unless they `may_be_missing`.
    pub(super) fn read(section: &Section<'_>, may_be_missing: bool) -> Option<Certificate> {
        let (certificate, key) = (section.path("certificate"), section.path("key"));
        if !may_be_missing {
            check_readable(section, "certificate", certificate.as_deref());
            check_readable(section, "key", key.as_deref());
        }
        match (certificate, key) {
            (Some(certificate), Some(key)) => Some(Certificate { certificate, key }),
            (None, None) => None,
            (Some(_), None) => unpaired(section, "certificate", "key"),
            (None, Some(_)) => unpaired(section, "key", "certificate"),
        }
    }
}

fn check_readable(section: &Section<'_>, key: &str, path: Option<&Path>) {
    let Some(path) = path else { return };
    let readable = std::fs::File::open(path).and_then(|file| file.metadata());
    let reason = match readable {
        Ok(facts) if facts.is_file() => return,
        Ok(_) => "it is not a file".to_owned(),
        Err(error) => error.to_string(),
    };
    let message = format!("{} names {}, which cannot be read: {reason}.", section.key(key), path.display());
    section.context.error(section.line_of(key), message);
}

fn unpaired(section: &Section<'_>, there: &str, missing: &str) -> Option<Certificate> {
    let message =
        format!("{} is given without \"{missing}\"; a certificate needs its key.", section.key(there));
    section.context.error(section.line_of(there), message);
    None
}
