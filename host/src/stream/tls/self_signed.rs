//! Certificates of our own making, for trying the server out: no client trusts them unless it is told to.
//!
//! They are made once and kept: a certificate that is there already is never touched. A vhost with files of its own has to
//! bring them along.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::CertificateParams;

use super::CertificateError;
use super::certificate::ascii_name;
use crate::config::{self, Config};

/// Makes the certificate that the configuration allows to be self-signed, if it is missing. What was made.
pub fn provide_self_signed(config: &Config) -> Result<Option<PathBuf>, CertificateError> {
    let hosts = hosts(config);
    let files = config.tls.certificate.clone().unwrap_or_else(|| own_files(config));
    let is_there = files.certificate.exists() && files.key.exists();
    if !config.tls.self_signed || hosts.is_empty() || is_there {
        return Ok(None);
    }
    write(&files, &hosts)?;
    tracing::warn!(certificate = %files.certificate.display(), "made a self-signed certificate");
    Ok(Some(files.certificate))
}

/// Where the certificate is kept for vhosts for which none is configured.
pub(super) fn own_files(config: &Config) -> config::Certificate {
    let file = |name: &str| config.server.data_dir.join(name);
    config::Certificate { certificate: file("self-signed.pem"), key: file("self-signed.key") }
}

/// The vhosts that have no certificate of their own.
pub(super) fn hosts(config: &Config) -> Vec<String> {
    let without_own = config.vhosts.iter().filter(|(_, vhost)| vhost.certificate.is_none());
    without_own.map(|(name, _)| name.clone()).collect()
}

fn write(files: &config::Certificate, hosts: &[String]) -> Result<(), CertificateError> {
    let unable = |reason: String| CertificateError::NotMade { path: files.certificate.clone(), reason };
    let names: Vec<String> = hosts.iter().map(|host| ascii_name(host)).collect();
    let key = rcgen::KeyPair::generate().map_err(|error| unable(error.to_string()))?;
    let certificate = CertificateParams::new(names)
        .and_then(|params| params.self_signed(&key))
        .map_err(|error| unable(error.to_string()))?;
    let written = write_new(&files.key, &key.serialize_pem(), 0o600)
        .and_then(|()| write_new(&files.certificate, &certificate.pem(), 0o644));
    written.map_err(|error| unable(error.to_string()))
}

/// Written beside and renamed, so that there is never half a file.
fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::stream::tls::{Certificates, TlsSettings};

    fn config(folder: &Path, text: &str) -> Config {
        let text = format!("[server]\ndata_dir = \"{}\"\n{text}", folder.display());
        let environment = std::collections::BTreeMap::<&str, &str>::new();
        Config::parse(&text, &folder.join("moult.toml"), &environment).unwrap()
    }

    #[test]
    fn a_missing_certificate_is_made_once_and_served() {
        let folder = tempfile::tempdir().unwrap();
        let vhosts = "[vhost.\"a.example\"]\n[vhost.\"bücher.example\"]\n";
        for (files, stem) in [("", "self-signed"), ("certificate = \"x.pem\"\nkey = \"x.key\"\n", "x")] {
            let config = config(folder.path(), &format!("[tls]\nself_signed = true\n{files}{vhosts}"));
            let file = |ending: &str| folder.path().join(format!("{stem}.{ending}"));
            assert_eq!(provide_self_signed(&config).unwrap(), Some(file("pem")));
            assert_eq!(provide_self_signed(&config).unwrap(), None);
            let mode = fs::metadata(file("key")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);

            let certificates = Certificates::load(TlsSettings::from_config(&config)).unwrap();
            let summaries = certificates.summaries();
            assert_eq!(summaries.len(), 1);
            assert_eq!(summaries[0].names, ["a.example", "xn--bcher-kva.example"]);
        }
    }

    #[test]
    fn nothing_is_made_unless_it_is_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path(), "[tls]\nself_signed = true\n[vhost.\"a.example\"]\n");
        config.tls.self_signed = false;
        assert_eq!(provide_self_signed(&config).unwrap(), None);
        assert!(Certificates::load(TlsSettings::from_config(&config)).unwrap().is_empty());
    }
}
