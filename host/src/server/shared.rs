//! The assembled parts of a running server, as its commands, services and signals reach them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::logging::Logging;
use super::metrics::Observed;
use super::phase::PhaseTeller;
use super::streams::Streams;
use crate::auth::{Accounts, LoginLimiter};
use crate::command::Table;
use crate::config::{Config, ListenerKind};
use crate::http::HttpServer;
use crate::listener::{Hub, ListenerShaper};
use crate::plugin::manager::Manager;
use crate::router::Router;
use crate::session::Sessions;
use crate::storage::Storage;
use crate::stream::tls::Certificates;

/// A socket that is accepted on.
#[derive(Debug, Clone)]
pub(super) struct ListeningOn {
    /// Which of the configured ones, in their order.
    pub number: usize,
    pub kind: ListenerKind,
    /// With the port that the system chose if none was named.
    pub address: SocketAddr,
    /// The rate limit of its connections, if it is for client streams.
    pub shaper: Option<ListenerShaper>,
}

/// Why the server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was asked to, by a signal or a command.
    Asked,
    /// It was asked to start anew.
    Restart,
    /// It cannot go on.
    Failed,
}

/// What the parts of the server share.
pub(super) struct Shared {
    pub config_path: PathBuf,
    pub config: ArcSwap<Config>,
    pub storage: Storage,
    pub accounts: Accounts,
    pub limiter: ArcSwap<LoginLimiter>,
    pub sessions: Sessions,
    pub router: Router,
    pub manager: Manager,
    pub certificates: Arc<Certificates>,
    pub logging: Logging,
    pub phase: PhaseTeller,
    pub started: Instant,
    pub started_at: SystemTime,
    /// One reload at a time.
    pub reloading: tokio::sync::Mutex<()>,
    pub ending: watch::Sender<Option<Ending>>,
    /// Set once, when the listeners are opened. It reaches all this, so this must not keep it.
    pub hub: OnceLock<Weak<Hub<Streams>>>,
    /// Set once, with the listeners.
    pub http: OnceLock<HttpServer>,
    /// Set once, when the table is built. Its handlers keep all this, so this must not keep it.
    pub table: OnceLock<Weak<Table>>,
    pub listening: Mutex<Vec<ListeningOn>>,
    pub observed: Observed,
    /// The stop or restart that waits for its time.
    pub kindly: Mutex<Option<tokio::task::AbortHandle>>,
}

impl Shared {
    /// The configuration that holds.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Whether the domain is one of ours.
    pub fn has_vhost(&self, domain: &str) -> bool {
        self.config.load().vhosts.contains_key(domain)
    }

    /// Asks for the end of the server; the first reason counts.
    pub fn end(&self, why: Ending) {
        self.ending.send_if_modified(|ending| {
            let is_first = ending.is_none();
            ending.get_or_insert(why);
            is_first
        });
    }

    /// Notes a socket that is accepted on.
    pub fn listens(&self, socket: ListeningOn) {
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        listening.push(socket);
        listening.sort_by_key(|socket| socket.number);
    }

    /// The sockets that are accepted on.
    pub fn listening(&self) -> Vec<ListeningOn> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
