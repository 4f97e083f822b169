//! Client streams of the real binary: how a peer logs in, what it may not do, how streams end. Stream errors: `stream_errors`.

use moult_tests::client::{LoginError, Security, stream_header};
use moult_tests::sasl::{Binding, Hash, Mechanism, Scram, plain};
use moult_tests::server::PASSWORD;
use moult_tests::{Client, RawStream, Server, eventually};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

const DOMAIN: &str = "localhost";
/// Lets clients in without TLS, so that a test can write bytes where they are read.
const WITHOUT_TLS: &str = "[tls]\nrequired = false";

#[tokio::test]
async fn every_mechanism_logs_in_over_starttls_and_direct_tls() {
    let server = Server::start().await;
    let hashes = [Hash::Sha1, Hash::Sha256, Hash::Sha512];
    let scram = hashes.iter().flat_map(|&hash| [Mechanism::Scram(hash), Mechanism::ScramPlus(hash)]);
    for mechanism in scram.chain([Mechanism::Plain]) {
        for security in [Security::StartTls, Security::DirectTls] {
            let client = server.login("alice").mechanism(mechanism).security(security).connect().await;
            assert_eq!(client.bare_jid(), "alice@localhost");
            client.close().await;
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_login_is_bound_to_its_tls_connection_by_either_type() {
    let server = Server::start().await;
    for binding in ["tls-exporter", "tls-server-end-point"] {
        let mut login = server.login("alice").mechanism(Mechanism::ScramPlus(Hash::Sha256));
        login.binding = binding;
        login.connect().await.close().await;
    }
    // The certificate of somebody in the middle is another one.
    let mut login = server.login("alice").mechanism(Mechanism::ScramPlus(Hash::Sha256));
    login.binding = "tls-server-end-point";
    login.certificate = b"another certificate".to_vec();
    assert_sasl_failure(login.try_connect().await, "not-authorized");
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_are_told_the_same() {
    let server = Server::start().await;
    for mechanism in [Mechanism::Plain, Mechanism::Scram(Hash::Sha256)] {
        let wrong = server.login("alice").password("wrong").mechanism(mechanism).try_connect().await;
        assert_sasl_failure(wrong, "not-authorized");
        let unknown = server.login("nobody").mechanism(mechanism).try_connect().await;
        assert_sasl_failure(unknown, "not-authorized");
    }
    server.stop().await;
}

#[tokio::test]
async fn scram_answers_an_unknown_user_with_a_salt_that_stays() {
    let server = Server::builder().config(WITHOUT_TLS).start().await;
    let salt = async |user: &str| {
        let mut stream = server.raw().await;
        stream.open(DOMAIN).await;
        let first = Scram::new(Hash::Sha256, user, PASSWORD, Binding::Unsupported).first();
        stream.send(auth("SCRAM-SHA-256", &first)).await;
        let challenge = stream.read_until("</challenge>").await;
        let encoded = challenge.split(['>', '<']).rev().nth(2).expect("a challenge has content");
        let message = BASE64.decode(encoded).expect("the challenge is base64");
        String::from_utf8(message)
            .expect("the challenge is text")
            .split_once(",")
            .expect("it has parts")
            .1
            .to_owned()
    };
    assert_eq!(salt("nobody").await, salt("nobody").await);
    assert_ne!(salt("nobody").await, salt("somebody").await);
    assert_eq!(salt("alice").await, salt("alice").await);
    server.stop().await;
}

#[tokio::test]
async fn plain_is_neither_offered_nor_accepted_without_tls() {
    let server = Server::builder().accounts(&[]).config(WITHOUT_TLS).start().await;
    let mut stream = server.raw().await;
    let features = stream.open(DOMAIN).await;
    assert!(features.contains("<mechanism>SCRAM-SHA-256</mechanism>"), "{features}");
    assert!(!features.contains("<mechanism>PLAIN</mechanism>"), "{features}");
    assert!(!features.contains("-PLUS"), "{features}");
    stream.send(auth("PLAIN", &plain("alice", PASSWORD))).await;
    let answer = stream.read_until("</failure>").await;
    assert!(answer.contains("<encryption-required/>") || answer.contains("<invalid-mechanism/>"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn where_tls_is_required_nothing_is_offered_before_it() {
    let server = Server::builder().accounts(&[]).start().await;
    let mut stream = server.raw().await;
    let features = stream.open(DOMAIN).await;
    assert!(features.contains("<required/>"), "{features}");
    assert!(!features.contains("<mechanism>"), "{features}");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_was_shown_fewer_mechanisms_than_there_are_is_warned() {
    // RFC 5802 section 6: "y" says that the server seems not to support channel binding, which it does.
    let server = Server::start().await;
    let mut stream = raw_over_tls(&server).await;
    stream.open(DOMAIN).await;
    let mut scram = Scram::new(Hash::Sha256, "alice", PASSWORD, Binding::NotOffered);
    stream.send(auth("SCRAM-SHA-256", &scram.first())).await;
    let mut answer = stream.read_until(">").await;
    if answer.contains("<challenge") {
        let encoded = stream.read_until("</challenge>").await;
        let challenge =
            BASE64.decode(encoded.trim_end_matches("</challenge>")).expect("the challenge is base64");
        let response = scram.respond(&challenge).expect("the challenge is right");
        let response = BASE64.encode(response);
        stream
            .send(format!("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{response}</response>"))
            .await;
        answer = stream.read_until(">").await;
    }
    assert!(answer.contains("<failure"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_conversation_may_come_byte_by_byte_or_all_at_once() {
    let server = Server::start().await;
    let bind = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
    let header = stream_header(DOMAIN);
    let login = auth("PLAIN", &plain("alice", PASSWORD));

    let mut stream = raw_over_tls(&server).await;
    stream.dribble(&header).await;
    stream.read_until("</stream:features>").await;
    stream.dribble(&login).await;
    stream.read_until("<success").await;
    stream.dribble(format!("{header}{bind}")).await;
    stream.read_until("</iq>").await;

    let mut stream = raw_over_tls(&server).await;
    stream.send(format!("{header}{login}{header}{bind}</stream:stream>")).await;
    let heard = stream.read_to_end().await;
    assert!(heard.contains("<jid>alice@localhost/") && heard.ends_with("</stream:stream>"), "{heard}");
    server.stop().await;
}

#[tokio::test]
async fn what_is_pipelined_behind_starttls_is_never_believed() {
    let server = Server::builder().accounts(&[]).start().await;
    let mut stream = server.raw().await;
    stream.open(DOMAIN).await;
    let login = auth("PLAIN", &plain("alice", PASSWORD));
    stream.send(format!("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>{login}")).await;
    let heard = stream.read_to_end().await;
    assert!(!heard.contains("<success"), "{heard}");
    server.stop().await;
}

#[tokio::test]
async fn a_resource_that_is_taken_is_handled_as_configured() {
    let with_policy = |policy: &str| format!("[session]\nresource_conflict = '{policy}'");

    let server = Server::builder().config(&with_policy("replace_old")).start().await;
    let mut old = server.login("alice").resource("desk").connect().await;
    let new = server.login("alice").resource("desk").connect().await;
    assert_eq!(old.expect_stream_error().await.condition(), Some("conflict"));
    assert_eq!(new.jid(), "alice@localhost/desk");
    server.stop().await;

    let server = Server::builder().config(&with_policy("refuse_new")).start().await;
    let mut old = server.login("alice").resource("desk").connect().await;
    let refused = server.login("alice").resource("desk").try_connect().await;
    let Err(LoginError::Bind(answer)) = refused else { panic!("{refused:?}") };
    assert_eq!(answer.error(), Some(("modify", "conflict")));
    old.received().await;
    server.stop().await;

    let server = Server::builder().config(&with_policy("number_new")).start().await;
    let mut old = server.login("alice").resource("desk").connect().await;
    let new = server.login("alice").resource("desk").connect().await;
    assert!(new.resource().starts_with("desk") && new.resource() != "desk", "{}", new.resource());
    old.received().await;
    server.stop().await;
}

#[tokio::test]
async fn a_new_certificate_is_used_without_a_restart_and_old_sessions_stay() {
    let server = Server::start().await;
    let mut alice = server.client("alice").await;
    let replaced =
        moult_tests::certificate::Certificate::make(server.folder(), "server", &[DOMAIN.to_owned()]);
    eventually("the new certificate is shown", async || {
        let mut login = server.login("bob");
        login.tls = replaced.client_config(rustls::ALL_VERSIONS);
        login.try_connect().await.is_ok()
    })
    .await;
    alice.received().await;
    server.stop().await;
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken() {
    let server = Server::start().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut login = server.login("alice").security(Security::DirectTls);
        login.tls = server.certificate().client_config(&[version]);
        login.connect().await.close().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn who_does_not_log_in_in_time_is_let_go() {
    let server = Server::builder().accounts(&[]).config("[limits]\nnegotiation_timeout = '1s'").start().await;
    let mut stream = server.raw().await;
    stream.open(DOMAIN).await;
    let heard = stream.read_to_end().await;
    assert!(heard.contains("<connection-timeout "), "{heard}");
    server.stop().await;
}

#[tokio::test]
async fn who_is_silent_for_too_long_is_let_go_and_hears_keepalives_before() {
    let config = "[limits]\nkeepalive_interval = '1s'\nidle_timeout = '3s'";
    let server = Server::builder().config(config).start().await;
    let mut alice = server.client("alice").await;
    assert_eq!(alice.expect_stream_error().await.condition(), Some("connection-timeout"));
    server.stop().await;
}

#[tokio::test]
async fn connections_are_limited_per_address_and_while_unauthenticated() {
    let server = Server::builder().config("[limits]\nconnections_per_address = 2").start().await;
    let first = server.client("alice").await;
    let _second = server.client("bob").await;
    let heard = server.raw().await.read_to_end().await;
    assert!(heard.contains("<policy-violation "), "{heard}");
    first.close().await;
    eventually("there is room again", async || server.login("carol").try_connect().await.is_ok()).await;
    server.stop().await;

    let server = Server::builder().config("[limits]\nunauthenticated_connections = 1").start().await;
    let mut stranger = server.raw().await;
    stranger.open(DOMAIN).await;
    let heard = server.raw().await.read_to_end().await;
    assert!(heard.contains("<resource-constraint "), "{heard}");
    server.stop().await;
}

#[tokio::test]
async fn failed_logins_are_limited_per_connection() {
    let server = Server::builder().config("[limits]\nlogin_attempts_per_connection = 3").start().await;
    let mut stream = raw_over_tls(&server).await;
    stream.open(DOMAIN).await;
    for _ in 0..3 {
        stream.send(auth("PLAIN", &plain("alice", "wrong"))).await;
    }
    let heard = stream.read_to_end().await;
    assert_eq!(heard.matches("<not-authorized/>").count(), 3, "{heard}");
    assert!(heard.contains("<policy-violation "), "{heard}");
    server.stop().await;
}

#[tokio::test]
async fn failed_logins_are_limited_per_address() {
    let server = Server::builder().config("[limits]\nlogin_attempts_per_address = 2").start().await;
    for user in ["alice", "bob"] {
        fail_to_login(&server, user).await;
    }
    let right = server.login("carol").try_connect().await;
    assert!(right.is_err(), "the address has used its attempts up, for every account");
    server.stop().await;
}

#[tokio::test]
async fn failed_logins_are_limited_per_account() {
    let limits = "[limits]\nlogin_attempts_per_account = 2\nlogin_attempts_window = '1h'";
    let server = Server::builder().config(limits).start().await;
    for _ in 0..2 {
        fail_to_login(&server, "alice").await;
    }
    assert!(server.login("alice").try_connect().await.is_err(), "the account has used its attempts up");
    server.client("bob").await.close().await;
    server.stop().await;
}

#[tokio::test]
async fn other_limits_of_logins_hold_after_a_reload() {
    let server = Server::builder().config("[limits]\nlogin_attempts_per_address = 2").start().await;
    for user in ["alice", "bob"] {
        fail_to_login(&server, user).await;
    }
    assert!(server.login("alice").try_connect().await.is_err(), "the address has used its attempts up");
    server.reconfigure("[limits]\nlogin_attempts_per_address = 20").await;
    server.client("alice").await.close().await;
    server.stop().await;
}

async fn fail_to_login(server: &Server, user: &str) {
    let wrong = server.login(user).password("wrong").mechanism(Mechanism::Plain).try_connect().await;
    assert_sasl_failure(wrong, "not-authorized");
}

#[tokio::test]
async fn a_server_that_stops_tells_everybody_why() {
    let server = Server::start().await;
    let mut clients: Vec<Client> = Vec::new();
    for user in ["alice", "bob"] {
        clients.push(server.client(user).await);
    }
    let stop = tokio::spawn(server.stop());
    for client in &mut clients {
        assert_eq!(client.expect_stream_error().await.condition(), Some("system-shutdown"));
    }
    drop(clients);
    stop.await.expect("the server stops well");
}

#[tokio::test]
async fn a_stream_over_ipv6_works_like_any_other() {
    let listeners = ["c2s", "c2s_tls", "http"]
        .map(|kind| format!("[[listener]]\nkind = '{kind}'\naddress = '::1'\nport = 0\n"))
        .concat();
    let server = Server::builder().config(&listeners).start().await;
    assert!(server.listeners().c2s.is_ipv6());
    server.client("alice").await.close().await;
    server.stop().await;
}

async fn raw_over_tls(server: &Server) -> RawStream {
    let mut stream = RawStream::connect(server.listeners().c2s_tls).await;
    stream.start_tls(server.certificate().client_config(rustls::ALL_VERSIONS), DOMAIN).await;
    stream
}

fn auth(mechanism: &str, initial: &[u8]) -> String {
    let initial = BASE64.encode(initial);
    format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{mechanism}'>{initial}</auth>")
}

fn assert_sasl_failure(outcome: Result<Client, LoginError>, condition: &str) {
    match outcome {
        Err(LoginError::Sasl(found)) => assert_eq!(found, condition),
        other => panic!("expected a SASL failure, got {other:?}"),
    }
}
