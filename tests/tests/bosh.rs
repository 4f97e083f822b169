//! XMPP in requests and answers of HTTP (XEP-0124, XEP-0206), beside clients over TCP.

use moult_tests::server::PASSWORD;
use moult_tests::{BoshClient, Plugin, Server, eventually};
use rustix::process::Signal;

const BIND: &str = "http://jabber.org/protocol/httpbind";
const MESSAGE: &str = "xmlns='jabber:client' type='chat'";

async fn browser(server: &Server, user: &str) -> BoshClient {
    BoshClient::logged_in(server.listeners().http, user, PASSWORD, "web").await
}

fn terminal(condition: &str) -> String {
    format!("<body xmlns='{BIND}' type='terminate' condition='{condition}'/>")
}

#[tokio::test]
async fn a_browser_and_a_desktop_client_talk() {
    let server = Server::start().await;
    let mut alice = browser(&server, "alice").await;
    let mut bob = server.client("bob").await;
    alice.say(&format!("<message {MESSAGE} to='{}'><body>from the browser</body></message>", bob.jid()));
    let message = bob.expect_message().await;
    assert_eq!(message.attr("from"), Some("alice@localhost/web"), "{message}");
    bob.message("alice@localhost/web", "to the browser").await;
    let heard = alice.hear_of("to the browser").await;
    assert!(heard.contains("<message xmlns='jabber:client' "), "{heard}");
    let sessions = server.ctl_json(&["user_sessions_info", "alice", "localhost"]).await;
    assert_eq!(sessions[0]["connection"], "bosh", "{sessions}");
    alice.close().await;
    eventually("the session is gone", async || server.ctl_json(&["connected_users_number"]).await == 1).await;
    bob.close().await;
    server.stop().await;
}

#[tokio::test]
async fn a_session_goes_on_while_modules_are_swapped() {
    let server = Server::with_modules(&["mod_echo", "mod_ping"]).await;
    let mut alice = browser(&server, "alice").await;
    for round in 0..5 {
        alice.listen();
        server.ctl(&["restart_module", "localhost", "mod_ping"]).await;
        server.ctl(&["restart_module", "localhost", "mod_echo"]).await;
        let ping = format!("<iq xmlns='jabber:client' type='get' id='p{round}' to='localhost'>");
        alice.say(&format!("{ping}<ping xmlns='urn:xmpp:ping'/></iq>"));
        let heard = alice.hear_of(&format!("id='p{round}'")).await;
        assert!(heard.contains("type='result'"), "{heard}");
        alice.say(&format!("<message {MESSAGE} to='echo.localhost'><body>round {round}</body></message>"));
        alice.hear_of(&format!("round {round}")).await;
    }
    assert_eq!(server.ctl_json(&["connected_users_number"]).await, 1);
    alice.close().await;
    server.stop().await;
}

