//! What signals mean: HUP reloads, TERM and INT and QUIT end the server, USR1 calls the reload of every module. XFSZ is taken, so
//! that a limit of file sizes is an error of the write and not the end of the process.
//!
//! A reload runs to its end before the next HUP is looked at; the kernel keeps one of those that come meanwhile, so any
//! number of them causes one more reload.

use std::sync::{Arc, Weak};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::StartError;
use super::reload;
use super::shared::{Ending, Shared};
use crate::plugin::manager::UpdateRequest;
use crate::plugin::report::{Change, ListEntry};

/// What caused a reload, for log and history.
const TRIGGER: &str = "hup";

/// Listens from now on.
pub(super) fn listen(shared: &Arc<Shared>) -> Result<(), StartError> {
    let open = |kind| signal(kind).map_err(StartError::Signals);
    // Whoever takes a signal once has it for good; nobody needs to be told, because the write that caused it fails.
    drop(open(SignalKind::from_raw(libc::SIGXFSZ))?);
    let (hang_up, user) = (open(SignalKind::hangup())?, open(SignalKind::user_defined1())?);
    let ends = [
        ("TERM", open(SignalKind::terminate())?),
        ("INT", open(SignalKind::interrupt())?),
        ("QUIT", open(SignalKind::quit())?),
    ];
    for (name, signal) in ends {
        tokio::spawn(until_ended(Arc::downgrade(shared), signal, name));
    }
    tokio::spawn(reload_on(Arc::downgrade(shared), hang_up));
    tokio::spawn(call_modules_on(Arc::downgrade(shared), user));
    Ok(())
}

async fn until_ended(shared: Weak<Shared>, mut signal: Signal, name: &'static str) {
    while signal.recv().await.is_some() {
        let Some(shared) = shared.upgrade() else { return };
        tracing::info!(signal = name, "asked to end");
        shared.end(Ending::Asked);
    }
}

async fn reload_on(shared: Weak<Shared>, mut signal: Signal) {
    while signal.recv().await.is_some() {
        let Some(shared) = shared.upgrade() else { return };
        tracing::info!("SIGHUP: reading the configuration again");
        if let Err(error) = reload::reload(&shared, reload::Modules::All).await {
            tracing::error!("the configuration was not reloaded and nothing has changed: {error}");
            continue;
        }
        look_for_updates(&shared).await;
    }
}

/// Part of a reload by signal: the folder is looked at, and changed modules are updated where the configuration wants it.
async fn look_for_updates(shared: &Shared) {
    if shared.config().modules.update_on_hup {
        let report = shared.manager.update(UpdateRequest::all(TRIGGER)).await;
        for error in report.errors.iter().chain(&report.skipped) {
            tracing::error!("{error}");
        }
        tracing::info!(updated = ?report.updated, "modules updated by SIGHUP");
        return;
    }
    let changed = shared.manager.update_list().await;
    let is_due = |entry: &&ListEntry| matches!(entry.change, Change::Changed | Change::New | Change::Removed);
    let changed: Vec<_> = changed.iter().filter(is_due).map(|entry| &entry.module).collect();
    if !changed.is_empty() {
        tracing::info!(modules = ?changed, "these modules could be updated");
    }
}

async fn call_modules_on(shared: Weak<Shared>, mut signal: Signal) {
    while signal.recv().await.is_some() {
        let Some(shared) = shared.upgrade() else { return };
        tracing::info!("SIGUSR1: calling the reload of every module");
        let _one_at_a_time = shared.reloading.lock().await;
        match shared.manager.apply_config(shared.config(), true).await {
            Ok(report) => report.errors.iter().for_each(|error| tracing::error!("{error}")),
            Err(errors) => errors.iter().for_each(|error| tracing::error!("{error}")),
        }
    }
}
