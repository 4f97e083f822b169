//! Why the server did not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use super::logging::LogError;
use crate::auth::AuthError;
use crate::config::Location;
use crate::ctl::SocketError;
use crate::plugin::error::ModuleError;
use crate::storage::StorageError;
use crate::stream::tls::CertificateError;

/// Why the server did not start. Each message is for the operator.
#[derive(Debug, Error)]
pub enum StartError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The operating system gives no threads.
    #[error("The server's threads could not be started: {0}.")]
    Runtime(io::Error),
    /// A folder or file of the server.
    #[error("{} cannot be made or written: {source}.", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The control socket.
    #[error(transparent)]
    Control(#[from] SocketError),
    /// The store.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The accounts.
    #[error(transparent)]
    Accounts(#[from] AuthError),
    /// A certificate.
    #[error("{0}.")]
    Certificate(#[from] CertificateError),
    /// A certificate could not be made.
    #[error("A certificate of our own could not be made: {0}.")]
    SelfSigned(String),
    /// The module manager.
    #[error("{0}.")]
    Modules(#[from] ModuleError),
    /// A socket that the configuration names.
    #[error("{place}: The {kind} listener on {address} cannot be opened: {source}.")]
    Listen {
        /// Where the configuration names it.
        place: Location,
        /// What was to be spoken there.
        kind: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Signals.
    #[error("The server cannot listen for signals: {0}.")]
    Signals(io::Error),
}

impl StartError {
    /// 2 where the configuration is to blame, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Certificate(_) => super::USAGE,
            _ => super::FAILED,
        }
    }
}
