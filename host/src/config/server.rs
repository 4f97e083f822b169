//! `[server]`, `[auth]` and `[session]`: the process, how its users prove who they are, how their resources bind.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::defaults::CONTROL_SOCKET;
use super::reader::{HOUR, SECOND, Section, nearest};
use super::units;
use super::vhost::bare_jid;

/// What fits into `sockaddr_un` (107 bytes), less what the name needs under which the socket is made.
const MAX_SOCKET_PATH: usize = 96;

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

impl Server {
    pub(super) fn read(section: Section<'_>) -> Server {
        let default = Server::default();
        let (data_dir, control_socket) = Server::read_control_socket(&section);
        if control_socket.as_os_str().len() > MAX_SOCKET_PATH {
            let key = if section.has("control_socket") { "control_socket" } else { "data_dir" };
            let path = control_socket.display();
            let message = format!(
                "{} makes the control socket {path}, which is longer than {MAX_SOCKET_PATH} bytes.",
                section.key(key)
            );
            section.context.error(section.line_of(key), message);
        }
        let server = Server {
            plugin_dir: section.path("plugin_dir").unwrap_or(default.plugin_dir),
            control_socket,
            data_dir,
            pid_file: section.path("pid_file"),
            workers: section.number("workers", default.workers, 0..=1024),
            module_workers: section.number("module_workers", default.module_workers, 0..=1024),
            stop_deadline: section.duration("stop_deadline", default.stop_deadline, SECOND..=HOUR),
            admins: read_bare_jids(&section, "admins"),
        };
        section.finish();
        server
    }
}

impl Server {
    /// The data folder, and the control socket, which lies in it where the file says nothing else.
    pub(super) fn read_control_socket(section: &Section<'_>) -> (PathBuf, PathBuf) {
        let data_dir = section.path("data_dir").unwrap_or(Server::default().data_dir);
        let control_socket = section.path("control_socket").unwrap_or_else(|| data_dir.join(CONTROL_SOCKET));
        (data_dir, control_socket)
    }
}

impl Auth {
    pub(super) fn read(section: Section<'_>) -> Auth {
        let default = Auth::default();
        let auth = Auth {
            mechanisms: read_mechanisms(&section).unwrap_or(default.mechanisms),
            // RFC 5802 section 5.1 asks for 4096 rounds at least; the upper bound keeps one login from taking minutes.
            scram_iterations: section.number("scram_iterations", default.scram_iterations, 4_096..=1_000_000),
        };
        section.finish();
        auth
    }
}

impl Session {
    pub(super) fn read(section: Section<'_>) -> Session {
        const POLICIES: [(&str, ConflictPolicy); 3] = [
            ("replace_old", ConflictPolicy::ReplaceOld),
            ("refuse_new", ConflictPolicy::RefuseNew),
            ("number_new", ConflictPolicy::NumberNew),
        ];
        let session = Session {
            resource_conflict: section.choice("resource_conflict", ConflictPolicy::default(), &POLICIES),
        };
        section.finish();
        session
    }
}

/// A list of bare JIDs, normalised.
pub(super) fn read_bare_jids(section: &Section<'_>, key: &'static str) -> Vec<String> {
    let mut jids = Vec::new();
    for (text, line) in section.texts(key).unwrap_or_default() {
        match bare_jid(text) {
            Some(jid) => jids.push(jid),
            None => {
                section.context.error(line, format!("{}: \"{text}\" is not a bare JID.", section.key(key)))
            }
        }
    }
    jids
}

fn read_mechanisms(section: &Section<'_>) -> Option<Vec<Mechanism>> {
    let texts = section.texts("mechanisms")?;
    let key = section.key("mechanisms");
    let mut mechanisms = Vec::new();
    for (text, line) in &texts {
        match Mechanism::ALL.into_iter().find(|mechanism| mechanism.name() == *text) {
            Some(mechanism) if mechanisms.contains(&mechanism) => {
                section.context.error(*line, format!("{key} names {text} twice."));
            }
            Some(mechanism) => mechanisms.push(mechanism),
            None => {
                let hint = nearest(text, Mechanism::ALL.iter().map(|mechanism| mechanism.name()));
                section
                    .context
                    .error(*line, format!("{key}: \"{text}\" is not a mechanism of this server.{hint}"));
            }
        }
    }
    if texts.is_empty() {
        section
            .context
            .error(section.line_of("mechanisms"), format!("{key} is empty, so nobody could log in."));
    }
    mechanisms.sort_unstable();
    Some(mechanisms)
}
