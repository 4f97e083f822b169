//! The own record layer: against rustls' client for every suite, and against itself for what no honest client sends.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, default_provider};
use rustls::crypto::cipher::{AeadKey, Iv};
use rustls::{AlertDescription, ClientConfig, ClientConnection, RootCertStore};
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets, SupportedCipherSuite};
use rustls_pki_types::CertificateDer;

use super::records::{Kind, RecordFault, Records};
use super::secrets::{Catcher, TrafficSecrets};
use super::testing::{Keys, write_certificate};
use super::{Certificates, MinimumVersion, TlsFault, TlsSession, TlsSettings};

/// A client that offers one suite, and the server's session with it.
struct Pair {
    client: ClientConnection,
    server: TlsSession,
    received: Vec<u8>,
}

impl Pair {
    fn new(
        suite: SupportedCipherSuite,
        certificates: &Arc<Certificates>,
        der: &CertificateDer<'static>,
    ) -> Self {
        let mut provider = default_provider();
        provider.cipher_suites = vec![suite];
        let mut roots = RootCertStore::empty();
        roots.add(der.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[suite.version()])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = ClientConnection::new(Arc::new(config), "a.example".try_into().unwrap()).unwrap();
        let mut pair =
            Self { client, server: TlsSession::new(Arc::clone(certificates), None), received: Vec::new() };
        pair.exchange(usize::MAX);
        assert!(!pair.server.is_handshaking() && !pair.client.is_handshaking(), "{suite:?}");
        pair
    }

    /// Carries bytes both ways, those of the client in parts of this size, until neither side has any.
    fn exchange(&mut self, part: usize) {
        loop {
            let mut flight = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut flight).unwrap();
            }
            for part in flight.chunks(part) {
                self.server.receive(part, &mut self.received).unwrap();
            }
            let mut answer = Vec::new();
            while self.server.wants_write() {
                self.server.write_to(&mut answer).unwrap();
            }
            if flight.is_empty() && answer.is_empty() {
                return;
            }
            let mut answer = answer.as_slice();
            while !answer.is_empty() {
                self.client.read_tls(&mut answer).unwrap();
                self.client.process_new_packets().unwrap();
            }
        }
    }

    fn says(&mut self, text: &[u8], part: usize) {
        self.client.writer().write_all(text).unwrap();
        self.exchange(part);
        assert_eq!(std::mem::take(&mut self.received), text);
    }

    fn hears(&mut self, text: &[u8]) {
        self.server.send(text).unwrap();
        self.exchange(usize::MAX);
        let mut heard = vec![0; text.len()];
        self.client.reader().read_exact(&mut heard).unwrap();
        assert_eq!(heard, text);
    }
}

/// A server with a certificate, and what its clients trust.
fn server() -> (tempfile::TempDir, Arc<Certificates>, CertificateDer<'static>) {
    let folder = tempfile::tempdir().unwrap();
    let made = write_certificate(folder.path(), "a", &["a.example"], Keys::P256);
    let settings =
        TlsSettings { certificates: vec![made.source.clone()], minimum_version: MinimumVersion::Tls12 };
    (folder, Arc::new(Certificates::load(settings).unwrap()), made.der)
}

/// Those that fit the certificate of the tests.
fn suites() -> impl Iterator<Item = SupportedCipherSuite> {
    ALL_CIPHER_SUITES.iter().copied().filter(|suite| !format!("{suite:?}").contains("RSA"))
}

#[test]
fn every_suite_carries_data_both_ways_wherever_its_records_are_cut() {
    let (_folder, certificates, der) = server();
    let mut count = 0;
    for suite in suites() {
        let mut pair = Pair::new(suite, &certificates, &der);
        for part in (1..40).chain([usize::MAX]) {
            pair.says(b"<message to='juliet@example.org'/>", part);
            pair.hears(b"<message from='juliet@example.org'/>");
        }
        let large: Vec<u8> = (0..50_000u32).map(|n| n as u8).collect();
        pair.says(&large, 4096);
        count += 1;
    }
    assert_eq!(count, 6);
}

#[test]
fn keys_are_updated_when_the_client_asks_however_often() {
    let (_folder, certificates, der) = server();
    for suite in suites().filter(|suite| suite.tls13().is_some()) {
        let mut pair = Pair::new(suite, &certificates, &der);
        for round in 0..100 {
            // rustls asks for an update of ours with each of its own.
            pair.client.refresh_traffic_keys().unwrap();
            if round % 3 == 0 {
                pair.exchange(1);
            }
            pair.says(b"under a new key", 7);
            pair.hears(b"and the answer too");
        }
    }
}

