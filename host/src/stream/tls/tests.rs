//! Sessions against a rustls client in memory, and certificates that change under them.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind};
use rustls_pki_types::ServerName;

use super::testing::{Keys, TestCertificate, client_config, write_certificate};
use super::{
    CertificateError, CertificateSource, Certificates, MinimumVersion, Received, TlsFault, TlsSession,
    TlsSettings,
};

/// How many bytes one step hands over: whole flights, or one byte after the other.
#[derive(Clone, Copy)]
enum Pace {
    Whole,
    ByteByByte,
}

struct Pair {
    client: ClientConnection,
    server: TlsSession,
    received: Vec<u8>,
}

impl Pair {
    fn new(client: Arc<ClientConfig>, name: &'static str, server: TlsSession) -> Self {
        let client = ClientConnection::new(client, ServerName::try_from(name).unwrap()).unwrap();
        Self { client, server, received: Vec::new() }
    }

    /// Carries bytes both ways until neither side has any.
    fn exchange(&mut self, pace: Pace) -> Result<(), TlsFault> {
        loop {
            let mut flight = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut flight).unwrap();
            }
            let step = match pace {
                Pace::Whole => flight.len().max(1),
                Pace::ByteByByte => 1,
            };
            for part in flight.chunks(step) {
                self.server.receive(part, &mut self.received)?;
            }
            let answer = self.answer();
            if flight.is_empty() && answer.is_empty() {
                return Ok(());
            }
            let mut answer = answer.as_slice();
            while !answer.is_empty() {
                self.client.read_tls(&mut answer).unwrap();
                self.client.process_new_packets().unwrap();
            }
        }
    }

    fn answer(&mut self) -> Vec<u8> {
        let mut answer = Vec::new();
        while self.server.wants_write() {
            self.server.write_to(&mut answer).unwrap();
        }
        answer
    }

    fn client_reads(&mut self) -> Vec<u8> {
        let mut read = Vec::new();
        let _ = self.client.reader().read_to_end(&mut read);
        read
    }

    fn served_certificate(&self) -> Vec<u8> {
        self.client.peer_certificates().unwrap()[0].to_vec()
    }
}

fn settings(certificates: &[&TestCertificate]) -> TlsSettings {
    let certificates = certificates.iter().map(|made| made.source.clone()).collect();
    TlsSettings { certificates, minimum_version: MinimumVersion::Tls12 }
}

fn load(certificates: &[&TestCertificate]) -> Arc<Certificates> {
    Arc::new(Certificates::load(settings(certificates)).unwrap())
}

fn session(certificates: &Arc<Certificates>) -> TlsSession {
    TlsSession::new(Arc::clone(certificates), None)
}

#[test]
fn both_versions_carry_data_whole_and_byte_by_byte() {
    let folder = tempfile::tempdir().unwrap();
    let made = write_certificate(folder.path(), "a", &["a.example"], Keys::P256);
    let certificates = load(&[&made]);
    for (version, name) in [(&TLS12, "TLSv1.2"), (&TLS13, "TLSv1.3")] {
        for pace in [Pace::Whole, Pace::ByteByByte] {
            let client = client_config(&[&made.der], &[version], &[b"xmpp-client"]);
            let mut pair = Pair::new(client, "a.example", session(&certificates));
            assert!(pair.server.is_handshaking());
            assert_eq!(pair.server.take_facts(), None);
            pair.exchange(pace).unwrap();
            assert!(!pair.server.is_handshaking());
            assert_eq!(pair.server.take_facts().unwrap().version, name);
            assert_eq!(pair.client.alpn_protocol(), Some(&b"xmpp-client"[..]));

            pair.client.writer().write_all(b"to the server").unwrap();
            pair.server.send(b"to the client").unwrap();
            pair.exchange(pace).unwrap();
            assert_eq!(pair.received, b"to the server");
            assert_eq!(pair.client_reads(), b"to the client");
        }
    }
}

#[test]
fn data_that_comes_with_the_last_flight_of_the_handshake_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let made = write_certificate(folder.path(), "a", &["a.example"], Keys::P256);
    let client = client_config(&[&made.der], &[&TLS13], &[]);
    let mut pair = Pair::new(client, "a.example", session(&load(&[&made])));
    pair.client.writer().write_all(b"<stream>").unwrap();
    pair.exchange(Pace::Whole).unwrap();
    assert_eq!(pair.received, b"<stream>");
}

#[test]
fn a_stanza_larger_than_every_buffer_arrives_whole() {
    let folder = tempfile::tempdir().unwrap();
    let made = write_certificate(folder.path(), "a", &["a.example"], Keys::P256);
    let client = client_config(&[&made.der], &[&TLS13], &[]);
    let mut pair = Pair::new(client, "a.example", session(&load(&[&made])));
    pair.exchange(Pace::Whole).unwrap();
    let large: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
    pair.server.send(&large).unwrap();
    let answer = pair.answer();
    let (mut rest, mut read) = (answer.as_slice(), Vec::new());
    while !rest.is_empty() {
        pair.client.read_tls(&mut rest).unwrap();
        pair.client.process_new_packets().unwrap();
        read.extend(pair.client_reads());
    }
    assert!(read == large);
}

