//! IQs: exactly one answer to each request, whoever it is for.

use moult_tests::{Element, Plugin, RawStream, Server};

const CPU_TIME: &str = "<query xmlns='ejabberd:cputime'/>";

#[tokio::test]
async fn a_server_without_modules_refuses_every_iq() {
    let server = Server::start().await;
    let mut alice = server.client("alice").await;
    for to in ["localhost", "localhost/x", "alice@localhost", "bob@localhost"] {
        for payload in [CPU_TIME, "<ping xmlns='urn:xmpp:ping'/>", "<q xmlns='urn:unknown'/>"] {
            let answer = alice.get(to, payload).await;
            assert_eq!(answer.error(), Some(("cancel", "service-unavailable")), "{to} {payload}");
            assert_eq!(answer.attr("from"), Some(to));
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_request_has_exactly_one_payload_and_a_known_type() {
    let server = Server::with_modules(&["mod_cputime"]).await;
    let mut alice = server.client("alice").await;
    for payload in ["", "<a xmlns='urn:a'/><b xmlns='urn:b'/>"] {
        let answer = alice.get("localhost", payload).await;
        assert_eq!(answer.error(), Some(("modify", "bad-request")), "{payload}");
    }
    for kind in ["", "type='other'"] {
        let id = alice.fresh_id();
        alice.send(format!("<iq {kind} to='localhost' id='{id}'>{CPU_TIME}</iq>")).await;
        assert_eq!(alice.answer_to(&id).await.error(), Some(("modify", "bad-request")), "{kind}");
    }
    server.stop().await;
}

#[tokio::test]
async fn results_and_errors_are_never_answered() {
    let server = Server::start().await;
    let mut alice = server.client("alice").await;
    for kind in ["result", "error"] {
        alice.send(format!("<iq type='{kind}' to='localhost' id='unasked'/>")).await;
        alice.send(format!("<iq type='{kind}' to='nobody@localhost/x' id='unasked'/>")).await;
    }
    assert_eq!(alice.received().await, []);
    server.stop().await;
}

#[tokio::test]
async fn an_iq_to_a_resource_is_answered_by_that_client() {
    let server = Server::start().await;
    let mut alice = server.client("alice").await;
    let mut bob = server.client("bob").await;
    let to = bob.jid().to_owned();
    alice.send(format!("<iq type='get' to='{to}' id='q'><q xmlns='urn:x'/></iq>")).await;
    let question = bob.expect("the question", |stanza| stanza.name == "iq").await;
    assert_eq!((question.attr("from"), question.attr("type")), (Some(alice.jid()), Some("get")));
    bob.send(format!("<iq type='result' to='{}' id='q'><r xmlns='urn:x'/></iq>", alice.jid())).await;
    let answer = alice.answer_to("q").await;
    assert_eq!(answer.attr("from"), Some(to.as_str()));
    assert!(answer.child_ns("r", "urn:x").is_some());
    server.stop().await;
}

#[tokio::test]
async fn the_cpu_time_has_three_decimals_and_cannot_be_set() {
    let server = Server::with_modules(&["mod_cputime"]).await;
    let mut alice = server.client("alice").await;
    let answer = alice.get("localhost", CPU_TIME).await;
    let time = answer.child("query").and_then(|query| query.child_text("time")).expect("a time");
    let (_, decimals) = time.split_once('.').expect("a decimal point");
    assert!(time.parse::<f64>().is_ok() && decimals.len() == 3, "{time}");
    assert_eq!(alice.set("localhost", CPU_TIME).await.error(), Some(("cancel", "not-allowed")));
    server.stop().await;
}

#[tokio::test]
async fn the_echo_service_returns_messages_and_answers_iqs() {
    let server = Server::with_modules(&["mod_echo"]).await;
    let mut alice = server.client("alice").await;
    alice.message("anything@echo.localhost/else", "hello, wood").await;
    let message = alice.expect_message().await;
    assert_eq!(message.attr("from"), Some("anything@echo.localhost/else"));
    assert_eq!(message.child_text("body"), Some("hello, wood"));
    let answer = alice.get("echo.localhost", "<q xmlns='urn:x'>text</q>").await;
    assert_eq!(answer.attr("type"), Some("result"));
    assert_eq!(answer.child_ns("q", "urn:x").map(|q| q.text.as_str()), Some("text"));
    server.stop().await;
}

#[tokio::test]
async fn a_thousand_requests_of_one_client_get_a_thousand_answers() {
    let server = Server::with_modules(&["mod_cputime", "mod_echo"]).await;
    let mut alice = server.client("alice").await;
    let targets = ["localhost", "echo.localhost"];
    let requests: String = (0..1000)
        .map(|number| format!("<iq type='get' to='{}' id='n{number}'>{CPU_TIME}</iq>", targets[number % 2]))
        .collect();
    alice.send(requests).await;
    let mut answered = std::collections::BTreeSet::new();
    for _ in 0..1000 {
        let answer: Element = alice.next_stanza().await;
        assert_eq!(answer.attr("type"), Some("result"), "{answer}");
        assert!(answered.insert(answer.attr("id").map(str::to_owned)), "{answer} came twice");
    }
    assert_eq!(alice.received().await, []);
    server.stop().await;
}

#[tokio::test]
async fn an_account_is_made_before_the_login_only_where_registration_is_open() {
    let query =
        "<query xmlns='jabber:iq:register'><username>romeo</username><password>a password</password></query>";
    let register = format!("<iq type='set' id='r'>{query}</iq>");
    let announced = "<register xmlns='http://jabber.org/features/iq-register'/>";
    let server = Server::builder().plugin(&Plugin::built("mod_register")).start().await;
    let mut peer = stranger(&server).await;
    assert!(!peer.open("localhost").await.contains(announced));
    peer.send(&register).await;
    assert!(peer.read_until("</iq>").await.contains("not-allowed"));

    server.reconfigure("[modules.mod_register]\nopen = true").await;
    let mut peer = stranger(&server).await;
    assert!(peer.open("localhost").await.contains(announced));
    peer.send(&register).await;
    assert!(peer.read_until("id='r'").await.contains("type='result'"));
    server.login("romeo").password("a password").connect().await.close().await;
    peer.send(&register).await;
    assert!(peer.read_until("</iq>").await.contains("conflict"), "the name is taken");
    server.stop().await;
}

/// A stream over direct TLS that has not been opened.
async fn stranger(server: &Server) -> RawStream {
    let mut stream = RawStream::connect(server.listeners().c2s_tls).await;
    stream.start_tls(server.certificate().client_config(rustls::ALL_VERSIONS), "localhost").await;
    stream
}

/// What a module writes to a client it waits for must not wait for the module.
#[tokio::test]
async fn a_quick_handler_may_ask_its_requester_and_wait() {
    let server = Server::with_modules(&["fixture_misbehaving"]).await;
    let mut alice = server.client("alice").await;
    let call = |what: &str| format!("<do xmlns='urn:moult:fixture:misbehave' what='{what}'/>");
    // After so many short jobs the handler runs near the sockets.
    for _ in 0..2_000 {
        assert_eq!(alice.get("localhost", &call("nothing")).await.attr("type"), Some("result"));
    }
    let id = alice.fresh_id();
    alice.send(format!("<iq type='get' to='localhost' id='{id}'>{}</iq>", call("ask"))).await;
    let question =
        alice.expect("the question", |stanza| stanza.child_ns("ping", "urn:xmpp:ping").is_some()).await;
    let asked = question.attr("id").expect("a request has an id");
    alice.send(format!("<iq type='result' to='localhost' id='{asked}'/>")).await;
    assert_eq!(alice.answer_to(&id).await.attr("type"), Some("result"));
    server.stop().await;
}
