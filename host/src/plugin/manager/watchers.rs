//! What happens without a command: a new generation that fails is rolled back, an instance that asked to stop is stopped,
//! the plugin folder is watched, retained libraries are tried again.

use super::restarts::{Fault, Verdict};
use super::{Manager, UpdateRequest};
use crate::config::Watch;
use crate::plugin::core::Incident;
use crate::plugin::error::{ModuleError, Stage};
use crate::plugin::folder::FolderRules;
use crate::plugin::instance::StopReason;
use crate::plugin::report::Change;
use crate::plugin::slot::SlotKey;
use crate::plugin::watch::{FolderWatch, WatchSettings};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Pace at which retained libraries are tried again.
const SWEEP: Duration = Duration::from_secs(10);

/// The generations whose health is being watched.
#[derive(Default)]
pub(super) struct Watches {
    open: Mutex<BTreeMap<String, Window>>,
}

struct Window {
    generation: u64,
    until: Instant,
    failures: u32,
}

impl Watches {
    fn open(&self, module: &str, generation: u64, length: Duration) {
        let window = Window { generation, until: Instant::now() + length, failures: 0 };
        self.lock().insert(module.to_owned(), window);
    }

    /// Counts a failure; `true` when it is the one too many of an open window, which is closed then.
    fn count(&self, module: &str, generation: u64, most: u32) -> bool {
        let mut open = self.lock();
        let Some(window) = open.get_mut(module) else { return false };
        if window.until < Instant::now() {
            open.remove(module);
            return false;
        }
        // Generation 0: a deadline passed and nobody knows which generation it was; it counts for the one that serves.
        if generation != 0 && window.generation != generation {
            return false;
        }
        window.failures += 1;
        if window.failures < most {
            return false;
        }
        open.remove(module);
        true
    }

