//! The trait every module implements.

use super::command::{CommandError, Request};
use super::flow::Flow;
use super::migrate::{Migrated, Migration};
use super::{Host, Stop};
use crate::declare::OptionSpec;
use serde_json::Value;
use std::time::Duration;

/// A module's life on one vhost. Only [`Module::start`] must be written; every other function has a default.
///
/// The functions are called one after another and never while `start` still runs. Registrations are made in `start` (or
/// later) through the [`Host`]; whatever is registered when the instance ends is undone by the host.
pub trait Module: Send + Sync + Sized + 'static {
    /// Options, usually declared with [`module_options!`](crate::module_options); `()` for none.
    type Options: ModuleOptions;

    /// Whether [`Module::on_reload`] takes changed options while the instance runs; to be set beside it. It is what the
    /// operator is told before a reload. Options for which it asks for a restart all the same are marked `boot_only`.
    /// Since API 1.2.
    const RELOADS: bool = false;

    /// Begins: registers what it wants and gives the instance. An error means the load or swap fails with that reason,
    /// and nothing of what was registered remains.
    fn start(host: &Host, options: Self::Options) -> Result<Started<Self>, Stop>;

    /// The instance serves and, at server start, the listeners are up: the place to open connections of its own.
    fn on_started(&self) -> Result<(), Stop> {
        Ok(())
    }

    /// The configuration was read again; `changed` says whether these options differ from the old ones. The default asks
    /// for a restart of the module when they do.
    fn on_reload(&self, options: Self::Options, changed: bool) -> Result<Reload, Stop> {
        let _ = options;
        Ok(if changed { Reload::Restart } else { Reload::Done })
    }

    /// The server ends, cleanly or after an error.
    fn on_terminated(&self, error: bool) {
        let _ = error;
    }

    /// Last call: stop own threads and close connections. Registrations and tasks are the host's to undo.
    fn stop(&self, reason: StopReason) {
        let _ = reason;
    }

    /// What the next generation takes over: schema number and bytes. `None` for a module without state. Nothing else of
    /// this instance runs meanwhile.
    fn export_state(&self) -> Option<(u32, Vec<u8>)> {
        None
    }

    /// Takes over what the generation before exported. An error refuses, and that generation goes on.
    fn import_state(&self, schema: u32, bytes: &[u8]) -> Result<(), Stop> {
        let _ = bytes;
        Err(Stop(format!("this module takes over no state, and state of schema {schema} was offered")))
    }

    /// One batch of bringing the stores forward, from the schema of an older build to the one that `export_module!` names
    /// under `store` (since 1.2). It is called after `start` and before the instance serves, again and again until it says
    /// [`Migrated::All`], and while it runs nothing else of the module does, on this vhost: callers wait, so batches are
    /// short. Stores that hold nothing are brought forward too. When it fails, panics or takes too long, or when the
    /// update is refused for another reason, everything that was written since the first batch is undone.
    fn migrate(&self, migration: &Migration) -> Result<Migrated, Stop> {
        Err(Stop(format!(
            "this module brings no stores forward, and those of schema {} are there",
            migration.from
        )))
    }

    /// No stanza came within the time asked for.
    fn on_idle(&self) -> Flow {
        Flow::Continue
    }

    /// Another module or the control program asks something.
    fn on_request(&self, request: &Request<'_>) -> Result<Value, CommandError> {
        Err(CommandError::not_found(format!("this module answers no request '{}'", request.method)))
    }

    /// Another module says something. The default ignores it.
    fn on_cast(&self, request: &Request<'_>) {
        let _ = request;
    }
}

/// Options of a module: their schema for the manifest, and how to read them.
pub trait ModuleOptions: Sized + Send + 'static {
    /// For the manifest.
    const SCHEMA: &'static [OptionSpec];
    /// Reads the JSON object that the host validated; the error names the option.
    fn read(json: &str) -> Result<Self, String>;
}

impl ModuleOptions for () {
    const SCHEMA: &'static [OptionSpec] = &[];
    fn read(_: &str) -> Result<Self, String> {
        Ok(())
    }
}

/// How a start went well. The fourth outcome, a failure, is the `Err` of [`Module::start`].
#[derive(Debug)]
pub enum Started<M> {
    /// The instance serves (`{ok, State}`).
    Running(M),
    /// The instance serves and wants [`Module::on_idle`] after that time without a stanza (`{ok, State, Timeout}`).
    RunningAfter(M, Duration),
    /// Nothing to do on this vhost (`ignore`).
    Ignore,
}

impl<M> Started<M> {
    /// The instance serves.
    pub fn running(module: M) -> Result<Self, Stop> {
        Ok(Started::Running(module))
    }

    /// The instance serves and wants to hear when nothing happens for `idle`.
    pub fn running_after(module: M, idle: Duration) -> Result<Self, Stop> {
        Ok(Started::RunningAfter(module, idle))
    }
}

/// What became of new options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// They hold now.
    Done,
    /// They need a restart of the module, which the host does.
    Restart,
}

/// Why an instance stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The operator unloads it.
    Unload,
    /// A newer generation took over.
    Swap,
    /// The server ends.
    Shutdown,
    /// It failed.
    Failed,
    /// It is started again.
    Restart,
    /// A reason that this API version does not know.
    Other,
}

impl StopReason {
    pub(crate) fn from_name(name: &str) -> Self {
        match name {
            "unload" => StopReason::Unload,
            "swap" => StopReason::Swap,
            "shutdown" => StopReason::Shutdown,
            "failed" => StopReason::Failed,
            "restart" => StopReason::Restart,
            _ => StopReason::Other,
        }
    }
}
