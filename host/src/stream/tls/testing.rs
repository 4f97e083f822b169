//! Certificates and clients for tests: everything is made on the spot, nothing is trusted beyond it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertifiedKey, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::CertificateDer;

use super::CertificateSource;

/// The kinds of keys that the tests tell apart.
#[derive(Clone, Copy)]
pub(crate) enum Keys {
    P256,
    P384,
    Ed25519,
}

/// A self-signed certificate in a folder, which a test may replace.
pub(crate) struct TestCertificate {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) source: CertificateSource,
}

/// Writes `<stem>.pem` and `<stem>.key` for the names into the folder.
pub(crate) fn write_certificate(folder: &Path, stem: &str, names: &[&str], keys: Keys) -> TestCertificate {
    let algorithm = match keys {
        Keys::P256 => &PKCS_ECDSA_P256_SHA256,
        Keys::P384 => &PKCS_ECDSA_P384_SHA384,
        Keys::Ed25519 => &PKCS_ED25519,
    };
    let signing_key = KeyPair::generate_for(algorithm).unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let cert = rcgen::CertificateParams::new(names).unwrap().self_signed(&signing_key).unwrap();
    let made = CertifiedKey { cert, signing_key };
    let source =
        CertificateSource { chain: path(folder, stem, "pem"), key: path(folder, stem, "key"), hosts: vec![] };
    std::fs::write(&source.chain, made.cert.pem()).unwrap();
    std::fs::write(&source.key, made.signing_key.serialize_pem()).unwrap();
    TestCertificate { der: made.cert.der().clone(), source }
}

/// A client that trusts exactly these certificates.
pub(crate) fn client_config(
    trusted: &[&CertificateDer<'static>],
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add((*certificate).clone()).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

fn path(folder: &Path, stem: &str, ending: &str) -> PathBuf {
    folder.join(format!("{stem}.{ending}"))
}
