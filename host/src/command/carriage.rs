//! What carries commands over HTTP/1.1, for the control socket and for the HTTP listeners alike: accept, bounds,
//! error answers.
//!
//! Every connection costs one permit, its header must arrive within a deadline, a peer that does not read what is
//! written to it is cut, and a stop gives the requests that are running a last deadline. Which paths there are, and
//! who may call them, is the business of the two front ends.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::{Extension, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, middleware};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};
use tracing::{debug, warn};

use super::{CommandError, ErrorKind};

/// What one front end may cost.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections at the same time.
    pub connections: usize,
    /// For the whole header of a request, and for the silence before it on a connection that is kept open.
    pub header: Duration,
    /// For the answer to a request to begin.
    pub request: Duration,
    /// For the peer to take what was written to it.
    pub write: Duration,
    /// For running requests after a stop was asked for.
    pub stop: Duration,
}

/// More headers than any of our clients sends.
const MAX_HEADERS: usize = 64;
/// Request line and headers together.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Between two tries after the system refused to accept, most often because it is out of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A socket that connections come in at.
pub trait Accept: Send + 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// What is known of the other side; handlers find it as an axum `Extension`.
    type Peer: Clone + Send + Sync + 'static;

    /// The next connection.
    fn next(&mut self) -> impl Future<Output = io::Result<(Self::Io, Self::Peer)>> + Send;
}

impl Accept for TcpListener {
    type Io = TcpStream;
    type Peer = SocketAddr;

    async fn next(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.accept().await?;
        stream.set_nodelay(true)?;
        Ok((stream, peer))
    }
}

/// The process at the other end of a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerProcess {
    /// Its user.
    pub uid: u32,
    /// Its process id, where the system tells it.
    pub pid: Option<i32>,
}

impl Accept for UnixListener {
    type Io = UnixStream;
    type Peer = PeerProcess;

    async fn next(&mut self) -> io::Result<(UnixStream, PeerProcess)> {
        let (stream, _) = self.accept().await?;
        let credentials = stream.peer_cred()?;
        Ok((stream, PeerProcess { uid: credentials.uid(), pid: credentials.pid() }))
    }
}

