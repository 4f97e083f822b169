//! What an update would do: the folder against what is loaded. Pure: it reads a scan and decides nothing but words.

use super::error::{ModuleError, Stage};
use super::folder::{Found, Scan};
use super::generation::Generation;
use super::loader::ContentHash;
use super::report::{Change, ListEntry, ScriptStep};
use crate::config::{Config, LoadPolicy};
use moult_plugin_api::manifest::Manifest;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Which modules an update is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Everything that differs.
    All,
    /// These; each is reported, also when there is nothing to do.
    Named(Vec<String>),
}

/// What the manager remembers beside what is loaded.
#[derive(Debug, Default)]
pub struct Memory {
    /// Modules taken out by hand: not loaded again before they are named.
    pub unloaded: BTreeSet<String>,
    /// Content that was rolled back: not loaded again before it is named.
    pub rejected: BTreeMap<String, ContentHash>,
    /// Last failure by module.
    pub failed: BTreeMap<String, ModuleError>,
}

/// One module as the plan sees it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// For `update_list`.
    pub entry: ListEntry,
    /// The file, unless it has gone or is unusable.
    pub found: Option<Found>,
    /// Whether an update of everything takes it.
    pub wanted: bool,
}

/// What an update will do.
#[derive(Debug, Default)]
pub struct Plan {
    /// Files to load, new ones and changed ones.
    pub load: Vec<Found>,
    /// Modules to unload.
    pub unload: Vec<String>,
    /// Named, and the same.
    pub unchanged: Vec<String>,
    /// Files that are of no use, where everything was asked for: they stop nobody else.
    pub skipped: Vec<ModuleError>,
    /// What cannot be done.
    pub errors: Vec<ModuleError>,
}

/// Compares the folder with what is loaded; in the order of the ids.
pub fn candidates(
    scan: &Scan,
    loaded: &BTreeMap<String, Generation>,
    memory: &Memory,
    config: &Config,
) -> Vec<Candidate> {
    let mut by_id: BTreeMap<String, Vec<&Found>> = BTreeMap::new();
    // A file that can no longer be read as a module is still the file of the module that was loaded from it.
    let loaded_from = |path: &Path| loaded.iter().find(|(_, g)| g.source == path).map(|(id, _)| id.clone());
    for found in &scan.found {
        let unreadable = found.manifest.is_err().then(|| loaded_from(&found.path)).flatten();
        by_id.entry(unreadable.unwrap_or_else(|| found.id().to_owned())).or_default().push(found);
    }
    let mut all: Vec<Candidate> =
        by_id.iter().map(|(id, files)| candidate(id, files, loaded.get(id), memory, config)).collect();
    for file in &scan.unsettled {
        let module = loaded_from(&file.path).unwrap_or_else(|| file.module.clone());
        all.push(unusable(module, format!("its file is not taken yet: {}", file.reason)));
    }
    for problem in &scan.problems {
        let known = problem.module.clone().or_else(|| loaded_from(&problem.path));
        let module = known.unwrap_or_else(|| stem(&problem.path));
        all.push(unusable(module, problem.reason.clone()));
    }
    for (id, generation) in loaded {
        let hidden = all.iter().any(|c| c.entry.module == *id);
        // A folder that could not be read whole takes nothing away.
        if !hidden && scan.complete {
            all.push(removed(id, generation));
        }
    }
    all.sort_by(|a, b| a.entry.module.cmp(&b.entry.module));
    all
}

/// What an update of `selection` does, out of these candidates.
pub fn plan(selection: &Selection, candidates: Vec<Candidate>) -> Plan {
    let mut plan = Plan::default();
    match selection {
        Selection::All => {
            candidates.into_iter().filter(|c| c.wanted).for_each(|c| plan.take(c));
            plan.skipped = std::mem::take(&mut plan.errors);
        }
        Selection::Named(names) => {
            let mut by_id: BTreeMap<String, Candidate> =
                candidates.into_iter().map(|c| (c.entry.module.clone(), c)).collect();
            for name in names {
                match by_id.remove(name) {
                    Some(candidate) => plan.take(candidate),
                    None => plan.errors.push(ModuleError::operator(
                        name,
                        Stage::Notice,
                        "there is no such module in the plugin folder, and none is loaded",
                    )),
                }
            }
        }
    }
    plan
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.load.is_empty() && self.unload.is_empty()
    }

    fn take(&mut self, candidate: Candidate) {
        let Candidate { entry, found, .. } = candidate;
        match (entry.change, found) {
            (Change::Same, _) => self.unchanged.push(entry.module),
            (Change::Removed, _) => self.unload.push(entry.module),
            (Change::New | Change::Changed, Some(found)) => self.load.push(found),
            (_, _) => self.errors.push(ModuleError::module(
                entry.module,
                Stage::Notice,
                entry.note.unwrap_or_else(|| "its file cannot be used".into()),
            )),
        }
    }
}

