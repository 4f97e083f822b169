//! Certificates of our own making: for trying things out, where nobody has configured any.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::error::StartError;
use crate::config::{Certificate, Config};

/// Where a certificate lies that the configuration does not name.
const CHAIN: &str = "self-signed.crt";
const KEY: &str = "self-signed.key";

/// Makes the certificate that the configuration asks for and nobody has made yet. Gives the configuration that names it.
pub(super) fn ensure(mut config: Config) -> Result<Config, StartError> {
    if !config.tls.self_signed {
        return Ok(config);
    }
    let files = config.tls.certificate.clone().unwrap_or_else(|| Certificate {
        certificate: config.server.data_dir.join(CHAIN),
        key: config.server.data_dir.join(KEY),
    });
    if !files.certificate.exists() || !files.key.exists() {
        let domains: Vec<String> = config.vhosts.keys().cloned().collect();
        make(&domains, &files)?;
        tracing::warn!(
            certificate = %files.certificate.display(),
            "a self-signed certificate was made; clients will not trust it unless they are told to"
        );
    }
    config.tls.certificate = Some(files);
    Ok(config)
}

/// Writes a self-signed certificate for these domains and everything below them, and its key.
pub(super) fn make(domains: &[String], files: &Certificate) -> Result<(), StartError> {
    let failed = |error: rcgen::Error| StartError::SelfSigned(error.to_string());
    let names: Vec<String> = domains.iter().filter_map(|domain| idna::domain_to_ascii(domain).ok()).collect();
    let certified = rcgen::generate_simple_self_signed(names).map_err(failed)?;
    write(&files.key, 0o600, &certified.signing_key.serialize_pem())?;
    write(&files.certificate, 0o644, &certified.cert.pem())
}

/// Writes a whole file with this mode.
pub(super) fn write(path: &Path, mode: u32, text: &str) -> Result<(), StartError> {
    let failed = |source| StartError::File { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)
}
