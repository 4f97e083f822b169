//! `[modules]`: how modules are found, loaded and swapped, and the options of each of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use moult_plugin_api::manifest::is_module_id;
use serde::{Serialize, Serializer};

use super::environment::value_or_reference;
use super::raw::{Node, Shape};
use super::reader::{HOUR, MINUTE, Section};
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
    /// The folder from which `module_install` and its neighbours may take libraries; without one they are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub install_from: Option<PathBuf>,
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
    /// How long callers of a module may wait while a new build brings its stores forward.
    #[serde(serialize_with = "units::serialize_duration")]
    pub migration_deadline: Duration,
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

impl Modules {
    pub(super) fn read(section: Section<'_>) -> Modules {
        let d = Modules::default();
        let watch = [("off", Watch::Off), ("notify", Watch::Notify), ("auto", Watch::Auto)];
        let load = [("all", LoadPolicy::All), ("configured", LoadPolicy::Configured)];
        let purge = [("drain", Purge::Drain), ("soft", Purge::Soft), ("brutal", Purge::Brutal)];
        let mut modules = Modules {
            watch: section.choice("watch", d.watch, &watch),
            load: section.choice("load", d.load, &load),
            update_on_hup: section.flag("update_on_hup", d.update_on_hup),
            install_from: section.path("install_from"),
            probe_deadline: section.duration("probe_deadline", d.probe_deadline, TENTH..=MINUTE),
            start_deadline: section.duration("start_deadline", d.start_deadline, TENTH..=HOUR),
            stop_deadline: section.duration("stop_deadline", d.stop_deadline, TENTH..=HOUR),
            freeze_deadline: section.duration("freeze_deadline", d.freeze_deadline, TENTH..=MINUTE),
            migration_deadline: section.duration("migration_deadline", d.migration_deadline, TENTH..=HOUR),
            drain_deadline: section.duration("drain_deadline", d.drain_deadline, TENTH..=HOUR),
            purge: section.choice("purge", d.purge, &purge),
            health_window: section.duration("health_window", d.health_window, Duration::ZERO..=HOUR),
            health_failures: section.number("health_failures", d.health_failures, 1..=1_000_000),
            keep_generations: section.number("keep_generations", d.keep_generations, 1..=100),
            max_retained: section.number("max_retained", d.max_retained, 1..=1_000),
            state_limit: section.size("state_limit", d.state_limit, 1024..=4 << 30),
            queue_length: section.number("queue_length", d.queue_length, QUEUE_LENGTHS),
            call_deadline: section.duration("call_deadline", d.call_deadline, CALL_DEADLINES),
            sections: BTreeMap::new(),
        };
        let sections = section.free_sections();
        let names: Vec<&str> = sections.iter().map(|(name, _)| *name).collect();
        modules.sections = sections
            .into_iter()
            .filter_map(|(name, inner)| ModuleSection::read(name, inner, false))
            .collect();
        section.finish_but(&names);
        modules
    }
}

impl ModuleSection {
    /// Reads one module's section; `in_vhost` says whether it stands inside a vhost.
    pub(super) fn read(name: &str, section: Section<'_>, in_vhost: bool) -> Option<(String, ModuleSection)> {
        check_module_id(name, &section)?;
        let discipline = read_discipline(&section);
        let defaults = Modules::default();
        let queue_length = section.number("queue_length", defaults.queue_length, QUEUE_LENGTHS);
        let call_deadline = section.duration("call_deadline", defaults.call_deadline, CALL_DEADLINES);
        let read = ModuleSection {
            enabled: section.optional_flag("enabled"),
            isolation: read_isolation(&section, in_vhost),
            discipline,
            queue_length: section.has("queue_length").then_some(queue_length),
            call_deadline: section.has("call_deadline").then_some(call_deadline),
            options: OptionTable::read(&section),
        };
        Some((name.to_owned(), read))
    }
}

impl ModuleSettings {
    /// Lays the vhost's section over the global one, and both over the defaults.
    pub(super) fn merge(modules: &Modules, name: &str, vhost: Option<&ModuleSection>) -> ModuleSettings {
        let empty = ModuleSection::default();
        let global = modules.sections.get(name).unwrap_or(&empty);
        let vhost = vhost.unwrap_or(&empty);
        let mut options = global.options.clone();
        options.values.extend(vhost.options.values.clone());
        ModuleSettings {
            enabled: vhost.enabled.or(global.enabled),
            isolation: global.isolation.unwrap_or_default(),
            discipline: vhost.discipline.or(global.discipline),
            queue_length: vhost.queue_length.or(global.queue_length).unwrap_or(modules.queue_length),
            call_deadline: vhost.call_deadline.or(global.call_deadline).unwrap_or(modules.call_deadline),
            options,
        }
    }
}

