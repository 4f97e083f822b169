//! The phase of the server's life, as callers are told it.

use serde::{Deserialize, Serialize};

/// A phase; it is announced when it is true, not when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not all listeners are up, or not all modules are loaded.
    Starting,
    /// Everything that the configuration asks for is served.
    Running,
    /// No new connections; the present ones are being closed.
    Stopping,
}

impl Phase {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Stopping => "stopping",
        }
    }
}
