//! The phases of the server's life, told to whoever waits for them: control socket, health, the service manager.

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

/// Without a service manager this does nothing.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
