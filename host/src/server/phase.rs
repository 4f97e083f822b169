//! The phases of the server's life, told to whoever waits for them: control socket, health, the service manager.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use tokio::sync::watch;

use crate::command::Phase;

/// Where the phase is told from. A phase is announced when it is true.
pub struct PhaseTeller(watch::Sender<Phase>);

impl PhaseTeller {
    /// The server is starting.
    pub fn new() -> Self {
        Self(watch::Sender::new(Phase::Starting))
    }

    /// The phase now.
    pub fn now(&self) -> Phase {
        *self.0.borrow()
    }

    /// For those who wait.
    pub fn listen(&self) -> watch::Receiver<Phase> {
        self.0.subscribe()
    }

    /// Announces a phase.
    pub fn enter(&self, phase: Phase) {
        tracing::info!(phase = phase.name(), "the server has entered another phase");
        self.0.send_replace(phase);
        match phase {
            Phase::Starting => {}
            Phase::Running => notify(&[sd_notify::NotifyState::Ready]),
            Phase::Stopping => notify(&[sd_notify::NotifyState::Stopping]),
        }
    }

    /// The end of a server that starts anew in the same process: to the service manager it is a reload, whose end is the
    /// readiness of what comes after.
    pub fn enter_restart(&self) {
        tracing::info!(phase = Phase::Stopping.name(), "the server has entered another phase");
        self.0.send_replace(Phase::Stopping);
        reloading();
    }
}

/// Tells the service manager that a reload has begun; [`reloaded`] tells its end.
pub fn reloading() {
    // The manager wants the time of the message to tell it from an older one.
    match sd_notify::NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[sd_notify::NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the service manager cannot be told of the reload"),
    }
}

/// The end of what [`reloading`] began.
pub fn reloaded() {
    notify(&[sd_notify::NotifyState::Ready]);
}

/// Without a service manager this does nothing. It never waits: a manager that reads nothing must not hold a reload up, which
/// is what the crate's own blocking send would do.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let text: String = states.iter().map(|state| format!("{state}\n")).collect();
    if let Err(error) = send(&path, text.as_bytes()) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}

fn send(path: &OsStr, message: &[u8]) -> io::Result<()> {
    let address = match path.as_bytes() {
        // systemd writes the abstract namespace with an @.
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_that_reads_nothing_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), b"READY=1\n").unwrap();
        let mut heard = [0; 16];
        assert_eq!(manager.recv(&mut heard).unwrap(), 8);
        let refused = (0..10_000).find_map(|_| send(path.as_os_str(), b"READY=1\n").err());
        assert_eq!(refused.unwrap().kind(), io::ErrorKind::WouldBlock);
    }
}