#[test]
fn the_exporter_is_the_same_on_both_ends_and_differs_between_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let made = write_certificate(folder.path(), "a", &["a.example"], Keys::P256);
    let certificates = load(&[&made]);
    let mut seen = Vec::new();
    for version in [&TLS12, &TLS13] {
        let client = client_config(&[&made.der], &[version], &[]);
        let mut pair = Pair::new(client, "a.example", session(&certificates));
        pair.exchange(Pace::Whole).unwrap();
        let theirs =
            pair.client.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(&[])).unwrap();
        assert_eq!(pair.server.take_facts().unwrap().exporter, Some(theirs));
        seen.push(theirs);
    }
    assert_ne!(seen[0], seen[1]);
}

#[test]
fn the_server_end_point_is_the_hash_that_the_certificates_signature_uses() {
    use aws_lc_rs::digest::{SHA256, SHA384, digest};
    let folder = tempfile::tempdir().unwrap();
    for (keys, hash) in [(Keys::P256, Some(&SHA256)), (Keys::P384, Some(&SHA384)), (Keys::Ed25519, None)] {
        let made = write_certificate(folder.path(), "a", &["a.example"], keys);
        let client = client_config(&[&made.der], &[&TLS13], &[]);
        let mut pair = Pair::new(client, "a.example", session(&load(&[&made])));
        pair.exchange(Pace::Whole).unwrap();
        let expected = hash.map(|hash| digest(hash, &made.der).as_ref().into());
        assert_eq!(pair.server.take_facts().unwrap().server_end_point, expected);
    }
}

#[test]
fn the_certificate_follows_the_server_name_then_the_streams_host_then_the_order() {
    let folder = tempfile::tempdir().unwrap();
    let first = write_certificate(folder.path(), "a", &["a.example"], Keys::P256);
    let second = write_certificate(folder.path(), "b", &["b.example", "*.b.example"], Keys::P256);
    let mut third = write_certificate(folder.path(), "c", &["elsewhere.example"], Keys::P256);
    third.source.hosts = vec!["c.example".to_owned()];
    let certificates = load(&[&first, &second, &third]);
    let cases = [
        (Some("b.example"), None, &second),
        (Some("chat.b.example"), Some("a.example"), &second),
        (Some("deep.chat.b.example"), None, &first),
        (Some("c.example"), None, &third),
        (Some("nobody.example"), Some("b.example"), &second),
        (None, Some("B.example"), &second),
        (None, None, &first),
    ];
    for (server_name, host, expected) in cases {
        let chosen = certificates.choose(server_name, host).unwrap();
        assert_eq!(chosen.source, expected.source, "{server_name:?} {host:?}");
    }
}

#[test]
fn a_resumed_session_needs_no_certificate_until_the_certificate_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let made = write_certificate(folder.path(), "a", &["a.example"], Keys::P256);
    let certificates = load(&[&made]);
    for version in [&TLS12, &TLS13] {
        let client = client_config(&[&made.der], &[version], &[]);
        let kinds = [HandshakeKind::Full, HandshakeKind::Resumed];
        for kind in kinds {
            let mut pair = Pair::new(Arc::clone(&client), "a.example", session(&certificates));
            pair.exchange(Pace::Whole).unwrap();
            assert_eq!(pair.client.handshake_kind(), Some(kind));
        }
    }

    let client = client_config(&[&made.der], &[&TLS13], &[]);
    Pair::new(Arc::clone(&client), "a.example", session(&certificates)).exchange(Pace::Whole).unwrap();
    let newer = write_certificate(folder.path(), "a", &["a.example"], Keys::P256);
    assert_eq!(certificates.reload().replaced.len(), 1);
    // The client trusts only the old certificate: had the ticket been honoured, it would not have noticed.
    let mut pair = Pair::new(client, "a.example", session(&certificates));
    let mut hello = Vec::new();
    pair.client.write_tls(&mut hello).unwrap();
    pair.server.receive(&hello, &mut Vec::new()).unwrap();
    let answer = pair.answer();
    pair.client.read_tls(&mut answer.as_slice()).unwrap();
    assert!(pair.client.process_new_packets().is_err());
    drop(newer);
}

#[test]
fn a_new_certificate_serves_new_sessions_and_live_ones_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let old = write_certificate(folder.path(), "a", &["a.example"], Keys::P256);
    let certificates = load(&[&old]);
    let client = client_config(&[&old.der], &[&TLS13], &[]);
    let mut live = Pair::new(client, "a.example", session(&certificates));
    live.exchange(Pace::Whole).unwrap();

    assert!(certificates.reload().replaced.is_empty(), "nothing has changed");
    let new = write_certificate(folder.path(), "a", &["a.example"], Keys::P384);
    assert_eq!(certificates.reload().replaced, vec![new.source.chain.clone()]);

    live.server.send(b"still here").unwrap();
    live.exchange(Pace::Whole).unwrap();
    assert_eq!(live.client_reads(), b"still here");
    let client = client_config(&[&new.der], &[&TLS13], &[]);
    let mut fresh = Pair::new(client, "a.example", session(&certificates));
    fresh.exchange(Pace::Whole).unwrap();
    assert_eq!(fresh.served_certificate(), new.der.to_vec());
}

