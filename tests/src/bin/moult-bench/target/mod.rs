//! The servers that are measured: started in a scratch folder with their own configuration, stopped by process id.

mod accounts;
mod child;
mod ejabberd;
mod floor;
pub mod moult;
mod prosody;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use moult_tests::certificate::Certificate;
use moult_tests::sasl::Mechanism;
use rustls::ClientConfig;

use crate::engine::LoginPlan;
use crate::error::BenchError;
use crate::scenario::iq;

/// Everybody's password.
pub const PASSWORD: &str = "sesame";

/// The vhost.
pub const DOMAIN: &str = "localhost";

/// Rounds of PBKDF2 in every server's store.
pub const SCRAM_ROUNDS: u32 = 4096;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Target {
    /// This project's server.
    Moult,
    /// Debian's ejabberd, busy-waiting of its schedulers off.
    Ejabberd,
    /// Debian's Prosody, generational garbage collection, `opportunistic_writes` off.
    Prosody,
    /// A trivial relay of bytes: what no server can go below.
    Floor,
}

/// What a scenario needs of a server.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// Accounts u0, u1, ...
    pub accounts: usize,
    /// Moult's discipline for mod_cputime; the peers have one way only.
    pub discipline: Option<&'static str>,
    /// The measured module is one of which there are two builds, each of which says which it is.
    pub two_builds: bool,
    /// The floor writes to everybody what the first connection sends, instead of relaying between pairs.
    pub fan_out: bool,
    /// The floor ends TLS.
    pub floor_tls: bool,
}

/// How the measured module gets from one build to the next.
pub struct Updater {
    /// Makes the build with this number and puts it where the server finds it.
    pub prepare: Box<dyn FnMut(usize) -> Result<(), BenchError> + Send>,
    /// Tells the server to load it; returns when the server has.
    pub load: Box<dyn FnMut() -> Result<(), BenchError> + Send>,
}

/// A server that accepts connections. Dropping it stops it.
pub struct Running {
    /// The main process.
    pub pid: u32,
    /// Client streams without TLS.
    pub plain: SocketAddr,
    /// Client streams under direct TLS.
    pub tls: SocketAddr,
    /// What a client must trust.
    pub client_config: Arc<ClientConfig>,
    /// How its measured module is updated, if it can be.
    pub updater: Option<Updater>,
    /// The configuration that tells `moultctl` where to ask, of Moult.
    pub control: Option<PathBuf>,
    /// Keeps process and scratch folder.
    _keeper: Box<dyn std::any::Any>,
}

impl Target {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Target::Moult => "moult",
            Target::Ejabberd => "ejabberd",
            Target::Prosody => "prosody",
            Target::Floor => "floor",
        }
    }

    /// What the module answers that [`Needs::two_builds`] asks for. Its answers name their build.
    pub fn updated_query(self) -> &'static str {
        match self {
            Target::Moult => moult::COUNT,
            Target::Ejabberd | Target::Prosody | Target::Floor => iq::CPU_TIME,
        }
    }

    /// Why it cannot be measured on this machine, if so.
    pub fn missing(self) -> Option<&'static str> {
        let (file, reason) = match self {
            Target::Moult | Target::Floor => return None,
            Target::Ejabberd => (ejabberd::APPLICATION, "Debian's package ejabberd is not installed"),
            Target::Prosody => (prosody::PROGRAM, "Debian's package prosody is not installed"),
        };
        if Path::new(file).exists() { None } else { Some(reason) }
    }

    /// Starts it and waits until it accepts connections.
    pub fn start(self, needs: &Needs) -> Result<Running, BenchError> {
        match self {
            Target::Moult => moult::start(needs),
            Target::Ejabberd => ejabberd::start(needs),
            Target::Prosody => prosody::start(needs),
            Target::Floor => floor::start(needs),
        }
    }
}

impl Running {
    /// How its users log in.
    pub fn login_plan(&self, mechanism: Mechanism, tls: bool) -> LoginPlan {
        LoginPlan {
            address: if tls { self.tls } else { self.plain },
            tls: tls.then(|| self.client_config.clone()),
            domain: DOMAIN.to_owned(),
            password: PASSWORD.to_owned(),
            mechanism,
        }
    }
}

/// A certificate for the domain, and the client configuration that trusts it.
fn certificate(folder: &Path) -> (Certificate, Arc<ClientConfig>) {
    let names = [DOMAIN, "echo.localhost", "conference.localhost"].map(str::to_owned);
    let certificate = Certificate::make(folder, "server", &names);
    let config = certificate.client_config(rustls::ALL_VERSIONS);
    (certificate, config)
}
