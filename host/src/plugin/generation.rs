//! One loaded generation of a module: its library, where it came from, and its instances.

use super::bridge::context::HostContext;
use super::error::ModuleError;
use super::instance::Instance;
use super::loader::{ContentHash, Library};
use super::slot::SlotKey;
use moult_plugin_api::manifest::Manifest;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// A generation that serves, or is about to.
pub struct Generation {
    /// Its number, unique over all modules.
    pub number: u64,
    /// What it says of itself.
    pub manifest: Arc<Manifest>,
    /// The file it came from.
    pub source: PathBuf,
    /// That file's content.
    pub hash: ContentHash,
    /// Since when.
    pub since: SystemTime,
    /// Its library.
    pub library: Arc<Library>,
    /// Its instances.
    pub instances: BTreeMap<SlotKey, Arc<Instance>>,
    /// Contexts of all its instances, also of ended ones: they outlive the library.
    pub contexts: Vec<Arc<HostContext>>,
    /// Vhosts on which it has nothing to do, or was stopped by the operator.
    pub ignored: Vec<SlotKey>,
    /// Why it serves no more where it has served.
    pub stopped: BTreeMap<SlotKey, ModuleError>,
}

impl Generation {
    /// Its module's id.
    pub fn module(&self) -> &str {
        &self.manifest.id
    }
}
