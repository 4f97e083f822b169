//! The modules' sections of a configuration, held against the libraries in the plugin folder.
//!
//! What a library takes is read from the note in its file, so that a start can be refused, and a file be checked, without
//! running any code of a module. Files that are of no use are not judged here; loading them says why.

use std::collections::BTreeSet;
use std::path::Path;

use super::folder::{FolderRules, FolderScanner};
use super::plan::is_enabled;
use crate::config::check::CheckReport;
use crate::config::{self, Config, ConfigErrors};
use moult_plugin_api::manifest::Manifest;

/// What the sections say to modules that lie in the folder; every mistake with file and line.
pub fn check(config: &Config) -> Result<(), ConfigErrors> {
    let mut errors = Vec::new();
    for found in scan(config).found {
        let Ok(manifest) = &found.manifest else { continue };
        for vhost in places(manifest, config) {
            let settings = config.module_settings(vhost, &manifest.id);
            let checked = config::options::validate(&manifest.id, &manifest.options, &settings.options);
            errors.extend(checked.err().into_iter().flatten());
        }
    }
    // A mistake in a section for all vhosts is one mistake.
    errors.sort_by_key(|error| (error.location.line, error.message.clone()));
    errors.dedup();
    if errors.is_empty() { Ok(()) } else { Err(ConfigErrors::new(errors)) }
}

/// Sections for modules that do not lie in the folder, which may be on purpose or misspelt.
pub fn warnings(config: &Config) -> Vec<String> {
    let scan = scan(config);
    let there: BTreeSet<&str> = scan.found.iter().map(super::folder::Found::id).collect();
    let on_vhosts = config.vhosts.values().flat_map(|vhost| vhost.modules.keys());
    let named: BTreeSet<&String> = config.modules.sections.keys().chain(on_vhosts).collect();
    let missing = named.into_iter().filter(|name| !there.contains(name.as_str()));
    missing
        .map(|name| {
            let folder = config.server.plugin_dir.display();
            format!("There is a section for {name}, but no library of that name in {folder}.")
        })
        .collect()
}

/// The vhosts where a module is to run; `None` stands for the server as a whole.
fn places<'a>(manifest: &Manifest, config: &'a Config) -> Vec<Option<&'a str>> {
    let vhosts = config.vhosts.keys().map(|vhost| Some(vhost.as_str()));
    let all: Vec<_> = if manifest.global { vec![None] } else { vhosts.collect() };
    all.into_iter().filter(|vhost| is_enabled(&manifest.id, *vhost, config)).collect()
}

fn scan(config: &Config) -> super::folder::Scan {
    FolderScanner::new(&config.server.plugin_dir, FolderRules::default()).scan()
}

/// What `moultd --check-config` and `moultctl check_config` say of a file: the mistakes of [`Config::load`] and those of
/// [`check`], or a summary with warnings.
pub fn check_file(path: &Path) -> CheckReport {
    let report = config::check::check_file(path);
    let Ok(config) = Config::load(path) else { return report };
    match check(&config) {
        Err(errors) => CheckReport { ok: false, text: errors.to_string() },
        Ok(()) => {
            let warnings = warnings(&config).into_iter().map(|warning| format!("\nwarning: {warning}"));
            CheckReport { text: report.text + &warnings.collect::<String>(), ..report }
        }
    }
}
