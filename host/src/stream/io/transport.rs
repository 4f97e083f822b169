//! A TCP socket, from some moment on under TLS, or a WebSocket, or a session of BOSH.

use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::bosh::Bosh;
use super::outgoing::{MAX_SLICES, Outgoing};
use super::websocket::{WebSocket, WebSocketFault};
use super::{INPUT_BYTES, Scratch};
use crate::stream::tls::{Certificates, Received, TlsFacts, TlsFault, TlsSession};

/// How much plaintext is encrypted before the records go out: what one TLS record can hold.
const RECORD_BYTES: usize = 16 * 1024;

/// One connection's way to its peer.
pub struct Transport(Wire);

enum Wire {
    Socket { socket: TcpStream, tls: Option<TlsSession> },
    WebSocket(Box<WebSocket>),
    Bosh(Box<Bosh>),
}

/// What one read gave.
#[derive(Debug)]
pub struct Input<'a> {
    /// Bytes that came over the wire, for the rate limit.
    pub wire: usize,
    /// What they say. Empty while TLS shakes hands, and at the end.
    pub text: &'a [u8],
    /// Nothing follows.
    pub ended: bool,
}

/// What became of the unsent pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flush {
    /// Everything was handed to the kernel. If not, the task is woken when the socket takes more.
    pub complete: bool,
    /// The socket took at least something.
    pub progress: bool,
}

/// Why a connection came to its end without a word.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The network's or the peer's doing.
    #[error("the connection to the peer broke: {0}")]
    Socket(#[from] io::Error),
    /// TLS failed; an alert may be waiting to be flushed.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// A WebSocket has failed; the peer may still be told why.
    #[error(transparent)]
    WebSocket(#[from] WebSocketFault),
}

impl Transport {
    /// A socket without TLS.
    pub fn plain(socket: TcpStream) -> Self {
        Self(Wire::Socket { socket, tls: None })
    }

    /// A socket whose peer speaks TLS from the first byte (XEP-0368).
    pub fn direct_tls(socket: TcpStream, certificates: Arc<Certificates>) -> Self {
        Self(Wire::Socket { socket, tls: Some(TlsSession::new(certificates, None)) })
    }

    /// A WebSocket (RFC 7395).
    pub fn websocket(socket: WebSocket) -> Self {
        Self(Wire::WebSocket(Box::new(socket)))
    }

    /// Requests and answers of HTTP (XEP-0124).
    pub fn bosh(bosh: Bosh) -> Self {
        Self(Wire::Bosh(Box::new(bosh)))
    }

    /// Whether what is written may wait for the peer to ask for it, within times that are kept here.
    pub fn waits_to_be_asked(&self) -> bool {
        matches!(self.0, Wire::Bosh(_))
    }

    /// Speaks TLS from here on (STARTTLS). What was queued before has to be flushed before.
    pub fn start_tls(&mut self, certificates: Arc<Certificates>, host: Option<&str>) {
        if let Wire::Socket { tls, .. } = &mut self.0 {
            *tls = Some(TlsSession::new(certificates, host));
        }
    }

    /// Whether TLS is spoken, its handshake included.
    pub fn is_tls(&self) -> bool {
        self.tls().is_some()
    }

    /// Whether the peers are still shaking hands.
    pub fn is_handshaking(&self) -> bool {
        self.tls().is_some_and(TlsSession::is_handshaking)
    }

    /// What the handshake agreed on, once it is complete; given once.
    pub fn take_tls_facts(&mut self) -> Option<TlsFacts> {
        match &mut self.0 {
            Wire::Socket { tls, .. } => tls.as_mut().and_then(TlsSession::take_facts),
            Wire::WebSocket(_) | Wire::Bosh(_) => None,
        }
    }

    fn tls(&self) -> Option<&TlsSession> {
        match &self.0 {
            Wire::Socket { tls, .. } => tls.as_ref(),
            Wire::WebSocket(_) | Wire::Bosh(_) => None,
        }
    }

    /// Reads once, at most that many bytes. Pending: the task is woken when the socket has something.
    pub fn poll_read<'s>(
        &mut self,
        context: &mut Context<'_>,
        scratch: &'s mut Scratch,
        at_most: usize,
    ) -> Poll<Result<Input<'s>, TransportError>> {
        let (socket, tls) = match &mut self.0 {
            Wire::Socket { socket, tls } => (socket, tls),
            Wire::WebSocket(socket) => {
                scratch.plaintext.clear();
                let received = ready!(socket.poll_read(context, &mut scratch.plaintext))?;
                let (wire, ended) = (received.wire, received.ended);
                return Poll::Ready(Ok(Input { wire, text: &scratch.plaintext, ended }));
            }
            Wire::Bosh(bosh) => {
                scratch.plaintext.clear();
                let received = ready!(bosh.poll_read(context, &mut scratch.plaintext));
                let (wire, ended) = (received.wire, received.ended);
                return Poll::Ready(Ok(Input { wire, text: &scratch.plaintext, ended }));
            }
        };
        let room = at_most.clamp(1, INPUT_BYTES);
        let mut buffer = ReadBuf::new(&mut scratch.input[..room]);
        ready!(Pin::new(socket).poll_read(context, &mut buffer))?;
        let wire = buffer.filled().len();
        let Some(tls) = tls else {
            return Poll::Ready(Ok(Input { wire, text: &scratch.input[..wire], ended: wire == 0 }));
        };
        scratch.plaintext.clear();
        let received = tls.receive(&scratch.input[..wire], &mut scratch.plaintext)?;
        let ended = wire == 0 || received == Received::Closed;
        Poll::Ready(Ok(Input { wire, text: &scratch.plaintext, ended }))
    }

    /// Writes what is queued, as much as the socket takes.
    pub fn poll_flush(
        &mut self,
        context: &mut Context<'_>,
        scratch: &mut Scratch,
        outgoing: &mut Outgoing,
    ) -> io::Result<Flush> {
        match &mut self.0 {
            Wire::Socket { socket, tls: None } => flush_plain(socket, context, outgoing),
            Wire::Socket { socket, tls: Some(tls) } => {
                flush_tls(tls, socket, context, &mut scratch.record, outgoing)
            }
            Wire::WebSocket(socket) => socket.poll_flush(context, outgoing),
            Wire::Bosh(bosh) => bosh.poll_flush(context, outgoing),
        }
    }

    /// Queues TLS's own farewell, or that of a WebSocket; the next flush sends it.
    pub fn send_close_notify(&mut self, context: &mut Context<'_>) {
        match &mut self.0 {
            Wire::Socket { tls: Some(tls), .. } => tls.send_close_notify(),
            Wire::Socket { tls: None, .. } => {}
            Wire::WebSocket(socket) => socket.send_close(context),
            Wire::Bosh(_) => {}
        }
    }

    /// Tells the peer's TCP that nothing more comes. What is queued should have been flushed before.
    pub fn shut_down_writing(&mut self, context: &mut Context<'_>) {
        // A socket has no buffer of its own to flush, so this completes at once; an error means that it is gone.
        match &mut self.0 {
            Wire::Socket { socket, .. } => drop(Pin::new(socket).poll_shutdown(context)),
            Wire::WebSocket(socket) => socket.shut_down_writing(context),
            Wire::Bosh(bosh) => bosh.shut_down_writing(context),
        }
    }
}

