//! Assembly: builds the rooms, implements the traits between them, phases, signals, order of shutdown.
//!
//! The way up: configuration, log, runtimes, control socket, store, accounts, certificates, module manager, router,
//! commands; then the modules start, then the listeners open, then the modules hear that they serve; only then the
//! phase is `running` and the service manager is told. The way down is the reverse: no new connections, streams end
//! with `system-shutdown`, modules hear of the end and stop in reverse order, the store closes, the control socket goes
//! last, so that whoever waits for the end of this server waits for all of it.

mod account_life;
mod assembly;
mod certificate;
mod commands;
mod directory;
mod error;
#[cfg(test)]
mod fixture;
mod init;
mod listeners;
mod logging;
mod metrics;
mod phase;
mod reload;
mod services;
mod shared;
mod shutdown;
mod signals;
mod streams;
mod suspended;
#[cfg(test)]
mod tests;
mod transfer;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

pub use error::StartError;
pub use init::{init, serve};
pub use logging::{LogError, Logging};
pub use shared::Ending;

use crate::config::Config;
use crate::plugin::loader::crash;
use crate::plugin::reserve::{self, RESERVE, Reserve};
use crate::plugin::settings;

/// The server did what it was asked to, and ended.
const OK: u8 = 0;
/// It could not start, or could not go on.
const FAILED: u8 = 1;
/// The configuration or the command line is wrong.
const USAGE: u8 = 2;

/// How long threads may take to end after everything else has.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(2);

/// `moultd --config FILE`: serves until it is told to stop.
pub fn run(config_file: &Path) -> ExitCode {
    // As it is now: by the time of a restart another program may lie there, and that is the one to start.
    let program = std::env::current_exe();
    let checked = Config::load(config_file).and_then(|config| settings::check(&config).map(|()| config));
    let config = match checked {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(USAGE);
        }
    };
    match started(config_file, config) {
        Ok(Ending::Asked) => ExitCode::from(OK),
        Ok(Ending::Restart) => restart(program),
        Ok(Ending::Failed) => ExitCode::from(FAILED),
        Err(error) => {
            tracing::error!("{error}");
            eprintln!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Puts the program that lies there now in the place of this one, with the same arguments: same process id, nothing else kept.
fn restart(program: std::io::Result<PathBuf>) -> ExitCode {
    let error = match program {
        Ok(program) => Command::new(program).args(std::env::args_os().skip(1)).exec(),
        Err(error) => error,
    };
    eprintln!("The server has ended and cannot be started anew: {error}.");
    ExitCode::from(FAILED)
}

/// `moultd --doap FOLDER`: the DOAP file of the server with the modules of a folder.
pub fn doap(folder: &Path) -> ExitCode {
    match crate::plugin::doap::of_folder(folder) {
        Ok(text) => {
            print!("{text}");
            ExitCode::from(OK)
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(FAILED)
        }
    }
}

/// `moultd --check-config FILE`: tells all mistakes and starts nothing.
pub fn check_config(config_file: &Path) -> ExitCode {
    let report = settings::check_file(config_file);
    if report.ok {
        println!("{}", report.text);
        return ExitCode::from(OK);
    }
    eprintln!("{}", report.text);
    ExitCode::from(USAGE)
}

fn started(config_file: &Path, config: Config) -> Result<Ending, StartError> {
    let logging = Logging::install(&config.log)?;
    let warnings = config.warnings().into_iter().chain(settings::warnings(&config));
    warnings.for_each(|warning| tracing::warn!("{warning}"));
    crash::install();
    let runtime = core_runtime(config.server.workers)?;
    let reserve = Reserve::new(runtime.handle().clone(), RESERVE);
    let ending = runtime.block_on(assembly::serve(config_file, config, logging, Some(&reserve)));
    reserve.end();
    runtime.shutdown_timeout(RUNTIME_PATIENCE);
    ending
}

/// The runtime for sockets. Its threads enter modules too (handlers without a queue, hooks, short queued work), so there
/// are some in reserve, and they let go of tables, and of libraries that are on their way out, whenever they rest.
fn core_runtime(workers: usize) -> Result<tokio::runtime::Runtime, StartError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let serving = match workers {
        0 => std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
        workers => workers,
    };
    builder.worker_threads(serving + RESERVE).on_thread_start(reserve::join);
    builder.enable_all().thread_name("moult-core").on_thread_park(crate::plugin::lookup::at_rest);
    builder.build().map_err(StartError::Runtime)
}
