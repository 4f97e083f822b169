//! A peer behind a WebSocket (RFC 6455 carries, RFC 7395 says what): polled like a socket, by the same task.
//!
//! The frames are the business of `tungstenite`, used without its own input and output. Its read buffer stays with an
//! idle connection: 4 KiB more than one over TCP has.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::error::{CapacityError, Error};
use tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};

use super::outgoing::{Outgoing, Piece};
use super::transport::Flush;
use crate::stanza::{StreamError, StreamErrorCondition};
use crate::stream::units::standing_alone;
use crate::stream::websocket::{messages, take_message};
use crate::xml::{FrameError, Limits};

const READ_BUFFER: usize = 4 * 1024;
/// How much is put into frames before they go out.
const WRITE_BUFFER: usize = 16 * 1024;

/// What an HTTP connection has become after its upgrade.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// Why nothing can be read from the peer any more.
#[derive(Debug, thiserror::Error)]
pub enum WebSocketFault {
    /// The peer's message is not one element.
    #[error("the peer sent a WebSocket message that is not one element: {0}")]
    NotAnElement(#[from] FrameError),
    /// The peer sent a binary message.
    #[error("the peer sent a binary WebSocket message")]
    Binary,
    /// The peer's message is too long.
    #[error("the peer sent a WebSocket message that is too long")]
    TooLong,
    /// The peer broke the rules of WebSockets, or the connection broke.
    #[error("the WebSocket to the peer broke: {0}")]
    Protocol(Box<Error>),
}

impl WebSocketFault {
    /// What the peer can still be told.
    pub fn stream_error(&self) -> Option<StreamError> {
        match self {
            Self::NotAnElement(error) => Some(error.into()),
            Self::Binary => Some(StreamErrorCondition::BadFormat.into()),
            Self::TooLong => Some(StreamErrorCondition::PolicyViolation.into()),
            Self::Protocol(_) => None,
        }
    }
}

/// One WebSocket, from the server's side.
pub struct WebSocket {
    io: Box<dyn Socket>,
    frames: WebSocketContext,
    limits: Limits,
    hearing: Hearing,
}

/// What is made of what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hearing {
    /// Messages of a stream.
    Messages,
    /// Nothing, but frames are still told apart, up to the closing one.
    Frames,
    /// Nothing at all: only the end of the connection counts. What is not read would take our last words back.
    End,
}

/// What one read gave: how much came, and whether nothing follows.
pub(super) struct Received {
    pub wire: usize,
    pub ended: bool,
}

impl WebSocket {
    /// A connection whose upgrade has been answered.
    pub fn new(io: Box<dyn Socket>, limits: Limits) -> Self {
        let longest = Some(limits.stanza_bytes as usize);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .max_message_size(longest)
            .max_frame_size(longest);
        let frames = WebSocketContext::new(Role::Server, Some(config));
        Self { io, frames, limits, hearing: Hearing::Messages }
    }

    /// Reads one message and appends what it means to the stream.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        input: &mut Vec<u8>,
    ) -> Poll<Result<Received, WebSocketFault>> {
        if self.hearing == Hearing::End {
            return self.discard(context);
        }
        let message = match self.frames.read(&mut Polled { io: &mut *self.io, context }) {
            Ok(message) => message,
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => {
                return Poll::Ready(Ok(Received { wire: 0, ended: true }));
            }
            Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => {
                self.hearing = Hearing::End;
                return Poll::Ready(Err(WebSocketFault::TooLong));
            }
            Err(error) => return Poll::Ready(Err(WebSocketFault::Protocol(Box::new(error)))),
        };
        let received = Received { wire: message.len(), ended: message.is_close() };
        if self.hearing == Hearing::Frames {
            return Poll::Ready(Ok(received));
        }
        let taken = match message {
            Message::Text(text) => take_message(&text, &self.limits, input).map_err(WebSocketFault::from),
            Message::Binary(_) => Err(WebSocketFault::Binary),
            _ => Ok(()),
        };
        if taken.is_err() {
            self.hearing = Hearing::Frames;
        }
        Poll::Ready(taken.map(|()| received))
    }

    fn discard(&mut self, context: &mut Context<'_>) -> Poll<Result<Received, WebSocketFault>> {
        let mut bytes = [0; 4096];
        let read = (Polled { io: &mut *self.io, context }).read(&mut bytes);
        match read {
            Ok(wire) => Poll::Ready(Ok(Received { wire, ended: wire == 0 })),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => Poll::Ready(Err(WebSocketFault::Protocol(Box::new(error.into())))),
        }
    }

    /// Writes what is queued, as much as the connection takes.
    pub(super) fn poll_flush(
        &mut self,
        context: &mut Context<'_>,
        outgoing: &mut Outgoing,
    ) -> io::Result<Flush> {
        let mut progress = false;
        loop {
            match self.frames.flush(&mut Polled { io: &mut *self.io, context }) {
                // Our own closing frame is out as well.
                Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Flush { complete: false, progress });
                }
                Err(error) => return Err(broken(error)),
            }
            outgoing.encrypted_is_out();
            if outgoing.is_empty() {
                return Ok(Flush { complete: true, progress });
            }
            self.frame_some(context, outgoing)?;
            progress = true;
        }
    }

    fn frame_some(&mut self, context: &mut Context<'_>, outgoing: &mut Outgoing) -> io::Result<()> {
        let mut framed = 0;
        while framed < WRITE_BUFFER
            && let Some(piece) = outgoing.encrypt_within(usize::MAX)
        {
            for message in messages_of(piece) {
                framed += message.len();
                match self.frames.write(&mut Polled { io: &mut *self.io, context }, message) {
                    Ok(()) => {}
                    // It is in the buffer; the flush waits for the connection.
                    Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(broken(error)),
                }
            }
        }
        Ok(())
    }

    /// Queues the closing frame; the next flush sends it.
    pub(super) fn send_close(&mut self, context: &mut Context<'_>) {
        // What fails here fails again at the flush.
        let _ = self.frames.close(&mut Polled { io: &mut *self.io, context }, None);
    }

    pub(super) fn shut_down_writing(&mut self, context: &mut Context<'_>) {
        let _ = Pin::new(&mut *self.io).poll_shutdown(context);
    }
}

/// White space, which keeps a connection over TCP alive, is a ping here (RFC 7395 section 3.8).
fn messages_of(piece: &Piece) -> Vec<Message> {
    match piece {
        Piece::Stanza(stanza) => vec![Message::text(standing_alone(stanza.as_str()))],
        Piece::Text(text) if text.trim().is_empty() => vec![Message::Ping(Default::default())],
        Piece::Text(text) => messages(text).into_iter().map(Message::text).collect(),
    }
}

fn broken(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// Lets the frames be read and written where one may have to wait.
struct Polled<'a, 'c> {
    io: &'a mut dyn Socket,
    context: &'a mut Context<'c>,
}

fn now<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        Poll::Ready(result) => result,
    }
}

impl Read for Polled<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(bytes);
        now(Pin::new(&mut *self.io).poll_read(self.context, &mut buffer))?;
        Ok(buffer.filled().len())
    }
}

impl Write for Polled<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        now(Pin::new(&mut *self.io).poll_write(self.context, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        now(Pin::new(&mut *self.io).poll_flush(self.context))
    }
}
