//! A self-signed certificate for the servers under test, and the client configuration that trusts it alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

/// A certificate with its key, as files and as what a client trusts.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// PEM chain.
    pub chain_file: PathBuf,
    /// PEM key.
    pub key_file: PathBuf,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// Makes an ECDSA P-256 certificate for `names` and writes `name.crt` and `name.key` into `folder`.
    pub fn make(folder: &Path, name: &str, names: &[String]) -> Certificate {
        let key = KeyPair::generate().expect("a P-256 key can be made");
        let mut params = CertificateParams::new(names.to_vec()).expect("the names are valid DNS names");
        // The defaults of rcgen, years 1975 to 4096, are beyond what ejabberd accepts.
        params.not_before = rcgen::date_time_ymd(2024, 1, 1);
        params.not_after = rcgen::date_time_ymd(2049, 1, 1);
        params.distinguished_name.push(rcgen::DnType::CommonName, names[0].clone());
        let certificate = params.self_signed(&key).expect("a certificate can be signed with its own key");
        let chain_file = folder.join(format!("{name}.crt"));
        let key_file = folder.join(format!("{name}.key"));
        write_private(&key_file, &key.serialize_pem());
        write_private(&chain_file, &certificate.pem());
        Certificate { chain_file, key_file, der: certificate.der().clone() }
    }

    /// The certificate itself, DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// A client configuration that trusts this certificate and nothing else.
    pub fn client_config(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a certificate made by rcgen can be a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("aws-lc-rs has cipher suites for TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}

/// Replaces a file that only its owner may read, atomically, as an ACME client would.
fn write_private(path: &Path, content: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, content).expect("the test folder is writable");
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600)).expect("the file is ours");
    std::fs::rename(&temporary, path).expect("the test folder is writable");
}
