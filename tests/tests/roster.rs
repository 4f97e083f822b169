//! Rosters, subscriptions and presence between accounts (RFC 6121 sections 2 to 4), seen by clients.

use moult_tests::{Client, Element, Plugin, Server};

const ALICE: &str = "alice@localhost";
const BOB: &str = "bob@localhost";
const ROSTER: &str = "<query xmlns='jabber:iq:roster'/>";

async fn server() -> Server {
    Server::builder().plugin(&Plugin::built("mod_roster")).start().await
}

/// Asks for the roster; who has done so is told of changes.
async fn roster(client: &mut Client) -> Vec<Element> {
    let own = client.bare_jid().to_owned();
    let answer = client.get(&own, ROSTER).await;
    assert_eq!(answer.attr("type"), Some("result"), "{answer}");
    answer.child_ns("query", "jabber:iq:roster").map(|query| query.children.clone()).unwrap_or_default()
}

async fn interested(server: &Server, user: &str) -> Client {
    let mut client = server.client(user).await;
    roster(&mut client).await;
    client.available().await;
    client
}

/// Waits for a roster push about a contact and gives its subscription and ask.
async fn push(client: &mut Client, contact: &str) -> (String, bool) {
    let push = client
        .expect("a roster push", |stanza| {
            item_of(stanza).is_some_and(|item| item.attr("jid") == Some(contact))
        })
        .await;
    let item = item_of(&push).expect("it was just found");
    let id = push.attr("id").unwrap_or_default();
    client.send(format!("<iq type='result' id='{id}'/>")).await;
    (item.attr("subscription").unwrap_or_default().to_owned(), item.attr("ask").is_some())
}

fn item_of(stanza: &Element) -> Option<&Element> {
    let is_push = stanza.name == "iq" && stanza.attr("type") == Some("set");
    stanza.child_ns("query", "jabber:iq:roster").filter(|_| is_push)?.child("item")
}

async fn presence(client: &mut Client, from: &str, kind: Option<&str>) -> Element {
    let what = format!("presence {kind:?} from {from}");
    client
        .expect(&what, |stanza| {
            stanza.name == "presence" && stanza.attr("from") == Some(from) && stanza.attr("type") == kind
        })
        .await
}

/// Both see each other afterwards, and have read all that led to it.
async fn befriend(alice: &mut Client, bob: &mut Client) {
    for (asker, asked) in [(ALICE, BOB), (BOB, ALICE)] {
        let (from, to) = if asker == ALICE { (&mut *alice, &mut *bob) } else { (&mut *bob, &mut *alice) };
        from.send(format!("<presence to='{asked}' type='subscribe'/>")).await;
        presence(to, asker, Some("subscribe")).await;
        to.send(format!("<presence to='{asker}' type='subscribed'/>")).await;
        presence(from, asked, Some("subscribed")).await;
        let asked_full = to.jid().to_owned();
        presence(from, &asked_full, None).await;
    }
    alice.received().await;
    bob.received().await;
}

#[tokio::test]
async fn a_roster_is_kept_over_logins_and_restarts_and_pushed_to_all_resources() {
    let mut server = server().await;
    let mut desk = server.login("alice").resource("desk").connect().await;
    let mut phone = server.login("alice").resource("phone").connect().await;
    assert!(roster(&mut desk).await.is_empty() && roster(&mut phone).await.is_empty());
    let item = "<item jid='romeo@far.example' name='Romeo'><group>Friends</group></item>";
    let set = format!("<query xmlns='jabber:iq:roster'>{item}</query>");
    assert_eq!(desk.set(ALICE, &set).await.attr("type"), Some("result"));
    for client in [&mut desk, &mut phone] {
        assert_eq!(push(client, "romeo@far.example").await, ("none".to_owned(), false));
    }
    let refused = desk.set(BOB, &set).await;
    assert_eq!(refused.error(), Some(("auth", "forbidden")));
    server.kill().await;
    let server = server.restart().await;
    let mut later = server.client("alice").await;
    let items = roster(&mut later).await;
    assert_eq!(items.len(), 1);
    assert_eq!((items[0].attr("name"), items[0].child_text("group")), (Some("Romeo"), Some("Friends")));
    server.stop().await;
}

