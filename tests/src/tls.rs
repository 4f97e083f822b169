//! The client's end of a connection: plain TCP, or TLS by rustls driven by hand over a tokio socket.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection to a server, plain or under TLS.
#[derive(Debug)]
pub struct Transport {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Decrypted and not read yet.
    plaintext: Vec<u8>,
}

impl Transport {
    /// A plain connection.
    pub fn plain(socket: TcpStream) -> Transport {
        Transport { socket, tls: None, plaintext: Vec::new() }
    }

    /// Puts TLS on top and finishes the handshake.
    pub async fn start_tls(&mut self, config: Arc<ClientConfig>, domain: &str) -> io::Result<()> {
        let name = ServerName::try_from(domain.to_owned()).map_err(io::Error::other)?;
        let mut tls = Box::new(ClientConnection::new(config, name).map_err(io::Error::other)?);
        while tls.is_handshaking() {
            flush(&mut tls, &mut self.socket).await?;
            if tls.is_handshaking() && fill(&mut tls, &mut self.socket, &mut self.plaintext).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        flush(&mut tls, &mut self.socket).await?;
        self.tls = Some(tls);
        Ok(())
    }

    /// The TLS connection, if there is one.
    pub fn tls(&self) -> Option<&ClientConnection> {
        self.tls.as_deref()
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Writes everything.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return self.socket.write_all(bytes).await };
        // rustls buffers a bounded amount of plaintext, so large writes go out piece by piece.
        for piece in bytes.chunks(16 * 1024) {
            tls.writer().write_all(piece)?;
            flush(tls, &mut self.socket).await?;
        }
        Ok(())
    }

    /// Reads what there is, at least one byte; 0 at the end of the stream. Safe to cancel.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(buffer).await };
        while self.plaintext.is_empty() {
            if fill(tls, &mut self.socket, &mut self.plaintext).await? == 0 {
                return Ok(0);
            }
        }
        let count = buffer.len().min(self.plaintext.len());
        buffer[..count].copy_from_slice(&self.plaintext[..count]);
        self.plaintext.drain(..count);
        Ok(count)
    }

    /// Sends the TLS close notice, if any, and closes the sending half.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            flush(tls, &mut self.socket).await?;
        }
        self.socket.shutdown().await
    }
}

async fn flush(tls: &mut ClientConnection, socket: &mut TcpStream) -> io::Result<()> {
    let mut records = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut records)?;
    }
    socket.write_all(&records).await
}

/// Reads once from the socket and decrypts all of it; the number of bytes read, 0 at the end.
async fn fill(
    tls: &mut ClientConnection,
    socket: &mut TcpStream,
    plaintext: &mut Vec<u8>,
) -> io::Result<usize> {
    let mut records = [0u8; 16 * 1024];
    let count = socket.read(&mut records).await?;
    let mut rest = &records[..count];
    while !rest.is_empty() {
        tls.read_tls(&mut rest)?;
        let available = tls.process_new_packets().map_err(io::Error::other)?.plaintext_bytes_to_read();
        let start = plaintext.len();
        plaintext.resize(start + available, 0);
        tls.reader().read_exact(&mut plaintext[start..])?;
    }
    Ok(count)
}