/// The plan in ejabberd_update's words.
pub fn script(plan: &Plan, loaded: &BTreeMap<String, Generation>) -> Vec<ScriptStep> {
    let load = plan.load.iter().map(|found| ScriptStep {
        action: action(loaded.get(found.id()).map(|g| &*g.manifest), found.manifest.as_deref().ok()),
        module: found.id().to_owned(),
    });
    let unload = plan.unload.iter().map(|module| ScriptStep { action: "unload", module: module.clone() });
    load.chain(unload).collect()
}

/// The single steps, with the point after which an undo is another update.
pub fn low_level_script(plan: &Plan, script: &[ScriptStep]) -> Vec<String> {
    let mut steps = Vec::new();
    for found in &plan.load {
        let id = found.id();
        steps.push(format!("copy {id} {}", found.hash.short()));
        steps.push(format!("probe {id}"));
        steps.push(format!("load {id}"));
        steps.push(format!("start {id}"));
    }
    for step in script.iter().filter(|step| step.action == "update") {
        let id = &step.module;
        steps.extend([format!("freeze {id}"), format!("export {id}"), format!("import {id}")]);
    }
    steps.push("point_of_no_return".into());
    steps.push("publish".into());
    for step in script {
        steps.push(format!("drain {}", step.module));
        steps.push(format!("retire {}", step.module));
    }
    steps
}

/// What would be different, line by line.
pub fn differences(plan: &Plan, loaded: &BTreeMap<String, Generation>) -> Vec<String> {
    let mut lines = Vec::new();
    for found in &plan.load {
        let (Ok(new), id) = (&found.manifest, found.id()) else { continue };
        match loaded.get(id) {
            None => lines.push(format!("{id}: new, version {}", new.version)),
            Some(old) => compare(id, &old.manifest, new, &mut lines),
        }
    }
    lines.extend(plan.unload.iter().map(|id| format!("{id}: goes")));
    lines
}

fn compare(id: &str, old: &Manifest, new: &Manifest, lines: &mut Vec<String>) {
    if old.version != new.version {
        lines.push(format!("{id}: version {} becomes {}", old.version, new.version));
    }
    if old.state != new.state {
        let words = |m: &Manifest| {
            m.state
                .map_or("none".into(), |s| format!("{} (reads {} to {})", s.writes, s.reads_from, s.reads_to))
        };
        lines.push(format!("{id}: state schema {} becomes {}", words(old), words(new)));
    }
    let names = |m: &Manifest| m.options.iter().map(|o| o.name.clone()).collect::<BTreeSet<_>>();
    added_and_gone(id, "option", &names(old), &names(new), lines);
    let capabilities = |m: &Manifest| m.capabilities.iter().cloned().collect::<BTreeSet<_>>();
    added_and_gone(id, "capability", &capabilities(old), &capabilities(new), lines);
    let xeps = |m: &Manifest| m.xeps.iter().map(|x| x.number.clone()).collect::<BTreeSet<_>>();
    added_and_gone(id, "XEP", &xeps(old), &xeps(new), lines);
}

fn added_and_gone(
    id: &str,
    what: &str,
    old: &BTreeSet<String>,
    new: &BTreeSet<String>,
    lines: &mut Vec<String>,
) {
    lines.extend(new.difference(old).map(|name| format!("{id}: {what} {name} comes")));
    lines.extend(old.difference(new).map(|name| format!("{id}: {what} {name} goes")));
}

/// `load` without a handover, `update` with one, `restart` where state is given up.
pub fn action(old: Option<&Manifest>, new: Option<&Manifest>) -> &'static str {
    match (old.and_then(|m| m.state), new.and_then(|m| m.state)) {
        (None, _) => "load",
        (Some(_), Some(_)) => "update",
        (Some(_), None) => "restart",
    }
}

fn candidate(
    id: &str,
    files: &[&Found],
    loaded: Option<&Generation>,
    memory: &Memory,
    config: &Config,
) -> Candidate {
    let found = files[0];
    if let [first, second, ..] = files {
        let note = format!("two files give this id: {} and {}", first.path.display(), second.path.display());
        return unusable(id.to_owned(), note);
    }
    let version = match &found.manifest {
        Ok(manifest) => manifest.version.clone(),
        Err(reason) => return unusable(id.to_owned(), reason.clone()),
    };
    let change = match loaded {
        None => Change::New,
        Some(generation) if generation.hash == found.hash => Change::Same,
        Some(_) => Change::Changed,
    };
    let note = why_not(id, found, change, memory, config);
    Candidate {
        wanted: note.is_none() && change != Change::Same,
        entry: ListEntry {
            module: id.to_owned(),
            change,
            loaded: loaded.map(|generation| generation.manifest.version.clone()),
            found: Some(version),
            hash: Some(found.hash.short()),
            note,
        },
        found: Some(found.clone()),
    }
}

/// Why an update of everything leaves a module alone.
fn why_not(id: &str, found: &Found, change: Change, memory: &Memory, config: &Config) -> Option<String> {
    if memory.rejected.get(id) == Some(&found.hash) {
        return Some("this build was rolled back; name it to load it again".into());
    }
    if change != Change::New {
        return None;
    }
    if memory.unloaded.contains(id) {
        return Some("unloaded by hand; name it to load it again".into());
    }
    if !is_enabled_somewhere(id, config) {
        return Some("not enabled by the configuration".into());
    }
    None
}