#[tokio::test]
async fn who_knows_the_version_of_the_roster_gets_nothing() {
    let server = server().await;
    let mut alice = server.client("alice").await;
    let versioned = |version: &str| format!("<query xmlns='jabber:iq:roster' ver='{version}'/>");
    let first = alice.get(ALICE, &versioned("")).await;
    let version = first.child("query").and_then(|query| query.attr("ver")).expect("a version").to_owned();
    assert!(alice.get(ALICE, &versioned(&version)).await.children.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn two_people_subscribe_to_each_other_and_part_again() {
    let server = server().await;
    let mut alice = interested(&server, "alice").await;
    let mut bob = interested(&server, "bob").await;
    let (alice_jid, bob_jid) = (alice.jid().to_owned(), bob.jid().to_owned());

    alice.send(format!("<presence to='{BOB}' type='subscribe'/>")).await;
    assert_eq!(push(&mut alice, BOB).await, ("none".to_owned(), true));
    presence(&mut bob, ALICE, Some("subscribe")).await;
    bob.send(format!("<presence to='{ALICE}' type='subscribed'/>")).await;
    presence(&mut alice, BOB, Some("subscribed")).await;
    assert_eq!(push(&mut alice, BOB).await, ("to".to_owned(), false));
    assert_eq!(push(&mut bob, ALICE).await, ("from".to_owned(), false));
    presence(&mut alice, &bob_jid, None).await;
    bob.send(format!("<presence to='{ALICE}' type='subscribe'/>")).await;
    presence(&mut alice, BOB, Some("subscribe")).await;
    alice.send(format!("<presence to='{BOB}' type='subscribed'/>")).await;
    presence(&mut bob, &alice_jid, None).await;
    assert_eq!(push(&mut alice, BOB).await, ("both".to_owned(), false));

    let remove = format!("<query xmlns='jabber:iq:roster'><item jid='{BOB}' subscription='remove'/></query>");
    alice.set(ALICE, &remove).await;
    assert_eq!(push(&mut alice, BOB).await, ("remove".to_owned(), false));
    presence(&mut bob, &alice_jid, Some("unavailable")).await;
    presence(&mut bob, ALICE, Some("unsubscribe")).await;
    presence(&mut bob, ALICE, Some("unsubscribed")).await;
    presence(&mut alice, &bob_jid, Some("unavailable")).await;
    let left = roster(&mut bob).await;
    assert_eq!(left[0].attr("subscription"), Some("none"));
    server.stop().await;
}

#[tokio::test]
async fn presence_goes_to_contacts_and_their_probes_are_answered() {
    let server = server().await;
    let mut alice = interested(&server, "alice").await;
    let mut bob = interested(&server, "bob").await;
    let mut carol = interested(&server, "carol").await;
    befriend(&mut alice, &mut bob).await;
    let alice_jid = alice.jid().to_owned();
    alice.send("<presence><show>dnd</show><status>busy</status></presence>").await;
    let told = presence(&mut bob, &alice_jid, None).await;
    assert_eq!((told.attr("to"), told.child_text("show")), (Some(BOB), Some("dnd")));
    assert!(carol.received().await.iter().all(|stanza| stanza.name != "presence"), "carol is a stranger");

    let mut later = server.login("bob").resource("later").connect().await;
    later.available().await;
    let shown = presence(&mut later, &alice_jid, None).await;
    assert_eq!(shown.child_text("status"), Some("busy"), "a new resource is told what holds");

    alice.close().await;
    presence(&mut bob, &alice_jid, Some("unavailable")).await;
    carol.send(format!("<presence to='{BOB}' type='probe'/>")).await;
    assert!(carol.received().await.iter().all(|stanza| stanza.name != "presence"), "not even by asking");
    server.stop().await;
}

#[tokio::test]
async fn a_broken_stream_is_told_to_contacts() {
    let server = server().await;
    let mut alice = interested(&server, "alice").await;
    let mut bob = interested(&server, "bob").await;
    befriend(&mut alice, &mut bob).await;
    let alice_jid = alice.jid().to_owned();
    drop(alice);
    presence(&mut bob, &alice_jid, Some("unavailable")).await;
    server.stop().await;
}

#[tokio::test]
async fn a_request_waits_for_the_next_login() {
    let mut server = server().await;
    let mut alice = interested(&server, "alice").await;
    alice.send(format!("<presence to='{BOB}' type='subscribe'><status>It's me</status></presence>")).await;
    push(&mut alice, BOB).await;
    asks_bob(&server).await;
    server.kill().await;
    let server = server.restart().await;
    asks_bob(&server).await;
    let mut alice = interested(&server, "alice").await;
    let mut bob = interested(&server, "bob").await;
    bob.send(format!("<presence to='{ALICE}' type='unsubscribed'/>")).await;
    presence(&mut alice, BOB, Some("unsubscribed")).await;
    assert_eq!(push(&mut alice, BOB).await, ("none".to_owned(), false));
    server.stop().await;
}

/// Bob logs in and is shown what Alice has asked.
async fn asks_bob(server: &Server) {
    let mut bob = server.client("bob").await;
    assert!(roster(&mut bob).await.is_empty(), "nobody is in a roster unasked");
    bob.available().await;
    let request = presence(&mut bob, ALICE, Some("subscribe")).await;
    assert_eq!(request.child_text("status"), Some("It's me"));
    bob.close().await;
}

#[tokio::test]
async fn a_swap_of_the_module_changes_nothing_for_contacts() {
    let server = server().await;
    let mut alice = interested(&server, "alice").await;
    let mut bob = interested(&server, "bob").await;
    befriend(&mut alice, &mut bob).await;
    let alice_jid = alice.jid().to_owned();
    for number in 1..=5 {
        server.plugins().install(&Plugin::built("mod_roster").variant(number));
        let report = server.ctl_json(&["update", "all"]).await;
        assert_eq!(report["updated"][0], "mod_roster", "{report}");
        alice.send(format!("<presence><status>{number}</status></presence>")).await;
        let told = presence(&mut bob, &alice_jid, None).await;
        assert_eq!(told.child_text("status"), Some(number.to_string().as_str()));
    }
    let item = "<item jid='after@far.example'/>";
    alice.set(ALICE, &format!("<query xmlns='jabber:iq:roster'>{item}</query>")).await;
    push(&mut alice, "after@far.example").await;
    server.stop().await;
}

#[tokio::test]
async fn an_account_that_is_removed_leaves_its_contacts() {
    let server = server().await;
    let mut alice = interested(&server, "alice").await;
    let mut bob = interested(&server, "bob").await;
    befriend(&mut alice, &mut bob).await;
    let alice_jid = alice.jid().to_owned();
    server.ctl(&["unregister", "alice", "localhost"]).await;
    presence(&mut bob, &alice_jid, Some("unavailable")).await;
    presence(&mut bob, ALICE, Some("unsubscribe")).await;
    presence(&mut bob, ALICE, Some("unsubscribed")).await;
    server.ctl(&["register", "alice", "localhost", "another secret"]).await;
    let roster = server.ctl_json(&["get_roster", "alice", "localhost"]).await;
    assert_eq!(roster, serde_json::json!([]));
    server.stop().await;
}

#[tokio::test]
async fn an_administrator_makes_two_people_contacts() {
    let server = server().await;
    let mut alice = interested(&server, "alice").await;
    let bob = interested(&server, "bob").await;
    let bob_jid = bob.jid().to_owned();
    server.ctl(&["add_rosteritem", "bob", "localhost", "alice", "localhost", "Alice", "a;b", "both"]).await;
    presence(&mut alice, &bob_jid, None).await;
    let roster = server.ctl_json(&["get_roster", "bob", "localhost"]).await;
    assert_eq!((&roster[0]["jid"], &roster[0]["groups"][1]), (&ALICE.into(), &"b".into()));
    server.ctl(&["delete_rosteritem", "bob", "localhost", "alice", "localhost"]).await;
    presence(&mut alice, &bob_jid, Some("unavailable")).await;
    server.stop().await;
}
