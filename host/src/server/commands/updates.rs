//! Commands that change which modules serve, and those that tell what such a change would do.

use std::sync::Arc;

use serde_json::json;

use super::{Handlers, failures, history};
use crate::command::{Answer, Call, CommandError, CommandResult, ErrorKind, FrontEnd};
use crate::config::Purge;
use crate::plugin::manager::UpdateRequest;
use crate::plugin::plan::Selection;
use crate::plugin::report::{Change, ListEntry, UpdateReport};
use crate::server::shared::Shared;

pub(super) fn add(handlers: Handlers) -> Handlers {
    handlers
        .on("update_list", update_list)
        .on("update_info", update_info)
        .on("update", update)
        .on("update_history", history::update_history)
        .on("rollback", rollback)
        .on("restart_module", restart_module)
        .on("module_load", module_load)
        .on("module_unload", module_unload)
}

async fn update_list(shared: Arc<Shared>, call: Call) -> CommandResult {
    let entries = shared.manager.update_list().await;
    if call.args.flag("all") {
        let differing: Vec<_> = entries.iter().filter(|entry| entry.change != Change::Same).collect();
        let lines: Vec<String> = differing.iter().map(|entry| line(entry)).collect();
        return Ok(Answer::value(json!(differing)).with_text(lines.join("\n")));
    }
    // The value is what `update` takes as arguments; a file that is of no use is shown to people only.
    let (unusable, taken): (Vec<_>, Vec<_>) = entries
        .into_iter()
        .filter(|entry| entry.change != Change::Same)
        .partition(|entry| entry.change == Change::Unusable);
    let names: Vec<String> = taken.into_iter().map(|entry| entry.module).collect();
    let lines: Vec<String> = names.iter().cloned().chain(unusable.iter().map(line)).collect();
    Ok(Answer::value(names).with_text(lines.join("\n")))
}

/// `mod_echo changed 1.0.0 -> 1.1.0 (note)`
fn line(entry: &ListEntry) -> String {
    let change = match entry.change {
        Change::New => "new",
        Change::Changed => "changed",
        Change::Removed => "removed",
        Change::Unusable => "unusable",
        Change::Same => "same",
    };
    let versions = match (&entry.loaded, &entry.found) {
        (Some(loaded), Some(found)) => format!(" {loaded} -> {found}"),
        (Some(version), None) | (None, Some(version)) => format!(" {version}"),
        (None, None) => String::new(),
    };
    let note = entry.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
    format!("{} {change}{versions}{note}", entry.module)
}

async fn update_info(shared: Arc<Shared>, call: Call) -> CommandResult {
    let modules = call.args.list("modules");
    let selection = if modules.is_empty() { Selection::All } else { selection(modules) };
    if let Selection::Named(names) = &selection {
        are_known(&shared, names).await?;
    }
    let request = UpdateRequest { selection, ..UpdateRequest::all(trigger(&call)) };
    let mut answer = Answer::report(&shared.manager.update_info(&request).await)?;
    let old = shared.manager.old_generations().await;
    answer.value["old_generations"] =
        json!({ "draining": old.draining, "retained": history::retained(&old.retained) });
    Ok(answer)
}

/// There is nothing to say about a module that nobody has heard of.
async fn are_known(shared: &Shared, names: &[String]) -> Result<(), CommandError> {
    let known = shared.manager.update_list().await;
    match names.iter().find(|name| known.iter().all(|entry| entry.module != **name)) {
        Some(name) => {
            let message =
                format!("update_info: there is no module {name}, neither loaded nor in the plugin folder.");
            Err(CommandError::new(ErrorKind::BadArgument, message))
        }
        None => Ok(()),
    }
}

async fn update(shared: Arc<Shared>, call: Call) -> CommandResult {
    let modules = call.args.list("modules");
    if modules.is_empty() {
        let message = "update: name modules, or all for every changed and new one.";
        return Err(CommandError::new(ErrorKind::BadArgument, message));
    }
    let request = UpdateRequest {
        selection: selection(modules),
        purge: purge(&call)?,
        force: call.args.flag("force"),
        trigger: trigger(&call),
    };
    finished(&shared, shared.manager.update(request).await).await
}

