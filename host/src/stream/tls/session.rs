//! The server's side of one TLS session, driven by hand: ciphertext in, ciphertext out, no socket in sight.
//!
//! The ClientHello is read first and the certificate chosen from it, so that the session knows what the peer saw. An
//! idle session keeps what rustls itself keeps (its record buffer of 4 KiB among it) and nothing of ours.

use std::io::{self, BufRead, Write};
use std::sync::Arc;

use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use rustls::{ProtocolVersion, ServerConnection};

use super::binding;
use super::certificate::Certificate;
use super::{Certificates, TlsFault};

/// One TLS session.
pub struct TlsSession {
    state: State,
}

/// What came of the ciphertext that was handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// The session goes on.
    Open,
    /// The peer has sent close_notify: nothing more will come from it.
    Closed,
}

/// What is known of a session once its handshake is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// The version as the RFC writes it.
    pub version: &'static str,
    /// The cipher suite's name.
    pub cipher: &'static str,
    /// `tls-exporter` (RFC 9266).
    pub exporter: Option<[u8; 32]>,
    /// `tls-server-end-point` (RFC 5929).
    pub server_end_point: Option<Box<[u8]>>,
}

enum State {
    ExpectHello {
        acceptor: Box<Acceptor>,
        certificates: Arc<Certificates>,
        host: Option<Box<str>>,
    },
    Live {
        connection: Box<ServerConnection>,
        certificate: Arc<Certificate>,
    },
    /// Only an alert is left to be sent.
    Failed {
        alert: Option<Box<AcceptedAlert>>,
    },
}

impl TlsSession {
    /// A session that awaits its ClientHello. `host` is the stream's host, for clients that name none (STARTTLS).
    pub fn new(certificates: Arc<Certificates>, host: Option<&str>) -> Self {
        let host = host.map(Box::from);
        Self { state: State::ExpectHello { acceptor: Box::default(), certificates, host } }
    }

    /// Takes all of the ciphertext and appends what it decrypts to.
    ///
    /// After an error an alert may be waiting: [`TlsSession::wants_write`] tells.
    pub fn receive(&mut self, ciphertext: &[u8], plaintext: &mut Vec<u8>) -> Result<Received, TlsFault> {
        let mut rest = ciphertext;
        let mut received = Received::Open;
        while !rest.is_empty() && received == Received::Open {
            received = match &mut self.state {
                State::ExpectHello { .. } => self.receive_hello(&mut rest, plaintext)?,
                State::Live { connection, .. } => receive_records(connection, &mut rest, plaintext)?,
                State::Failed { .. } => return Err(TlsFault::AfterFailure),
            };
        }
        Ok(received)
    }

    /// Whether the handshake is still going on.
    pub fn is_handshaking(&self) -> bool {
        match &self.state {
            State::ExpectHello { .. } => true,
            State::Live { connection, .. } => connection.is_handshaking(),
            State::Failed { .. } => false,
        }
    }

