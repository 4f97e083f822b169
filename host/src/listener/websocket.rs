//! Clients that come over HTTP: the same connections, under the same limits, with a WebSocket below them (RFC 7395).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::admission::{Permit, Phase};
use super::connection::Connection;
use super::hub::{Hub, Inward, Origin};
use super::shaper::TokenBucket;
use crate::stream::Via;
use crate::stream::io::{Socket, Transport, WebSocket};

/// The right to one connection, to be used once the upgrade has been answered.
pub struct Admitted<E: Inward> {
    hub: Arc<Hub<E>>,
    permit: Permit,
    origin: Origin,
}

impl<E: Inward> Hub<E> {
    /// Takes a place for a client that asks for a WebSocket; `None` if there is none.
    pub fn admit_websocket(self: &Arc<Self>, peer: SocketAddr, secure: bool) -> Option<Admitted<E>> {
        if self.connections.phase() != Phase::Serving {
            return None;
        }
        let permit = self.connections.admit(peer.ip());
        let refused = |why| tracing::debug!(%peer, ?why, "connection refused");
        let permit = permit.map_err(refused).ok()?;
        let origin = Origin { peer, via: Via::WebSocket { secure } };
        Some(Admitted { hub: Arc::clone(self), permit, origin })
    }
}

impl<E: Inward> Admitted<E> {
    /// Serves the client. Needs the runtime on which connections are to run.
    pub fn serve(self, io: Box<dyn Socket>) {
        let Self { hub, permit, origin } = self;
        let settings = hub.settings();
        let transport = Transport::websocket(WebSocket::new(io, settings.stream.limits));
        let shaper = settings.websocket_shaper.map(|rate| TokenBucket::new(rate, Instant::now()));
        tokio::spawn(Connection::new(hub, permit, transport, origin, shaper));
    }
}
