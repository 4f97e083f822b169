//! What differs between two configurations, and what it takes to make each difference real.

use std::collections::BTreeMap;

use serde::Serialize;
use toml::{Table, Value};

use super::Config;
use super::secret::MASK;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The key as it stands in a dump: `limits.depth`, `vhost."example.org".modules.mod_echo.host`.
    pub path: String,
    /// The value before; `None` where it was absent.
    pub before: Option<String>,
    /// The value after; `None` where it is gone.
    pub after: Option<String>,
    /// What makes it real.
    pub effect: Effect,
    /// The module it concerns.
    pub module: Option<String>,
    /// The vhost it concerns.
    pub vhost: Option<String>,
}

/// What it takes to make a difference real.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// A reload.
    Applied,
    /// A reload or a restart of the module, as the module decides: built with an API before 1.2, it does not say which beforehand.
    AppliedOrModuleRestart,
    /// A restart of the module, which a reload does.
    NeedsModuleRestart,
    /// A restart of the server.
    NeedsServerRestart,
}

/// What a changed option of a module takes: (module, option).
pub type OptionEffect<'a> = &'a dyn Fn(&str, &str) -> Effect;

/// Sections whose change a running server cannot follow; everything else is applied.
pub(super) const SERVER_RESTART: [&str; 20] = [
    "server.data_dir",
    "server.plugin_dir",
    "server.control_socket",
    "server.pid_file",
    "server.workers",
    "server.module_workers",
    "log.format",
    "log.file",
    "listener",
    "http.api_path",
    "http.metrics_path",
    "http.health_path",
    "http.max_connections",
    "http.websocket",
    "http.websocket_path",
    "http.bosh",
    "http.bosh_path",
    "auth.scram_iterations",
    "modules.keep_generations",
    "modules.max_retained",
];

/// What a named section is shown as where it appears or vanishes.
const SECTION: &str = "section";

impl Config {
    /// Every difference, by path. Options of modules count as applied.
    pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
        Config::diff_with(old, new, &|_, _| Effect::Applied)
    }

    /// Every difference, by path, with what `option_effect` knows of the modules' options.
    pub fn diff_with(old: &Config, new: &Config, option_effect: OptionEffect<'_>) -> Vec<Change> {
        let (old_facts, new_facts) = (Facts::of(old), Facts::of(new));
        let mut paths: Vec<&Vec<String>> = old_facts.shown.keys().chain(new_facts.shown.keys()).collect();
        paths.sort_unstable();
        paths.dedup();
        let changed = paths.into_iter().filter(|path| !old_facts.same(&new_facts, path));
        changed
            .map(|path| {
                let (before, after) =
                    (old_facts.shown.get(path).cloned(), new_facts.shown.get(path).cloned());
                let is_module = |name: &str| [old, new].iter().any(|c| c.modules.sections.contains_key(name));
                change(path, before, after, &is_module, option_effect)
            })
            .collect()
    }
}

impl Config {
    /// This configuration as far as a running server can follow it: what needs a restart stays as it is in `old`.
    pub fn as_followed_from(self, old: &Config) -> Config {
        let mut new = self;
        new.server = super::Server {
            stop_deadline: new.server.stop_deadline,
            admins: new.server.admins,
            ..old.server.clone()
        };
        new.log = super::Log { format: old.log.format, file: old.log.file.clone(), ..new.log };
        new.listeners = old.listeners.clone();
        new.http.api_path = old.http.api_path.clone();
        new.http.metrics_path = old.http.metrics_path.clone();
        new.http.health_path = old.http.health_path.clone();
        new.http.max_connections = old.http.max_connections;
        new.http.websocket = old.http.websocket;
        new.http.websocket_path = old.http.websocket_path.clone();
        new.http.bosh = old.http.bosh;
        new.http.bosh_path = old.http.bosh_path.clone();
        new.auth.scram_iterations = old.auth.scram_iterations;
        new.modules.keep_generations = old.modules.keep_generations;
        new.modules.max_retained = old.modules.max_retained;
        new
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let effect = match self.effect {
            Effect::Applied => "applied",
            Effect::AppliedOrModuleRestart => "applied, or by a module restart",
            Effect::NeedsModuleRestart => "needs module restart",
            Effect::NeedsServerRestart => "needs server restart",
        };
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "{}: {before} -> {after} ({effect})", self.path),
            (None, Some(after)) => write!(f, "{}: new, {after} ({effect})", self.path),
            (Some(before), None) => write!(f, "{}: gone, was {before} ({effect})", self.path),
            (None, None) => write!(f, "{}", self.path),
        }
    }
}

