//! The way down, each step with a deadline.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::listeners::Listeners;
use super::shared::{Ending, Shared};
use crate::command::Phase;
use crate::stanza::{StreamError, StreamErrorCondition};

/// How long what clients have sent may take to be where it belongs.
const QUIET_PATIENCE: Duration = Duration::from_secs(3);
/// How long the store may take to write what is left.
const STORE_PATIENCE: Duration = Duration::from_secs(30);
/// How long the modules may take together; each has its own deadline besides.
const MODULES_PATIENCE: Duration = Duration::from_secs(60);
/// How long the threads of modules may take to end.
const THREADS_PATIENCE: Duration = Duration::from_secs(2);

/// What was opened after the assembly.
#[derive(Default)]
pub(super) struct Parts {
    pub listeners: Option<Listeners>,
    pub chores: Vec<JoinHandle<()>>,
}

/// Ends everything but the control socket.
pub(super) async fn shut_down(shared: &Arc<Shared>, parts: Parts, ending: Ending) {
    let why = match ending {
        Ending::Restart => "The server is being restarted.",
        Ending::Asked | Ending::Failed => "The server is being stopped.",
    };
    match ending {
        Ending::Restart => shared.phase.enter_restart(),
        Ending::Asked | Ending::Failed => shared.phase.enter(Phase::Stopping),
    }
    let config = shared.config();
    if let Some(listeners) = &parts.listeners
        && !listeners.quiet(QUIET_PATIENCE.min(config.server.stop_deadline)).await
    {
        tracing::warn!("some messages are still on their way; whom they are for may miss them");
    }
    let goodbye = StreamError::new(StreamErrorCondition::SystemShutdown, why);
    let sessions = shared.sessions.close_all(&goodbye);
    tracing::info!(sessions, "closing all streams");
    if let Some(listeners) = parts.listeners {
        listeners.close(config.server.stop_deadline).await;
    }
    let stopping = shared.manager.shutdown(ending == Ending::Failed);
    if tokio::time::timeout(MODULES_PATIENCE, stopping).await.is_err() {
        tracing::error!("the modules did not stop in time and are left behind");
    }
    parts.chores.iter().for_each(JoinHandle::abort);
    match tokio::time::timeout(STORE_PATIENCE, shared.storage.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the store was not closed cleanly"),
        Err(_) => tracing::error!("the store did not close in time; what was acknowledged is on disk"),
    }
    shared.manager.runtime().clone().shutdown(THREADS_PATIENCE);
}
