//! TLS on real sockets: certificates that change, handshakes that fail, sessions that end.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{Client, DOMAIN, Server, ServerBuilder, TestCertificate, eventually};

#[test]
fn a_new_certificate_is_served_to_new_connections_and_disturbs_no_live_one() {
    let server = Server::start();
    let mut live = server.bound_tls_client("juliet", "balcony");
    let watch = Arc::clone(server.hub.certificates()).watch(Duration::from_millis(20));
    let watching = server.runtime.spawn(watch);

    let new = TestCertificate::write(server.folder.path(), "server", &[DOMAIN]);
    eventually("the new certificate is served", || {
        let mut client = server.client();
        client.open(DOMAIN);
        client.say("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        client.hear("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        client.try_shake_hands(&new, DOMAIN, &[]).is_ok()
    });
    let client = Client::connect_tls(server.direct, &new, DOMAIN);
    assert_eq!(client.seen_certificate(), new.der.to_vec());

    std::fs::write(&new.source.chain, "not a certificate").unwrap();
    assert_eq!(server.hub.certificates().reload().kept.len(), 1);
    Client::connect_tls(server.direct, &new, DOMAIN);
    live.say("<message to='juliet@moult.example/balcony'><body>undisturbed</body></message>");
    live.hear("undisturbed");
    watching.abort();
}

#[test]
fn without_a_certificate_starttls_is_neither_offered_nor_granted() {
    let server = ServerBuilder { has_certificate: false, ..ServerBuilder::without_tls() }.start();
    let mut client = server.client();
    let features = client.open(DOMAIN);
    assert!(!features.contains("starttls"), "{features}");
    assert!(features.contains("<mechanism>SCRAM-SHA-256</mechanism>"), "{features}");
    assert!(!features.contains("PLAIN") && !features.contains("PLUS"), "{features}");
    client.say("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    assert!(client.hear_until_closed().contains("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"));
}

#[test]
fn handshakes_that_fail_leave_nothing_behind() {
    let server = ServerBuilder::default().with(|s| s.handshake_timeout = Duration::from_millis(200)).start();
    let mut plain = Client::connect(server.direct);
    plain.say("<?xml version='1.0'?><stream:stream>");
    let mut half = Client::connect(server.direct);
    half.say("\u{16}\u{3}\u{1}");
    drop(Client::connect(server.direct));
    let silent = Client::connect(server.direct);
    let wrong_protocol =
        Client::connect(server.direct).try_shake_hands(&server.certificate, DOMAIN, &[b"http/1.1"]);
    assert!(wrong_protocol.is_err());
    eventually("all of them are gone", || server.hub.counts().total == 0);
    drop((half, silent));
    server.tls_client().open(DOMAIN);
}

#[test]
fn the_end_of_tls_is_the_end_of_the_stream() {
    let server = Server::start();
    let mut client = server.bound_tls_client("juliet", "balcony");
    client.send_close_notify();
    client.hear_the_end();
    eventually("the session has ended", || server.record.ended.lock().unwrap().len() == 1);
    eventually("the connection is gone", || server.hub.counts().total == 0);
}

#[test]
fn both_alpn_and_none_are_welcome_under_direct_tls() {
    let server = Server::start();
    for alpn in [&[b"xmpp-client".as_slice()][..], &[]] {
        let mut client = Client::connect(server.direct);
        client.shake_hands(&server.certificate, DOMAIN, alpn);
        client.open(DOMAIN);
    }
}