    /// Its failure is being seen to.
    pub(super) fn close(&self, module: &str, generation: u64) {
        let mut open = self.lock();
        if open.get(module).is_some_and(|window| window.generation == generation) {
            open.remove(module);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Window>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Manager {
    /// Watches the plugin folder as the configuration says, and sweeps what stayed mapped. Ends with the server. What
    /// arrives after this has returned is news.
    pub async fn watch_folder(&self) {
        let (manager, folder) = (self.clone(), self.plugin_dir());
        let watch = FolderWatch::start(&folder, FolderRules::default(), WatchSettings::default());
        let mut known = self.pending().await;
        tokio::spawn(async move {
            let mut changes = watch.changes();
            loop {
                match tokio::time::timeout(SWEEP, changes.changed()).await {
                    Ok(Ok(())) => manager.folder_changed(&mut known).await,
                    Ok(Err(_)) => return tracing::error!("the watch of the plugin folder has ended"),
                    Err(_) => drop(manager.sweep().await),
                }
            }
        });
    }

    /// `known` is what was told or tried before. What an update took is pending no more, what it refused waits for other
    /// content, and what arrives while it runs is news to the next look, which the watch has been told to take.
    async fn folder_changed(&self, known: &mut BTreeSet<(String, String)>) {
        let pending = self.pending().await;
        let new: Vec<_> = pending.difference(known).cloned().collect();
        *known = pending;
        if new.is_empty() {
            return;
        }
        match self.inner.core.config().modules.watch {
            Watch::Off => {}
            Watch::Notify => {
                for (module, what) in new {
                    tracing::info!(
                        module,
                        "the plugin folder has changed: {what}; 'moultctl update' takes it"
                    );
                }
            }
            Watch::Auto => {
                let report = self.update(UpdateRequest::all("watch")).await;
                tracing::info!(
                    status = report.status,
                    updated = report.updated.join(","),
                    "the folder changed"
                );
            }
        }
    }

    /// What `update_list --all` would say now, as words to compare.
    pub(super) async fn pending(&self) -> BTreeSet<(String, String)> {
        let entries = self.update_list().await.into_iter().filter(|entry| entry.change != Change::Same);
        entries
            .map(|entry| {
                let what = match entry.change {
                    Change::New => "new",
                    Change::Changed => "changed",
                    Change::Removed => "removed",
                    Change::Unusable | Change::Same => "unusable",
                };
                // With its content: another build of the same version is news too.
                let hash = entry.hash.unwrap_or_default();
                let version =
                    entry.found.map_or(String::new(), |version| format!(", version {version} ({hash})"));
                let note = entry.note.map_or(String::new(), |note| format!(" ({note})"));
                (entry.module, format!("{what}{version}{note}"))
            })
            .collect()
    }

    /// Opens the health window of a generation that serves since a moment ago.
    pub(super) fn watch_health(&self, module: &str, generation: u64, trigger: &str) {
        // What was rolled back to is not rolled back again: that would go round in circles.
        if !matches!(trigger, "health" | "rollback") {
            let window = self.inner.core.config().modules.health_window;
            self.inner.watches.open(module, generation, window);
        }
    }

    pub(super) fn watch_incidents(&self, mut incidents: mpsc::Receiver<Incident>) {
        // A weak reference: the watcher must not keep the manager alive that it ends with.
        let weak = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            while let Some(incident) = incidents.recv().await {
                let Some(inner) = weak.upgrade() else { return };
                Manager { inner }.incident(incident).await;
            }
        });
    }

    async fn incident(&self, incident: Incident) {
        match incident {
            Incident::Failure { slot, generation, what, panic } => {
                let most = self.inner.core.config().modules.health_failures;
                if self.inner.watches.count(&slot.module, generation, most) {
                    self.roll_back_sick(&slot.module, generation, &what).await;
                } else if panic {
                    self.follow_policy(&slot, generation, Fault::Panic, &what).await;
                }
            }
            // One endless loop is reason enough.
            Incident::Stuck { slot, generation, what } => {
                if self.inner.watches.count(&slot.module, generation, 1) {
                    self.roll_back_sick(&slot.module, generation, &what).await;
                }
            }
            Incident::Stop { slot, generation, reason } => {
                self.follow_policy(&slot, generation, Fault::Stop, &reason).await;
            }
        }
    }

    /// Does what the module's manifest says of a fault of an instance that still serves.
    async fn follow_policy(&self, slot: &SlotKey, generation: u64, fault: Fault, why: &str) {
        let verdict = {
            let state = self.inner.state.lock().await;
            let serving = state.loaded.get(&*slot.module);
            let Some(serving) = serving.filter(|serving| serving.number == generation) else { return };
            self.inner.restarts.judge(slot, serving.manifest.policy, fault, Instant::now())
        };
        match verdict {
            Verdict::Leave => {}
            Verdict::Restart => {
                tracing::warn!(module = %slot, generation, "is started anew, as its policy says: {why}");
                if let Err(error) = self.restart_module(&slot.vhost, &slot.module).await {
                    tracing::error!("{error}");
                }
            }
            Verdict::Stop => {
                tracing::warn!(module = %slot, generation, "is taken out of service: {why}");
                let mut state = self.inner.state.lock().await;
                let error = ModuleError::module(slot.to_string(), Stage::Health, why);
                state.memory.failed.insert(slot.module.to_string(), error.clone());
                if let Some(serving) = state.loaded.get_mut(&*slot.module)
                    && serving.number == generation
                {
                    serving.stopped.insert(slot.clone(), error);
                    self.stop_one(serving, slot, StopReason::Failed).await;
                }
            }
        }
    }

    async fn roll_back_sick(&self, module: &str, generation: u64, last: &str) {
        tracing::error!(
            module,
            generation,
            "too many failures after its update, the last one: {last}; rolling back"
        );
        let report = self.rollback(module, None, "health").await;
        let mut error = ModuleError::module(module, Stage::Health, last);
        if !report.updated.iter().any(|updated| updated == module) {
            let why: Vec<&str> = report.errors.iter().map(|error| error.reason.as_str()).collect();
            tracing::error!(module, generation, "it could not be rolled back: {}", why.join("; "));
            error.reason = format!("{last}; it could not be rolled back: {}", why.join("; "));
        }
        // The reason, and not what the way back had to say.
        self.inner.state.lock().await.memory.failed.insert(module.to_owned(), error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_counts_only_its_own_generation_and_closes_with_the_last_failure() {
        let watches = Watches::default();
        watches.open("m", 7, Duration::from_secs(60));
        assert!(!watches.count("m", 6, 1));
        assert!(!watches.count("m", 7, 2));
        assert!(watches.count("m", 7, 2));
        assert!(!watches.count("m", 7, 1));
    }
}
