//! `[modules]`: how modules are found, loaded and swapped, and the options of each of them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{Location, units};

/// `[modules]` with its `[modules.mod_x]` sections.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Modules {
    /// What a change in the plugin folder causes.
    pub watch: Watch,
    /// Which of the modules found are loaded.
    pub load: LoadPolicy,
    /// Whether SIGHUP also updates every changed module.
    pub update_on_hup: bool,
    /// How long the probe child may look at a library.
    #[serde(serialize_with = "units::serialize_duration")]
    pub probe_deadline: Duration,
    /// How long an instance may take to start.
    #[serde(serialize_with = "units::serialize_duration")]
    pub start_deadline: Duration,
    /// How long an instance may take to stop before it is cut.
    #[serde(serialize_with = "units::serialize_duration")]
    pub stop_deadline: Duration,
    /// How long callers of a stateful module may wait while its state moves.
    #[serde(serialize_with = "units::serialize_duration")]
    pub freeze_deadline: Duration,
    /// How long old calls may run on after the new generation is published.
    #[serde(serialize_with = "units::serialize_duration")]
    pub drain_deadline: Duration,
    /// What happens to calls that are still running then.
    pub purge: Purge,
    /// How long a new generation is watched; too many failures in that time roll it back.
    #[serde(serialize_with = "units::serialize_duration")]
    pub health_window: Duration,
    /// Failures (panics, errors, missed deadlines) in the health window that cause the roll back.
    pub health_failures: u32,
    /// Files of former generations kept for `rollback`, per module.
    pub keep_generations: usize,
    /// Generations that could not be unmapped before further swaps of that module are refused.
    pub max_retained: usize,
    /// The largest state a module may hand over.
    #[serde(serialize_with = "units::serialize_size")]
    pub state_limit: usize,
    /// Calls that may wait for one module on one vhost.
    pub queue_length: usize,
    /// How long one call may take, its wait in the queue included.
    #[serde(serialize_with = "units::serialize_duration")]
    pub call_deadline: Duration,
    /// The sections `[modules.mod_x]` by module id.
    #[serde(flatten)]
    pub sections: BTreeMap<String, ModuleSection>,
}

/// What a change in the plugin folder causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Watch {
    /// Nothing; `update_list` looks when it is asked.
    Off,
    /// A log line and an entry in `update_list`.
    Notify,
    /// An update.
    Auto,
}

/// Which of the modules found in the plugin folder are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadPolicy {
    /// Every one without `enabled = false`.
    All,
    /// Only those that have a section.
    Configured,
}

/// What happens to calls that still run on an old generation when its drain deadline passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purge {
    /// Wait until the drain deadline, then cut with error replies.
    Drain,
    /// Wait as long as they take; the old generation stays until then.
    Soft,
    /// Cut at once with error replies.
    Brutal,
}

/// Where a module runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// In the server's process.
    #[default]
    InProcess,
}

/// How calls to a module are queued (ejabberd's `iqdisc`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discipline {
    /// Inline, in the caller's task.
    NoQueue,
    /// One at a time, in order.
    OneQueue,
    /// As many at a time as there are callers.
    Parallel,
    /// At most so many at a time.
    ParallelN(u32),
}

/// One section `[modules.mod_x]` or `[vhost."...".modules.mod_x]` as written: what is absent is inherited.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ModuleSection {
    /// Whether it is to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Where it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// How its calls are queued; its manifest says so where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discipline: Option<Discipline>,
    /// Calls that may wait for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_length: Option<usize>,
    /// How long one call may take.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "units::serialize_optional_duration")]
    pub call_deadline: Option<Duration>,
    /// Its own options, not yet checked against its manifest.
    #[serde(flatten)]
    pub options: OptionTable,
}

/// What holds for one module on one vhost after global section, vhost section and defaults are laid over each other.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleSettings {
    /// `Some` where a section says so; otherwise [`LoadPolicy`] decides.
    pub enabled: Option<bool>,
    /// Where it runs.
    pub isolation: Isolation,
    /// `None` leaves it to the module's manifest.
    pub discipline: Option<Discipline>,
    /// Calls that may wait for it.
    pub queue_length: usize,
    /// How long one call may take.
    pub call_deadline: Duration,
    /// Its own options, not yet checked against its manifest.
    pub options: OptionTable,
}

/// A module's own options as written, in alphabetical order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OptionTable {
    pub(super) values: BTreeMap<String, OptionValue>,
}

/// One option as written.
#[derive(Debug, Clone)]
pub struct OptionValue {
    /// The value; never a table.
    pub value: toml::Value,
    /// Where it stands; equality of two tables does not depend on it.
    pub location: Location,
    /// Whether it came from the environment or a file of its own and must not be printed.
    pub secret: bool,
}

impl PartialEq for OptionValue {
    fn eq(&self, other: &OptionValue) -> bool {
        self.value == other.value && self.secret == other.secret
    }
}

impl OptionTable {
    /// The value of one option.
    pub fn get(&self, name: &str) -> Option<&OptionValue> {
        self.values.get(name)
    }

    /// Every option with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &OptionValue)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl Serialize for OptionTable {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.values.iter().map(|(name, option)| (name, printable(option))))
    }
}

impl Serialize for Discipline {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl std::fmt::Display for Discipline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Discipline::NoQueue => f.write_str("no_queue"),
            Discipline::OneQueue => f.write_str("one_queue"),
            Discipline::Parallel => f.write_str("parallel"),
            Discipline::ParallelN(workers) => write!(f, "parallel({workers})"),
        }
    }
}

fn printable(option: &OptionValue) -> toml::Value {
    if option.secret { toml::Value::String(super::secret::MASK.into()) } else { option.value.clone() }
}
