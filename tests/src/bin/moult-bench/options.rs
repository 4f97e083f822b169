//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::demo::DemoOptions;
use crate::floor::FloorOptions;
use crate::scenario::{Scenario, Settings};
use crate::soak::SoakOptions;
use crate::target::Target;

/// Measures Moult beside ejabberd, Prosody and a floor, all on loopback.
#[derive(Debug, Parser)]
#[command(name = "moult-bench", version)]
pub struct Options {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run scenarios and write table, JSON and chart.
    Run(RunOptions),
    /// Swap a module between two builds under traffic and show that nobody notices.
    Demo(DemoOptions),
    /// Many sessions with mixed traffic while modules are swapped every few seconds, for as long as you like.
    Soak(SoakOptions),
    /// Write a self-signed certificate and its key, `server.crt` and `server.key`, for tests.
    Certificate {
        /// Where to.
        folder: PathBuf,
        /// The DNS names it is for.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Relay bytes between pairs of connections: what no server can go below.
    Floor(FloorOptions),
}

/// `moult-bench run`.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// Servers to measure; those that are not installed are left out with a note.
    #[arg(long, value_delimiter = ',', default_value = "moult,ejabberd,prosody,floor")]
    pub servers: Vec<Target>,
    /// Scenarios to run; all where absent.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<Scenario>,
    /// One short run of everything, small sizes: about two minutes.
    #[arg(long)]
    pub quick: bool,
    /// Runs of each scenario; the table shows their median, minimum and maximum.
    #[arg(long)]
    pub runs: Option<usize>,
    /// Where `bench.json`, `bench.txt` and `bench.svg` go.
    #[arg(long, default_value = "target/bench")]
    pub output: PathBuf,
}

impl RunOptions {
    /// How often each scenario runs.
    pub fn runs(&self) -> usize {
        self.runs.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// The scenarios in the order of the table.
    pub fn scenarios(&self) -> Vec<Scenario> {
        use clap::ValueEnum as _;
        let is_wanted = |scenario: &Scenario| self.only.is_empty() || self.only.contains(scenario);
        Scenario::value_variants().iter().copied().filter(is_wanted).collect()
    }

    /// How long and how large.
    pub fn settings(&self) -> Settings {
        if self.quick {
            return Settings {
                warm_up: Duration::from_millis(300),
                measure: Duration::from_millis(1000),
                idle_sessions: &[1000],
                occupants: &[100],
                contacts: 100,
                updates: 2,
            };
        }
        Settings {
            warm_up: Duration::from_secs(1),
            measure: Duration::from_secs(5),
            idle_sessions: &[1000, 5000, 9000],
            occupants: &[100, 300],
            contacts: 500,
            updates: 4,
        }
    }
}
