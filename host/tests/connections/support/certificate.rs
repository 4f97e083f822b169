//! Self-signed certificates in a folder of the test's own.

use std::path::Path;
use std::sync::Arc;

use moult_host::stream::tls::CertificateSource;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;

/// A certificate with its files.
#[derive(Clone)]
pub struct TestCertificate {
    pub der: CertificateDer<'static>,
    pub source: CertificateSource,
}

impl TestCertificate {
    /// Writes a new certificate for the names into the folder, over the one of the same stem.
    pub fn write(folder: &Path, stem: &str, names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let file = |ending: &str| folder.join(format!("{stem}.{ending}"));
        let source = CertificateSource { chain: file("pem"), key: file("key"), hosts: vec![] };
        std::fs::write(&source.chain, made.cert.pem()).unwrap();
        std::fs::write(&source.key, made.signing_key.serialize_pem()).unwrap();
        Self { der: made.cert.der().clone(), source }
    }

    /// A client that trusts this certificate alone.
    pub fn client_config(&self, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }
}