#[test]
fn broken_files_keep_the_old_certificate_and_heal() {
    let folder = tempfile::tempdir().unwrap();
    let made = write_certificate(folder.path(), "a", &["a.example"], Keys::P256);
    let other = write_certificate(folder.path(), "b", &["a.example"], Keys::P256);
    let certificates = load(&[&made]);
    let good = std::fs::read(&made.source.chain).unwrap();
    let other_chain = std::fs::read(&other.source.chain).unwrap();

    let half = &good[..good.len() / 2];
    for (content, what) in [(half, "half a file"), (b"", "an empty file"), (&other_chain, "another key's")] {
        std::fs::write(&made.source.chain, content).unwrap();
        let report = certificates.reload();
        assert_eq!((report.replaced.len(), report.kept.len()), (0, 1), "{what}");
        let serving = certificates.choose(Some("a.example"), None).unwrap();
        assert_eq!(serving.names, ["a.example"]);
    }
    std::fs::remove_file(&made.source.chain).unwrap();
    assert!(matches!(certificates.reload().kept[..], [CertificateError::Unreadable { .. }]));

    std::fs::write(&made.source.chain, &other_chain).unwrap();
    assert!(matches!(certificates.reload().kept[..], [CertificateError::KeyMismatch { .. }]));
    std::fs::copy(&other.source.key, &made.source.key).unwrap();
    assert_eq!(certificates.reload().replaced, vec![made.source.chain.clone()]);
}

#[test]
fn the_minimum_version_can_be_raised_while_sessions_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let made = write_certificate(folder.path(), "a", &["a.example"], Keys::P256);
    let certificates = load(&[&made]);
    let raised = TlsSettings { minimum_version: MinimumVersion::Tls13, ..settings(&[&made]) };
    assert_eq!(certificates.replace_settings(raised).replaced.len(), 1);
    let client = client_config(&[&made.der], &[&TLS12], &[]);
    let mut pair = Pair::new(client, "a.example", session(&certificates));
    let mut hello = Vec::new();
    pair.client.write_tls(&mut hello).unwrap();
    assert!(matches!(pair.server.receive(&hello, &mut Vec::new()), Err(TlsFault::Protocol(_))));
    assert!(!pair.answer().is_empty(), "the peer is told why by an alert");
    assert!(!pair.server.wants_write());
}

#[test]
fn what_is_no_tls_is_refused_with_an_alert() {
    let folder = tempfile::tempdir().unwrap();
    let made = write_certificate(folder.path(), "a", &["a.example"], Keys::P256);
    let mut server = session(&load(&[&made]));
    let fault = server.receive(b"<?xml version='1.0'?><stream:stream>", &mut Vec::new());
    assert!(matches!(fault, Err(TlsFault::Protocol(_))));
    assert!(matches!(server.receive(b"more", &mut Vec::new()), Err(TlsFault::AfterFailure)));
    assert!(!server.is_handshaking());
}

#[test]
fn another_protocols_alpn_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let made = write_certificate(folder.path(), "a", &["a.example"], Keys::P256);
    let client = client_config(&[&made.der], &[&TLS13], &[b"http/1.1"]);
    let mut pair = Pair::new(client, "a.example", session(&load(&[&made])));
    assert!(matches!(pair.exchange(Pace::Whole), Err(TlsFault::Protocol(_))));
}

#[test]
fn close_notify_ends_the_session_in_both_directions() {
    let folder = tempfile::tempdir().unwrap();
    let made = write_certificate(folder.path(), "a", &["a.example"], Keys::P256);
    let client = client_config(&[&made.der], &[&TLS13], &[]);
    let mut pair = Pair::new(client, "a.example", session(&load(&[&made])));
    pair.exchange(Pace::Whole).unwrap();
    pair.server.send_close_notify();
    pair.exchange(Pace::Whole).unwrap();
    assert_eq!(pair.client.reader().read(&mut [0; 8]).unwrap(), 0);

    pair.client.send_close_notify();
    let mut last = Vec::new();
    pair.client.write_tls(&mut last).unwrap();
    assert_eq!(pair.server.receive(&last, &mut Vec::new()).unwrap(), Received::Closed);
}

#[test]
fn without_certificates_there_is_no_tls() {
    let certificates = Arc::new(Certificates::load(TlsSettings::default()).unwrap());
    assert!(certificates.is_empty());
    let missing = CertificateSource { chain: "none.pem".into(), key: "none.key".into(), hosts: vec![] };
    let settings = TlsSettings { certificates: vec![missing], minimum_version: MinimumVersion::Tls12 };
    let error = Certificates::load(settings).unwrap_err();
    assert!(error.to_string().contains("none.pem"), "{error}");
}