/// Serves `router` on `listener` until `stop` is ready; comes back when the last connection is closed or cut.
pub async fn serve<A: Accept>(
    mut listener: A,
    router: Router,
    bounds: Bounds,
    stop: impl Future<Output = ()> + Send,
) {
    let router =
        router.layer(middleware::from_fn(move |request, next| within(bounds.request, request, next)));
    let permits = Arc::new(Semaphore::new(bounds.connections));
    let (stopping, stop_seen) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept_one(&mut listener, &permits) => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        match accepted {
            Ok((io, peer, permit)) => {
                let router = router.clone().layer(Extension(peer));
                let stop_seen = stop_seen.clone();
                connections.spawn(async move {
                    let _permit = permit;
                    serve_connection(io, router, bounds, stop_seen).await;
                });
            }
            Err(error) => {
                warn!(%error, "the system refused to accept a connection");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    // Nobody listens any more where there is no connection left.
    let _ = stopping.send(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(bounds.stop, drained).await.is_err() {
        connections.shutdown().await;
    }
}

type Accepted<A> = (<A as Accept>::Io, <A as Accept>::Peer, tokio::sync::OwnedSemaphorePermit);

async fn accept_one<A: Accept>(listener: &mut A, permits: &Arc<Semaphore>) -> io::Result<Accepted<A>> {
    let permit = Arc::clone(permits).acquire_owned().await.expect("the semaphore is never closed");
    let (io, peer) = listener.next().await?;
    Ok((io, peer, permit))
}

async fn serve_connection<I>(io: I, router: Router, bounds: Bounds, mut stop: watch::Receiver<bool>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(WriteDeadline { io, allowed: bounds.write, waiting: None });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(io, TowerToHyperService::new(router))
        .with_upgrades();
    tokio::pin!(connection);
    let result = tokio::select! {
        result = &mut connection => result,
        () = async { _ = stop.wait_for(|stopping| *stopping).await } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!(%error, "an HTTP connection ended early");
    }
}

async fn within(deadline: Duration, request: Request, next: Next) -> Response {
    match timeout(deadline, next.run(request)).await {
        Ok(response) => response,
        Err(_) => error_response(&CommandError::new(
            ErrorKind::Timeout,
            format!("The request was not answered within {deadline:?}."),
        )),
    }
}

/// A JSON value as an answer that nobody caches or guesses the type of.
pub fn json_response(status: u16, value: &serde_json::Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(value)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The answer to a request that failed: ejabberd's error object with its status.
pub fn error_response(error: &CommandError) -> Response {
    let mut response = json_response(error.kind.status(), &error.to_json());
    if error.kind == ErrorKind::BadCredentials {
        let challenge = HeaderValue::from_static("Bearer realm=\"moult\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// A connection whose writes fail when the peer takes nothing for too long.
struct WriteDeadline<I> {
    io: I,
    allowed: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<I> WriteDeadline<I> {
    /// Passes on what `poll` says, and turns waiting beyond the deadline into an error.
    fn bounded<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(&mut I, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(result) = poll(&mut self.io, context) {
            self.waiting = None;
            return Poll::Ready(result);
        }
        let allowed = self.allowed;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(allowed)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for WriteDeadline<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(context, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for WriteDeadline<I> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().bounded(context, |io, context| Pin::new(io).poll_write(context, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().bounded(context, |io, context| Pin::new(io).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().bounded(context, |io, context| Pin::new(io).poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const BOUNDS: Bounds = Bounds {
        connections: 2,
        header: Duration::from_millis(50),
        request: Duration::from_millis(50),
        write: Duration::from_millis(50),
        stop: Duration::from_millis(50),
    };

    /// Serves one connection over a pipe whose other end is returned.
    fn connection(router: Router, pipe: usize) -> (tokio::io::DuplexStream, tokio::task::JoinHandle<()>) {
        let (ours, theirs) = tokio::io::duplex(pipe);
        let task = tokio::spawn(async move {
            let (_stopping, stop) = watch::channel(false);
            let router =
                router.layer(middleware::from_fn(|request, next| within(BOUNDS.request, request, next)));
            serve_connection(theirs, router, BOUNDS, stop).await;
        });
        (ours, task)
    }

    fn router() -> Router {
        use axum::routing::get;
        Router::new()
            .route("/hang", get(std::future::pending::<()>))
            .route("/large", get(|| async { "x".repeat(1 << 20) }))
    }

    #[tokio::test]
    async fn a_peer_that_sends_its_header_slowly_is_cut() {
        let (mut peer, task) = connection(router(), 1024);
        peer.write_all(b"GET /hang HTTP/1.1\r\nHost").await.unwrap();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_answered() {
        let (mut peer, _task) = connection(router(), 1024);
        peer.write_all(b"GET /hang HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        peer.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("\"code\":54"), "{answer}");
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_cut() {
        let (mut peer, task) = connection(router(), 1024);
        peer.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_header_beyond_the_bound_is_refused() {
        let (mut peer, task) = connection(router(), 64 * 1024);
        let huge = format!("GET /hang HTTP/1.1\r\nX-Huge: {}\r\n\r\n", "x".repeat(40_000));
        peer.write_all(huge.as_bytes()).await.unwrap();
        let mut answer = String::new();
        peer.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_stop_cuts_what_does_not_end_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let bounds = Bounds { request: Duration::from_secs(3600), ..BOUNDS };
        let serving = tokio::spawn(serve(listener, router(), bounds, async move { _ = stopped.await }));
        let mut peer = UnixStream::connect(&path).await.unwrap();
        peer.write_all(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        stop.send(()).unwrap();
        serving.await.unwrap();
        let mut rest = Vec::new();
        assert_eq!(peer.read_to_end(&mut rest).await.unwrap_or_default(), 0);
    }
}
