//! Commands that look at modules.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::updates::target;
use super::{Handlers, history};
use crate::command::{Answer, Call, CommandError, CommandResult, ErrorKind};
use crate::plugin::core::vhost_of;
use crate::plugin::instance::Instance;
use crate::plugin::report::{InstanceReport, ModuleInfo, ModuleLine};
use crate::plugin::slot::Slot;
use crate::plugin::stats::{LATENCY_BOUNDS_US, StatsReport};
use crate::server::shared::Shared;

pub(super) fn add(handlers: Handlers) -> Handlers {
    handlers
        .on("module_list", module_list)
        .on("module_info", module_info)
        .on("module_metrics", module_metrics)
}

async fn module_list(shared: Arc<Shared>, _: Call) -> CommandResult {
    let lines = shared.manager.module_list().await;
    Ok(Answer::value(lines.iter().map(row).collect::<Vec<_>>()))
}

fn row(line: &ModuleLine) -> Value {
    json!({
        "module": line.module,
        "version": line.version,
        "generation": line.generation,
        "hash": line.hash,
        "state": line.state,
        "vhosts": line.vhosts,
        "retained": line.old_generations,
    })
}

async fn module_info(shared: Arc<Shared>, call: Call) -> CommandResult {
    let (module, vhost) = target(&call);
    let Some(mut info) = shared.manager.module_info(module).await else {
        return Err(CommandError::new(ErrorKind::NotFound, format!("Nobody has heard of {module}.")));
    };
    if let Some(vhost) = vhost {
        only_on(&mut info, vhost)?;
    }
    let instances: Vec<Value> =
        info.instances.iter().map(|instance| with_options(&shared, module, instance)).collect();
    let mut answer = Answer::report(&info)?;
    answer.value["instances"] = instances.into();
    answer.value["since"] = json!(info.since.map(crate::stanza::date));
    answer.value["retained"] = history::retained(&info.retained);
    Ok(answer)
}

fn only_on(info: &mut ModuleInfo, vhost: &str) -> Result<(), CommandError> {
    info.instances.retain(|instance| instance.vhost == vhost);
    if !info.instances.is_empty() {
        return Ok(());
    }
    let message = format!("{} does not run on {vhost}.", info.line.module);
    Err(CommandError::new(ErrorKind::NotFound, message))
}

/// The report of an instance with the options it runs with.
fn with_options(shared: &Shared, module: &str, report: &InstanceReport) -> Value {
    let mut value = json!(report);
    let modules = shared.manager.modules();
    let snapshot = modules.snapshot();
    let mut instances = snapshot.instances().values();
    let instance = instances.find(|i| &*i.key().module == module && *i.key().vhost == *report.vhost);
    value["options"] = instance.map_or(Value::Null, |instance| options(shared, instance));
    value
}

/// Defaults are filled in; what came from the environment or a file of its own is masked.
fn options(shared: &Shared, instance: &Instance) -> Value {
    let mut options: Map<String, Value> = serde_json::from_str(&instance.options()).unwrap_or_default();
    let settings = shared.config().module_settings(vhost_of(instance.key()), &instance.key().module);
    for (name, _) in settings.options.iter().filter(|(_, option)| option.secret) {
        if let Some(value) = options.get_mut(name) {
            *value = "********".into();
        }
    }
    options.into()
}

async fn module_metrics(shared: Arc<Shared>, call: Call) -> CommandResult {
    let wanted = call.args.optional_text("module").map(|_| target(&call));
    let old = shared.manager.old_generations().await;
    let is_wanted = |slot: &Arc<Slot>| {
        wanted.is_none_or(|(module, vhost)| {
            &*slot.key.module == module && vhost.is_none_or(|vhost| &*slot.key.vhost == vhost)
        })
    };
    let rows = shared.manager.core().slots().into_iter().filter(is_wanted).map(|slot| {
        let retained = old.retained.iter().filter(|old| *old.module == *slot.key.module);
        metrics(&slot, retained.map(|old| old.bytes.resident).sum())
    });
    let rows: Vec<Value> = rows.collect();
    match (wanted, rows.is_empty()) {
        (Some((module, _)), true) => {
            let message = format!("{module} has not run since the server was started.");
            Err(CommandError::new(ErrorKind::NotFound, message))
        }
        _ => Ok(Answer::value(rows)),
    }
}

fn metrics(slot: &Slot, retained_bytes: u64) -> Value {
    let stats = slot.report();
    json!({
        "module": slot.key.to_string(),
        "calls": stats.calls,
        "errors": stats.errors,
        "panics": stats.panics,
        "timeouts": stats.timeouts,
        "refused": stats.refused,
        "queued": stats.queued,
        "p50_us": quantile(&stats, 50),
        "p99_us": quantile(&stats, 99),
        "retained_bytes": retained_bytes,
        "quarantine": slot.quarantined().map(|reason| reason.to_string()),
    })
}

/// The upper bound of the bucket in which this percentage of the measured calls is reached; nothing for none, and for
/// those that took longer than the last bound.
fn quantile(stats: &StatsReport, percent: u64) -> Option<u64> {
    let all: u64 = stats.latency.iter().sum();
    let rank = (all * percent).div_ceil(100);
    let mut below = 0;
    let bucket = stats.latency.iter().position(|count| {
        below += count;
        below >= rank
    });
    LATENCY_BOUNDS_US.get(bucket.filter(|_| all > 0)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_bounds_of_their_buckets() {
        let mut latency = vec![0; LATENCY_BOUNDS_US.len() + 1];
        let of = |latency: &[u64], percent| {
            quantile(&StatsReport { latency: latency.to_vec(), ..StatsReport::default() }, percent)
        };
        assert_eq!(of(&latency, 50), None);
        (latency[0], latency[4]) = (98, 2);
        assert_eq!((of(&latency, 50), of(&latency, 99)), (Some(1), Some(100)));
        *latency.last_mut().unwrap() = 900;
        assert_eq!(of(&latency, 99), None);
    }
}
