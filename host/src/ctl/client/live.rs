//! `live`: the log of the server and a prompt for commands, in one terminal.
//!
//! Where no server is running, one is started as a child; it ends with the prompt. Otherwise the server goes on when
//! the prompt ends.

use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::cli::Request;
use super::{ClientError, Outcome, connection, remote, secrets, wait, words};
use crate::command::{Phase, render};

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(60);
const PROMPT: &str = "moult> ";

/// Shows the log and runs the commands of the standard input until it ends, or until `quit`.
pub(super) fn run(request: &Request, log_only: bool, out: &mut dyn Write) -> Outcome {
    let socket = request.socket()?;
    let server = match remote::phase(&socket) {
        Ok(phase) if phase == Phase::Running.name() => None,
        Ok(_) => wait::started(&socket, START).map(|_| None)?,
        Err(_) => Some(OwnServer::start(request, &socket)?),
    };
    let Some(server) = server else { return attached(&socket, log_only, out) };
    // From here on its log comes over the socket; what it writes itself is shown before and after that.
    server.quiet.store(true, Ordering::Relaxed);
    let result = attached(&socket, log_only, out);
    server.quiet.store(false, Ordering::Relaxed);
    server.stop(&socket).and(result)
}

fn attached(socket: &Path, log_only: bool, out: &mut dyn Write) -> Outcome {
    let log = connection::send(socket, "GET", "/v1/log", None)?.lines()?;
    if log_only {
        for line in log.lines() {
            writeln!(out, "{}", render::safe(&line?))?;
            out.flush()?;
        }
        return Ok(0);
    }
    // The thread ends with the log or with this process, whichever is first; there is nothing to wait for.
    thread::spawn(move || show(log));
    let stdin = io::stdin();
    let is_terminal = stdin.is_terminal();
    prompt(socket, &mut stdin.lock(), is_terminal, out)
}

/// Log lines go to standard error, so that the answers alone can be sent elsewhere.
fn show(log: impl BufRead) {
    for line in log.lines().map_while(Result::ok) {
        eprintln!("{}", render::safe(&line));
    }
    eprintln!("(the log of the server has ended)");
}

/// What the server writes must be read even where it is not shown, or the server would wait for us.
fn show_unless(quiet: &AtomicBool, mut errors: impl BufRead) {
    let mut line = Vec::new();
    while errors.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
        if !quiet.load(Ordering::Relaxed) {
            eprintln!("{}", render::safe(String::from_utf8_lossy(&line).trim_end()));
        }
        line.clear();
    }
}

pub(super) fn prompt(
    socket: &Path,
    input: &mut impl BufRead,
    is_terminal: bool,
    out: &mut dyn Write,
) -> Outcome {
    let mut line = String::new();
    loop {
        if is_terminal {
            write!(out, "{PROMPT}")?;
        }
        out.flush()?;
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(0);
        }
        match words::split(&line) {
            Ok(words) if words.is_empty() => {}
            Ok(words) if matches!(words[0].as_str(), "quit" | "exit") => return Ok(0),
            Ok(words) => one(socket, &words, out)?,
            Err(message) => writeln!(out, "{message}")?,
        }
    }
}

fn one(socket: &Path, words: &[String], out: &mut dyn Write) -> Result<(), ClientError> {
    let (name, args) = words.split_first().expect("an empty line was left out by the caller");
    let called = secrets::ask(name, args.to_vec()).and_then(|args| remote::call(socket, name, &args));
    match called {
        Ok(remote::Called::Done { text, .. }) if text.is_empty() => writeln!(out, "ok")?,
        Ok(remote::Called::Done { text, .. }) => writeln!(out, "{text}")?,
        Ok(remote::Called::Refused { message, .. }) => writeln!(out, "{message}")?,
        Err(lost @ ClientError::NoConnection { .. }) => return Err(lost),
        Err(error) => writeln!(out, "{error}")?,
    }
    Ok(())
}

/// A server that this process started.
struct OwnServer {
    child: Child,
    /// Whether what it writes to its standard error is left out.
    quiet: Arc<AtomicBool>,
}

impl OwnServer {
    fn start(request: &Request, socket: &Path) -> Result<OwnServer, ClientError> {
        let config = request.config_file().ok_or_else(|| {
            ClientError::Usage(
                "No server is running and none can be started: name its configuration with --config.".into(),
            )
        })?;
        let program = beside_this_program("moultd");
        let mut command = Command::new(&program);
        command.arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            ClientError::Refused(format!("{} cannot be started: {error}.", program.display()))
        })?;
        let quiet = Arc::new(AtomicBool::new(false));
        if let Some(errors) = child.stderr.take() {
            let quiet = Arc::clone(&quiet);
            // The thread ends with the server, or with this process.
            thread::spawn(move || show_unless(&quiet, BufReader::new(errors)));
        }
        let mut server = OwnServer { child, quiet };
        match wait::started_unless(socket, START, || server.has_ended()) {
            Ok(_) => Ok(server),
            Err(error) => {
                server.kill();
                Err(error)
            }
        }
    }

    fn has_ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(Some(status)) => Some(format!("The server ended at start with {status}; see its log above.")),
            _ => None,
        }
    }

    fn stop(mut self, socket: &Path) -> Outcome {
        let asked = remote::call(socket, "stop", &[]);
        let stopped =
            asked.and_then(|_| wait::until(STOP, || Ok(matches!(self.child.try_wait(), Ok(Some(_))))));
        if stopped.is_err() && self.has_ended().is_none() {
            self.kill();
        }
        Ok(0)
    }

    fn kill(&mut self) {
        // It may have ended by itself meanwhile; waiting takes its status in both cases.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn beside_this_program(name: &str) -> PathBuf {
    let here = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join(name)));
    here.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from(name))
}
