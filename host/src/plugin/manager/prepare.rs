//! From a file in the folder to a generation whose instances are ready to serve. Nothing here is visible to anybody.

use super::Manager;
use crate::config::{self, Config, Purge};
use crate::plugin::bridge::invoke::Code;
use crate::plugin::core::vhost_of;
use crate::plugin::error::{ModuleError, Stage};
use crate::plugin::folder::Found;
use crate::plugin::generation::Generation;
use crate::plugin::instance::{Instance, Started, StopReason};
use crate::plugin::loader::Library;
use crate::plugin::plan::is_enabled;
use crate::plugin::probe;
use crate::plugin::slot::{GLOBAL, SlotKey};
use moult_plugin_api::manifest::Manifest;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

impl Manager {
    /// Copy, probe, load. No instance yet.
    pub(super) async fn load_library(&self, found: &Found) -> Result<Generation, ModuleError> {
        if let Some(refusal) = self.inner.retirements.refusal(found.id()).await {
            return Err(ModuleError::operator(found.id(), Stage::Load, refusal));
        }
        let (copies, settings) = (Arc::clone(&self.inner.copies), self.probe_settings());
        let (number, found) = (self.next_generation(), found.clone());
        let loading = tokio::task::spawn_blocking(move || {
            let copy = copies.copy(&found, number)?;
            let report = probe::probe(&copy, &settings)?;
            for warning in &report.warnings {
                tracing::warn!(module = found.id(), generation = number, "{warning}");
            }
            let library = Library::load(copy, &report)?;
            Ok::<_, ModuleError>((library, found))
        });
        let (library, found) = loading
            .await
            .map_err(|_| ModuleError::server("modules", Stage::Load, "loading was cancelled"))??;
        if let Err(error) = self.keep_file(&found, &library) {
            tracing::warn!(module = found.id(), %error, "its file could not be kept for a rollback");
        }
        Ok(Generation {
            number,
            manifest: Arc::clone(library.manifest()),
            source: found.path,
            hash: found.hash,
            since: SystemTime::now(),
            library: Arc::new(library),
            instances: Default::default(),
            contexts: Vec::new(),
            ignored: Vec::new(),
            stopped: BTreeMap::new(),
        })
    }

    /// Makes and starts the instances of a generation, everywhere it is enabled.
    pub(super) async fn start_instances(
        &self,
        generation: &mut Generation,
        config: &Config,
        on_swap: bool,
    ) -> Result<(), ModuleError> {
        for key in keys(&generation.manifest, config) {
            self.start_instance(generation, &key, config, on_swap).await?;
        }
        Ok(())
    }

    /// Makes and starts one instance and takes it into its generation, or into the list of those with nothing to do.
    pub(super) async fn start_instance(
        &self,
        generation: &mut Generation,
        key: &SlotKey,
        config: &Config,
        on_swap: bool,
    ) -> Result<(), ModuleError> {
        let options = options(&generation.manifest, key, config)?;
        self.check_stores(&generation.manifest, key).await?;
        let core = &self.inner.core;
        let code = Code::of(&generation.library);
        let context = core.context(&code, key, generation.number);
        generation.contexts.push(Arc::clone(&context));
        let deadline = config.modules.start_deadline;
        let instance = Instance::create(code, context, options, core.runtime().handle(), deadline).await?;
        match instance.start(on_swap, deadline).await {
            Ok(Started::Running(_)) => {
                generation.instances.insert(key.clone(), instance);
                Ok(())
            }
            Ok(Started::Ignored) => {
                tracing::info!(module = %key, "has nothing to do here");
                generation.ignored.push(key.clone());
                self.end_one(generation.number, instance, StopReason::Unload, Purge::Brutal).await;
                Ok(())
            }
            Err(error) => {
                // Its start may still be running: it is ended when that has come back, and its library stays till then.
                instance.give_up();
                self.end_one(generation.number, instance, StopReason::Failed, Purge::Brutal).await;
                Err(error)
            }
        }
    }

    fn probe_settings(&self) -> probe::ProbeSettings {
        let mut settings = self.inner.probe.clone();
        settings.deadline = self.inner.core.config().modules.probe_deadline;
        settings
    }

    fn keep_file(&self, found: &Found, library: &Library) -> std::io::Result<()> {
        // The private copy, except where the loader changed it: then it would no longer have the hash it is kept under.
        let copy = library.copy();
        let from = if copy.nodelete_cleared() { &found.path } else { copy.path() };
        super::lock(&self.inner.history).keep(found, from)
    }
}

/// The slots a module serves under this configuration.
pub(super) fn keys(manifest: &Manifest, config: &Config) -> Vec<SlotKey> {
    let module: Arc<str> = manifest.id.as_str().into();
    let key = |vhost: &str| SlotKey { module: Arc::clone(&module), vhost: vhost.into() };
    if manifest.global {
        return if is_enabled(&manifest.id, None, config) { vec![key(GLOBAL)] } else { Vec::new() };
    }
    let vhosts = config.vhosts.keys().filter(|vhost| is_enabled(&manifest.id, Some(vhost), config));
    vhosts.map(|vhost| key(vhost)).collect()
}

/// The checked options of a slot as the module gets them: a JSON object. `@HOST@` in texts becomes the vhost.
pub(super) fn options(manifest: &Manifest, key: &SlotKey, config: &Config) -> Result<Arc<str>, ModuleError> {
    let settings = config.module_settings(vhost_of(key), &key.module);
    let checked = config::options::validate(&key.module, &manifest.options, &settings.options);
    let options = checked.map_err(|errors| {
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        ModuleError::operator(key.to_string(), Stage::Start, all.join("; "))
    })?;
    Ok(serde_json::Value::Object(options).to_string().into())
}
