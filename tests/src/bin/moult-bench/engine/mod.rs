//! The load client's engine: many connections on one thread over one epoll instance.
//!
//! It must cost less than any server it measures, so: one read per wake-up into a shared buffer, one write per
//! connection and turn however many stanzas were queued for it, no task, no timer and no allocation per stanza. What is said on
//! the connections is up to a [`Reactor`].

mod connection;
mod crowd;
mod login;
mod outbox;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use moult_tests::xml::{Piece, Splitter};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustls::ClientConfig;

use connection::Connection;
pub use crowd::Crowd;
pub use login::{LoginPlan, user_name};
pub use outbox::Outbox;

/// One connection, by the order of connecting.
pub type Id = usize;

/// What decides what is said on the connections.
pub trait Reactor {
    /// Something came on a connection.
    fn received(&mut self, from: Id, piece: Piece<'_>, outbox: &mut Outbox);

    /// The server closed a connection, or it broke.
    fn closed(&mut self, who: Id);
}

/// All connections of the load client.
pub struct Engine {
    epoll: OwnedFd,
    connections: Vec<Option<Connection>>,
    splitters: Vec<Splitter>,
    outbox: Outbox,
    events: Vec<epoll::Event>,
    buffer: Vec<u8>,
}

const READ_SIZE: usize = 64 * 1024;

impl Engine {
    /// An engine without connections.
    pub fn new() -> io::Result<Engine> {
        Ok(Engine {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            connections: Vec::new(),
            splitters: Vec::new(),
            outbox: Outbox::default(),
            events: Vec::with_capacity(1024),
            buffer: vec![0; READ_SIZE],
        })
    }

    /// Connects; a TLS handshake runs with the first turns.
    pub fn connect(&mut self, address: SocketAddr, tls: Option<(Arc<ClientConfig>, &str)>) -> io::Result<Id> {
        let id = self.connections.len();
        let connection = Connection::open(address, tls)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
        epoll::add(&self.epoll, connection.socket(), epoll::EventData::new_u64(id as u64), flags)?;
        self.connections.push(Some(connection));
        self.splitters.push(Splitter::new());
        self.outbox.grow(id + 1);
        Ok(id)
    }

    /// What is to be sent with the next turn.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Drops a connection without a word.
    pub fn drop_connection(&mut self, id: Id) {
        self.connections[id] = None;
        self.splitters[id] = Splitter::new();
        self.outbox.clear(id);
    }

    /// Sends what is queued, waits for input until `timeout` at most, hands it to `reactor`, sends what that queued.
    pub fn turn(&mut self, timeout: Duration, reactor: &mut impl Reactor) -> io::Result<()> {
        self.flush(reactor);
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            outcome => {
                outcome?;
            }
        }
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            let (id, flags) = (event.data.u64() as Id, event.flags);
            if flags.contains(epoll::EventFlags::OUT) {
                self.outbox.mark(id);
            }
            if flags.intersects(!epoll::EventFlags::OUT) {
                self.read(id, reactor);
            }
        }
        self.events = events;
        self.flush(reactor);
        Ok(())
    }

    fn read(&mut self, id: Id, reactor: &mut impl Reactor) {
        let Some(connection) = &mut self.connections[id] else { return };
        let open = connection.read(&mut self.buffer, &mut self.splitters[id]);
        if connection.wants_write() {
            self.outbox.mark(id);
        }
        while let Some(piece) = self.splitters[id].next_piece() {
            reactor.received(id, piece, &mut self.outbox);
        }
        if self.outbox.take_restart(id) {
            self.splitters[id].restart();
        }
        if !matches!(open, Ok(true)) {
            self.end(id, reactor);
        }
    }

    fn flush(&mut self, reactor: &mut impl Reactor) {
        while let Some(id) = self.outbox.next_marked() {
            let Some(connection) = &mut self.connections[id] else { continue };
            let had_rest = connection.has_rest();
            let written = connection.write(self.outbox.buffer(id));
            let has_rest = connection.has_rest();
            if had_rest != has_rest {
                let mut flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
                flags.set(epoll::EventFlags::OUT, has_rest);
                let data = epoll::EventData::new_u64(id as u64);
                let _ = epoll::modify(&self.epoll, connection.socket(), data, flags);
            }
            if written.is_err() {
                self.end(id, reactor);
            }
        }
    }

    fn end(&mut self, id: Id, reactor: &mut impl Reactor) {
        self.drop_connection(id);
        reactor.closed(id);
    }
}