#[tokio::test]
async fn requests_that_overtake_each_other_are_put_in_order() {
    let server = Server::start().await;
    let mut alice = browser(&server, "alice").await;
    let mut bob = server.client("bob").await;
    let to = format!("{MESSAGE} to='{}'", bob.jid());
    for round in 0..10 {
        let first = alice.next("", &format!("<message {to}><body>{round} first</body></message>"));
        let second = alice.next("", &format!("<message {to}><body>{round} second</body></message>"));
        let later = alice.post(&second);
        alice.ask(&first).await;
        for which in ["first", "second"] {
            let message = bob.expect_message().await;
            assert_eq!(message.child_text("body"), Some(&*format!("{round} {which}")), "{message}");
        }
        bob.message("alice@localhost/web", "seen").await;
        assert!(later.await.unwrap().body.contains("seen"));
    }
    alice.close().await;
    bob.close().await;
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_broke_is_sent_again_and_nothing_is_lost_or_doubled() {
    let server = Server::start().await;
    let mut alice = browser(&server, "alice").await;
    let mut bob = server.client("bob").await;
    let text = alice.next("", &format!("<message {MESSAGE} to='{}'><body>once</body></message>", bob.jid()));
    let broken = alice.post(&text);
    bob.expect_message().await;
    broken.abort();
    let _ = broken.await;
    bob.message("alice@localhost/web", "while nobody listened").await;
    // Whether the server has noticed the break or not, what it had to say is said to the request that comes again.
    let answer = alice.ask(&text).await;
    assert!(answer.body.contains("while nobody listened"), "{answer:?}");
    assert_eq!(alice.ask(&text).await.body, answer.body, "the answer is kept");
    alice.say(&format!("<message {MESSAGE} to='{}'><body>twice</body></message>", bob.jid()));
    assert_eq!(bob.expect_message().await.child_text("body"), Some("twice"));
    alice.close().await;
    bob.close().await;
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_stays_away_is_given_up_and_what_it_did_not_fetch_is_kept() {
    let offline = Plugin::built("mod_offline");
    let server = Server::builder().plugin(&offline).config("[http]\nbosh_inactivity = '2s'").start().await;
    let mut alice = browser(&server, "alice").await;
    alice.say("<presence xmlns='jabber:client'/>");
    alice.hear_of("<presence").await;
    let late = alice.next("", "");
    let mut bob = server.client("bob").await;
    bob.message("alice@localhost/web", "not fetched").await;
    eventually("the session is given up", async || server.ctl_json(&["connected_users_number"]).await == 1)
        .await;
    assert_eq!(alice.ask(&late).await.body, terminal("item-not-found"));
    let mut alice = server.client("alice").await;
    alice.available().await;
    assert_eq!(alice.expect_message().await.child_text("body"), Some("not fetched"));
    server.stop().await;
}

#[tokio::test]
async fn who_breaks_the_rules_loses_the_session_and_is_told_why() {
    let server = Server::start().await;
    let sessions = async || server.ctl_json(&["connected_users_number"]).await;
    // Beyond the window; what the session held is told that it was not its own fault.
    let mut bob = server.client("bob").await;
    let mut alice = browser(&server, "alice").await;
    alice.say(&format!("<message {MESSAGE} to='{}'><body>taken</body></message>", bob.jid()));
    bob.expect_message().await;
    bob.close().await;
    let beyond = (0..9).map(|_| alice.next("", "")).last().unwrap();
    assert_eq!(alice.ask(&beyond).await.body, terminal("item-not-found"));
    assert_eq!(alice.hear().await.body, terminal("other-request"));
    eventually("the session is gone", async || sessions().await == 0).await;
    // Nothing asked for again and again, while there is a request to be answered.
    let mut alice = browser(&server, "alice").await;
    alice.say("<presence xmlns='jabber:client'/>");
    alice.hear_of("<presence").await;
    let held = alice.next("", "");
    let mut held = alice.post(&held);
    let mut requests = 1;
    loop {
        let next = alice.next("", "");
        let next = alice.post(&next);
        let answer = std::mem::replace(&mut held, next).await.unwrap();
        requests += 1;
        if answer.body.contains("terminate") {
            assert_eq!(answer.body, terminal("other-request"));
            break;
        }
        assert!(requests < 100, "nobody minds");
    }
    assert!(requests > 4, "some haste is forgiven");
    assert_eq!(held.await.unwrap().body, terminal("policy-violation"));
    // What the stream does not allow.
    let mut alice = browser(&server, "alice").await;
    alice.say("<stream:stream xmlns:stream='http://etherx.jabber.org/streams'/>");
    let end = alice.hear().await.body;
    assert!(end.contains("condition='remote-stream-error'") && end.contains("<stream:error"), "{end}");
    eventually("the sessions are gone", async || sessions().await == 0).await;
    server.stop().await;
}

#[tokio::test]
async fn stanzas_are_limited_as_on_every_stream_and_requests_may_hold_many() {
    let server = Server::builder().config("[limits]\nstanza_size = '11KiB'").start().await;
    let mut bob = server.client("bob").await;
    let mut alice = browser(&server, "alice").await;
    let message =
        |size| format!("<message {MESSAGE} to='{}'><body>{}</body></message>", bob.jid(), "x".repeat(size));
    alice.say(&message(10_000).repeat(20));
    let too_long = message(12_000);
    for _ in 0..20 {
        bob.expect_message().await;
    }
    alice.say(&too_long);
    let end = loop {
        let answer = alice.hear().await.body;
        if answer.contains("terminate") {
            break answer;
        }
    };
    assert!(end.contains("condition='remote-stream-error'") && end.contains("<policy-violation "), "{end}");
    bob.close().await;
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_request_of_bosh_is_refused() {
    let server = Server::start().await;
    let http = server.listeners().http;
    let client = BoshClient::new(http, "");
    for (body, condition) in [
        ("".to_owned(), "bad-request"),
        ("<body/>".to_owned(), "bad-request"),
        (format!("<body xmlns='{BIND}' to='localhost'/>"), "bad-request"),
        (format!("<body xmlns='{BIND}' rid='1' to='localhost'><!-- x --></body>"), "bad-request"),
        (format!("<body xmlns='{BIND}' rid='1' to='elsewhere.example' ver='1.6'/>"), "host-unknown"),
        (format!("<body xmlns='{BIND}' rid='1' ver='1.6'/>"), "improper-addressing"),
        (format!("<body xmlns='{BIND}' rid='1' sid='nobody'/>"), "item-not-found"),
    ] {
        let answer = client.ask(&body).await;
        assert_eq!((answer.status, answer.body), (200, terminal(condition)), "{body}");
    }
    let answer = client.ask(&"x".repeat(1_100_000)).await;
    assert_eq!((answer.status, &*answer.headers["access-control-allow-origin"]), (413, "*"));
    assert_eq!(server.http_get("/bosh").await.status, 405);
    // A client of before 2006 reads statuses.
    let mut old = BoshClient::new(http, "");
    old.open("localhost", "wait='20' hold='1'").await;
    let beyond = (0..9).map(|_| old.next("", "")).last().unwrap();
    assert_eq!(old.ask(&beyond).await.status, 404);
    // A proxy says that the client came without encryption, which this server requires.
    let plain = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n";
    let refused = BoshClient::new(http, plain).open("localhost", "ver='1.11'").await;
    assert!(refused.body.contains("<policy-violation "), "{refused:?}");
    server.stop().await;
}

#[tokio::test]
async fn pages_of_other_sites_may_speak_it_and_the_answers_are_safe_to_show() {
    let server = Server::start().await;
    let preflight = server.http("OPTIONS", "/bosh", None, "").await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.headers["access-control-allow-origin"], "*");
    assert!(preflight.headers["access-control-allow-methods"].contains("POST"));
    assert_eq!(preflight.headers["access-control-allow-headers"], "Content-Type");
    let mut client = BoshClient::new(server.listeners().http, "");
    let answer = client.open("localhost", "ver='1.11' content='text/html; charset=utf-8'").await;
    assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    assert!(answer.headers["content-security-policy"].contains("sandbox"));
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    assert!(
        answer.body.contains("xmpp:restartlogic='true'") && answer.body.contains(" requests='2'"),
        "{answer:?}"
    );
    let answer = BoshClient::new(server.listeners().http, "").open("localhost", "ver='1.11'").await;
    assert_eq!(answer.headers["content-type"], "text/xml; charset=utf-8");
    server.stop().await;
}

#[tokio::test]
async fn sessions_count_as_connections_and_hear_of_the_end_of_the_server() {
    let server = Server::builder().config("[limits]\nconnections_per_address = 2").start().await;
    let mut alice = browser(&server, "alice").await;
    let mut second = BoshClient::new(server.listeners().http, "");
    second.open("localhost", "ver='1.11'").await;
    let refused = BoshClient::new(server.listeners().http, "").open("localhost", "ver='1.11'").await;
    assert_eq!(refused.body, terminal("undefined-condition"));
    alice.listen();
    server.signal(Signal::TERM);
    let end = alice.hear().await.body;
    assert!(end.contains("<system-shutdown ") && end.contains("condition='remote-stream-error'"), "{end}");
    server.stop().await;
}
