//! Messages for users who are not there (XEP-0160), seen by clients.

use moult_tests::{Client, Element, Plugin, Server, eventually};

const BOB: &str = "bob@localhost";

async fn server() -> Server {
    Server::builder().plugin(&Plugin::built("mod_offline")).start().await
}

async fn kept(server: &Server) -> u64 {
    server.ctl_json(&["get_offline_count", "bob", "localhost"]).await.as_u64().expect("a number")
}

/// What has come by now.
async fn bodies(client: &mut Client) -> Vec<String> {
    bodies_in(&client.received().await)
}

fn bodies_in(received: &[Element]) -> Vec<String> {
    let body = |stanza: &Element| stanza.child_text("body").map(str::to_owned);
    received.iter().filter(|stanza| stanza.name == "message").filter_map(body).collect()
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("message {number}")).collect()
}

#[tokio::test]
async fn messages_wait_over_a_restart_and_come_once_in_order_with_their_time() {
    let mut server = server().await;
    let mut alice = server.client("alice").await;
    let bodies_sent = numbered(120);
    for body in &bodies_sent {
        alice.message(BOB, body).await;
    }
    assert!(bodies(&mut alice).await.is_empty(), "nothing came back");
    assert_eq!(kept(&server).await, 120);
    server.kill().await;
    let server = server.restart().await;
    let mut bob = server.client("bob").await;
    assert!(bodies(&mut bob).await.is_empty(), "not before presence");
    bob.available().await;
    let first = bob.expect_message().await;
    let delay = first.child_ns("delay", "urn:xmpp:delay").expect("the time it came");
    assert_eq!((delay.attr("from"), first.attr("from")), (Some("localhost"), Some(alice.jid())));
    let rest = bodies(&mut bob).await;
    assert_eq!(first.child_text("body"), Some("message 0"));
    assert_eq!(rest, bodies_sent[1..]);
    assert_eq!(kept(&server).await, 0);
    bob.close().await;
    let mut again = server.client("bob").await;
    again.available().await;
    assert!(bodies(&mut again).await.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_resource_that_takes_no_messages_leaves_them_for_one_that_does() {
    let server = server().await;
    let mut alice = server.client("alice").await;
    alice.message(BOB, "for later").await;
    alice.received().await;
    let mut bob = server.client("bob").await;
    bob.available_with_priority(-1).await;
    assert!(bodies(&mut bob).await.is_empty());
    bob.available_with_priority(0).await;
    assert_eq!(bob.expect_message().await.child_text("body"), Some("for later"));
    bob.available_with_priority(5).await;
    assert!(bodies(&mut bob).await.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_for_later_is_given_back_or_swallowed() {
    let server = Server::builder()
        .plugin(&Plugin::built("mod_offline"))
        .config("[modules.mod_offline]\nmax_messages = 1")
        .start()
        .await;
    let mut alice = server.client("alice").await;
    let error = Some(("cancel", "service-unavailable"));
    let cases = [
        ("bob", "chat", "<composing xmlns='http://jabber.org/protocol/chatstates'/>", None),
        ("bob", "chat", "<body>x</body><no-store xmlns='urn:xmpp:hints'/>", error),
        ("bob", "groupchat", "<body>x</body>", error),
        ("bob", "headline", "<body>x</body>", None),
        ("bob", "normal", "<body>kept</body>", None),
        ("bob", "chat", "<body>one too many</body>", error),
        ("nobody", "chat", "<body>x</body>", error),
    ];
    for (number, (to, kind, content, expected)) in cases.iter().enumerate() {
        let id = format!("case{number}");
        alice.send(format!("<message to='{to}@localhost' type='{kind}' id='{id}'>{content}</message>")).await;
        let received = alice.received().await;
        let answer = received.iter().find(|stanza| stanza.attr("id") == Some(&id));
        assert_eq!(answer.and_then(Element::error), *expected, "{kind} {content}");
    }
    assert_eq!(kept(&server).await, 1);
    server.stop().await;
}

/// Between the end of a session and the store nothing gets lost: what a connection never took is kept.
#[tokio::test]
async fn messages_sent_while_a_session_breaks_are_kept() {
    let server = server().await;
    let mut alice = server.client("alice").await;
    let mut bob = server.client("bob").await;
    bob.available().await;
    for number in 0..20 {
        alice.message(BOB, &format!("before {number}")).await;
    }
    alice.received().await;
    let mut seen = bodies(&mut bob).await;
    bob.close().await;
    for number in 0..20 {
        alice.message(BOB, &format!("after {number}")).await;
    }
    assert!(bodies(&mut alice).await.is_empty(), "nothing came back");
    let mut bob = server.client("bob").await;
    bob.available().await;
    seen.extend(bodies(&mut bob).await);
    let expected: Vec<String> =
        ["before", "after"].iter().flat_map(|when| (0..20).map(move |n| format!("{when} {n}"))).collect();
    assert_eq!(seen, expected);
    server.stop().await;
}

#[tokio::test]
async fn updates_in_the_middle_lose_and_double_nothing() {
    let server = server().await;
    let mut alice = server.client("alice").await;
    let sent = numbered(100);
    for (number, body) in sent.iter().enumerate() {
        alice.message(BOB, body).await;
        if number % 20 == 10 {
            server.plugins().install(&Plugin::built("mod_offline").variant(number as u64));
            server.ctl(&["update", "all"]).await;
        }
    }
    assert!(bodies(&mut alice).await.is_empty());
    let mut bob = server.client("bob").await;
    bob.available().await;
    assert_eq!(bodies(&mut bob).await, sent);
    server.stop().await;
}

#[tokio::test]
async fn an_account_takes_its_messages_with_it() {
    let server = server().await;
    let mut alice = server.client("alice").await;
    alice.message(BOB, "never read").await;
    alice.received().await;
    server.ctl(&["unregister", "bob", "localhost"]).await;
    server.ctl(&["register", "bob", "localhost", "another secret"]).await;
    eventually("the messages are gone", async || kept(&server).await == 0).await;
    assert_eq!(server.ctl_json(&["delete_old_messages", "0"]).await, serde_json::json!(0));
    server.stop().await;
}

/// Modules wait for each other here: who delivers kept messages waits for the hooks of who copies and blocks them.
#[tokio::test]
async fn everything_is_updated_while_people_come_and_go() {
    let modules = ["mod_offline", "mod_roster", "mod_carbons", "mod_blocking"];
    let mut builder = Server::builder();
    for module in modules {
        builder = builder.plugin(&Plugin::built(module));
    }
    let server = builder.start().await;
    let mut alice = server.client("alice").await;
    let updates = async {
        for number in 1..=6 {
            for module in modules {
                server.plugins().install(&Plugin::built(module).variant(number));
            }
            let report = server.ctl_json(&["update", "all"]).await;
            assert_eq!(report["updated"].as_array().map(Vec::len), Some(modules.len()), "{report}");
        }
    };
    let mut seen = Vec::new();
    let mut sent = Vec::new();
    let traffic = async {
        for number in 0..30 {
            let body = format!("message {number}");
            alice.message(BOB, &body).await;
            sent.push(body);
            if number % 3 == 2 {
                let mut bob = server.client("bob").await;
                bob.get(BOB, "<query xmlns='jabber:iq:roster'/>").await;
                bob.set(BOB, "<block xmlns='urn:xmpp:blocking'><item jid='eve@localhost'/></block>").await;
                bob.set(BOB, "<enable xmlns='urn:xmpp:carbons:2'/>").await;
                bob.available().await;
                let back = alice.received().await;
                assert!(back.is_empty(), "something came back: {back:?}");
                seen.extend(bodies_in(&bob.close_and_read().await));
            }
        }
    };
    tokio::join!(updates, traffic);
    let mut bob = server.client("bob").await;
    bob.available().await;
    seen.extend(bodies(&mut bob).await);
    // What a session that was ending did not take is sent on its way again, and may then be overtaken.
    seen.sort_by_key(|body| body.trim_start_matches("message ").parse::<u32>().unwrap_or(u32::MAX));
    assert_eq!(seen, sent);
    server.stop().await;
}

/// The server keeps so much for a connection that does not read; the rest stays kept until there is room.
#[tokio::test]
async fn more_messages_than_a_mailbox_holds_come_as_well() {
    let server = Server::builder()
        .plugin(&Plugin::built("mod_offline"))
        .config("[limits]\nmailbox_items = 8")
        .start()
        .await;
    let mut alice = server.client("alice").await;
    let sent = numbered(100);
    for body in &sent {
        alice.message(BOB, body).await;
    }
    assert!(bodies(&mut alice).await.is_empty());
    let mut bob = server.client("bob").await;
    bob.available().await;
    for body in &sent {
        assert_eq!(bob.expect_message().await.child_text("body"), Some(body.as_str()));
    }
    eventually("nothing is kept any more", async || kept(&server).await == 0).await;
    assert!(bodies(&mut bob).await.is_empty());
    server.stop().await;
}