    /// Encrypts the plaintext into the session's queue of records, which the caller bounds by writing it out first.
    pub fn send(&mut self, plaintext: &[u8]) -> io::Result<()> {
        match &mut self.state {
            State::Live { connection, .. } => connection.writer().write_all(plaintext),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Says that nothing more will be sent.
    pub fn send_close_notify(&mut self) {
        if let State::Live { connection, .. } = &mut self.state {
            connection.send_close_notify();
        }
    }

    /// Whether records are waiting to be written to the peer.
    pub fn wants_write(&self) -> bool {
        match &self.state {
            State::ExpectHello { .. } => false,
            State::Live { connection, .. } => connection.wants_write(),
            State::Failed { alert } => alert.is_some(),
        }
    }

    /// Writes waiting records; the count is of bytes that went out.
    pub fn write_to(&mut self, output: &mut dyn Write) -> io::Result<usize> {
        match &mut self.state {
            State::ExpectHello { .. } => Ok(0),
            State::Live { connection, .. } => connection.write_tls(output),
            State::Failed { alert } => write_alert(alert, output),
        }
    }

    /// Version, suite and channel bindings; `None` until the handshake is complete.
    pub fn facts(&self) -> Option<TlsFacts> {
        let State::Live { connection, certificate } = &self.state else { return None };
        if connection.is_handshaking() {
            return None;
        }
        let suite = connection.negotiated_cipher_suite()?;
        Some(TlsFacts {
            version: match connection.protocol_version()? {
                ProtocolVersion::TLSv1_3 => "TLSv1.3",
                _ => "TLSv1.2",
            },
            cipher: suite.suite().as_str().unwrap_or("unknown"),
            exporter: binding::exporter(connection),
            server_end_point: certificate.server_end_point.clone(),
        })
    }

    fn receive_hello(&mut self, rest: &mut &[u8], plaintext: &mut Vec<u8>) -> Result<Received, TlsFault> {
        let State::ExpectHello { acceptor, certificates, host } = &mut self.state else {
            return Ok(Received::Open);
        };
        acceptor.read_tls(rest).map_err(|_| TlsFault::Oversized)?;
        let accepted = match acceptor.accept() {
            Ok(None) => return Ok(Received::Open),
            Ok(Some(accepted)) => accepted,
            Err((error, alert)) => return Err(self.fail(error, alert)),
        };
        let server_name = accepted.client_hello().server_name().map(str::to_owned);
        let Some(certificate) = certificates.choose(server_name.as_deref(), host.as_deref()) else {
            self.state = State::Failed { alert: None };
            return Err(TlsFault::NoCertificate);
        };
        self.go_live(accepted, certificate)?;
        self.process_buffered(plaintext)
    }

    fn go_live(&mut self, accepted: Accepted, certificate: Arc<Certificate>) -> Result<(), TlsFault> {
        match accepted.into_connection(Arc::clone(&certificate.config)) {
            Ok(mut connection) => {
                // The connection's task writes out what is waiting before it sends more, so the only bound that is
                // needed is its own; a bound here would cut a large stanza in two.
                connection.set_buffer_limit(None);
                self.state = State::Live { connection: Box::new(connection), certificate };
                Ok(())
            }
            Err((error, alert)) => Err(self.fail(error, alert)),
        }
    }

    /// Records that came in the same read as the ClientHello lie in rustls' buffer already.
    fn process_buffered(&mut self, plaintext: &mut Vec<u8>) -> Result<Received, TlsFault> {
        match &mut self.state {
            State::Live { connection, .. } => process(connection, plaintext),
            _ => Ok(Received::Open),
        }
    }

    fn fail(&mut self, error: rustls::Error, alert: AcceptedAlert) -> TlsFault {
        self.state = State::Failed { alert: Some(Box::new(alert)) };
        TlsFault::Protocol(error)
    }
}

fn receive_records(
    connection: &mut ServerConnection,
    rest: &mut &[u8],
    plaintext: &mut Vec<u8>,
) -> Result<Received, TlsFault> {
    // A slice never fails to be read, so an error means that rustls' bounded buffer is full.
    connection.read_tls(rest).map_err(|_| TlsFault::Oversized)?;
    process(connection, plaintext)
}

fn process(connection: &mut ServerConnection, plaintext: &mut Vec<u8>) -> Result<Received, TlsFault> {
    let state = connection.process_new_packets()?;
    if state.plaintext_bytes_to_read() > 0 {
        take_plaintext(connection, plaintext);
    }
    Ok(if state.peer_has_closed() { Received::Closed } else { Received::Open })
}

/// Moves the decrypted bytes out chunk by chunk, so that rustls keeps none of them.
fn take_plaintext(connection: &mut ServerConnection, plaintext: &mut Vec<u8>) {
    let mut reader = connection.reader();
    while let Ok(chunk) = reader.fill_buf() {
        if chunk.is_empty() {
            break;
        }
        plaintext.extend_from_slice(chunk);
        let taken = chunk.len();
        reader.consume(taken);
    }
}

fn write_alert(alert: &mut Option<Box<AcceptedAlert>>, output: &mut dyn Write) -> io::Result<usize> {
    let Some(waiting) = alert else { return Ok(0) };
    let written = waiting.write(output)?;
    if written == 0 {
        *alert = None;
    }
    Ok(written)
}
