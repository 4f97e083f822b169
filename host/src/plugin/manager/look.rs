//! Reports: what lies in the folder, what is loaded, what an update would do. Nothing here changes anything.

use super::{Manager, State, UpdateRequest, handover, shown};
use crate::config::Purge;
use crate::plugin::error::{Fault, ModuleError, Stage};
use crate::plugin::folder::Found;
use crate::plugin::generation::Generation;
use crate::plugin::history::Entry;
use crate::plugin::plan::{self, Plan};
use crate::plugin::probe::{self, ProbeReport};
use crate::plugin::report::{
    self, Change, DrainReport, ListEntry, ModuleInfo, ModuleLine, ModuleState, StoppedReport, UpdateInfo,
};
use crate::plugin::retire::RetainedInfo;
use crate::plugin::slot::SlotKey;
use std::sync::Arc;

impl Manager {
    /// Every module in the folder or loaded, with what an update would do to it.
    pub async fn update_list(&self) -> Vec<ListEntry> {
        let scan = self.scan().await;
        let state = self.inner.state.lock().await;
        let config = self.inner.core.config();
        let all = plan::candidates(&scan, &state.loaded, &state.memory, &config);
        all.into_iter().map(|candidate| candidate.entry).collect()
    }

    /// A dry run: the plan, and the probe's opinion of each file.
    pub async fn update_info(&self, request: &UpdateRequest) -> UpdateInfo {
        let scan = self.scan().await;
        let state = self.inner.state.lock().await;
        let config = self.inner.core.config();
        let candidates = plan::candidates(&scan, &state.loaded, &state.memory, &config);
        let plan = plan::plan(&request.selection, candidates);
        let script = plan::script(&plan, &state.loaded);
        let mut problems = plan.errors.clone();
        problems.extend(self.speak_against(&plan, &state).await);
        let check = if problems.is_empty() { "ok" } else { "error" };
        problems.extend(plan.skipped.iter().cloned());
        UpdateInfo {
            directory: config.server.plugin_dir.clone(),
            modules: script.iter().map(|step| step.module.clone()).collect(),
            low_level_script: plan::low_level_script(&plan, &script),
            script,
            purge: purge_word(request.purge.unwrap_or(config.modules.purge)).to_owned(),
            check,
            problems,
            differences: plan::differences(&plan, &state.loaded),
        }
    }

    /// One line per module that is loaded, lies in the folder, or has failed.
    pub async fn module_list(&self) -> Vec<ModuleLine> {
        let listed = self.update_list().await;
        let state = self.inner.state.lock().await;
        let old = self.old_generations().await;
        let mut lines: Vec<ModuleLine> =
            state.loaded.values().map(|generation| serving_line(generation, &state, &old)).collect();
        for entry in listed.iter().filter(|entry| !state.loaded.contains_key(&entry.module)) {
            lines.push(idle_line(entry, &state, &old));
        }
        lines.sort_by(|a, b| a.module.cmp(&b.module));
        lines
    }

    /// All about one module; `None` when nobody has heard of it.
    pub async fn module_info(&self, module: &str) -> Option<ModuleInfo> {
        let listed = self.update_list().await.into_iter().find(|entry| entry.module == module);
        let state = self.inner.state.lock().await;
        let old = self.old_generations().await;
        let generation = state.loaded.get(module);
        let line = match (generation, listed) {
            (Some(generation), _) => serving_line(generation, &state, &old),
            (None, Some(entry)) => idle_line(&entry, &state, &old),
            (None, None) => return None,
        };
        let manifest = generation.map(|generation| Arc::clone(&generation.manifest));
        Some(ModuleInfo {
            line,
            description: manifest.as_ref().map(|m| m.description.clone()).unwrap_or_default(),
            file: generation.map(|generation| generation.source.clone()),
            since: generation.map(|generation| generation.since),
            depends: manifest.as_ref().map(|m| m.depends.clone()).unwrap_or_default(),
            capabilities: manifest.as_ref().map(|m| m.capabilities.clone()).unwrap_or_default(),
            state_schema: manifest.as_ref().and_then(|m| m.state),
            xeps: manifest.as_ref().map(|m| m.xeps.clone()).unwrap_or_default(),
            memory: generation.map(|generation| generation.library.mapped_bytes()),
            instances: generation
                .map(|g| g.instances.values().map(|instance| report::instance(instance)).collect())
                .unwrap_or_default(),
            ignored: generation.map(ignored).unwrap_or_default(),
            stopped: generation.map(stopped).unwrap_or_default(),
            draining: old.draining.into_iter().filter(|d| d.module == module).collect(),
            retained: old.retained.into_iter().filter(|r| r.module == module).collect(),
            last_error: state.memory.failed.get(module).cloned(),
        })
    }

