//! What all connections of all listeners share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::admission::{Connections, Phase};
use super::resumption::Resumptions;
use super::settings::ConnectionSettings;
use crate::session::MailboxSender;
use crate::stream::tls::Certificates;
use crate::stream::{StreamEvents, Via};

/// How long connections may take to notice that they are cut, which each does at its next turn.
const CUTTING_TIME: Duration = Duration::from_secs(2);

/// What a connection needs to know from the rest of the server.
pub trait Inward: StreamEvents<Outbox = MailboxSender> {}

impl<E: StreamEvents<Outbox = MailboxSender>> Inward for E {}

/// The client connections of this process: their way inwards, certificates, rules and number.
pub struct Hub<E: Inward> {
    pub(super) events: E,
    pub(super) certificates: Arc<Certificates>,
    pub(super) connections: Arc<Connections>,
    pub(super) resumptions: Arc<Resumptions<E::Session>>,
    settings: ArcSwap<ConnectionSettings>,
}

/// How many connections there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// In all.
    pub total: usize,
    /// Of peers that have not logged in.
    pub unauthenticated: usize,
    /// Sessions that wait for their clients to come back; they have none.
    pub detached: usize,
}

impl<E: Inward> Hub<E> {
    /// A hub without connections.
    pub fn new(events: E, certificates: Arc<Certificates>, settings: ConnectionSettings) -> Self {
        let connections = Arc::new(Connections::new(settings.limits));
        let (resumptions, settings) = (Resumptions::new(), ArcSwap::from_pointee(settings));
        Self { events, certificates, connections, resumptions, settings }
    }

    /// The way inwards.
    pub fn events(&self) -> &E {
        &self.events
    }

    /// The certificates.
    pub fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    /// Replaces the rules; connections keep those that they began with, but the limits of their number hold at once.
    pub fn apply(&self, settings: ConnectionSettings) {
        self.connections.set_limits(settings.limits);
        self.settings.store(Arc::new(settings));
    }

    /// How many connections there are.
    pub fn counts(&self) -> ConnectionCounts {
        ConnectionCounts {
            total: self.connections.count(),
            unauthenticated: self.connections.unauthenticated(),
            detached: self.resumptions.detached(),
        }
    }

    /// Takes nothing more from clients, and waits until what they have sent is in the mailboxes and stores where it
    /// belongs, while all sessions are still there; not longer than `deadline`. Whether all of it is.
    pub async fn quiet(&self, deadline: Duration) -> bool {
        self.connections.enter(Phase::Quieting);
        tokio::time::timeout(deadline, self.connections.quieted()).await.is_ok()
    }

    /// Ends every stream with `system-shutdown` and waits until the connections are gone; what is left at the deadline
    /// is cut. Listeners have to be stopped before. The number of connections that were cut.
    pub async fn shut_down(&self, deadline: Duration) -> usize {
        self.connections.enter(Phase::Closing);
        let emptied = async { tokio::join!(self.connections.emptied(), self.resumptions.emptied()) };
        if tokio::time::timeout(deadline, emptied).await.is_ok() {
            return 0;
        }
        let left = self.connections.count();
        tracing::warn!(connections = left, "these connections did not end in time and are cut");
        self.connections.enter(Phase::Cutting);
        if tokio::time::timeout(CUTTING_TIME, self.connections.emptied()).await.is_err() {
            tracing::error!("some connections cannot even be cut: something in them blocks a worker thread");
        }
        left
    }

    pub(super) fn settings(&self) -> Arc<ConnectionSettings> {
        self.settings.load_full()
    }
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub peer: SocketAddr,
    pub via: Via,
}