#[test]
fn the_end_and_its_reason_are_told_under_the_right_key() {
    let (_folder, certificates, der) = server();
    for suite in suites() {
        let mut pair = Pair::new(suite, &certificates, &der);
        let mut forged = Vec::new();
        pair.client.writer().write_all(b"text").unwrap();
        pair.client.write_tls(&mut forged).unwrap();
        *forged.last_mut().unwrap() ^= 1;
        let fault = pair.server.receive(&forged, &mut pair.received).unwrap_err();
        assert!(matches!(fault, TlsFault::Record(RecordFault::Forged)), "{fault}");
        assert!(pair.received.is_empty());
        let mut alert = Vec::new();
        pair.server.write_to(&mut alert).unwrap();
        pair.client.read_tls(&mut alert.as_slice()).unwrap();
        let heard = pair.client.process_new_packets().unwrap_err();
        assert_eq!(heard, rustls::Error::AlertReceived(AlertDescription::BadRecordMac), "{suite:?}");
        assert!(matches!(pair.server.receive(b"x", &mut pair.received), Err(TlsFault::AfterFailure)));
    }
}

/// Both ends of a session of ours, with made-up keys: what no client of rustls' sends can be sent.
fn ends(suite: SupportedCipherSuite) -> [Records; 2] {
    let key = |seed: u8| {
        let (key, iv) = (AeadKey::from([seed; 32]), Iv::new([seed; 12]));
        (7, ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv })
    };
    let secrets = || {
        use rustls::KeyLog;
        Catcher.log("CLIENT_TRAFFIC_SECRET_0", &[], &[1; 32]);
        Catcher.log("SERVER_TRAFFIC_SECRET_0", &[], &[2; 32]);
        TrafficSecrets::take_caught()
    };
    let mut reversed = secrets();
    std::mem::swap(&mut reversed.client, &mut reversed.server);
    [
        Records::new(suite, ExtractedSecrets { tx: key(1), rx: key(2) }, secrets()).unwrap(),
        Records::new(suite, ExtractedSecrets { tx: key(2), rx: key(1) }, reversed).unwrap(),
    ]
}

const CHANGE_CIPHER_SPEC: Kind = Kind(20);
const TLS13: SupportedCipherSuite = TLS13_CHACHA20_POLY1305_SHA256;
/// With the keys of the tests, which are those of ChaCha20; what counts is the version.
const TLS12: SupportedCipherSuite = TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;

/// What the server makes of records that its peer sealed.
fn receives(server: &mut Records, wire: &[u8]) -> Result<Vec<u8>, TlsFault> {
    let (mut plaintext, mut output) = (Vec::new(), Vec::new());
    server.receive(wire, &mut plaintext, &mut output).map(|()| plaintext)
}

fn sealed(peer: &mut Records, kind: Kind, text: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    peer.seal(kind, text, &mut wire).unwrap();
    wire
}

#[test]
fn what_has_no_place_after_the_handshake_ends_the_session() {
    let cases: [(SupportedCipherSuite, Kind, &[u8], RecordFault); 10] = [
        (TLS13, CHANGE_CIPHER_SPEC, &[1], RecordFault::Unexpected),
        (TLS12, CHANGE_CIPHER_SPEC, &[1], RecordFault::Unexpected),
        (TLS13, Kind::HANDSHAKE, &[1, 0, 0, 0], RecordFault::Unexpected),
        (TLS12, Kind::HANDSHAKE, &[1, 0, 0, 0], RecordFault::Unexpected),
        (TLS12, Kind::HANDSHAKE, &[24, 0, 0, 1, 0], RecordFault::Unexpected),
        (TLS13, Kind::HANDSHAKE, &[24, 0, 0, 1, 2], RecordFault::Unreadable),
        (TLS13, Kind::HANDSHAKE, &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0], RecordFault::Unexpected),
        (TLS13, Kind::ALERT, &[1], RecordFault::Unreadable),
        (TLS12, Kind::ALERT, &[], RecordFault::Unreadable),
        (TLS13, Kind(24), b"heartbeat", RecordFault::Unexpected),
    ];
    for (suite, kind, text, expected) in cases {
        let [mut server, mut peer] = ends(suite);
        let wire = sealed(&mut peer, kind, text);
        let fault = receives(&mut server, &wire).unwrap_err();
        assert!(
            matches!(&fault, TlsFault::Record(fault) if *fault == expected),
            "{suite:?} {kind:?} {text:?}: {fault}"
        );
    }
}

