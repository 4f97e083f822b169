//! `moult-bench`: what Moult costs, measured side by side with ejabberd, Prosody and a floor.
//!
//! One process, one thread of load. Server CPU time comes from /proc around each phase, memory is PSS; the servers
//! take turns within each scenario and the whole is repeated, so that a busy machine hits all of them alike. Absolute
//! numbers belong to the machine; ratios within one run are what counts.

mod demo;
mod engine;
mod error;
mod floor;
mod measure;
mod options;
mod report;
mod run;
mod scenario;
mod soak;
mod target;

use std::process::ExitCode;

use clap::Parser as _;
use moult_tests::certificate::Certificate;

use options::{Command, Options};

fn main() -> ExitCode {
    let outcome = match Options::parse().command {
        Command::Floor(options) => floor::run(&options).map_err(Into::into),
        Command::Run(options) => run::run(&options),
        Command::Demo(options) => run::prepare_process().and_then(|()| demo::run(&options)),
        Command::Soak(options) => run::prepare_process().and_then(|()| soak::run(&options)),
        Command::Certificate { folder, names } => {
            Certificate::make(&folder, "server", &names);
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("moult-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
