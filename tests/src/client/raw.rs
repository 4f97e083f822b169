//! Bytes in, bytes out: for what a well-behaved client would not send.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::stream_header;
use crate::eventually::DEADLINE;
use crate::tls::Transport;

/// A connection without any idea of XMPP.
#[derive(Debug)]
pub struct RawStream {
    transport: Transport,
    received: Vec<u8>,
}

impl RawStream {
    /// Connects; nothing is sent yet.
    pub async fn connect(address: SocketAddr) -> RawStream {
        let socket = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
        socket.set_nodelay(true).expect("a TCP socket has this option");
        RawStream { transport: Transport::plain(socket), received: Vec::new() }
    }

    /// Finishes a TLS handshake on the connection.
    pub async fn start_tls(&mut self, config: Arc<ClientConfig>, domain: &str) {
        self.transport.start_tls(config, domain).await.expect("the server finishes the TLS handshake");
    }

    /// Opens a stream to `domain` and waits for the features.
    pub async fn open(&mut self, domain: &str) -> String {
        self.send(stream_header(domain)).await;
        self.read_until("</stream:features>").await
    }

    /// Sends bytes; a server that has closed already is no failure, what it said is still to be read.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let written = timeout(DEADLINE, self.transport.write_all(bytes.as_ref())).await;
        let _ = written.expect("the server reads or closes");
    }

    /// Sends the bytes one by one.
    pub async fn dribble(&mut self, bytes: impl AsRef<[u8]>) {
        for byte in bytes.as_ref() {
            self.send([*byte]).await;
        }
    }

    /// Reads until `text` has come; returns everything up to its end and keeps the rest.
    pub async fn read_until(&mut self, text: &str) -> String {
        loop {
            if let Some(position) = memchr::memmem::find(&self.received, text.as_bytes()) {
                let rest = self.received.split_off(position + text.len());
                return lossy(std::mem::replace(&mut self.received, rest));
            }
            assert!(self.read_some().await, "closed before {text:?}; got {:?}", lossy(self.received.clone()));
        }
    }

    /// Reads until the server closes the connection; returns all that it said.
    pub async fn read_to_end(&mut self) -> String {
        while self.read_some().await {}
        lossy(std::mem::take(&mut self.received))
    }

    /// Waits until the server closes, and tells how long that took.
    pub async fn closed_after(&mut self) -> std::time::Duration {
        let start = Instant::now();
        self.read_to_end().await;
        start.elapsed()
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        self.transport.socket()
    }

    /// Reads once; false at the end of the connection (a reset is an end, too).
    async fn read_some(&mut self) -> bool {
        let mut buffer = [0u8; 8192];
        let read = timeout(DEADLINE, self.transport.read(&mut buffer)).await;
        let count = match read {
            Ok(result) => result.unwrap_or(0),
            Err(_) => panic!("the server says nothing more; got {:?}", lossy(self.received.clone())),
        };
        self.received.extend_from_slice(&buffer[..count]);
        count > 0
    }
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
