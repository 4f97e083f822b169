//! Shared roster groups, seen by the clients of their members, while mod_roster and mod_shared_roster are swapped, unloaded
//! and loaded.

use moult_tests::{Client, Element, Plugin, Server};

const ROSTER: &str = "jabber:iq:roster";

async fn server() -> Server {
    Server::builder()
        .plugin(&Plugin::built("mod_roster"))
        .plugin(&Plugin::built("mod_shared_roster"))
        .accounts(&["alice", "bob", "carol"])
        .start()
        .await
}

async fn roster(client: &mut Client) -> Vec<(String, String)> {
    let own = client.bare_jid().to_owned();
    let answer = client.get(&own, "<query xmlns='jabber:iq:roster'/>").await;
    let query = answer.child_ns("query", ROSTER).unwrap_or_else(|| panic!("no roster: {answer}"));
    let attribute = |item: &Element, name: &str| item.attr(name).unwrap_or_default().to_owned();
    query.children.iter().map(|item| (attribute(item, "jid"), attribute(item, "subscription"))).collect()
}

async fn interested(server: &Server, user: &str) -> Client {
    let mut client = server.client(user).await;
    roster(&mut client).await;
    client.available().await;
    client
}

/// The subscription in the next push about a contact.
async fn pushed(client: &mut Client, contact: &str) -> String {
    let what = format!("a push about {contact}");
    let push = client
        .expect(&what, |stanza| item(stanza).is_some_and(|item| item.attr("jid") == Some(contact)))
        .await;
    item(&push).and_then(|item| item.attr("subscription")).unwrap_or_default().to_owned()
}

fn item(stanza: &Element) -> Option<&Element> {
    let is_push = stanza.name == "iq" && stanza.attr("type") == Some("set");
    stanza.child_ns("query", ROSTER).filter(|_| is_push)?.child("item")
}

async fn presence(client: &mut Client, from: &str, kind: Option<&str>) {
    let what = format!("presence {kind:?} from {from}");
    let fits = |stanza: &Element| {
        stanza.name == "presence" && stanza.attr("from") == Some(from) && stanza.attr("type") == kind
    };
    client.expect(&what, fits).await;
}

async fn user(server: &Server, command: &str, user: &str) {
    server.ctl(&[command, user, "localhost", "team", "localhost"]).await;
}

async fn team(server: &Server) {
    server.ctl(&["srg_create", "team", "localhost", "The team", "Us", "team"]).await;
}

#[tokio::test]
async fn members_see_each_other_without_a_new_login() {
    let server = server().await;
    let (mut alice, mut bob) = (interested(&server, "alice").await, interested(&server, "bob").await);
    let (alice_jid, bob_jid) = (alice.jid().to_owned(), bob.jid().to_owned());
    team(&server).await;
    user(&server, "srg_user_add", "alice").await;
    user(&server, "srg_user_add", "bob").await;
    assert_eq!(pushed(&mut alice, "bob@localhost").await, "both");
    presence(&mut alice, &bob_jid, None).await;
    assert_eq!(pushed(&mut bob, "alice@localhost").await, "both");
    presence(&mut bob, &alice_jid, None).await;
    // It is nobody's own contact: no store has it, and no client takes it out.
    let shown = server.ctl_json(&["get_roster", "alice", "localhost"]).await;
    assert_eq!((&shown[0]["jid"], &shown[0]["groups"][0]), (&"bob@localhost".into(), &"The team".into()));
    let own = server.ctl_json(&["process_rosteritems", "list", "any", "any", "any", "any"]).await;
    assert_eq!(own, serde_json::json!([]));
    let remove = "<query xmlns='jabber:iq:roster'><item jid='bob@localhost' subscription='remove'/></query>";
    let refused = alice.set("alice@localhost", remove).await;
    assert_eq!(refused.error(), Some(("cancel", "not-allowed")));
    // Who comes later sees and is seen, who goes is seen to go.
    user(&server, "srg_user_add", "carol").await;
    let carol = interested(&server, "carol").await;
    let carol_jid = carol.jid().to_owned();
    presence(&mut alice, &carol_jid, None).await;
    carol.close().await;
    presence(&mut alice, &carol_jid, Some("unavailable")).await;
    user(&server, "srg_user_del", "bob").await;
    assert_eq!(pushed(&mut alice, "bob@localhost").await, "remove");
    presence(&mut alice, &bob_jid, Some("unavailable")).await;
    assert_eq!(pushed(&mut bob, "alice@localhost").await, "remove");
    assert_eq!(roster(&mut alice).await, [("carol@localhost".to_owned(), "both".to_owned())]);
    server.stop().await;
}

