//! What the server is doing.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::Handlers;
use crate::command::{Answer, Call, CommandResult};
use crate::router::RouterCounts;
use crate::server::shared::Shared;

/// `status` must answer also when the store does not.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn add(handlers: Handlers) -> Handlers {
    handlers.on("status", status)
}

async fn status(shared: Arc<Shared>, _: Call) -> CommandResult {
    let listeners: Vec<Value> = shared
        .listening()
        .iter()
        .map(|socket| json!({ "kind": socket.kind.name(), "address": socket.address.to_string() }))
        .collect();
    Ok(Answer::value(json!({
        "phase": shared.phase.now(),
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "started_at": crate::stanza::date(shared.started_at),
        "uptime_seconds": shared.started.elapsed().as_secs(),
        "config_file": shared.config_path.display().to_string(),
        "listeners": listeners,
        "sessions": shared.sessions.count_all(),
        "vhosts": vhosts(&shared),
        "parts": parts(&shared),
        "modules": modules(&shared),
        "storage": storage(&shared).await,
    })))
}

fn vhosts(shared: &Shared) -> Value {
    let config = shared.config();
    let sessions = |vhost: &String| (vhost.clone(), json!({ "sessions": shared.sessions.count(vhost) }));
    config.vhosts.keys().map(sessions).collect::<serde_json::Map<_, _>>().into()
}

/// The four parts that every stanza passes, with what they have done (S2-41).
fn parts(shared: &Shared) -> Value {
    let RouterCounts {
        sent_by_clients,
        sent_by_modules,
        to_modules,
        to_remote,
        loops,
        bounced,
        stopped_by_hooks,
        iq_handled,
        to_vhosts,
        delivered,
        mailbox_full,
        held_up,
        offline,
        ignored,
        rerouted,
    } = shared.router.counts();
    let pending = shared.router.pending().counts();
    json!({
        "router": {
            "sent_by_clients": sent_by_clients,
            "sent_by_modules": sent_by_modules,
            "to_modules": to_modules,
            "bounced": bounced,
            "stopped_by_hooks": stopped_by_hooks,
            "loops": loops,
        },
        "local_router": {
            "iq_handled": iq_handled,
            "to_vhosts": to_vhosts,
            "iqs_waiting": pending.waiting,
            "iqs_answered": pending.answered,
            "iqs_timed_out": pending.timed_out,
            "iqs_unmatched": pending.unmatched,
        },
        "session_manager": {
            "sessions": shared.sessions.count_all(),
            "delivered": delivered,
            "mailbox_full": mailbox_full,
            "held_up": held_up,
            "offline": offline,
            "ignored": ignored,
            "rerouted": rerouted,
        },
        "s2s_manager": { "to_remote": to_remote },
    })
}

fn modules(shared: &Shared) -> Value {
    let modules = shared.manager.modules();
    let snapshot = modules.snapshot();
    let mut names: Vec<&str> = snapshot.instances().keys().map(|key| &*key.module).collect();
    names.dedup();
    let quarantined = shared.manager.core().slots().iter().filter(|slot| slot.is_quarantined()).count();
    json!({
        "loaded": names.len(),
        "instances": snapshot.instances().len(),
        "quarantined": quarantined,
    })
}

async fn storage(shared: &Shared) -> Value {
    match tokio::time::timeout(STORE_PATIENCE, shared.storage.db_info()).await {
        Ok(Ok(info)) => json!({ "engine": info.engine, "bytes": info.bytes, "queued": info.queued }),
        Ok(Err(error)) => json!({ "fault": error.to_string() }),
        Err(_) => json!({ "fault": "The store does not answer." }),
    }
}
