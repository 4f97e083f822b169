//! The floor: a relay that reads what is there from one socket and writes it to another, plain or with rustls on both sides.
//!
//! It knows nothing of XMPP; what a server costs above it is the price of being a server. Connections are paired
//! in the order of their coming, or, with `--fan-out`, everything from the first goes to all others.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

/// `moult-bench floor`.
#[derive(Debug, clap::Args)]
pub struct FloorOptions {
    /// Where to listen.
    address: SocketAddr,
    /// Write to all others what the first connection sends.
    #[arg(long)]
    fan_out: bool,
    /// PEM chain; with it every connection is TLS.
    #[arg(long, requires = "key")]
    certificate: Option<PathBuf>,
    /// PEM key.
    #[arg(long)]
    key: Option<PathBuf>,
}

const LISTENER: u64 = u64::MAX;
const READ_SIZE: usize = 16 * 1024;

/// Relays until it is killed.
pub fn run(options: &FloorOptions) -> io::Result<()> {
    let listener = TcpListener::bind(options.address)?;
    listener.set_nonblocking(true)?;
    let mut relay = Relay {
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        ends: Vec::new(),
        fan_out: options.fan_out,
        tls: tls_config(options)?,
        buffer: vec![0; READ_SIZE],
        plaintext: Vec::new(),
    };
    epoll::add(&relay.epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    println!("ready");
    let mut events = Vec::with_capacity(256);
    loop {
        epoll::wait(&relay.epoll, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => relay.accept(&listener)?,
                end => relay.readable(end as usize),
            }
        }
    }
}

/// One side of a pair; `None` once it is closed.
struct End {
    socket: TcpStream,
    tls: Option<Box<ServerConnection>>,
}

struct Relay {
    epoll: std::os::fd::OwnedFd,
    ends: Vec<Option<End>>,
    fan_out: bool,
    tls: Option<Arc<ServerConfig>>,
    buffer: Vec<u8>,
    plaintext: Vec<u8>,
}

impl Relay {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        while let Ok((socket, _)) = listener.accept() {
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            let data = epoll::EventData::new_u64(self.ends.len() as u64);
            epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)?;
            let tls = self.tls.clone().map(ServerConnection::new).transpose().map_err(io::Error::other)?;
            self.ends.push(Some(End { socket, tls: tls.map(Box::new) }));
        }
        Ok(())
    }

    fn readable(&mut self, from: usize) {
        self.plaintext.clear();
        let Some(end) = &mut self.ends[from] else { return };
        if !matches!(end.read(&mut self.buffer, &mut self.plaintext), Ok(true)) {
            self.ends[from] = None;
            return;
        }
        if self.plaintext.is_empty() {
            return;
        }
        let receivers = match (self.fan_out, from) {
            (false, _) => (from ^ 1)..(from ^ 1) + 1,
            (true, 0) => 1..self.ends.len(),
            (true, _) => 0..0,
        };
        for receiver in receivers {
            if let Some(Some(end)) = self.ends.get_mut(receiver) {
                let _ = end.write(&self.plaintext);
            }
        }
    }
}

impl End {
    /// Reads once; false at the end of the connection.
    fn read(&mut self, buffer: &mut [u8], plaintext: &mut Vec<u8>) -> io::Result<bool> {
        let count = match self.socket.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            count => count?,
        };
        let Some(tls) = &mut self.tls else {
            plaintext.extend_from_slice(&buffer[..count]);
            return Ok(count > 0);
        };
        let mut records = &buffer[..count];
        while !records.is_empty() {
            tls.read_tls(&mut records)?;
            let available = tls.process_new_packets().map_err(io::Error::other)?.plaintext_bytes_to_read();
            let start = plaintext.len();
            plaintext.resize(start + available, 0);
            tls.reader().read_exact(&mut plaintext[start..])?;
        }
        if tls.wants_write() {
            self.write(&[])?;
        }
        Ok(count > 0)
    }

    /// Writes everything. The receivers keep up, so a full socket is waited for by trying again.
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(bytes)?;
            while tls.wants_write() {
                retry(|| tls.write_tls(&mut self.socket))?;
            }
            return Ok(());
        }
        while !bytes.is_empty() {
            let written = retry(|| self.socket.write(bytes))?;
            bytes = &bytes[written..];
        }
        Ok(())
    }
}

fn retry(mut write: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match write() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
            outcome => return outcome,
        }
    }
}

fn tls_config(options: &FloorOptions) -> io::Result<Option<Arc<ServerConfig>>> {
    let (Some(certificate), Some(key)) = (&options.certificate, &options.key) else { return Ok(None) };
    let chain = vec![CertificateDer::from_pem_file(certificate).map_err(io::Error::other)?];
    let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
        .map_err(io::Error::other)?;
    Ok(Some(Arc::new(config)))
}
