//! The module manager: everything that changes which modules serve, one transaction at a time.
//!
//! * `swap`: the update transaction;
//! * `prepare`: from a file to a generation whose instances are ready to serve;
//! * `changes`: telling modules that others have changed;
//! * `handover`: state from the old instances to the new ones;
//! * `reload`: another configuration for the same generations;
//! * `started`: the first words to what an update has put in place, and the way back when it does not want to serve;
//! * `restarts`: the restart policy of a module's manifest;
//! * `watchers`: what happens by itself: health windows, stopped instances, the plugin folder, late unmapping;
//! * `look`: reports.

mod asker;
mod changes;
mod forward;
mod handover;
mod look;
mod prepare;
mod reload;
mod restarts;
mod started;
mod swap;
mod watchers;

pub use asker::{asked_by, carried_on};
pub use reload::{ReloadReport, Reloaded};
pub use swap::UpdateRequest;

use super::call::Modules;
use super::core::{Core, Incident};
use super::error::{Fault, ModuleError, Stage};
use super::folder::{FolderRules, FolderScanner, Scan};
use super::generation::Generation;
use super::history::{Entry, History};
use super::instance::StopReason;
use super::loader::copy::Generations;
use super::plan::Memory;
use super::probe::ProbeSettings;
use super::retirement::{Leaving, Retirements};
use super::runtime::{ModulesRuntime, RuntimeSettings};
use super::services::HostServices;
use crate::config::{Config, Purge};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Mutex as AsyncMutex, mpsc};

/// How long a scan waits for files that are being written.
const SETTLE: Duration = Duration::from_secs(3);

/// The module manager. Cheap to clone.
#[derive(Clone)]
pub struct Manager {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    retirements: Arc<Retirements>,
    /// Held for the length of a transaction, not for what follows it.
    state: AsyncMutex<State>,
    copies: Arc<Generations>,
    scanner: Arc<Mutex<FolderScanner>>,
    probe: ProbeSettings,
    history: Mutex<History>,
    next_generation: AtomicU64,
    watches: watchers::Watches,
    /// What lay in the folder when the start began to load it, in the words of `pending`.
    tried: Mutex<BTreeSet<(String, String)>>,
    restarts: restarts::Restarts,
}

/// What is loaded, and what is remembered of what is not.
#[derive(Default)]
struct State {
    loaded: BTreeMap<String, Generation>,
    memory: Memory,
    /// Start order of the last start, for the reverse at the end.
    order: Vec<String>,
}

impl State {
    /// A module serves again somewhere: its last error is that of a place where it still does not, if there is one.
    fn forget_failure(&mut self, module: &str) {
        let left = self.loaded.get(module).and_then(|generation| {
            generation.stopped.values().rfind(|error| error.fault != Fault::Operator).cloned()
        });
        match left {
            Some(error) => drop(self.memory.failed.insert(module.to_owned(), error)),
            None => drop(self.memory.failed.remove(module)),
        }
    }
}

impl Manager {
    /// A manager without modules, on the folders that `config` names, with a runtime of its own for plugin code.
    pub fn open(config: Arc<Config>, probe: ProbeSettings) -> Result<Self, ModuleError> {
        let (core, incidents) = start_core(&config)?;
        Self::on(core, incidents, probe)
    }

    fn on(
        core: Arc<Core>,
        incidents: mpsc::Receiver<Incident>,
        probe: ProbeSettings,
    ) -> Result<Self, ModuleError> {
        let config = core.config();
        let data = &config.server.data_dir;
        let operator = |what: &str, error: std::io::Error| {
            ModuleError::operator("modules", Stage::Notice, format!("{what} in {}: {error}", data.display()))
        };
        let history =
            History::open(data, config.modules.keep_generations).map_err(|e| operator("the history", e))?;
        let inner = Arc::new(Inner {
            retirements: Retirements::new(Arc::clone(&core), config.modules.max_retained),
            state: AsyncMutex::default(),
            copies: Arc::new(Generations::open(&data.join("generations"))?),
            scanner: Arc::new(Mutex::new(FolderScanner::new(
                &config.server.plugin_dir,
                FolderRules::default(),
            ))),
            probe,
            history: Mutex::new(history),
            next_generation: AtomicU64::new(1),
            watches: watchers::Watches::default(),
            tried: Mutex::default(),
            restarts: restarts::Restarts::default(),
            core,
        });
        let manager = Self { inner };
        manager.watch_incidents(incidents);
        Ok(manager)
    }

    /// Connects the rest of the server, before the first module is loaded.
    pub fn connect(&self, services: Arc<dyn HostServices>) {
        self.inner.core.connect(services);
    }

    /// The callers' side.
    pub fn modules(&self) -> Modules {
        Modules::of(&self.inner.core)
    }

    /// The runtime plugin code runs on.
    pub fn runtime(&self) -> &ModulesRuntime {
        self.inner.core.runtime()
    }

    /// The shared state, for metrics.
    pub fn core(&self) -> &Arc<Core> {
        &self.inner.core
    }

    /// Loads at server start what the configuration wants. Failures are reported one by one; the others serve.
    pub async fn start(&self) -> Vec<ModuleError> {
        *lock(&self.inner.tried) = self.pending().await;
        // First all together, as one transaction; if that fails, one by one, so that one bad module stops no other.
        let report = self.update(UpdateRequest::all("start")).await;
        let mut errors = report.skipped;
        if report.errors.is_empty() {
            return errors;
        }
        for name in self.names_in_start_order().await {
            let report = self.update(UpdateRequest::named([name.clone()], "start")).await;
            errors.retain(|error: &ModuleError| error.module != name);
            errors.extend(report.errors);
        }
        errors
    }

