//! Stream errors (RFC 6120 section 4.9.3) of the real binary, as a peer on a bare socket sees them.

use moult_tests::client::stream_header;
use moult_tests::{RawStream, Server, eventually};

const DOMAIN: &str = "localhost";
/// Lets clients in without TLS, so that a test can write bytes where they are read.
const WITHOUT_TLS: &str = "[tls]\nrequired = false";

/// A stream error as RFC 6120 section 4.9 wants it, at the end of the stream.
fn assert_ends_with_stream_error(heard: &str, condition: &str, violation: &str) {
    let error = format!("<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>");
    assert!(heard.contains("<stream:stream "), "{violation}: no stream header in {heard}");
    assert!(heard.contains(&error), "{violation}: no {condition} in {heard}");
    assert!(heard.ends_with("</stream:error></stream:stream>"), "{violation}: {heard}");
}

#[tokio::test]
async fn every_violation_before_login_ends_the_stream_with_its_error() {
    let server = Server::builder().accounts(&[]).config(WITHOUT_TLS).start().await;
    let header = stream_header(DOMAIN);
    let instead_of_the_header = [
        (header.replace(DOMAIN, "elsewhere.example"), "host-unknown"),
        (header.replace(DOMAIN, "alice@localhost"), "improper-addressing"),
        (header.replace("to='localhost' ", ""), "improper-addressing"),
        (header.replace("version='1.0' ", ""), "unsupported-version"),
        (header.replace("jabber:client", "jabber:server"), "invalid-namespace"),
        (header.replace("http://etherx.jabber.org/streams", "urn:other"), "invalid-namespace"),
        (header.replace("stream:stream", "s:stream").replace(":stream=", ":s="), "bad-namespace-prefix"),
        (
            header.replace("<?xml version='1.0'?>", "<?xml version='1.0' encoding='latin1'?>"),
            "unsupported-encoding",
        ),
        (header.replace("stream:stream", "stream:other"), "bad-format"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "not-well-formed"),
    ];
    for (violation, condition) in instead_of_the_header {
        let mut stream = server.raw().await;
        stream.send(&violation).await;
        assert_ends_with_stream_error(&stream.read_to_end().await, condition, &violation);
    }
    let after_the_header = [
        ("<!-- hello -->", "restricted-xml"),
        ("<?php ?>", "restricted-xml"),
        ("<!DOCTYPE x><x/>", "restricted-xml"),
        ("<message><body>&xxe;</body></message>", "restricted-xml"),
        ("<message><body>&lt</body></message>", "not-well-formed"),
        ("<message></presence>", "not-well-formed"),
        ("<message to='a' to='b'/>", "not-well-formed"),
        ("<message/>", "not-authorized"),
        ("<presence/>", "not-authorized"),
        ("<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>", "not-authorized"),
        ("<what xmlns='urn:this'/>", "unsupported-stanza-type"),
    ];
    for (violation, condition) in after_the_header {
        let mut stream = server.raw().await;
        stream.open(DOMAIN).await;
        stream.send(violation).await;
        let heard = format!("<stream:stream {}", stream.read_to_end().await);
        assert_ends_with_stream_error(&heard, condition, violation);
    }
    server.stop().await;
}

#[tokio::test]
async fn bytes_that_are_not_utf_8_end_the_stream() {
    let server = Server::builder().accounts(&[]).config(WITHOUT_TLS).start().await;
    let mut stream = server.raw().await;
    stream.open(DOMAIN).await;
    stream.send(b"<message><body>\xff\xfe</body></message>").await;
    let heard = stream.read_to_end().await;
    assert!(heard.contains("<unsupported-encoding "), "RFC 6120 sections 4.9.3.22 and 11.6: {heard}");
    server.stop().await;
}

