//! `[server]`, `[auth]` and `[session]`: the process, how its users prove who they are, how their resources bind.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::units;

/// `[server]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Server {
    /// Accounts, module data, private copies of libraries, history of updates.
    pub data_dir: PathBuf,
    /// The folder that is watched for modules.
    pub plugin_dir: PathBuf,
    /// The Unix socket of `moultctl`, mode 0600.
    pub control_socket: PathBuf,
    /// Where to write the process id, if anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid_file: Option<PathBuf>,
    /// Threads that serve sockets; 0 stands for one per core.
    pub workers: usize,
    /// Threads that run modules; 0 stands for one per core.
    pub module_workers: usize,
    /// How long a stop may take before connections are cut.
    #[serde(serialize_with = "units::serialize_duration")]
    pub stop_deadline: Duration,
    /// Bare JIDs that may call admin commands over XMPP, on every vhost.
    pub admins: Vec<String>,
}

/// `[auth]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Auth {
    /// What is offered, strongest first; `PLAIN` is offered under TLS only, `-PLUS` forms likewise.
    pub mechanisms: Vec<Mechanism>,
    /// Rounds of PBKDF2 for passwords stored from now on.
    pub scram_iterations: u32,
}

/// A SASL mechanism this server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Mechanism {
    /// RFC 7677 extended to SHA-512, with channel binding.
    #[serde(rename = "SCRAM-SHA-512-PLUS")]
    ScramSha512Plus,
    /// RFC 7677 with channel binding.
    #[serde(rename = "SCRAM-SHA-256-PLUS")]
    ScramSha256Plus,
    /// RFC 5802 with channel binding.
    #[serde(rename = "SCRAM-SHA-1-PLUS")]
    ScramSha1Plus,
    /// RFC 7677 extended to SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    /// RFC 7677.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// RFC 5802.
    #[serde(rename = "SCRAM-SHA-1")]
    ScramSha1,
    /// RFC 4616; never without TLS.
    #[serde(rename = "PLAIN")]
    Plain,
}

impl Mechanism {
    /// All of them, strongest first: the default offer.
    pub const ALL: [Mechanism; 7] = [
        Mechanism::ScramSha512Plus,
        Mechanism::ScramSha256Plus,
        Mechanism::ScramSha1Plus,
        Mechanism::ScramSha512,
        Mechanism::ScramSha256,
        Mechanism::ScramSha1,
        Mechanism::Plain,
    ];

    /// The name on the wire and in the file.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::ScramSha512Plus => "SCRAM-SHA-512-PLUS",
            Mechanism::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Mechanism::ScramSha1Plus => "SCRAM-SHA-1-PLUS",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha1 => "SCRAM-SHA-1",
            Mechanism::Plain => "PLAIN",
        }
    }
}

/// `[session]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Session {
    /// What happens when a client asks for a resource that is already bound.
    pub resource_conflict: ConflictPolicy,
}

/// What to do when a client asks for a resource that is already bound (RFC 6120 section 7.7.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictPolicy {
    /// The new client gets it; the old stream ends with `<conflict/>`.
    #[default]
    ReplaceOld,
    /// The new client is told `<conflict/>` and may try another resource.
    RefuseNew,
    /// The new client gets the resource with a number appended.
    NumberNew,
}
