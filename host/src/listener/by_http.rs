//! Clients that come over HTTP: the same connections, under the same limits, with a WebSocket (RFC 7395) or the requests
//! of BOSH (XEP-0124) below them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::admission::{Permit, Phase};
use super::connection::Connection;
use super::hub::{Hub, Inward, Origin};
use super::shaper::TokenBucket;
use crate::stream::Via;
use crate::stream::bosh::BoshSession;
use crate::stream::io::{Bosh, Socket, Transport, WebSocket};

/// The right to one connection, to be used once the upgrade has been answered or the session has begun.
pub struct Admitted<E: Inward> {
    hub: Arc<Hub<E>>,
    permit: Permit,
    origin: Origin,
}

impl<E: Inward> Hub<E> {
    /// Takes a place for a client that comes over HTTP; `None` if there is none.
    pub fn admit(self: &Arc<Self>, peer: SocketAddr, via: Via) -> Option<Admitted<E>> {
        if self.connections.phase() != Phase::Serving {
            return None;
        }
        let permit = self.connections.admit(peer.ip());
        let refused = |why| tracing::debug!(%peer, ?why, "connection refused");
        let permit = permit.map_err(refused).ok()?;
        Some(Admitted { hub: Arc::clone(self), permit, origin: Origin { peer, via } })
    }
}

impl<E: Inward> Admitted<E> {
    /// Serves a client by WebSocket. Needs the runtime on which connections are to run.
    pub fn serve(self, io: Box<dyn Socket>) {
        let limits = self.hub.settings().stream.limits;
        self.run(Transport::websocket(WebSocket::new(io, limits)));
    }

    /// Serves a client by BOSH. Needs the same.
    pub fn serve_bosh(self, session: Arc<BoshSession>) {
        self.run(Transport::bosh(Bosh::new(session)));
    }

    fn run(self, transport: Transport) {
        let Self { hub, permit, origin } = self;
        let shaper = hub.settings().http_shaper.map(|rate| TokenBucket::new(rate, Instant::now()));
        tokio::spawn(Connection::new(hub, permit, transport, origin, shaper));
    }
}
