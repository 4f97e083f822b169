//! Commands about the server.

use std::sync::Arc;

use serde_json::json;

use crate::command::{Answer, TableBuilder};
use crate::server::shared::{Ending, Shared};

/// Adds the handlers.
pub(super) fn add(builder: TableBuilder, shared: &Arc<Shared>) -> TableBuilder {
    let (status, stop) = (Arc::clone(shared), Arc::clone(shared));
    builder
        .handle("status", move |_| {
            let shared = Arc::clone(&status);
            async move { Ok(Answer::value(about(&shared))) }
        })
        .handle("stop", move |_| {
            stop.end(Ending::Asked);
            async { Ok(Answer::ok()) }
        })
}

fn about(shared: &Shared) -> serde_json::Value {
    let listeners: Vec<_> = shared
        .listening()
        .iter()
        .map(|socket| json!({"kind": socket.kind, "address": socket.address.to_string()}))
        .collect();
    json!({
        "phase": shared.phase.now().name(),
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": shared.started.elapsed().as_secs(),
        "sessions": shared.sessions.count_all(),
        "router": shared.router.counts(),
        "listeners": listeners,
    })
}
