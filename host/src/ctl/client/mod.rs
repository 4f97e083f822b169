//! `moultctl`: sends one command to the server and prints its answer, or does what needs no server.
//!
//! Exit codes: 0 ok, 1 error, 2 usage, 3 no connection.

mod cli;
mod connection;
mod live;
mod local;
mod plugin_new;
mod remote;
mod secrets;
mod wait;
mod words;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde_json::{Value, json};

use crate::command::builtin;
use cli::{Cli, Request};

/// What went wrong on the way to an answer.
#[derive(Debug, thiserror::Error)]
enum ClientError {
    /// The operator's command line.
    #[error("{0}")]
    Usage(String),
    /// The server or the system refused.
    #[error("{0}")]
    Refused(String),
    /// Nobody answers at the socket.
    #[error("There is no connection to a server at {path}: {source}.")]
    NoConnection {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody reads what we print, which is no fault: the reader has seen enough.
    #[error("the output was closed")]
    OutputClosed,
}

impl ClientError {
    fn exit_code(&self) -> u8 {
        match self {
            ClientError::OutputClosed => 0,
            ClientError::Refused(_) => 1,
            ClientError::Usage(_) => 2,
            ClientError::NoConnection { .. } => 3,
        }
    }

    /// For programs: as the server's own errors, with the exit code for a code.
    fn to_json(&self) -> Value {
        json!({ "status": "error", "code": self.exit_code(), "message": self.to_string() })
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> ClientError {
        match error.kind() {
            io::ErrorKind::BrokenPipe => ClientError::OutputClosed,
            _ => ClientError::Refused(format!("The input or output failed: {error}.")),
        }
    }
}

/// What a command ends with: the exit code, unless something went wrong.
type Outcome = Result<u8, ClientError>;

/// Runs `moultctl` with the arguments of this process.
pub fn main() -> ExitCode {
    ExitCode::from(run(Cli::parse(), &mut io::stdout().lock(), &mut io::stderr().lock()))
}

/// Runs one command line; what it prints goes to `out` and `err`.
fn run(cli: Cli, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let mut json = cli.json;
    let done = cli.request().and_then(|request| {
        json = request.json;
        dispatch(&request, out)
    });
    match done.and_then(|code| Ok(out.flush().map(|()| code)?)) {
        Ok(code) => code,
        Err(error) => {
            // Nothing can be done where even the error cannot be told.
            let _ = match error {
                ClientError::OutputClosed => Ok(()),
                _ if json => writeln!(out, "{}", error.to_json()),
                _ => writeln!(err, "{error}"),
            };
            error.exit_code()
        }
    }
}

fn dispatch(request: &Request, out: &mut dyn Write) -> Outcome {
    let ours = builtin::client().into_iter().find(|spec| spec.name == request.name);
    match (ours, request.name.as_str()) {
        (Some(spec), _) => local::run(request, &spec, out),
        (None, "help") => remote::help(request, out),
        (None, _) => remote::run(request, out),
    }
}

/// One command line with what it printed: exit code, standard output, standard error.
#[cfg(test)]
pub(super) fn test_run(line: Vec<String>) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run(Cli::try_parse_from(line).expect("a command line of moultctl"), &mut out, &mut err);
    (code, String::from_utf8(out).expect("text"), String::from_utf8(err).expect("text"))
}

/// What the live prompt answers to these lines.
#[cfg(test)]
pub(super) fn test_prompt(socket: &std::path::Path, lines: &str) -> String {
    let mut out = Vec::new();
    live::prompt(socket, &mut lines.as_bytes(), false, &mut out).expect("the prompt ends with its input");
    String::from_utf8(out).expect("text")
}
