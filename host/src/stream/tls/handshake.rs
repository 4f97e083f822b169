//! The server's side of a TLS handshake, which rustls shakes.
//!
//! rustls is handed one whole record at a time, so that it holds nothing that is not understood when the handshake is
//! complete and the own record layer takes over.

use std::sync::Arc;

use rustls::server::Accepted;
use rustls::{ProtocolVersion, ServerConnection};

use super::certificate::Certificate;
use super::records::{self, Records};
use super::secrets::TrafficSecrets;
use super::session::TlsFacts;
use super::{TlsFault, binding};

/// A handshake that has begun.
pub(super) struct Handshake {
    connection: ServerConnection,
    certificate: Arc<Certificate>,
    secrets: TrafficSecrets,
}

impl Handshake {
    /// The answer to a ClientHello goes to `output`, be it an alert.
    pub(super) fn begin(
        accepted: Accepted,
        certificate: Arc<Certificate>,
        output: &mut Vec<u8>,
    ) -> Result<Self, TlsFault> {
        drop(TrafficSecrets::take_caught());
        match accepted.into_connection(Arc::clone(&certificate.config)) {
            Ok(connection) => {
                let mut handshake = Self { connection, certificate, secrets: TrafficSecrets::default() };
                handshake.process(output)?;
                Ok(handshake)
            }
            Err((error, mut alert)) => {
                // Writing into a vector does not fail.
                let _ = alert.write_all(output);
                Err(error.into())
            }
        }
    }

    /// Takes one record, or what is none.
    pub(super) fn receive(&mut self, mut record: &[u8], output: &mut Vec<u8>) -> Result<(), TlsFault> {
        drop(TrafficSecrets::take_caught());
        while !record.is_empty() {
            // A slice never fails to be read, so an error means that rustls' bounded buffer is full.
            self.connection.read_tls(&mut record).map_err(|_| TlsFault::Oversized)?;
            self.process(output)?;
        }
        Ok(())
    }

    pub(super) fn is_complete(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// Hands over to the own record layer.
    pub(super) fn complete(self) -> Result<(Records, Option<TlsFacts>), TlsFault> {
        let facts = self.facts();
        let suite = self.connection.negotiated_cipher_suite();
        let keys = self.connection.dangerous_extract_secrets()?;
        let suite = suite.ok_or(rustls::Error::HandshakeNotComplete)?;
        Ok((Records::new(suite, keys, self.secrets)?, facts))
    }

    fn process(&mut self, output: &mut Vec<u8>) -> Result<(), TlsFault> {
        let processed = self.connection.process_new_packets();
        let caught = TrafficSecrets::take_caught();
        self.secrets.client = caught.client.or(self.secrets.client.take());
        self.secrets.server = caught.server.or(self.secrets.server.take());
        // After an error this is the alert.
        while self.connection.wants_write() {
            self.connection.write_tls(output).map_err(|_| TlsFault::Oversized)?;
        }
        processed?;
        Ok(())
    }

    fn facts(&self) -> Option<TlsFacts> {
        let suite = self.connection.negotiated_cipher_suite()?;
        Some(TlsFacts {
            version: match self.connection.protocol_version()? {
                ProtocolVersion::TLSv1_3 => "TLSv1.3",
                _ => "TLSv1.2",
            },
            cipher: suite.suite().as_str().unwrap_or("unknown"),
            exporter: binding::exporter(&self.connection),
            server_end_point: self.certificate.server_end_point.clone(),
        })
    }
}

/// Takes what rustls is to be handed next off the input: one whole record. `None` while its end has not come. What is
/// plainly no TLS is handed over as it is, for rustls has the alert that it deserves.
pub(super) fn next_record<'a>(input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, TlsFault> {
    let length = match input.first() {
        None => return Ok(None),
        Some(kind) if !records::is_kind(*kind) => input.len(),
        Some(_) => match records::whole_record(input)? {
            Some(length) => length,
            None => return Ok(None),
        },
    };
    let (record, rest) = input.split_at(length);
    *input = rest;
    Ok(Some(record))
}
