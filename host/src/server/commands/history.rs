//! What was updated when, and moments as people and programs read them.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::command::{Answer, Call, CommandResult};
use crate::plugin::history::{Build, Entry};
use crate::plugin::retire::RetainedInfo;
use crate::server::shared::Shared;
use crate::stanza::date;

/// Rows where the caller does not say.
const DEFAULT_LIMIT: usize = 20;

pub(super) async fn update_history(shared: Arc<Shared>, call: Call) -> CommandResult {
    let limit = call.args.integer("limit").map(|limit| usize::try_from(limit).unwrap_or_default());
    let entries = shared.manager.update_history(None);
    let rows: Vec<Value> = entries.iter().take(limit.unwrap_or(DEFAULT_LIMIT)).map(row).collect();
    Ok(Answer::value(rows))
}

fn row(entry: &Entry) -> Value {
    json!({
        "id": entry.transaction,
        "time": date(UNIX_EPOCH + Duration::from_secs(entry.at)),
        "trigger": entry.trigger,
        "module": entry.module,
        "result": entry.outcome,
        "from": entry.from.as_ref().map(shown),
        "to": entry.to.as_ref().map(shown),
        "reason": entry.reason,
    })
}

/// `1.2.0 (1f3a90bc)`: either part names the build to `rollback`.
fn shown(build: &Build) -> String {
    let digits = build.hash.get(..8).unwrap_or(&build.hash);
    format!("{} ({digits})", build.version)
}

/// Old generations that stay mapped, their moments as dates.
pub(super) fn retained(old: &[RetainedInfo]) -> Value {
    let dated = |old: &RetainedInfo| {
        let mut value = json!(old);
        value["since"] = date(old.since).into();
        value
    };
    old.iter().map(dated).collect::<Vec<_>>().into()
}
