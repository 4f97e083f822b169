//! Accepting connections on one socket.
//!
//! When the process has no descriptor left, accepting pauses and goes on later: the waiting connections stay in the
//! kernel's queue, and the loop does not spin on an error that will not go away at once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::connection::Connection;
use super::hub::{Hub, Inward, Origin};
use super::refusal;
use super::settings::ListenerSettings;
use super::shaper::{Rate, TokenBucket};
use crate::stream::Via;
use crate::stream::io::Transport;

/// How long accepting pauses when the process has no descriptor or no memory left.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections that may wait in the kernel to be accepted.
const BACKLOG: i32 = 4096;

/// Why a socket cannot be accepted on.
#[derive(Debug, thiserror::Error)]
#[error("the configuration names a listener on {address}, which cannot be opened: {source}")]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// What the operating system said.
    pub source: io::Error,
}

/// A socket that is being accepted on, until it is stopped or dropped.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    shaper: ListenerShaper,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// The rate limit of a listener's connections, to be changed while it listens. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ListenerShaper(Arc<ArcSwapOption<Rate>>);

impl ListenerShaper {
    /// Limits every connection that begins from now on; `None` for no limit.
    pub fn set(&self, rate: Option<Rate>) {
        self.0.store(rate.map(Arc::new));
    }
}

impl Listening {
    /// Opens the socket and accepts on it. Needs the runtime on which connections are to run.
    pub fn start<E: Inward>(hub: Arc<Hub<E>>, settings: ListenerSettings) -> Result<Self, ListenError> {
        let failed = |source| ListenError { address: settings.address, source };
        let socket = open(settings.address).map_err(failed)?;
        let listener = TcpListener::from_std(socket.into()).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let shaper = ListenerShaper(Arc::new(ArcSwapOption::from_pointee(settings.shaper)));
        let limited = shaper.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                _ = stopped => {}
                () = accept_all(&listener, &hub, &settings, &limited) => {}
            }
        });
        tracing::info!(%address, "accepting connections");
        Ok(Self { address, shaper, stop, task })
    }

    /// Where it listens, with the port that the system chose if none was named.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The rate limit of its connections.
    pub fn shaper(&self) -> &ListenerShaper {
        &self.shaper
    }

    /// Stops accepting and closes the socket. Connections go on.
    pub async fn stop(self) {
        drop(self.stop);
        // The task ends at its next await; should it have panicked, there is nothing left to stop.
        let _ = self.task.await;
    }
}

/// `SO_REUSEADDR` lets a restarted server have its port at once; an IPv6 socket leaves IPv4 to a socket of its own.
fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

async fn accept_all<E: Inward>(
    listener: &TcpListener,
    hub: &Arc<Hub<E>>,
    settings: &ListenerSettings,
    shaper: &ListenerShaper,
) {
    let mut is_short = false;
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                if std::mem::take(&mut is_short) {
                    tracing::info!(address = %settings.address, "accepting connections again");
                }
                begin(hub, settings, shaper, socket, peer);
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut is_short, true) {
                    tracing::error!(address = %settings.address, "accepting pauses: {error}");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The peer was gone before it was accepted; the next one is not concerned.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted | Kind::ConnectionReset | Kind::Interrupted | Kind::TimedOut
    )
}

fn begin<E: Inward>(
    hub: &Arc<Hub<E>>,
    settings: &ListenerSettings,
    shaper: &ListenerShaper,
    socket: TcpStream,
    peer: SocketAddr,
) {
    let origin = Origin { peer, via: if settings.direct_tls { Via::DirectTls } else { Via::Tcp } };
    match hub.connections.admit(peer.ip()) {
        Ok(permit) => {
            // Stanzas are written in one piece already; waiting for more would only delay them.
            let _ = socket.set_nodelay(true);
            let shaper = shaper.0.load().as_deref().map(|rate| TokenBucket::new(*rate, Instant::now()));
            let transport = match origin.via {
                Via::DirectTls => Transport::direct_tls(socket, Arc::clone(&hub.certificates)),
                _ => Transport::plain(socket),
            };
            tokio::spawn(Connection::new(Arc::clone(hub), permit, transport, origin, shaper));
        }
        Err(why) => refusal::refuse(hub, socket, origin, why),
    }
}
