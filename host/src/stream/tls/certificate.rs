//! One certificate as it is served: read from its files, checked against its key, wrapped in the rustls
//! configuration that sessions with it use.
//!
//! Each certificate has a configuration and a ticket key of its own. So a session always knows which certificate the
//! peer saw (`tls-server-end-point` needs the very bytes), and a ticket issued under a replaced certificate resumes
//! nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig, SupportedProtocolVersion, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::secrets::Catcher;
use super::{CertificateError, MinimumVersion, binding};

/// ALPN's name for a client stream (XEP-0368).
const ALPN_CLIENT: &[u8] = b"xmpp-client";

/// Where a certificate comes from and whom it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSource {
    /// PEM file of the chain, the server's own certificate first.
    pub chain: PathBuf,
    /// PEM file of the private key; may be the same file.
    pub key: PathBuf,
    /// Hosts that get this certificate whatever names are in it. May be empty: the names in the certificate count too.
    pub hosts: Vec<String>,
}

/// What an operator may see of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSummary {
    /// The chain's file.
    pub chain: PathBuf,
    /// The DNS names in it, lower case.
    pub names: Vec<String>,
    /// The end of its validity, seconds since 1970.
    pub not_after: i64,
}

/// A certificate in service.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) source: CertificateSource,
    pub(super) fingerprint: Fingerprint,
    /// The hosts of the source, as they stand in a ClientHello.
    pub(super) hosts: Vec<String>,
    pub(super) names: Vec<String>,
    pub(super) not_after: i64,
    pub(super) server_end_point: Option<Box<[u8]>>,
    pub(super) minimum: MinimumVersion,
    pub(super) config: Arc<ServerConfig>,
}

/// The hash of both files' bytes: content decides whether a certificate has changed, never a time stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

/// The bytes of both files, read once so that what is hashed is what is parsed.
pub(super) struct Files {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    pub(super) fn read(source: &CertificateSource) -> Result<Self, CertificateError> {
        Ok(Self { chain: read(&source.chain)?, key: read(&source.key)? })
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&(self.chain.len() as u64).to_be_bytes());
        context.update(&self.chain);
        context.update(&self.key);
        let mut out = [0; 32];
        out.copy_from_slice(context.finish().as_ref());
        Fingerprint(out)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key);
        zeroize::Zeroize::zeroize(&mut self.chain);
    }
}

impl Certificate {
    /// Parses and checks the files' content; nothing is taken into service that could not be served.
    pub(super) fn from_files(
        source: &CertificateSource,
        files: &Files,
        minimum: MinimumVersion,
    ) -> Result<Self, CertificateError> {
        let chain = parse_chain(&source.chain, &files.chain)?;
        let facts = LeafFacts::parse(&source.chain, &chain[0])?;
        let server_end_point = binding::server_end_point(&chain[0]);
        let key = certified_key(source, chain, &files.key)?;
        let setup = |error| CertificateError::Setup { path: source.chain.clone(), source: error };
        Ok(Self {
            source: source.clone(),
            fingerprint: files.fingerprint(),
            hosts: source.hosts.iter().map(|host| ascii_name(host)).collect(),
            names: facts.names,
            not_after: facts.not_after,
            server_end_point,
            minimum,
            config: Arc::new(server_config(key, minimum).map_err(setup)?),
        })
    }

    /// Whether the name, in lower case ASCII, is one that this certificate is configured for.
    pub(super) fn is_configured_for(&self, name: &str) -> bool {
        self.hosts.iter().any(|host| host == name)
    }

    /// Whether the name, in lower case ASCII, is one that stands in the certificate; a wildcard covers one label.
    pub(super) fn is_issued_for(&self, name: &str) -> bool {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|own| match own.strip_prefix("*.") {
            Some(suffix) => parent == Some(suffix),
            None => own == name,
        })
    }

    pub(super) fn summary(&self) -> CertificateSummary {
        CertificateSummary {
            chain: self.source.chain.clone(),
            names: self.names.clone(),
            not_after: self.not_after,
        }
    }
}

/// Names in certificates and in SNI are A-labels; a vhost's name may hold U-labels.
pub(super) fn ascii_name(name: &str) -> String {
    idna::domain_to_ascii(name).unwrap_or_else(|_| name.to_ascii_lowercase())
}

/// Always the one certificate: which one is chosen before, from the ClientHello.
#[derive(Debug)]
struct OwnCertificate(Arc<CertifiedKey>);

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

struct LeafFacts {
    names: Vec<String>,
    not_after: i64,
}

impl LeafFacts {
    fn parse(path: &Path, leaf: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let no_certificate =
            |reason: String| CertificateError::NoCertificate { path: path.to_owned(), reason };
        let (_, parsed) =
            X509Certificate::from_der(leaf).map_err(|error| no_certificate(error.to_string()))?;
        let names = match parsed.subject_alternative_name() {
            Ok(Some(extension)) => extension.value.general_names.iter().filter_map(dns_name).collect(),
            Ok(None) => Vec::new(),
            Err(error) => return Err(no_certificate(error.to_string())),
        };
        Ok(Self { names, not_after: parsed.validity().not_after.timestamp() })
    }
}

fn dns_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    fs::read(path).map_err(|source| CertificateError::Unreadable { path: path.to_owned(), source })
}

fn parse_chain(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let no_certificate = |reason: String| CertificateError::NoCertificate { path: path.to_owned(), reason };
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| no_certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(no_certificate("there is no CERTIFICATE section in it".to_owned()));
    }
    Ok(chain)
}

fn certified_key(
    source: &CertificateSource,
    chain: Vec<CertificateDer<'static>>,
    key_pem: &[u8],
) -> Result<CertifiedKey, CertificateError> {
    let no_key = |reason: String| CertificateError::NoKey { path: source.key.clone(), reason };
    let der = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| no_key(error.to_string()))?;
    let signer =
        default_provider().key_provider.load_private_key(der).map_err(|error| no_key(error.to_string()))?;
    let key = CertifiedKey::new(chain, signer);
    match key.keys_match() {
        // A signer that cannot tell its public key is given the benefit of the doubt.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(key),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(CertificateError::KeyMismatch { chain: source.chain.clone(), key: source.key.clone() })
        }
        Err(error) => {
            Err(CertificateError::NoCertificate { path: source.chain.clone(), reason: error.to_string() })
        }
    }
}

fn server_config(key: CertifiedKey, minimum: MinimumVersion) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions(minimum))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(OwnCertificate(Arc::new(key))));
    config.alpn_protocols = vec![ALPN_CLIENT.to_vec()];
    // For the own record layer, which takes over when the handshake is complete.
    config.enable_secret_extraction = true;
    config.key_log = Arc::new(Catcher);
    // tls-exporter is only sound in TLS 1.2 with the extended master secret (RFC 9266 section 3), which every
    // client that follows RFC 9325 has.
    config.require_ems = true;
    // Stateless tickets alone: no table of sessions that would grow with the clients. A client opens one connection
    // at a time, so one ticket is enough.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.ticketer = Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(config)
}

static FROM_TLS12: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
static FROM_TLS13: [&SupportedProtocolVersion; 1] = [&version::TLS13];

fn versions(minimum: MinimumVersion) -> &'static [&'static SupportedProtocolVersion] {
    match minimum {
        MinimumVersion::Tls12 => &FROM_TLS12,
        MinimumVersion::Tls13 => &FROM_TLS13,
    }
}
