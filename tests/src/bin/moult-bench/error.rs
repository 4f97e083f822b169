//! Why a measurement could not be taken.

use std::io;

use thiserror::Error;

/// Why a measurement could not be taken.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The operating system refused something.
    #[error("{0}.")]
    Io(#[from] io::Error),
    /// A server did not start or did not do what the scenario needs.
    #[error("{server}: {reason}.")]
    Server {
        /// The server's name.
        server: String,
        /// What happened.
        reason: String,
    },
    /// Users could not log in.
    #[error("{count} logins failed, the first because {reason}.")]
    Login {
        /// How many.
        count: usize,
        /// Why.
        reason: String,
    },
    /// Nothing came back for too long.
    #[error("Nothing moved for {seconds} s while {what}.")]
    Stalled {
        /// What was being done.
        what: &'static str,
        /// How long.
        seconds: u64,
    },
    /// The server lacks what the scenario is about; this is no failure.
    #[error("skipped: {0}.")]
    Skipped(String),
}

impl BenchError {
    /// A server's failure.
    pub fn server(server: &str, reason: impl Into<String>) -> BenchError {
        BenchError::Server { server: server.to_owned(), reason: reason.into() }
    }
}
