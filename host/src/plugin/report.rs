//! What the commands about modules answer with.

use super::error::{ModuleError, Stage};
use super::instance::Instance;
use super::loader::MappedBytes;
use super::retire::RetainedInfo;
use super::stats::StatsReport;
use moult_plugin_api::manifest::{Dependency, StateSchema, Xep};
use serde::Serialize;
use std::path::PathBuf;
use std::time::SystemTime;

/// The states of a module's life, as they are shown everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ModuleState {
    /// A file lies in the folder; nothing was done with it.
    Found,
    /// It serves.
    Running,
    /// An old generation whose last calls still run.
    Draining,
    /// An old generation that could not be unmapped.
    Retained,
    /// Taken out of service; its file may still lie there.
    Unloaded,
    /// Its last load or update did not succeed, and no generation of it serves.
    Failed,
    /// Loaded, and given no calls because of its faults.
    Quarantined,
}

/// What would happen to a module: the words of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// A file of a module that is not loaded.
    New,
    /// Its file has another content than what is loaded.
    Changed,
    /// It is loaded, and its file has gone.
    Removed,
    /// Its file cannot be used.
    Unusable,
    /// What is loaded is what lies there.
    Same,
}

/// One entry of `update_list`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListEntry {
    /// Module id, or the file's stem where the id cannot be read.
    pub module: String,
    /// What would happen.
    pub change: Change,
    /// Version that is loaded.
    pub loaded: Option<String>,
    /// Version that lies in the folder.
    pub found: Option<String>,
    /// First digits of the hash of what lies in the folder.
    pub hash: Option<String>,
    /// Why it is unusable, disabled or was rolled back.
    pub note: Option<String>,
}

/// One step of the plan, in ejabberd_update's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScriptStep {
    /// `load` (nothing is handed over), `update` (state is handed over), `restart` (state is given up), `unload`.
    pub action: &'static str,
    /// Module id.
    pub module: String,
}

/// `update_info`: what an update would do; nothing is changed by asking.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UpdateInfo {
    /// The plugin folder.
    pub directory: PathBuf,
    /// Modules that would be updated.
    pub modules: Vec<String>,
    /// What would happen to each of them, in order.
    pub script: Vec<ScriptStep>,
    /// The same in single steps with the point of no return.
    pub low_level_script: Vec<String>,
    /// `drain`, `soft` or `brutal`.
    pub purge: String,
    /// `ok` or `error`.
    pub check: &'static str,
    /// What speaks against it.
    pub problems: Vec<ModuleError>,
    /// What would be different, line by line.
    pub differences: Vec<String>,
}

/// `update`: what was done.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct UpdateReport {
    /// `ok`, `partly` (files of no use were left out) or `error`.
    pub status: &'static str,
    /// Number of the transaction, for the log.
    pub transaction: u64,
    /// Modules that serve with another generation now, or were removed.
    pub updated: Vec<String>,
    /// Of these, the ones whose old code is still in use.
    pub unpurged: Vec<String>,
    /// Of these, the one whose old code has asked for the update: it can go only when it has the answer.
    pub purged_after_answer: Vec<String>,
    /// Modules that were asked for and needed nothing.
    pub unchanged: Vec<String>,
    /// Files of no use that an update of everything has left out.
    pub skipped: Vec<ModuleError>,
    /// Why it failed: then nothing was changed, but for what is in `updated`.
    pub errors: Vec<ModuleError>,
    /// Milliseconds of each stage.
    pub stages: Vec<StageTime>,
    /// The longest time in microseconds that callers of a module were held back.
    pub pause_us: u64,
}

/// How long one stage took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageTime {
    /// `files`, `prepare`, `check`, `handover`, `publish`, `retire`.
    pub stage: &'static str,
    /// Milliseconds.
    pub ms: f64,
}

/// One line of `module_list`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModuleLine {
    /// Module id.
    pub module: String,
    /// State.
    pub state: ModuleState,
    /// Version.
    pub version: String,
    /// Generation that serves, if one does.
    pub generation: Option<u64>,
    /// First digits of its content's hash.
    pub hash: String,
    /// Vhosts it serves on.
    pub vhosts: Vec<String>,
    /// Old generations still mapped.
    pub old_generations: usize,
}

/// One instance in `module_info`.
#[derive(Debug, Clone, Serialize)]
pub struct InstanceReport {
    /// Vhost or `global`.
    pub vhost: String,
    /// Calls inside at this moment.
    pub in_flight: u64,
    /// Background tasks.
    pub background_tasks: usize,
    /// What it registered.
    pub registrations: Vec<String>,
    /// What it has done.
    pub stats: StatsReport,
    /// Why it gets no calls.
    pub quarantine: Option<String>,
    /// Its own counters and gauges.
    pub metrics: std::collections::BTreeMap<String, i64>,
}

/// `module_info`.
#[derive(Debug, Clone, Serialize)]
pub struct ModuleInfo {
    /// As in `module_list`.
    #[serde(flatten)]
    pub line: ModuleLine,
    /// What it says of itself.
    pub description: String,
    /// File it came from.
    pub file: Option<PathBuf>,
    /// Since when this generation serves.
    pub since: Option<SystemTime>,
    /// Modules it uses.
    pub depends: Vec<Dependency>,
    /// What it asked to be allowed.
    pub capabilities: Vec<String>,
    /// State it hands over.
    pub state_schema: Option<StateSchema>,
    /// XEPs it implements.
    pub xeps: Vec<Xep>,
    /// Memory of the serving generation.
    pub memory: Option<MappedBytes>,
    /// Its instances.
    pub instances: Vec<InstanceReport>,
    /// Vhosts on which it said that it has nothing to do.
    pub ignored: Vec<String>,
    /// Vhosts on which it has served and does not any more.
    pub stopped: Vec<StoppedReport>,
    /// Old generations whose last calls still run.
    pub draining: Vec<DrainReport>,
    /// Old generations that could not be unmapped, and what holds them.
    pub retained: Vec<RetainedInfo>,
    /// Its last failure.
    pub last_error: Option<ModuleError>,
}

/// Where a loaded module does not serve any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoppedReport {
    /// Vhost or `global`.
    pub vhost: String,
    /// `failed` by itself, or `unloaded` by the operator.
    pub state: ModuleState,
    /// At what it failed.
    pub stage: Stage,
    /// Why.
    pub reason: String,
}

/// An old generation that is being ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DrainReport {
    /// Module id.
    pub module: String,
    /// Its generation.
    pub generation: u64,
    /// What it waits for.
    pub waits_for: String,
}

/// A report of one instance.
pub fn instance(instance: &Instance) -> InstanceReport {
    let context = instance.context();
    let metrics = context.metrics.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let stats = context.slot.report();
    InstanceReport {
        vhost: instance.key().vhost.to_string(),
        in_flight: instance.gate().in_flight(),
        background_tasks: instance.background_count(),
        registrations: context.registered().iter().map(|r| r.what.to_string()).collect(),
        stats,
        quarantine: context.slot.quarantined().map(|reason| reason.to_string()),
        metrics: metrics.iter().map(|(name, value)| (name.clone(), *value)).collect(),
    }
}