#[tokio::test]
async fn every_violation_on_a_bound_stream_ends_it_with_its_error() {
    let server = Server::builder()
        .config("[limits]\ndepth = 10\nattributes = 10\nstanza_size = '20KiB'")
        .start()
        .await;
    let deep = format!("<message>{}{}</message>", "<x>".repeat(20), "</x>".repeat(20));
    let attributes: String = (0..20).map(|number| format!(" a{number}=''")).collect();
    let cases = [
        ("<message from='bob@localhost'/>".to_owned(), "invalid-from"),
        ("<what xmlns='urn:this'/>".to_owned(), "unsupported-stanza-type"),
        ("<message xmlns='jabber:server'/>".to_owned(), "invalid-namespace"),
        ("<message></presence>".to_owned(), "not-well-formed"),
        ("<message>\u{1}</message>".to_owned(), "not-well-formed"),
        ("text between stanzas".to_owned(), "bad-format"),
        (deep, "policy-violation"),
        (format!("<message{attributes}/>"), "policy-violation"),
        (format!("<message><body>{}</body></message>", "x".repeat(30_000)), "policy-violation"),
    ];
    for (violation, condition) in cases {
        let mut alice = server.client("alice").await;
        alice.send(&violation).await;
        let error = alice.expect_stream_error().await;
        assert_eq!(error.condition(), Some(condition), "{violation}");
    }
    eventually("all sessions are gone", async || server.ctl(&["connected_users_number"]).await.trim() == "0")
        .await;
    server.stop().await;
}

#[tokio::test]
async fn an_acknowledgement_that_breaks_its_schema_is_invalid_xml() {
    let server = Server::start().await;
    for acknowledgement in ["<a xmlns='urn:xmpp:sm:3'/>", "<a xmlns='urn:xmpp:sm:3' h='many'/>"] {
        let mut alice = server.client("alice").await;
        alice.send("<enable xmlns='urn:xmpp:sm:3'/>").await;
        alice.send(acknowledgement).await;
        let error = alice.expect_stream_error().await;
        assert_eq!(error.condition(), Some("invalid-xml"), "{acknowledgement}");
    }
    server.stop().await;
}

#[tokio::test]
async fn who_comes_to_a_vhost_that_has_moved_is_sent_to_the_other_host() {
    let other = |host: &str| format!("[vhost.'moved.example']\nsee_other_host = '{host}'");
    let server = Server::builder()
        .vhosts(&[DOMAIN, "moved.example"])
        .accounts(&["alice", "bob@moved.example"])
        .config(&other("[2001:db8::1]:5222"))
        .start()
        .await;
    let told = |heard: &str, host: &str| {
        let error =
            format!("<see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{host}</see-other-host>");
        assert!(heard.contains(&error), "{heard}");
        assert!(heard.contains("from='moved.example'"), "{heard}");
        assert!(heard.ends_with("</stream:error></stream:stream>"), "{heard}");
    };
    // Whoever listens in between cannot say it: the way to TLS is open as ever, and the word comes under it.
    let mut plain = server.raw().await;
    assert!(plain.open("moved.example").await.contains("<required/>"));
    let mut stream = RawStream::connect(server.listeners().c2s_tls).await;
    stream.start_tls(server.certificate().client_config(rustls::ALL_VERSIONS), DOMAIN).await;
    stream.send(stream_header("moved.example")).await;
    told(&stream.read_to_end().await, "[2001:db8::1]:5222");
    // Other vhosts are served.
    server.client("alice").await.close().await;
    server.stop().await;
}

#[tokio::test]
async fn a_reload_sends_those_who_are_there_to_the_other_host() {
    let server = Server::start().await;
    let mut alice = server.client("alice").await;
    server.reconfigure("[vhost.localhost]\nsee_other_host = 'new.example:5222'").await;
    let error = alice.expect_stream_error().await;
    assert_eq!(error.condition(), Some("see-other-host"));
    assert_eq!(error.child_text("see-other-host"), Some("new.example:5222"), "{error}");
    assert!(server.login("alice").try_connect().await.is_err());
    server.reconfigure("[vhost.localhost]").await;
    server.client("alice").await.close().await;
    server.stop().await;
}
