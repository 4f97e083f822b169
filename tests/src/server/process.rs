//! The process of a server: started with its log in a file, ready when it says so, never left behind.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::log::Log;
use crate::artifacts;
use crate::eventually::DEADLINE;

const NOTIFY_SOCKET: &str = "notify.sock";
const LOG_FILE: &str = "moultd.log";

#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pid: u32,
    log: Log,
    /// Until the server is ready; then nobody listens there, as nobody reads all that would come.
    readiness: Option<UnixDatagram>,
}

impl Process {
    /// Starts `moultd` in `folder`; it is not ready yet.
    pub fn spawn(folder: &Path, config_file: &Path, environment: &[(String, String)]) -> Process {
        let socket = folder.join(NOTIFY_SOCKET);
        let _ = std::fs::remove_file(&socket);
        let readiness = UnixDatagram::bind(&socket).expect("the test folder is writable");
        let log = File::options().create(true).append(true).open(folder.join(LOG_FILE));
        // `setpriv` lets the kernel end the server when the test's thread dies, however that happens.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(artifacts::moultd())
            .arg("--config")
            .arg(config_file)
            .env("NOTIFY_SOCKET", &socket)
            .envs(environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("the test folder is writable"))
            .kill_on_drop(true)
            .spawn()
            .expect("setpriv (package util-linux) can be started");
        let pid = child.id().expect("the process was not waited for yet");
        Process { child, pid, log: Log::new(folder.join(LOG_FILE)), readiness: Some(readiness) }
    }

    /// Waits for `READY=1`; an error is the exit code of a server that ended instead.
    pub async fn ready(&mut self) -> Result<(), Option<i32>> {
        let mut buffer = [0u8; 1024];
        let socket = self.readiness.take().expect("a server gets ready once");
        let readiness = async {
            loop {
                let count = socket.recv(&mut buffer).await.expect("the socket is bound");
                if buffer[..count].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                    return;
                }
            }
        };
        let outcome = timeout(DEADLINE, async {
            tokio::select! {
                () = readiness => Ok(()),
                status = self.child.wait() => Err(status.expect("the child is ours").code()),
            }
        });
        outcome.await.unwrap_or_else(|_| panic!("the server is not ready in time:\n{}", self.log.text()))
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn log(&self) -> Log {
        self.log.clone()
    }

    pub fn signal(&self, signal: Signal) {
        let pid =
            i32::try_from(self.pid).ok().and_then(Pid::from_raw).expect("a process id is a positive i32");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{signal:?} to the server: {error}"));
    }

    /// Waits for the end; the exit code, or `None` after a signal.
    pub async fn exit_code(&mut self) -> Option<i32> {
        let status = timeout(DEADLINE, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("the server does not end:\n{}", self.log.text()));
        status.expect("the child is ours").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the server (pid {})\n{}", self.pid, self.log.text());
        }
    }
}
