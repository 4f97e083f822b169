//! The table of certificates in service, and its renewal from files that change.
//!
//! Readers take a snapshot without a lock. [`Certificates::reload`] reads every file again, compares content, and
//! publishes a new table; live sessions keep the certificate they began with. A file that has become unusable keeps
//! the certificate that is in service, and is logged once for each content that it has.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::certificate::{Certificate, Files, Fingerprint, ascii_name};
use super::{CertificateError, CertificateSource, CertificateSummary, MinimumVersion, TlsSettings};

/// The certificates in service.
#[derive(Debug)]
pub struct Certificates {
    table: ArcSwap<Vec<Arc<Certificate>>>,
    reloading: Mutex<Reloading>,
}

/// What a reload found.
#[derive(Debug, Default)]
pub struct ReloadReport {
    /// Certificate files whose new content is now in service.
    pub replaced: Vec<PathBuf>,
    /// Certificates that could not be replaced; what was in service still is.
    pub kept: Vec<CertificateError>,
}

/// What only the one who reloads needs.
#[derive(Debug)]
struct Reloading {
    settings: TlsSettings,
    /// Contents that were refused and logged already, so that polling does not repeat itself.
    refused: Vec<(PathBuf, Refused)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    Unreadable,
    Content(Fingerprint),
}

impl Certificates {
    /// Reads every certificate; at the start each of them has to be usable.
    pub fn load(settings: TlsSettings) -> Result<Self, CertificateError> {
        let table = settings
            .certificates
            .iter()
            .map(|source| load_one(source, settings.minimum_version))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            table: ArcSwap::from_pointee(table),
            reloading: Mutex::new(Reloading { settings, refused: Vec::new() }),
        })
    }

    /// Whether there is no certificate, so that TLS cannot be offered.
    pub fn is_empty(&self) -> bool {
        self.table.load().is_empty()
    }

    /// What is in service, for an operator's eyes.
    pub fn summaries(&self) -> Vec<CertificateSummary> {
        self.table.load().iter().map(|certificate| certificate.summary()).collect()
    }

    /// Reads the files again and takes into service what has changed. Blocking: it reads files and checks keys.
    pub fn reload(&self) -> ReloadReport {
        let mut reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let Reloading { settings, refused } = &mut *reloading;
        self.rebuild(settings, refused)
    }

    /// As [`Certificates::reload`], with other files or hosts than before.
    pub fn replace_settings(&self, settings: TlsSettings) -> ReloadReport {
        let mut reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        reloading.settings = settings;
        let Reloading { settings, refused } = &mut *reloading;
        self.rebuild(settings, refused)
    }

    /// Reloads at every interval, for ever; dropping the future ends it. Files are read outside the async workers.
    pub async fn watch(self: Arc<Self>, interval: Duration) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let certificates = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || certificates.reload()).await.is_err() {
                tracing::error!(
                    "reading the certificates again failed by a bug of ours; the old ones serve on"
                );
            }
        }
    }

    /// The certificate for the name a client asked for, else for the stream's host, else the first one.
    pub(super) fn choose(&self, server_name: Option<&str>, host: Option<&str>) -> Option<Arc<Certificate>> {
        let table = self.table.load();
        let by_name = |name: &str| {
            let name = ascii_name(name);
            let configured = table.iter().find(|certificate| certificate.is_configured_for(&name));
            configured.or_else(|| table.iter().find(|certificate| certificate.is_issued_for(&name)))
        };
        let chosen =
            server_name.and_then(by_name).or_else(|| host.and_then(by_name)).or_else(|| table.first());
        chosen.cloned()
    }

    fn rebuild(&self, settings: &TlsSettings, refused: &mut Vec<(PathBuf, Refused)>) -> ReloadReport {
        let old = self.table.load_full();
        let mut report = ReloadReport::default();
        let mut table = Vec::with_capacity(settings.certificates.len());
        for source in &settings.certificates {
            let serving = old.iter().find(|certificate| same_files(&certificate.source, source));
            match renew(source, serving, settings.minimum_version) {
                Ok(Some(new)) => {
                    refused.retain(|(path, _)| *path != source.chain);
                    tracing::info!(certificate = %source.chain.display(), "the new certificate is in service");
                    report.replaced.push(source.chain.clone());
                    table.push(new);
                }
                Ok(None) => {
                    refused.retain(|(path, _)| *path != source.chain);
                    table.extend(serving.cloned());
                }
                Err(refusal) => {
                    let (content, error) = *refusal;
                    note_refusal(refused, source, content, &error);
                    report.kept.push(error);
                    table.extend(serving.cloned());
                }
            }
        }
        self.table.store(Arc::new(table));
        report
    }
}

/// `Ok(None)` when what is in service is what the files hold.
fn renew(
    source: &CertificateSource,
    serving: Option<&Arc<Certificate>>,
    minimum: MinimumVersion,
) -> Result<Option<Arc<Certificate>>, Box<(Refused, CertificateError)>> {
    let files = Files::read(source).map_err(|error| Box::new((Refused::Unreadable, error)))?;
    let fingerprint = files.fingerprint();
    let is_current = |old: &Arc<Certificate>| {
        old.fingerprint == fingerprint && old.source == *source && old.minimum == minimum
    };
    if serving.is_some_and(is_current) {
        return Ok(None);
    }
    let new = Certificate::from_files(source, &files, minimum);
    new.map(|certificate| Some(Arc::new(certificate)))
        .map_err(|error| Box::new((Refused::Content(fingerprint), error)))
}

fn note_refusal(
    refused: &mut Vec<(PathBuf, Refused)>,
    source: &CertificateSource,
    content: Refused,
    error: &CertificateError,
) {
    let entry = (source.chain.clone(), content);
    if refused.contains(&entry) {
        return;
    }
    refused.retain(|(path, _)| *path != source.chain);
    refused.push(entry);
    tracing::error!(certificate = %source.chain.display(), "the old certificate serves on: {error}");
}

fn load_one(
    source: &CertificateSource,
    minimum: MinimumVersion,
) -> Result<Arc<Certificate>, CertificateError> {
    let files = Files::read(source)?;
    Ok(Arc::new(Certificate::from_files(source, &files, minimum)?))
}

fn same_files(one: &CertificateSource, other: &CertificateSource) -> bool {
    one.chain == other.chain && one.key == other.key
}
