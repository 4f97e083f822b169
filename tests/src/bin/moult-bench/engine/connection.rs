//! One non-blocking connection, plain or under TLS.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use moult_tests::xml::Splitter;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

pub struct Connection {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// The kernel did not take everything; its buffer is full.
    has_rest: bool,
}

impl Connection {
    pub fn open(address: SocketAddr, tls: Option<(Arc<ClientConfig>, &str)>) -> io::Result<Connection> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let tls = tls.map(|(config, domain)| client_connection(config, domain)).transpose()?;
        Ok(Connection { socket, tls, has_rest: false })
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub fn has_rest(&self) -> bool {
        self.has_rest
    }

    /// Whether TLS has records to send that no stanza of ours caused.
    pub fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Reads once and adds what came to `into`; false at the end of the stream.
    pub fn read(&mut self, buffer: &mut [u8], into: &mut Splitter) -> io::Result<bool> {
        let count = match self.socket.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            count => count?,
        };
        match &mut self.tls {
            None => into.push(&buffer[..count]),
            Some(tls) => {
                let mut records = &buffer[..count];
                while !records.is_empty() {
                    tls.read_tls(&mut records)?;
                    let state = tls.process_new_packets().map_err(io::Error::other)?;
                    take_plaintext(tls, state.plaintext_bytes_to_read(), into)?;
                }
            }
        }
        Ok(count > 0)
    }

    /// Writes as much of `queued` as the kernel takes; the rest stays in it.
    pub fn write(&mut self, queued: &mut Vec<u8>) -> io::Result<()> {
        match &mut self.tls {
            None => {
                let written = match self.socket.write(queued) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                    count => count?,
                };
                queued.drain(..written);
                self.has_rest = !queued.is_empty();
            }
            Some(tls) => {
                tls.writer().write_all(queued)?;
                queued.clear();
                self.has_rest = false;
                while tls.wants_write() && !self.has_rest {
                    match tls.write_tls(&mut self.socket) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.has_rest = true,
                        count => _ = count?,
                    }
                }
            }
        }
        Ok(())
    }
}

fn client_connection(config: Arc<ClientConfig>, domain: &str) -> io::Result<Box<ClientConnection>> {
    let name = ServerName::try_from(domain.to_owned()).map_err(io::Error::other)?;
    let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
    tls.set_buffer_limit(None);
    Ok(Box::new(tls))
}

fn take_plaintext(tls: &mut ClientConnection, count: usize, into: &mut Splitter) -> io::Result<()> {
    if count == 0 {
        return Ok(());
    }
    let mut plaintext = [0u8; 16 * 1024];
    let mut left = count;
    while left > 0 {
        let taken = tls.reader().read(&mut plaintext)?;
        into.push(&plaintext[..taken]);
        left -= taken;
    }
    Ok(())
}
