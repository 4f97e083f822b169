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

pub(super) const NOTIFY_SOCKET: &str = "notify.sock";
const LOG_FILE: &str = "moultd.log";

#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pid: u32,
    log: Log,
    /// In the place of the service manager. Few tests read what comes after readiness.
    notices: UnixDatagram,
}

impl Process {
    /// Starts `moultd` in `folder`; it is not ready yet.
    pub fn spawn(folder: &Path, config_file: &Path, environment: &[(String, String)]) -> Process {
        let socket = folder.join(NOTIFY_SOCKET);
        let _ = std::fs::remove_file(&socket);
        let notices = UnixDatagram::bind(&socket).expect("the test folder is writable");
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
        Process { child, pid, log: Log::new(folder.join(LOG_FILE)), notices }
    }

    /// Waits for `READY=1`; an error is the exit code of a server that ended instead.
    pub async fn ready(&mut self) -> Result<(), Option<i32>> {
        let outcome = timeout(DEADLINE, async {
            tokio::select! {
                () = readiness(&self.notices) => Ok(()),
                status = self.child.wait() => Err(status.expect("the child is ours").code()),
            }
        });
        outcome.await.unwrap_or_else(|_| panic!("the server is not ready in time:\n{}", self.log.text()))
    }

    /// The next message to the service manager, its lines.
    pub async fn notice(&self) -> Vec<String> {
        let notice = timeout(DEADLINE, receive(&self.notices)).await;
        notice.unwrap_or_else(|_| panic!("the service manager hears nothing:\n{}", self.log.text()))
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

async fn readiness(notices: &UnixDatagram) {
    while !receive(notices).await.iter().any(|line| line == "READY=1") {}
}

async fn receive(notices: &UnixDatagram) -> Vec<String> {
    let mut buffer = [0u8; 1024];
    let count = notices.recv(&mut buffer).await.expect("the socket is bound");
    String::from_utf8_lossy(&buffer[..count]).lines().map(str::to_owned).collect()
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the server (pid {})\n{}", self.pid, self.log.text());
        }
    }
}