impl Discipline {
    /// Reads `no_queue`, `one_queue`, `parallel` or `parallel(N)`.
    pub fn parse(text: &str) -> Option<Discipline> {
        match text {
            "no_queue" => Some(Discipline::NoQueue),
            "one_queue" => Some(Discipline::OneQueue),
            "parallel" => Some(Discipline::Parallel),
            _ => {
                let workers = text.strip_prefix("parallel(")?.strip_suffix(')')?.trim().parse().ok()?;
                (1..=MAX_PARALLEL).contains(&workers).then_some(Discipline::ParallelN(workers))
            }
        }
    }
}

impl OptionTable {
    fn read(section: &Section<'_>) -> OptionTable {
        let free = section.free_values().into_iter();
        OptionTable {
            values: free
                .filter_map(|(key, node)| Some((key.to_owned(), read_option(section, key, node)?)))
                .collect(),
        }
    }
}

const TENTH: Duration = Duration::from_millis(100);
const QUEUE_LENGTHS: std::ops::RangeInclusive<usize> = 1..=1_000_000;
const CALL_DEADLINES: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=HOUR;
const MAX_PARALLEL: u32 = 4_096;

fn check_module_id(name: &str, section: &Section<'_>) -> Option<()> {
    if is_module_id(name) {
        return Some(());
    }
    let message = format!("{}: the id of a module has lower-case letters, digits and _ only.", section.name);
    section.context.error(section.line, message);
    None
}

fn read_discipline(section: &Section<'_>) -> Option<Discipline> {
    let (ours, alias) = (section.node("discipline"), section.node("iqdisc"));
    if let (Some(_), Some(alias)) = (ours, alias) {
        let message = format!(
            "{} is another word for \"discipline\"; only one of them may stand.",
            section.key("iqdisc")
        );
        section.context.error(alias.line, message);
    }
    let (key, node) = ours.map(|node| ("discipline", node)).or(alias.map(|node| ("iqdisc", node)))?;
    let discipline = node.as_str().and_then(Discipline::parse);
    if discipline.is_none() {
        section.wrong(
            node,
            key,
            format!("\"no_queue\", \"one_queue\", \"parallel\" or \"parallel(1 to {MAX_PARALLEL})\""),
        );
    }
    discipline
}

fn read_isolation(section: &Section<'_>, in_vhost: bool) -> Option<Isolation> {
    let (text, line) = section.text("isolation")?;
    let message = match text {
        _ if in_vhost => {
            "belongs into the section [modules.mod_...], because one library serves all vhosts.".to_owned()
        }
        "in-process" => return Some(Isolation::InProcess),
        "process" => "cannot be \"process\" yet; modules run \"in-process\".".to_owned(),
        other => format!("must be \"in-process\", not \"{other}\"."),
    };
    section.context.error(line, format!("{} {message}", section.key("isolation")));
    None
}

fn read_option(section: &Section<'_>, key: &str, node: &Node) -> Option<OptionValue> {
    let location = section.context.at(node.line);
    match value_or_reference(section.context, node) {
        Ok(Some(text)) => {
            return Some(OptionValue { value: toml::Value::String(text), location, secret: true });
        }
        Ok(None) => {}
        Err(message) => {
            section.context.error(node.line, format!("{}: {message}", section.key(key)));
            return None;
        }
    }
    match plain_value(node) {
        Some(value) => Some(OptionValue { value, location, secret: false }),
        None => {
            section.wrong(
                node,
                key,
                "a value, a list of values, { env = \"MOULT_...\" } or { file = \"...\" }",
            );
            None
        }
    }
}

fn plain_value(node: &Node) -> Option<toml::Value> {
    let scalar = |node: &Node| match &node.shape {
        Shape::Scalar(value) => Some(value.clone()),
        _ => None,
    };
    match &node.shape {
        Shape::Scalar(value) => Some(value.clone()),
        Shape::Array(items) => items.iter().map(scalar).collect::<Option<Vec<_>>>().map(toml::Value::Array),
        Shape::Table(_) => None,
    }
}