    /// The listeners are up: `STARTED` for all, in start order, one after the other (S4-1).
    pub async fn announce_started(&self) -> Vec<ModuleError> {
        self.inner.core.is_up();
        self.tell_changes();
        let deadline = self.inner.core.config().modules.start_deadline;
        let mut errors = Vec::new();
        for instance in self.instances_in_order().await {
            if let Err(error) = instance.started(deadline).await {
                tracing::error!("{error}");
                self.take_out(&instance, &error).await;
                errors.push(error);
            }
        }
        errors
    }

    /// An instance that does not want to serve has failed to load (S4-1).
    async fn take_out(&self, instance: &Arc<super::instance::Instance>, error: &ModuleError) {
        let key = instance.key();
        let mut state = self.inner.state.lock().await;
        state.memory.failed.insert(key.module.to_string(), error.clone());
        if let Some(generation) = state.loaded.get_mut(&*key.module)
            && generation.number == instance.generation()
        {
            generation.stopped.insert(key.clone(), error.clone());
            self.stop_one(generation, key, StopReason::Failed).await;
        }
    }

    /// The server ends: `TERMINATED` in reverse order, then every instance is stopped. `error`: not a clean end.
    pub async fn shutdown(&self, error: bool) {
        let deadline = self.inner.core.config().modules.stop_deadline;
        for instance in self.instances_in_order().await.iter().rev() {
            if let Err(error) = instance.terminated(error, deadline).await {
                tracing::warn!("{error}");
            }
        }
        let mut state = self.inner.state.lock().await;
        let order = std::mem::take(&mut state.order);
        for module in order.iter().rev() {
            let Some(generation) = state.loaded.remove(module) else { continue };
            self.withdraw(&generation);
            let leaving = Leaving::all_of(generation, StopReason::Shutdown, Purge::Brutal);
            let _ = self.inner.retirements.begin(leaving).await;
        }
    }

    /// Tries again to unmap what stayed mapped.
    pub async fn sweep(&self) -> usize {
        self.inner.retirements.sweep().await.len()
    }

    fn withdraw(&self, generation: &Generation) {
        let changes = generation.instances.keys().map(|key| (key.clone(), None)).collect();
        // Taking things out cannot clash with anything.
        if let Err(conflict) = self.inner.core.publish(&changes) {
            tracing::error!(%conflict, "withdrawing a generation met a conflict: this is a bug of the server");
        }
    }

    async fn instances_in_order(&self) -> Vec<Arc<super::instance::Instance>> {
        let state = self.inner.state.lock().await;
        let generations = state.order.iter().filter_map(|module| state.loaded.get(module));
        generations.flat_map(|generation| generation.instances.values().cloned()).collect()
    }

    async fn names_in_start_order(&self) -> Vec<String> {
        let scan = self.scan().await;
        let manifests: BTreeMap<String, _> = scan
            .found
            .iter()
            .filter_map(|found| Some((found.id().to_owned(), &**found.manifest.as_ref().ok()?)))
            .collect();
        let all = manifests.keys().cloned().collect();
        let config = self.inner.core.config();
        let order = super::plan::start_order(&manifests).unwrap_or(all);
        let wanted =
            |id: &String| config.vhosts.keys().any(|vhost| super::plan::is_enabled(id, Some(vhost), &config));
        order.into_iter().filter(wanted).collect()
    }

    /// Looks into the plugin folder, on a blocking thread.
    async fn scan(&self) -> Scan {
        let scanner = Arc::clone(&self.inner.scanner);
        let scanning = tokio::task::spawn_blocking(move || lock(&scanner).scan_settled(SETTLE));
        scanning.await.unwrap_or_default()
    }

    fn next_generation(&self) -> u64 {
        self.inner.next_generation.fetch_add(1, Ordering::Relaxed)
    }

    fn note(&self, entries: Vec<Entry>) {
        if let Err(error) = lock(&self.inner.history).add(entries) {
            tracing::error!(%error, "the history of updates could not be written");
        }
    }

    fn plugin_dir(&self) -> std::path::PathBuf {
        self.inner.core.config().server.plugin_dir.clone()
    }
}

/// The modules runtime, and a core that hears of its stuck threads.
fn start_core(config: &Arc<Config>) -> Result<(Arc<Core>, mpsc::Receiver<Incident>), ModuleError> {
    let listener: Arc<OnceLock<Weak<Core>>> = Arc::default();
    let settings = RuntimeSettings {
        workers: match config.server.module_workers {
            0 => std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            workers => workers,
        },
        stuck_after: config.modules.call_deadline,
    };
    let heard = Arc::clone(&listener);
    let runtime = ModulesRuntime::start(settings, move |stuck| {
        if let Some(core) = heard.get().and_then(Weak::upgrade) {
            core.stuck(stuck);
        }
    });
    let runtime = runtime.map_err(|error| {
        ModuleError::server(
            "modules",
            Stage::Start,
            format!("the modules' threads could not be started: {error}"),
        )
    })?;
    let (core, incidents) = Core::new(Arc::clone(config), runtime);
    // Set once, here.
    let _ = listener.set(Arc::downgrade(&core));
    Ok((core, incidents))
}

/// The file name of a path, for messages.
fn shown(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