/// A configuration as single facts: what may be shown, and what is compared where that is masked.
struct Facts {
    shown: BTreeMap<Vec<String>, String>,
    secrets: BTreeMap<Vec<String>, String>,
}

impl Facts {
    fn of(config: &Config) -> Facts {
        let table = Table::try_from(config).expect("every field of the configuration has a TOML form");
        let mut facts = Facts { shown: BTreeMap::new(), secrets: BTreeMap::new() };
        facts.add_table(&mut Vec::new(), &table);
        facts.add_secrets(config);
        facts
    }

    fn same(&self, other: &Facts, path: &[String]) -> bool {
        self.shown.get(path) == other.shown.get(path) && self.secrets.get(path) == other.secrets.get(path)
    }

    fn add_table(&mut self, path: &mut Vec<String>, table: &Table) {
        if !path.is_empty() {
            self.shown.insert(path.clone(), SECTION.to_owned());
        }
        for (key, value) in table {
            path.push(key.clone());
            self.add_value(path, value);
            path.pop();
        }
    }

    fn add_value(&mut self, path: &mut Vec<String>, value: &Value) {
        match value {
            Value::Table(inner) => self.add_table(path, inner),
            // Only listeners are tables in an array; each of them is one fact, whatever its place in the file.
            Value::Array(items) if items.iter().any(Value::is_table) => {
                for item in items {
                    let mut path = path.clone();
                    path.push(listener_name(item));
                    self.shown.insert(path, shown(item));
                }
            }
            other => {
                self.shown.insert(path.clone(), shown(other));
            }
        }
    }

    fn add_secrets(&mut self, config: &Config) {
        if let Some(token) = &config.http.admin_token {
            self.secrets.insert(vec!["http".into(), "admin_token".into()], token.reveal().to_owned());
        }
        let global = config
            .modules
            .sections
            .iter()
            .map(|(name, section)| (vec!["modules".into(), name.clone()], section));
        let on_vhosts = config.vhosts.iter().flat_map(|(vhost, facts)| {
            let path =
                move |name: &String| vec!["vhost".into(), vhost.clone(), "modules".into(), name.clone()];
            facts.modules.iter().map(move |(name, section)| (path(name), section))
        });
        for (path, section) in global.chain(on_vhosts) {
            for (name, option) in section.options.iter().filter(|(_, option)| option.secret) {
                let mut path = path.clone();
                path.push(name.to_owned());
                self.secrets.insert(path, option.value.to_string());
            }
        }
    }
}

fn change(
    path: &[String],
    before: Option<String>,
    after: Option<String>,
    is_module: &dyn Fn(&str) -> bool,
    option_effect: OptionEffect<'_>,
) -> Change {
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    let (vhost, module, option) = match parts.as_slice() {
        ["vhost", vhost, "modules", module, rest @ ..] => (Some(*vhost), Some(*module), rest.first()),
        ["vhost", vhost, ..] => (Some(*vhost), None, None),
        ["modules", module, rest @ ..] if is_module(module) => (None, Some(*module), rest.first()),
        _ => (None, None, None),
    };
    let effect = match (module, option) {
        (Some(_), Some(&"isolation")) => Effect::NeedsModuleRestart,
        (Some(module), Some(option)) => option_effect(module, option),
        _ if needs_server_restart(&parts) => Effect::NeedsServerRestart,
        _ => Effect::Applied,
    };
    let owned = |text: &str| text.to_owned();
    Change {
        path: written(&parts),
        before,
        after,
        effect,
        module: module.map(owned),
        vhost: vhost.map(owned),
    }
}

fn needs_server_restart(path: &[&str]) -> bool {
    SERVER_RESTART.iter().any(|prefix| {
        let prefix: Vec<&str> = prefix.split('.').collect();
        path.starts_with(&prefix)
    })
}

fn written(path: &[&str]) -> String {
    let bare =
        |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    let parts: Vec<String> =
        path.iter().map(|part| if bare(part) { (*part).to_owned() } else { format!("\"{part}\"") }).collect();
    parts.join(".")
}

fn listener_name(item: &Value) -> String {
    let part = |key: &str| item.get(key).map(shown).unwrap_or_default();
    format!("{} {} {}", part("kind"), part("address"), part("port")).replace('"', "")
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text == MASK => MASK.to_owned(),
        Value::Table(table) => {
            let entries: Vec<String> =
                table.iter().map(|(key, value)| format!("{key} = {}", shown(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        other => other.to_string(),
    }
}