fn flush_plain(
    socket: &mut TcpStream,
    context: &mut Context<'_>,
    outgoing: &mut Outgoing,
) -> io::Result<Flush> {
    let mut progress = false;
    while !outgoing.is_empty() {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = outgoing.slices(&mut slices);
        match Pin::new(&mut *socket).poll_write_vectored(context, &slices[..count]) {
            Poll::Pending => return Ok(Flush { complete: false, progress }),
            Poll::Ready(written) => outgoing.advance(some(written?)?),
        }
        progress = true;
    }
    Ok(Flush { complete: true, progress })
}

fn flush_tls(
    tls: &mut TlsSession,
    socket: &mut TcpStream,
    context: &mut Context<'_>,
    record: &mut Vec<u8>,
    outgoing: &mut Outgoing,
) -> io::Result<Flush> {
    let mut progress = false;
    loop {
        while tls.wants_write() {
            match tls.write_to(&mut PolledSocket { socket, context }) {
                Ok(written) => progress |= written > 0,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Flush { complete: false, progress });
                }
                Err(error) => return Err(error),
            }
        }
        outgoing.encrypted_is_out();
        if outgoing.is_empty() || tls.is_handshaking() {
            return Ok(Flush { complete: outgoing.is_empty(), progress });
        }
        encrypt_some(tls, record, outgoing)?;
    }
}

/// Puts small pieces together so that they share a record; a large one goes without a copy.
fn encrypt_some(tls: &mut TlsSession, record: &mut Vec<u8>, outgoing: &mut Outgoing) -> io::Result<()> {
    record.clear();
    while let Some(piece) = outgoing.encrypt_within(RECORD_BYTES - record.len()) {
        record.extend_from_slice(piece.bytes());
    }
    if !record.is_empty() {
        return tls.send(record);
    }
    match outgoing.encrypt_within(usize::MAX) {
        Some(large) => tls.send(large.bytes()),
        None => Ok(()),
    }
}

fn some(written: usize) -> io::Result<usize> {
    if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) }
}

/// Lets rustls write into a socket that may have to be waited for.
struct PolledSocket<'a, 'c> {
    socket: &'a mut TcpStream,
    context: &'a mut Context<'c>,
}

impl PolledSocket<'_, '_> {
    fn outcome(polled: Poll<io::Result<usize>>) -> io::Result<usize> {
        match polled {
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
            Poll::Ready(written) => some(written?),
        }
    }
}

impl Write for PolledSocket<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::outcome(Pin::new(&mut *self.socket).poll_write(self.context, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Self::outcome(Pin::new(&mut *self.socket).poll_write_vectored(self.context, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