fn is_enabled_somewhere(id: &str, config: &Config) -> bool {
    let vhosts = config.vhosts.keys().map(|vhost| Some(vhost.as_str()));
    vhosts.chain([None]).any(|vhost| is_enabled(id, vhost, config))
}

/// Whether a module is to run on a vhost (`None`: globally).
pub fn is_enabled(id: &str, vhost: Option<&str>, config: &Config) -> bool {
    let by_policy = match config.modules.load {
        LoadPolicy::All => true,
        LoadPolicy::Configured => {
            let on_vhost = vhost.and_then(|vhost| config.vhosts.get(vhost));
            config.modules.sections.contains_key(id) || on_vhost.is_some_and(|v| v.modules.contains_key(id))
        }
    };
    config.module_settings(vhost, id).enabled.unwrap_or(by_policy)
}

fn removed(id: &str, generation: &Generation) -> Candidate {
    Candidate {
        entry: ListEntry {
            module: id.to_owned(),
            change: Change::Removed,
            loaded: Some(generation.manifest.version.clone()),
            found: None,
            hash: None,
            note: None,
        },
        found: None,
        wanted: true,
    }
}

fn unusable(module: String, note: String) -> Candidate {
    let entry = ListEntry {
        module,
        change: Change::Unusable,
        loaded: None,
        found: None,
        hash: None,
        note: Some(note),
    };
    Candidate { entry, found: None, wanted: true }
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| path.display().to_string(), |stem| stem.to_string_lossy().into_owned())
}

/// Puts modules into the order in which they start: what one depends on comes before it.
pub fn start_order(manifests: &BTreeMap<String, &Manifest>) -> Result<Vec<String>, ModuleError> {
    let mut order = Vec::new();
    let mut path = Vec::new();
    for id in manifests.keys() {
        visit(id, manifests, &mut path, &mut order)?;
    }
    Ok(order)
}

fn visit(
    id: &str,
    manifests: &BTreeMap<String, &Manifest>,
    path: &mut Vec<String>,
    order: &mut Vec<String>,
) -> Result<(), ModuleError> {
    if order.iter().any(|done| done == id) {
        return Ok(());
    }
    if path.iter().any(|open| open == id) {
        let circle = path.join(" -> ");
        return Err(ModuleError::module(
            id,
            Stage::Start,
            format!("modules depend on each other: {circle} -> {id}"),
        ));
    }
    let Some(manifest) = manifests.get(id) else { return Ok(()) };
    path.push(id.to_owned());
    for dependency in &manifest.depends {
        if !dependency.soft && !manifests.contains_key(&dependency.id) {
            let reason = format!("it needs {}, which is not loaded", dependency.id);
            return Err(ModuleError::operator(id, Stage::Start, reason));
        }
        visit(&dependency.id, manifests, path, order)?;
    }
    path.pop();
    order.push(id.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(id: &str, depends: &[(&str, bool)]) -> Manifest {
        let depends: Vec<_> =
            depends.iter().map(|(id, soft)| format!(r#"{{"id":"{id}","soft":{soft}}}"#)).collect();
        let json = format!(r#"{{"id":"{id}","version":"1","depends":[{}]}}"#, depends.join(","));
        Manifest::parse(json.as_bytes()).unwrap()
    }

    fn order(all: &[Manifest]) -> Result<Vec<String>, ModuleError> {
        start_order(&all.iter().map(|m| (m.id.clone(), m)).collect())
    }

    #[test]
    fn dependencies_start_first() {
        let all = [
            manifest("mod_a", &[("mod_z", false)]),
            manifest("mod_z", &[]),
            manifest("mod_b", &[("mod_none", true)]),
        ];
        assert_eq!(order(&all).unwrap(), ["mod_z", "mod_a", "mod_b"]);
    }

    #[test]
    fn a_missing_dependency_and_a_circle_are_named() {
        let missing = order(&[manifest("mod_a", &[("mod_z", false)])]).unwrap_err();
        assert!(missing.reason.contains("needs mod_z"), "{missing}");
        let circle = order(&[manifest("mod_a", &[("mod_b", false)]), manifest("mod_b", &[("mod_a", false)])])
            .unwrap_err();
        assert!(circle.reason.contains("mod_a -> mod_b -> mod_a"), "{circle}");
    }

    #[test]
    fn a_module_without_state_is_loaded_with_state_updated_and_without_any_more_restarted() {
        let plain = manifest("m", &[]);
        let json = br#"{"id":"m","version":"1","state":{"writes":1,"reads_from":1,"reads_to":1}}"#;
        let stateful = Manifest::parse(json).unwrap();
        assert_eq!(action(None, Some(&stateful)), "load");
        assert_eq!(action(Some(&plain), Some(&stateful)), "load");
        assert_eq!(action(Some(&stateful), Some(&stateful)), "update");
        assert_eq!(action(Some(&stateful), Some(&plain)), "restart");
    }
}