async fn rollback(shared: Arc<Shared>, call: Call) -> CommandResult {
    let (module, vhost) = target(&call);
    if vhost.is_some() {
        return Err(everywhere(&call));
    }
    let report = shared.manager.rollback(module, call.args.optional_text("build"), "rollback").await;
    finished(&shared, report).await
}

/// ejabberd's answers: 0 restarted, 1 not running there, 2 the new library could not be loaded.
async fn restart_module(shared: Arc<Shared>, call: Call) -> CommandResult {
    let (host, (module, vhost)) = (call.args.text("host"), target(&call));
    if vhost.is_some() {
        return Err(everywhere(&call));
    }
    if !runs_on(&shared, module, host) {
        return Ok(Answer::value(1).with_text(format!("1: {module} is not running on {host}.")));
    }
    let lies_there = shared.manager.update_list().await;
    if lies_there.iter().any(|entry| entry.module == module && entry.change == Change::Changed) {
        let report = shared.manager.update(UpdateRequest::named([module.to_owned()], trigger(&call))).await;
        let Some(error) = report.errors.first() else { return Ok(Answer::value(0)) };
        return Ok(Answer::value(2).with_text(format!("2: {error}.")));
    }
    match shared.manager.restart_module(host, module).await {
        Ok(()) => Ok(Answer::value(0)),
        Err(error) => Err(failures::module(error)),
    }
}

async fn module_load(shared: Arc<Shared>, call: Call) -> CommandResult {
    let (module, vhost) = target(&call);
    if let Some(vhost) = vhost {
        if runs_on(&shared, module, vhost) {
            let message = format!("{module} runs on {vhost} already.");
            return Err(CommandError::new(ErrorKind::Conflict, message));
        }
        let started = shared.manager.start_on(vhost, module).await;
        started.map_err(failures::module)?;
        return Ok(Answer::value(json!({ "status": "ok", "started": format!("{module}@{vhost}") })));
    }
    let listed = shared.manager.module_list().await;
    if let Some(line) = listed.iter().find(|line| line.module == module && line.generation.is_some()) {
        let message = format!(
            "{module} {} is loaded already; \"update {module}\" takes the library that lies there now.",
            line.version
        );
        return Err(CommandError::new(ErrorKind::Conflict, message));
    }
    update_one(&shared, &call, module).await
}

/// The update of one module, on behalf of another command.
pub(super) async fn update_one(shared: &Shared, call: &Call, module: &str) -> CommandResult {
    let request = UpdateRequest::named([module.to_owned()], trigger(call));
    finished(shared, shared.manager.update(request).await).await
}

/// Takes a module out of service, and its library out of memory.
pub(super) async fn unload(shared: &Shared, module: &str, force: bool) -> CommandResult {
    let report = shared.manager.unload(vec![module.to_owned()], force).await;
    finished_as(shared, report, "unloaded").await
}

async fn module_unload(shared: Arc<Shared>, call: Call) -> CommandResult {
    let (module, vhost) = target(&call);
    if let Some(vhost) = vhost {
        shared.manager.stop_on(vhost, module).await.map_err(failures::module)?;
        return Ok(Answer::value(json!({ "status": "ok", "stopped": format!("{module}@{vhost}") })));
    }
    unload(&shared, module, call.args.flag("force")).await
}

/// The report of a transaction that went well, with what still holds old code; or the failure with stage and reason.
async fn finished(shared: &Shared, report: UpdateReport) -> CommandResult {
    finished_as(shared, report, "updated").await
}

/// The same; `what` says what was done with the modules.
async fn finished_as(shared: &Shared, report: UpdateReport, what: &'static str) -> CommandResult {
    if !report.errors.is_empty() {
        return Err(failures::modules(&report.errors, Some(report.transaction)));
    }
    if !report.skipped.is_empty() {
        return Err(partly(&report));
    }
    let held_by = match report.unpurged.is_empty() {
        true => Vec::new(),
        false => held_by(shared, &report.unpurged).await,
    };
    let mut answer = Answer::report(&report)?;
    if !held_by.is_empty() {
        answer.value["held_by"] = json!(held_by);
    }
    Ok(answer.with_text(told(&report, what, &held_by)))
}

/// What was of use is done, and files of no use were left out: not a success, and no failure of the rest.
fn partly(report: &UpdateReport) -> CommandError {
    let mut error = failures::modules(&report.skipped, Some(report.transaction));
    error.message = format!("{}\nleft out:\n{}", told(report, "updated", &[]), error.message);
    if let (Some(details), Ok(report)) = (&mut error.details, serde_json::to_value(report))
        && let (Some(details), Some(report)) = (details.as_object_mut(), report.as_object())
    {
        details.extend(report.clone());
    }
    error
}

