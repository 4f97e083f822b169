//! Clients with an older version of the roster get the difference (RFC 6121 section 2.6, XEP-0237), also over updates; and
//! the commands that change many rosters.

use moult_tests::{Client, Element, Plugin, Server};

const ALICE: &str = "alice@localhost";

async fn server() -> Server {
    Server::builder().plugin(&Plugin::built("mod_roster")).start().await
}

fn query(content: &str) -> String {
    format!("<query xmlns='jabber:iq:roster'>{content}</query>")
}

/// The version that a stanza with a roster carries.
fn version(stanza: &Element) -> Option<String> {
    stanza.child_ns("query", "jabber:iq:roster")?.attr("ver").map(str::to_owned)
}

fn pushed<'a>(stanza: &'a Element, contact: &str) -> Option<&'a Element> {
    let is_push = stanza.name == "iq" && stanza.attr("type") == Some("set");
    let item = stanza.child_ns("query", "jabber:iq:roster").filter(|_| is_push)?.child("item")?;
    (item.attr("jid") == Some(contact)).then_some(item)
}

/// Adds a contact and gives the version of the push.
async fn add(client: &mut Client, contact: &str) -> String {
    client.set(ALICE, &query(&format!("<item jid='{contact}'/>"))).await;
    let push = client.expect("a push", |stanza| pushed(stanza, contact).is_some()).await;
    version(&push).expect("a push has a version")
}

async fn get(client: &mut Client, version: &str) -> Element {
    client.get(ALICE, &format!("<query xmlns='jabber:iq:roster' ver='{version}'/>")).await
}

#[tokio::test]
async fn a_client_gets_the_difference_to_its_version_also_after_updates() {
    let server = server().await;
    let mut desk = server.login("alice").resource("desk").connect().await;
    get(&mut desk, "").await;
    add(&mut desk, "a@far.example").await;
    let mut versions = Vec::new();
    for (number, contact) in ["b@far.example", "c@far.example", "d@far.example"].into_iter().enumerate() {
        versions.push(add(&mut desk, contact).await);
        server.plugins().install(&Plugin::built("mod_roster").variant(number as u64 + 1));
        server.ctl(&["update", "mod_roster"]).await;
    }
    let gone = query("<item jid='b@far.example' subscription='remove'/>");
    desk.set(ALICE, &gone).await;
    let mut phone = server.login("alice").resource("phone").connect().await;
    let answer = get(&mut phone, &versions[1]).await;
    assert!(answer.attr("type") == Some("result") && answer.children.is_empty(), "{answer}");
    let added = phone.expect("what was added", |stanza| pushed(stanza, "d@far.example").is_some()).await;
    assert_eq!(version(&added).as_ref(), Some(&versions[2]));
    let removed = phone.expect("what was removed", |stanza| pushed(stanza, "b@far.example").is_some()).await;
    let item = pushed(&removed, "b@far.example").and_then(|item| item.attr("subscription"));
    assert_eq!(item, Some("remove"));
    let now = version(&removed).expect("a push has a version");
    assert!(get(&mut phone, &now).await.children.is_empty());
    // Both are interested from now on, and nobody got anything else.
    desk.received().await;
    assert!(phone.received().await.iter().all(|stanza| pushed(stanza, "c@far.example").is_none()));
    let all = get(&mut phone, "of another server").await;
    assert_eq!((version(&all), all.child("query").unwrap().children.len()), (Some(now), 3));
    server.stop().await;
}

#[tokio::test]
async fn an_administrator_finds_deletes_and_pushes_contacts_on_all_vhosts() {
    let server = Server::builder()
        .plugin(&Plugin::built("mod_roster"))
        .vhosts(&["localhost", "other.localhost"])
        .start()
        .await;
    server.ctl(&["register", "carol", "other.localhost", "a secret"]).await;
    for (user, host, contact) in
        [("alice", "localhost", "icq.far.example"), ("carol", "other.localhost", "far.example")]
    {
        server.ctl(&["add_rosteritem", user, host, "someone", contact, "", "", "to"]).await;
    }
    let everyone = ["any", "any", "any", "any"];
    let all = |action: &'static str, rest: [&'static str; 4]| {
        [&["process_rosteritems", action], &rest[..]].concat()
    };
    let found = server.ctl_json(&all("list", everyone)).await;
    let row = |user: &str, contact: &str| serde_json::json!({"user": user, "contact": contact});
    let mut rows = found.as_array().expect("a list").clone();
    rows.sort_by_key(|row| row["user"].to_string());
    let carols = row("carol@other.localhost", "someone@far.example");
    assert_eq!(rows, [row(ALICE, "someone@icq.far.example"), carols.clone()]);
    server.ctl(&all("delete", ["to:from", "none", "*@localhost", "*@*icq*"])).await;
    assert_eq!(server.ctl_json(&all("list", everyone)).await, serde_json::json!([carols]));
    let wrong = server.try_ctl(&all("list", ["some", "any", "any", "any"])).await;
    assert!(wrong.code != 0 && wrong.stderr.contains("some"), "{}", wrong.stderr);

    let mut alice = server.client("alice").await;
    get(&mut alice, "").await;
    let file = server.folder().join("template.json");
    std::fs::write(&file, r#"[["dave", "far.example", "Friends", "Dave"]]"#).expect("a file");
    server.ctl(&["push_roster", file.to_str().expect("a path"), "alice", "localhost"]).await;
    let push = alice.expect("a push", |stanza| pushed(stanza, "dave@far.example").is_some()).await;
    let item = pushed(&push, "dave@far.example").expect("it was just found");
    assert_eq!((item.attr("name"), item.attr("subscription")), (Some("Dave"), Some("both")));
    let wrong = server.try_ctl(&["push_roster", "/etc/shadow", "alice", "localhost"]).await;
    assert!(wrong.code != 0 && !wrong.stderr.contains("root"), "{}", wrong.stderr);
    server.stop().await;
}
