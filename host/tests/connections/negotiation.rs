//! From the first byte to the bound resource, and everything that can go wrong on that way.

use std::time::{Duration, Instant};

use crate::support::{
    Client, DOMAIN, Server, ServerBuilder, bind_request, eventually, open, plain_auth, scram,
};

#[test]
fn starttls_login_bind_and_a_stanza() {
    let server = Server::start();
    let mut client = server.client();
    let features = client.start_tls(&server.certificate, DOMAIN);
    assert!(features.contains("<mechanism>SCRAM-SHA-256-PLUS</mechanism>"), "{features}");
    assert!(features.contains("<mechanism>PLAIN</mechanism>"), "{features}");
    client.log_in(DOMAIN, "juliet", "juliet");
    assert_eq!(client.bind("balcony"), "juliet@moult.example/balcony");
    client.say("<message to='juliet@moult.example/balcony'><body>to myself</body></message>");
    let message = client.hear("</message>");
    assert!(message.contains("from='juliet@moult.example/balcony'"), "{message}");
    assert_eq!(server.hub.counts().total, 1);
    assert_eq!(server.hub.counts().unauthenticated, 0);
}

#[test]
fn everything_arrives_byte_by_byte() {
    let server = Server::start();
    let mut client = server.client();
    client.say_slowly(&open(DOMAIN));
    client.hear("</stream:features>");
    client.say_slowly("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    client.hear("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    client.shake_hands(&server.certificate, DOMAIN, &[]);
    client.say_slowly(&open(DOMAIN));
    client.say_slowly(&plain_auth("juliet", "juliet"));
    client.hear("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    client.say_slowly(&open(DOMAIN));
    client.say_slowly(&bind_request("balcony"));
    client.hear("</iq>");
    client.say_slowly("<message to='juliet@moult.example/balcony'><body>häh?</body></message>");
    client.hear("<body>häh?</body></message>");
}

#[test]
fn everything_arrives_at_once() {
    let server = Server::start();
    let mut client = server.tls_client();
    let all = [
        open(DOMAIN),
        plain_auth("juliet", "juliet"),
        open(DOMAIN),
        bind_request("balcony"),
        "<message to='juliet@moult.example/balcony'><body>last</body></message></stream:stream>".to_owned(),
    ];
    client.say(&all.concat());
    let heard = client.hear_the_end();
    assert!(heard.contains("<success"), "{heard}");
    assert!(heard.ends_with("<body>last</body></message></stream:stream>"), "{heard}");
    assert!(client.heard_close_notify());
}

#[test]
fn a_login_is_bound_to_its_tls_session() {
    let server = Server::start();
    let mut client = server.tls_client();
    let features = client.open(DOMAIN);
    assert!(features.contains("<channel-binding type='tls-exporter'/>"), "{features}");
    assert!(features.contains("<channel-binding type='tls-server-end-point'/>"), "{features}");
    let exporter = client.tls_exporter();
    scram::log_in(&mut client, "juliet", "juliet", Some(("tls-exporter", exporter)));
    client.open(DOMAIN);

    let mut client = server.client();
    client.start_tls(&server.certificate, DOMAIN);
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &client.seen_certificate());
    scram::log_in(&mut client, "romeo", "romeo", Some(("tls-server-end-point", hash.as_ref().to_vec())));
    client.open(DOMAIN);
}

#[test]
fn what_comes_along_with_starttls_is_never_believed() {
    let server = Server::start();
    let mut client = server.client();
    client.open(DOMAIN);
    let injected = plain_auth("juliet", "juliet");
    client.say(&format!("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>{injected}"));
    let heard = client.hear_the_end();
    assert!(heard.contains("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>"), "{heard}");
    assert!(!heard.contains("<proceed") && !heard.contains("<success"), "{heard}");

    // What comes after it, before the handshake, is taken for a part of that, and is none.
    let mut client = server.client();
    client.open(DOMAIN);
    client.say("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    client.hear("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    client.say(&injected);
    assert!(client.try_shake_hands(&server.certificate, DOMAIN, &[]).is_err());
}

#[test]
fn each_violation_is_answered_by_its_stream_error_and_the_end() {
    let server = ServerBuilder::without_tls().start();
    let open_stream = open(DOMAIN);
    let cases = [
        ("", open("elsewhere.example"), "host-unknown"),
        ("", open("juliet@moult.example"), "improper-addressing"),
        ("", open_stream.replace("version='1.0' ", ""), "unsupported-version"),
        ("", open_stream.replace("jabber:client", "jabber:server"), "invalid-namespace"),
        (
            "",
            open_stream.replace("stream:stream", "s:stream").replace(":stream=", ":s="),
            "bad-namespace-prefix",
        ),
        (
            "",
            open_stream.replace("<?xml version='1.0'?>", "<?xml version='1.0' encoding='utf-16'?>"),
            "unsupported-encoding",
        ),
        ("", "GET / HTTP/1.1\r\n\r\n".to_owned(), "not-well-formed"),
        (&open_stream, "<!-- -->".to_owned(), "restricted-xml"),
        (&open_stream, "<message><body>&lt;&gt</body></message>".to_owned(), "not-well-formed"),
        (&open_stream, "<message/>".to_owned(), "not-authorized"),
        (
            &open_stream,
            "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>".to_owned(),
            "not-authorized",
        ),
        (&open_stream, "<what xmlns='urn:this'/>".to_owned(), "unsupported-stanza-type"),
        (&open_stream, format!("<x>{}</x>", "y".repeat(20_000)), "policy-violation"),
    ];
    for (before, violation, condition) in cases {
        let mut client = server.client();
        client.say(before);
        client.say(&violation);
        let heard = client.hear_until_closed();
        let error = format!("<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>");
        assert!(heard.contains("<stream:stream "), "{violation}: {heard}");
        assert!(heard.contains(&error), "{violation}: {heard}");
        assert!(heard.ends_with("</stream:error></stream:stream>"), "{violation}: {heard}");
    }
    eventually("the connections are gone", || server.hub.counts().total == 0);
}

#[test]
fn violations_on_a_bound_stream_end_it_and_its_session() {
    let server = ServerBuilder::without_tls().start();
    let cases = [
        ("<message from='romeo@moult.example'/>", "invalid-from"),
        ("<what xmlns='urn:this'/>", "unsupported-stanza-type"),
        ("<message xmlns='jabber:server'/>", "invalid-namespace"),
        ("<message></presence>", "not-well-formed"),
        ("<message>\u{1}</message>", "not-well-formed"),
    ];
    for (number, (violation, condition)) in cases.iter().enumerate() {
        let mut client = server.bound_client("juliet", &format!("number-{number}"));
        client.say(violation);
        let heard = client.hear_until_closed();
        assert!(heard.contains(&format!("<stream:error><{condition} ")), "{violation}: {heard}");
    }
    eventually("the sessions have ended", || server.record.ended.lock().unwrap().len() == cases.len());
    assert_eq!(server.record.abandoned.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[test]
fn the_peer_may_register_before_it_logs_in() {
    let server = Server::start();
    let mut client = server.tls_client();
    client.open(DOMAIN);
    client.say("<iq type='get' id='r1'><query xmlns='jabber:iq:register'/></iq>");
    client.hear("id='r1'");
    client.log_in(DOMAIN, "juliet", "juliet");
}

#[test]
fn a_wrong_password_may_be_followed_by_the_right_one() {
    let server = Server::start();
    let mut client = server.tls_client();
    client.open(DOMAIN);
    client.say(&plain_auth("juliet", "wrong"));
    client.hear("<not-authorized/>");
    client.hear("</failure>");
    client.log_in(DOMAIN, "juliet", "juliet");
    client.bind("balcony");

    let account = Some(format!("juliet@{DOMAIN}"));
    let plain = || "PLAIN".to_owned();
    let expected = [(account.clone(), plain(), Some("not-authorized")), (account, plain(), None)];
    assert_eq!(*server.record.logins.lock().unwrap(), expected, "whoever watches logins was told of both");
}

#[test]
fn too_many_wrong_passwords_end_the_stream() {
    let server = Server::start();
    let mut client = server.tls_client();
    client.open(DOMAIN);
    for _ in 0..3 {
        client.say(&plain_auth("juliet", "wrong"));
    }
    let heard = client.hear_until_closed();
    assert_eq!(heard.matches("<not-authorized/>").count(), 3, "{heard}");
    assert!(heard.contains("<policy-violation xmlns"), "{heard}");
}

#[test]
fn a_conflict_leaves_the_stream_open_for_another_resource() {
    let server = Server::start();
    let _first = server.bound_tls_client("juliet", "balcony");
    let mut second = server.tls_client();
    second.open(DOMAIN);
    second.log_in(DOMAIN, "juliet", "juliet");
    second.say(&bind_request("balcony"));
    second.hear("<conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>");
    assert_eq!(second.bind("window"), "juliet@moult.example/window");
}

/// Slow loris: there is always something coming, and never enough.
#[test]
fn negotiation_has_a_deadline_however_busy_the_peer_is() {
    let server =
        ServerBuilder::default().with(|s| s.negotiation_timeout = Duration::from_millis(300)).start();
    let begin = Instant::now();
    let mut client = server.client();
    client.say("<?xml version='1.0'?><stream:stream x='");
    while !client.hears_within(Duration::from_millis(5)) {
        client.say("y");
        assert!(begin.elapsed() < Duration::from_secs(20), "the slow peer is still connected");
    }
    assert!(begin.elapsed() >= Duration::from_millis(300));
    let heard = client.hear_the_end();
    assert!(heard.contains("<connection-timeout xmlns"), "{heard}");
}

#[test]
fn a_peer_that_says_nothing_is_let_go() {
    let server = ServerBuilder::default()
        .with(|s| {
            s.negotiation_timeout = Duration::from_millis(100);
            s.close_timeout = Duration::from_millis(50);
        })
        .start();
    let heard = server.client().hear_the_end();
    assert!(heard.contains("<connection-timeout xmlns"), "{heard}");
    let heard = Client::connect(server.direct).hear_the_end();
    assert_eq!(heard, "", "there is nothing to say to a peer that does not shake hands");
}

#[test]
fn negotiation_may_not_stop_before_binding() {
    let server =
        ServerBuilder::default().with(|s| s.negotiation_timeout = Duration::from_millis(700)).start();
    let mut idle = server.tls_client();
    idle.open(DOMAIN);
    idle.log_in(DOMAIN, "juliet", "juliet");
    let mut bound = server.bound_tls_client("romeo", "orchard");
    assert!(idle.hear_until_closed().contains("<connection-timeout xmlns"));
    bound.say("<presence to='romeo@moult.example/orchard'/>");
    bound.hear("<presence");
}