#[test]
fn records_out_of_order_again_or_longer_than_allowed_are_refused() {
    for suite in [TLS12, TLS13] {
        let [mut server, mut peer] = ends(suite);
        let first = sealed(&mut peer, Kind::APPLICATION_DATA, b"first");
        let second = sealed(&mut peer, Kind::APPLICATION_DATA, b"second");
        assert!(matches!(receives(&mut server, &second), Err(TlsFault::Record(RecordFault::Forged))));

        let [mut server, _] = ends(suite);
        assert_eq!(receives(&mut server, &first).unwrap(), b"first");
        assert!(matches!(receives(&mut server, &first), Err(TlsFault::Record(RecordFault::Forged))));

        // The header alone is enough: nothing is gathered of a record that cannot be good.
        let [mut server, _] = ends(suite);
        let long = receives(&mut server, &[23, 3, 3, 0x41, 1]);
        assert!(matches!(long, Err(TlsFault::Record(RecordFault::Oversized))));

        let [mut server, mut peer] = ends(suite);
        let large = sealed(&mut peer, Kind::APPLICATION_DATA, &[b'x'; (1 << 14) + 1]);
        assert!(matches!(receives(&mut server, &large), Err(TlsFault::Record(RecordFault::Oversized))));

        for short in [&[23, 3, 3, 0, 0][..], &[23, 3, 3, 0, 3, 1, 2, 3]] {
            let [mut server, _] = ends(suite);
            assert!(receives(&mut server, short).is_err(), "{short:?}");
        }
    }
}

#[test]
fn padding_is_taken_off_and_nothing_but_padding_is_refused() {
    let [mut server, mut peer] = ends(TLS13);
    let mut padded = b"text".to_vec();
    padded.extend_from_slice(&[Kind::APPLICATION_DATA.0, 0, 0]);
    // The peer's own type byte becomes the last byte of the padding.
    let wire = sealed(&mut peer, Kind(0), &padded);
    assert_eq!(receives(&mut server, &wire).unwrap(), b"text");
    let wire = sealed(&mut peer, Kind(0), &[0; 9]);
    assert!(matches!(receives(&mut server, &wire), Err(TlsFault::Record(RecordFault::Unexpected))));
}

#[test]
fn a_peer_cannot_keep_us_busy_with_nothing() {
    for suite in [TLS12, TLS13] {
        let [mut server, mut peer] = ends(suite);
        let mut faults = 0;
        for _ in 0..33 {
            let wire = sealed(&mut peer, Kind::APPLICATION_DATA, b"");
            faults += usize::from(receives(&mut server, &wire).is_err());
        }
        assert_eq!(faults, 1);
    }
    let [mut server, mut peer] = ends(TLS13);
    for round in 0..200 {
        let mut wire = Vec::new();
        peer.send(if round % 20 == 0 { b"x" } else { b"" }, &mut wire).unwrap();
        wire.extend(sealed(&mut peer, Kind::HANDSHAKE, &[24, 0, 0, 1, 1]));
        peer.renew_for_tests();
        let (mut plaintext, mut output) = (Vec::new(), b"something is waiting already".to_vec());
        server.receive(&wire, &mut plaintext, &mut output).unwrap();
        assert_eq!(output, b"something is waiting already", "requests are not answered without end");
    }
}

#[test]
fn alerts_end_what_they_should_end() {
    for suite in [TLS12, TLS13] {
        let [mut server, mut peer] = ends(suite);
        let wire = sealed(&mut peer, Kind::ALERT, &[2, 40]);
        let fault = receives(&mut server, &wire).unwrap_err();
        assert!(matches!(fault, TlsFault::Protocol(rustls::Error::AlertReceived(_))), "{fault}");

        let [mut server, mut peer] = ends(suite);
        let mut wire = sealed(&mut peer, Kind::APPLICATION_DATA, b"last words");
        wire.extend(sealed(&mut peer, Kind::ALERT, &[1, 90]));
        peer.send_close_notify(&mut wire);
        wire.extend_from_slice(b"not even a record");
        assert_eq!(receives(&mut server, &wire).unwrap(), b"last words");
        assert!(server.is_closed());
    }
    let [mut server, mut peer] = ends(TLS12);
    let wire = sealed(&mut peer, Kind::ALERT, &[1, 110]);
    assert!(receives(&mut server, &wire).unwrap().is_empty() && !server.is_closed());
}

#[test]
fn a_worn_key_is_renewed_in_tls_13_and_ends_the_session_in_tls_12() {
    let [mut server, mut peer] = ends(TLS13_AES_128_GCM_SHA256);
    server.wear_out_for_tests();
    let mut wire = Vec::new();
    for _ in 0..100 {
        server.send(b"text", &mut wire).unwrap();
    }
    assert_eq!(receives(&mut peer, &wire).unwrap(), b"text".repeat(100));

    let [mut server, _] = ends(TLS12);
    server.wear_out_for_tests();
    assert!((0..100).any(|_| server.send(b"text", &mut Vec::new()).is_err()));
}
