//! The server's side of one TLS session, driven by hand: ciphertext in, ciphertext out, no socket in sight.
//!
//! The ClientHello is read first and the certificate chosen from it, so that the session knows what the peer saw. When the
//! handshake is complete, an own record layer takes over; an idle session keeps its two keys and no buffer.

use std::io::{self, Write};
use std::sync::Arc;

use rustls::server::{Accepted, Acceptor};

use super::handshake::{Handshake, next_record};
use super::records::Records;
use super::{Certificates, TlsFault};

/// One TLS session.
pub struct TlsSession {
    state: State,
    /// Records that wait to be written to the peer, and how much of them is written.
    output: Vec<u8>,
    written: usize,
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
    Handshaking(Box<Handshaking>),
    Established(Box<Established>),
    /// Only what is queued is left to be sent.
    Failed,
}

struct Handshaking {
    acceptor: Acceptor,
    certificates: Arc<Certificates>,
    host: Option<Box<str>>,
    /// Once the ClientHello is there.
    begun: Option<Handshake>,
    /// The beginning of a record whose end has not come.
    partial: Vec<u8>,
}

struct Established {
    records: Records,
    /// Until they are asked for.
    facts: Option<Box<TlsFacts>>,
}

impl TlsSession {
    /// A session that awaits its ClientHello. `host` is the stream's host, for clients that name none (STARTTLS).
    pub fn new(certificates: Arc<Certificates>, host: Option<&str>) -> Self {
        let session = Handshaking {
            acceptor: Acceptor::default(),
            certificates,
            host: host.map(Box::from),
            begun: None,
            partial: Vec::new(),
        };
        let state = State::Handshaking(Box::new(session));
        Self { state, output: Vec::new(), written: 0 }
    }

    /// Takes all of the ciphertext and appends what it decrypts to.
    ///
    /// After an error an alert may be waiting: [`TlsSession::wants_write`] tells.
    pub fn receive(&mut self, ciphertext: &[u8], plaintext: &mut Vec<u8>) -> Result<Received, TlsFault> {
        let received = self.take_in(ciphertext, plaintext);
        if received.is_err() {
            self.state = State::Failed;
        }
        received
    }

    /// Whether the handshake is still going on.
    pub fn is_handshaking(&self) -> bool {
        matches!(self.state, State::Handshaking(_))
    }

    /// Encrypts the plaintext into the session's queue of records, which the caller bounds by writing it out first.
    pub fn send(&mut self, plaintext: &[u8]) -> io::Result<()> {
        match &mut self.state {
            State::Established(session) => {
                session.records.send(plaintext, &mut self.output).map_err(io::Error::other)
            }
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Says that nothing more will be sent.
    pub fn send_close_notify(&mut self) {
        if let State::Established(session) = &mut self.state {
            session.records.send_close_notify(&mut self.output);
        }
    }

    /// Whether records are waiting to be written to the peer.
    pub fn wants_write(&self) -> bool {
        self.written < self.output.len()
    }

    /// Writes waiting records; the count is of bytes that went out. An empty queue owns no memory.
    pub fn write_to(&mut self, output: &mut dyn Write) -> io::Result<usize> {
        let written = output.write(&self.output[self.written..])?;
        self.written += written;
        if !self.wants_write() {
            (self.output, self.written) = (Vec::new(), 0);
        }
        Ok(written)
    }

    /// Version, suite and channel bindings, given once; `None` until the handshake is complete.
    pub fn take_facts(&mut self) -> Option<TlsFacts> {
        match &mut self.state {
            State::Established(session) => session.facts.take().map(|facts| *facts),
            _ => None,
        }
    }

    fn take_in(&mut self, ciphertext: &[u8], plaintext: &mut Vec<u8>) -> Result<Received, TlsFault> {
        let mut rest = ciphertext;
        if let State::Handshaking(session) = &mut self.state {
            let joined = session.join(ciphertext);
            let mut input = joined.as_deref().unwrap_or(ciphertext);
            let Some(established) = session.shake_hands(&mut input, &mut self.output)? else {
                return Ok(Received::Open);
            };
            self.state = State::Established(Box::new(established));
            // What came behind the handshake came with the last part of the input.
            rest = &ciphertext[ciphertext.len() - input.len()..];
        }
        match &mut self.state {
            State::Established(session) => session.receive(rest, plaintext, &mut self.output),
            _ => Err(TlsFault::AfterFailure),
        }
    }
}

impl Handshaking {
    /// The input behind what is left of the last one, if something is.
    fn join(&mut self, ciphertext: &[u8]) -> Option<Vec<u8>> {
        if self.partial.is_empty() {
            return None;
        }
        self.partial.extend_from_slice(ciphertext);
        Some(std::mem::take(&mut self.partial))
    }

    /// Goes on with the input; the session, once the handshake is complete. What is left of the input is behind it.
    fn shake_hands(
        &mut self,
        input: &mut &[u8],
        output: &mut Vec<u8>,
    ) -> Result<Option<Established>, TlsFault> {
        while let Some(record) = next_record(input)? {
            match &mut self.begun {
                None => self.begun = self.begin(record, output)?,
                Some(handshake) => handshake.receive(record, output)?,
            }
            if let Some(handshake) = self.begun.take_if(|handshake| handshake.is_complete()) {
                let (records, facts) = handshake.complete()?;
                return Ok(Some(Established { records, facts: facts.map(Box::new) }));
            }
        }
        self.partial = input.to_vec();
        Ok(None)
    }

    /// Begins the handshake with the record that ends the ClientHello.
    fn begin(&mut self, record: &[u8], output: &mut Vec<u8>) -> Result<Option<Handshake>, TlsFault> {
        let Some(accepted) = accept(&mut self.acceptor, record, output)? else { return Ok(None) };
        let server_name = accepted.client_hello().server_name().map(str::to_owned);
        let certificate = self.certificates.choose(server_name.as_deref(), self.host.as_deref());
        let certificate = certificate.ok_or(TlsFault::NoCertificate)?;
        Handshake::begin(accepted, certificate, output).map(Some)
    }
}

impl Established {
    fn receive(
        &mut self,
        ciphertext: &[u8],
        plaintext: &mut Vec<u8>,
        output: &mut Vec<u8>,
    ) -> Result<Received, TlsFault> {
        self.records.receive(ciphertext, plaintext, output)?;
        Ok(if self.records.is_closed() { Received::Closed } else { Received::Open })
    }
}

/// The ClientHello, once the record that ends it is there.
fn accept(
    acceptor: &mut Acceptor,
    mut record: &[u8],
    output: &mut Vec<u8>,
) -> Result<Option<Accepted>, TlsFault> {
    loop {
        // A slice never fails to be read, so an error means that rustls' bounded buffer is full.
        acceptor.read_tls(&mut record).map_err(|_| TlsFault::Oversized)?;
        match acceptor.accept() {
            Ok(None) if !record.is_empty() => {}
            Ok(accepted) => return Ok(accepted),
            Err((error, mut alert)) => {
                // Writing into a vector does not fail.
                let _ = alert.write_all(output);
                return Err(error.into());
            }
        }
    }
}