/// The same for people: what is not there is not mentioned.
fn told(report: &UpdateReport, done: &'static str, held_by: &[String]) -> String {
    if report.updated.is_empty() && report.unchanged.is_empty() {
        return "There is nothing to update.".into();
    }
    let mut lines = Vec::new();
    for (what, modules) in [
        (done, &report.updated),
        ("unchanged", &report.unchanged),
        ("unpurged", &report.unpurged),
        ("purged after this answer", &report.purged_after_answer),
    ] {
        if !modules.is_empty() {
            lines.push(format!("{what}: {}", modules.join(", ")));
        }
    }
    lines.extend(held_by.iter().map(|held| format!("held by: {held}")));
    if !report.updated.is_empty() {
        let all: f64 = report.stages.iter().map(|stage| stage.ms).sum();
        lines.push(format!(
            "transaction {}: {all:.1} ms, longest pause {} us",
            report.transaction, report.pause_us
        ));
    }
    lines.join("\n")
}

async fn held_by(shared: &Shared, modules: &[String]) -> Vec<String> {
    let old = shared.manager.old_generations().await;
    let draining = old.draining.iter().filter(|old| modules.contains(&old.module));
    let draining = draining
        .map(|old| format!("{} generation {} waits for {}", old.module, old.generation, old.waits_for));
    let retained = old.retained.iter().filter(|old| modules.contains(&old.module));
    let retained = retained
        .map(|old| format!("{} generation {}: {}", old.module, old.generation, old.reasons.join("; ")));
    draining.chain(retained).collect()
}

fn selection(modules: Vec<String>) -> Selection {
    if modules.iter().any(|module| module == "all") { Selection::All } else { Selection::Named(modules) }
}

fn purge(call: &Call) -> Result<Option<Purge>, CommandError> {
    match (call.args.flag("soft"), call.args.flag("brutal")) {
        (true, true) => {
            let message = "update: --soft and --brutal exclude each other.";
            Err(CommandError::new(ErrorKind::BadArgument, message))
        }
        (true, false) => Ok(Some(Purge::Soft)),
        (false, true) => Ok(Some(Purge::Brutal)),
        (false, false) => Ok(None),
    }
}

/// What the history says of the cause.
fn trigger(call: &Call) -> &'static str {
    match call.caller.from {
        FrontEnd::Local => "ctl",
        other => other.name(),
    }
}

/// The module and, where it is named, the vhost.
pub(super) fn target(call: &Call) -> (&str, Option<&str>) {
    let module = call.args.text("module");
    module.split_once('@').map_or((module, None), |(module, vhost)| (module, Some(vhost)))
}

fn everywhere(call: &Call) -> CommandError {
    let message = format!("{}: one library serves all vhosts; name the module without @.", call.spec.name);
    CommandError::new(ErrorKind::BadArgument, message)
}

fn runs_on(shared: &Shared, module: &str, vhost: &str) -> bool {
    let modules = shared.manager.modules();
    let snapshot = modules.snapshot();
    snapshot.instances().keys().any(|key| &*key.module == module && &*key.vhost == vhost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::report::StageTime;

    #[test]
    fn a_report_is_told_in_lines_without_what_is_not_there() {
        let nothing = UpdateReport { status: "ok", transaction: 7, ..UpdateReport::default() };
        assert_eq!(told(&nothing, "updated", &[]), "There is nothing to update.");
        let one = UpdateReport {
            updated: vec!["mod_a".into(), "mod_b".into()],
            unpurged: vec!["mod_b".into()],
            stages: vec![StageTime { stage: "prepare", ms: 20.0 }, StageTime { stage: "publish", ms: 0.25 }],
            pause_us: 90,
            ..nothing
        };
        let held = ["mod_b generation 3 waits for its calls to end".to_owned()];
        let expected = "updated: mod_a, mod_b\nunpurged: mod_b\n\
                        held by: mod_b generation 3 waits for its calls to end\n\
                        transaction 7: 20.2 ms, longest pause 90 us";
        assert_eq!(told(&one, "updated", &held), expected);
    }
}