#[tokio::test]
async fn swaps_of_either_module_are_not_felt() {
    let server = server().await;
    let (mut alice, mut bob) = (interested(&server, "alice").await, interested(&server, "bob").await);
    let bob_jid = bob.jid().to_owned();
    team(&server).await;
    user(&server, "srg_user_add", "alice").await;
    for number in 1..=4 {
        for module in ["mod_roster", "mod_shared_roster"] {
            server.plugins().install(&Plugin::built(module).variant(number));
        }
        let report = server.ctl_json(&["update", "all"]).await;
        assert_eq!(report["updated"].as_array().map(Vec::len), Some(2), "{report}");
        user(&server, "srg_user_add", "bob").await;
        assert_eq!(pushed(&mut alice, "bob@localhost").await, "both");
        presence(&mut alice, &bob_jid, None).await;
        bob.send(format!("<presence><status>{number}</status></presence>")).await;
        let text = number.to_string();
        let fits = |stanza: &Element| stanza.child_text("status") == Some(text.as_str());
        alice.expect("presence after the update", fits).await;
        user(&server, "srg_user_del", "bob").await;
        assert_eq!(pushed(&mut alice, "bob@localhost").await, "remove");
        presence(&mut alice, &bob_jid, Some("unavailable")).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn groups_go_with_the_module_and_come_with_it() {
    let server = server().await;
    let (mut alice, bob) = (interested(&server, "alice").await, interested(&server, "bob").await);
    let bob_jid = bob.jid().to_owned();
    team(&server).await;
    user(&server, "srg_user_add", "alice").await;
    user(&server, "srg_user_add", "bob").await;
    presence(&mut alice, &bob_jid, None).await;
    alice.received().await;
    server.ctl(&["module_unload", "mod_shared_roster"]).await;
    assert_eq!(pushed(&mut alice, "bob@localhost").await, "remove");
    presence(&mut alice, &bob_jid, Some("unavailable")).await;
    assert!(roster(&mut alice).await.is_empty());
    server.ctl(&["update", "mod_shared_roster"]).await;
    assert_eq!(pushed(&mut alice, "bob@localhost").await, "both");
    presence(&mut alice, &bob_jid, None).await;
    server.stop().await;
}

#[tokio::test]
async fn everybody_and_everybody_online_can_be_members() {
    let server = server().await;
    let mut alice = interested(&server, "alice").await;
    server.ctl(&["srg_create", "all", "localhost", "All", "", "all"]).await;
    server.ctl(&["srg_user_add", "@all@", "localhost", "all", "localhost"]).await;
    for contact in ["bob@localhost", "carol@localhost"] {
        assert_eq!(pushed(&mut alice, contact).await, "both");
    }
    server.ctl(&["register", "dave", "localhost", "a secret"]).await;
    assert_eq!(pushed(&mut alice, "dave@localhost").await, "both");
    server.ctl(&["unregister", "dave", "localhost"]).await;
    assert_eq!(pushed(&mut alice, "dave@localhost").await, "remove");
    server.ctl(&["srg_delete", "all", "localhost"]).await;
    assert_eq!(pushed(&mut alice, "carol@localhost").await, "remove");
    alice.received().await;
    server.ctl(&["srg_create", "here", "localhost", "Here", "", "here"]).await;
    server.ctl(&["srg_user_add", "@online@", "localhost", "here", "localhost"]).await;
    let mut bob = interested(&server, "bob").await;
    let (alice_jid, bob_jid) = (alice.jid().to_owned(), bob.jid().to_owned());
    assert_eq!(pushed(&mut alice, "bob@localhost").await, "both");
    presence(&mut alice, &bob_jid, None).await;
    presence(&mut bob, &alice_jid, None).await;
    assert_eq!(roster(&mut bob).await, [("alice@localhost".to_owned(), "both".to_owned())]);
    server.plugins().install(&Plugin::built("mod_shared_roster").variant(1));
    server.ctl(&["update", "mod_shared_roster"]).await;
    bob.close().await;
    assert_eq!(pushed(&mut alice, "bob@localhost").await, "remove");
    assert!(roster(&mut alice).await.is_empty());
    let wrong = server.try_ctl(&["srg_user_add", "mallory", "localhost", "here", "localhost"]).await;
    assert!(wrong.code != 0 && wrong.stderr.contains("mallory"), "{}", wrong.stderr);
    server.stop().await;
}