    /// What was updated when, newest first; of one module or of all.
    pub fn update_history(&self, module: Option<&str>) -> Vec<Entry> {
        let mut entries = super::lock(&self.inner.history).entries().unwrap_or_else(|error| {
            tracing::error!(%error, "the history of updates could not be read");
            Vec::new()
        });
        entries.retain(|entry| module.is_none_or(|m| entry.module == m));
        entries.reverse();
        entries
    }

    /// Old generations on their way out, and those that stay mapped.
    pub async fn old_generations(&self) -> OldGenerations {
        OldGenerations {
            draining: self.inner.retirements.draining(),
            retained: self.inner.retirements.retained().await,
        }
    }

    /// Copies and probes a library, wherever it lies, and compares it with the build that serves; nothing is loaded.
    pub async fn check_file(&self, found: &Found) -> Result<ProbeReport, ModuleError> {
        let report = self.probed(found).await?;
        let state = self.inner.state.lock().await;
        match state.loaded.get(found.id()) {
            Some(old) => handover::check_manifests(&old.manifest, &report.manifest).map(|()| report),
            None => Ok(report),
        }
    }

    async fn probed(&self, found: &Found) -> Result<ProbeReport, ModuleError> {
        let (copies, settings) = (Arc::clone(&self.inner.copies), self.inner.probe.clone());
        let (number, copied) = (self.next_generation(), found.clone());
        let probing = tokio::task::spawn_blocking(move || {
            let copy = copies.copy(&copied, number)?;
            probe::probe(&copy, &settings)
        });
        probing.await.unwrap_or_else(|_| {
            let reason = format!("the probe of {} was cancelled", shown(&found.path));
            Err(ModuleError::server(found.id(), Stage::Probe, reason))
        })
    }

    /// Copies and probes every file of the plan, and compares schemas and dependencies, without loading anything.
    async fn speak_against(&self, plan: &Plan, state: &State) -> Vec<ModuleError> {
        let mut problems = Vec::new();
        for found in &plan.load {
            if let Err(error) = self.probed(found).await {
                problems.push(error);
            }
            if let (Some(old), Ok(new)) = (state.loaded.get(found.id()), &found.manifest)
                && let Err(error) = handover::check_manifests(&old.manifest, new)
            {
                problems.push(error);
            }
        }
        problems
    }
}

/// See [`Manager::old_generations`].
#[derive(Debug, Clone, Default)]
pub struct OldGenerations {
    /// Their last calls still run.
    pub draining: Vec<DrainReport>,
    /// Their libraries are still mapped.
    pub retained: Vec<RetainedInfo>,
}

impl OldGenerations {
    fn of(&self, module: &str) -> usize {
        self.draining.iter().filter(|d| d.module == module).count()
            + self.retained.iter().filter(|r| r.module == module).count()
    }
}

fn serving_line(generation: &Generation, state: &State, old: &OldGenerations) -> ModuleLine {
    let failed = generation.instances.is_empty() && state.memory.failed.contains_key(generation.module());
    let quarantined = generation.instances.values().any(|i| i.context().slot.is_quarantined());
    ModuleLine {
        module: generation.module().to_owned(),
        state: match () {
            () if failed => ModuleState::Failed,
            () if quarantined => ModuleState::Quarantined,
            () => ModuleState::Running,
        },
        version: generation.manifest.version.clone(),
        generation: Some(generation.number),
        hash: generation.hash.short(),
        vhosts: generation.instances.keys().map(|key| key.vhost.to_string()).collect(),
        old_generations: old.of(generation.module()),
    }
}

fn ignored(generation: &Generation) -> Vec<String> {
    let ignored = generation.ignored.iter().filter(|key| !generation.stopped.contains_key(key));
    ignored.map(|key| key.vhost.to_string()).collect()
}

fn stopped(generation: &Generation) -> Vec<StoppedReport> {
    let report = |(key, error): (&SlotKey, &ModuleError)| StoppedReport {
        vhost: key.vhost.to_string(),
        state: if error.fault == Fault::Operator { ModuleState::Unloaded } else { ModuleState::Failed },
        stage: error.stage,
        reason: error.reason.clone(),
    };
    generation.stopped.iter().map(report).collect()
}

fn idle_line(entry: &ListEntry, state: &State, old: &OldGenerations) -> ModuleLine {
    let failed = state.memory.failed.contains_key(&entry.module) || entry.change == Change::Unusable;
    let state = match () {
        () if failed => ModuleState::Failed,
        () if state.memory.unloaded.contains(&entry.module) => ModuleState::Unloaded,
        () => ModuleState::Found,
    };
    ModuleLine {
        module: entry.module.clone(),
        state,
        version: entry.found.clone().unwrap_or_default(),
        generation: None,
        hash: String::new(),
        vhosts: Vec::new(),
        old_generations: old.of(&entry.module),
    }
}

fn purge_word(purge: Purge) -> &'static str {
    match purge {
        Purge::Drain => "drain",
        Purge::Soft => "soft",
        Purge::Brutal => "brutal",
    }
}
