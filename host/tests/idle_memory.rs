//! What an idle connection costs in live heap: counted, not estimated.
//!
//! In a binary of its own, since the allocator counts for the whole process. The clients are in the same process, but
//! a raw socket owns no heap.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unsafe_code, reason = "a counting allocator cannot be had without it")]

#[path = "connections/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the tests of connections")]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

use std::sync::{Arc, Mutex, PoisonError};

use moult_host::stream::tls::{Certificates, MinimumVersion, TlsSession, TlsSettings};
use rustls::ClientConnection;
use support::{Client, DOMAIN, Server, ServerBuilder, TestCertificate, eventually};

struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promises about the layout are handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promises about pointer and layout are handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONNECTIONS: usize = 300;

/// The tests take turns, since each counts the whole process.
static TURN: Mutex<()> = Mutex::new(());

/// Live heap per connection while all of them are idle, less that before the first one.
fn measure(server: &Server, connect: impl Fn(usize) -> Client) -> usize {
    // The first ones pay for thread buffers, tables and lazily made things.
    let warm: Vec<Client> = (0..20).map(|n| connect(CONNECTIONS + n)).collect();
    drop(warm);
    eventually("the first ones are gone", || server.hub.counts().total == 0);
    let before = LIVE.load(Ordering::Relaxed);
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(&connect).collect();
    for client in &mut clients {
        client.say("<message><body>once</body></message>");
    }
    eventually("all have spoken", || server.record.delivered_count() >= CONNECTIONS);
    server.record.delivered.lock().unwrap().clear();
    let sessions = server.record.sessions.lock().unwrap().len();
    assert_eq!(sessions, CONNECTIONS);
    let live = LIVE.load(Ordering::Relaxed) - before;
    usize::try_from(live).unwrap() / CONNECTIONS
}

/// A session after its handshake and a first exchange, without its client.
fn established(certificates: &Arc<Certificates>, certificate: &TestCertificate) -> TlsSession {
    let name = DOMAIN.try_into().unwrap();
    let mut client = ClientConnection::new(certificate.client_config(&[]), name).unwrap();
    let mut session = TlsSession::new(Arc::clone(certificates), None);
    let mut received = Vec::new();
    while session.is_handshaking() || client.is_handshaking() {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut up).unwrap();
        }
        session.receive(&up, &mut received).unwrap();
        while session.wants_write() {
            session.write_to(&mut down).unwrap();
        }
        client.read_tls(&mut down.as_slice()).unwrap();
        client.process_new_packets().unwrap();
    }
    session
}

/// What aws-lc-rs keeps in C (about 1.3 KB for the two ciphers) is not counted.
#[test]
fn an_idle_tls_session_costs_its_keys() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let certificate = TestCertificate::write(folder.path(), "server", &[DOMAIN]);
    let certificates = vec![certificate.source.clone()];
    let settings = TlsSettings { certificates, minimum_version: MinimumVersion::Tls12 };
    let certificates = Arc::new(Certificates::load(settings).unwrap());
    let mut sessions = Vec::with_capacity(CONNECTIONS);
    drop(established(&certificates, &certificate));
    let before = LIVE.load(Ordering::Relaxed);
    sessions.extend((0..CONNECTIONS).map(|_| established(&certificates, &certificate)));
    let bytes = usize::try_from(LIVE.load(Ordering::Relaxed) - before).unwrap() / CONNECTIONS;
    println!("live heap per idle TLS session: {bytes} bytes on top of the connection's own");
    assert!(bytes < 1024, "{bytes} bytes");
}

#[test]
fn an_idle_plain_connection_costs_a_few_kilobytes() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let server = ServerBuilder::without_tls().start();
    let bytes = measure(&server, |n| server.bound_client("juliet", &format!("r{n}")));
    println!("live heap per idle plain connection: {bytes} bytes, mailbox and the test's own table included");
    assert!(bytes < 3 * 1024, "{bytes} bytes");
}
