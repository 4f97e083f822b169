//! Commands with which an operator steps in: taking a module out of service without unloading it, and tidying up.

use std::sync::Arc;

use serde_json::json;

use super::updates::{self, target};
use super::{Handlers, failures, history};
use crate::command::{Answer, Call, CommandError, CommandResult, ErrorKind};
use crate::plugin::report::Change;
use crate::plugin::slot::Slot;
use crate::server::shared::Shared;

pub(super) fn add(handlers: Handlers) -> Handlers {
    handlers
        .on("module_quarantine", module_quarantine)
        .on("module_reload", module_reload)
        .on("gc", gc)
        .on("clear_cache", clear_cache)
}

/// Rows of the store are read when they are wanted; what modules keep in memory is theirs and is always true.
async fn clear_cache(_: Arc<Shared>, _: Call) -> CommandResult {
    Ok(Answer::ok())
}

/// The quarantine is that of the slot: it ends by the same command, or when another generation is published.
async fn module_quarantine(shared: Arc<Shared>, call: Call) -> CommandResult {
    let (module, vhost) = target(&call);
    let slots = serving(&shared, module, vhost);
    if slots.is_empty() {
        let place = vhost.map(|vhost| format!(" on {vhost}")).unwrap_or_default();
        return Err(CommandError::new(ErrorKind::NotFound, format!("{module} does not run{place}.")));
    }
    let is_lifted = call.args.flag("lift");
    for slot in &slots {
        if is_lifted {
            slot.lift_quarantine();
            tracing::warn!(module = %slot.key, "the operator has ended its quarantine");
        } else {
            slot.quarantine("the operator wanted it".to_owned());
            tracing::warn!(module = %slot.key, "quarantined by the operator");
        }
    }
    // The tables still lead into the lanes that the quarantine has closed.
    if is_lifted && let Err(conflict) = shared.manager.core().republish() {
        return Err(CommandError::new(ErrorKind::Failed, conflict.to_string()));
    }
    let names: Vec<String> = slots.iter().map(|slot| slot.key.to_string()).collect();
    let what = if is_lifted { "serves again" } else { "quarantined" };
    Ok(Answer::value(json!({ "status": "ok", "modules": names }))
        .with_text(format!("{what}: {}", names.join(", "))))
}

/// Another build is an update; the same one is started anew, instance by instance, without a moment in which none serves.
async fn module_reload(shared: Arc<Shared>, call: Call) -> CommandResult {
    let (module, vhost) = target(&call);
    let lies_there = shared.manager.update_list().await;
    let is_changed = lies_there.iter().any(|entry| entry.module == module && entry.change == Change::Changed);
    if is_changed && vhost.is_none() {
        return updates::update_one(&shared, &call, module).await;
    }
    let slots = serving(&shared, module, vhost);
    if slots.is_empty() {
        return Err(CommandError::new(ErrorKind::NotFound, format!("{module} does not run there.")));
    }
    let mut restarted = Vec::new();
    for slot in &slots {
        let done = shared.manager.restart_module(&slot.key.vhost, module).await;
        done.map_err(failures::module)?;
        restarted.push(slot.key.to_string());
    }
    let text = format!("restarted: {}", restarted.join(", "));
    Ok(Answer::value(json!({ "status": "ok", "restarted": restarted })).with_text(text))
}

fn serving(shared: &Shared, module: &str, vhost: Option<&str>) -> Vec<Arc<Slot>> {
    let modules = shared.manager.modules();
    let snapshot = modules.snapshot();
    let instances = snapshot.instances().iter();
    let is_meant = |name: &str, place: &str| name == module && vhost.is_none_or(|vhost| vhost == place);
    let meant = instances.filter(|(key, _)| is_meant(&key.module, &key.vhost));
    meant.map(|(_, instance)| Arc::clone(&instance.context().slot)).collect()
}

/// There are no caches to clear; what can be given back are old generations whose libraries stayed mapped.
async fn gc(shared: Arc<Shared>, _: Call) -> CommandResult {
    let unmapped = shared.manager.sweep().await;
    let old = shared.manager.old_generations().await;
    let text = format!("unmapped: {unmapped}\nstill retained: {}", old.retained.len());
    let value = json!({
        "unmapped": unmapped,
        "draining": old.draining,
        "retained": history::retained(&old.retained),
    });
    Ok(Answer::value(value).with_text(text))
}
