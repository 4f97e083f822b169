//! Service discovery: what all modules declared, and what those that hooked it make of it.

use moult_tests::{Client, Element, Server};

const MODULES: [&str; 4] = ["mod_disco", "mod_time", "mod_echo", "fixture_discovery"];

async fn ask(client: &mut Client, to: &str, what: &str, node: &str) -> Element {
    let node = if node.is_empty() { String::new() } else { format!(" node='{node}'") };
    client.get(to, &format!("<query xmlns='http://jabber.org/protocol/disco#{what}'{node}/>")).await
}

/// One attribute of all children of that name in the answer's query.
fn all<'a>(answer: &'a Element, name: &str, attribute: &str) -> Vec<&'a str> {
    let query = answer.child("query").unwrap_or_else(|| panic!("no query in {answer}"));
    query
        .children
        .iter()
        .filter(|child| child.name == name)
        .filter_map(|child| child.attr(attribute))
        .collect()
}

#[tokio::test]
async fn a_hook_adds_to_and_takes_from_what_was_declared() {
    let server = Server::with_modules(&MODULES).await;
    let (mut alice, mut bob) = (server.client("alice").await, server.client("bob").await);
    let info = ask(&mut alice, "localhost", "info", "").await;
    let features = all(&info, "feature", "var");
    assert!(features.contains(&"http://jabber.org/protocol/disco#info"), "{info}");
    assert!(!features.contains(&"urn:xmpp:time"), "the hook took it away: {info}");
    let account = ask(&mut alice, "alice@localhost", "info", "").await;
    assert!(all(&account, "feature", "var").contains(&"urn:moult:fixture:account"), "{account}");
    // The hook is told who asks.
    assert!(all(&ask(&mut alice, "localhost", "items", "").await, "item", "jid").contains(&"echo.localhost"));
    assert!(!all(&ask(&mut bob, "localhost", "items", "").await, "item", "jid").contains(&"echo.localhost"));
    server.ctl(&["module_unload", "fixture_discovery"]).await;
    let info = ask(&mut alice, "localhost", "info", "").await;
    assert!(all(&info, "feature", "var").contains(&"urn:xmpp:time"), "{info}");
    assert!(all(&ask(&mut bob, "localhost", "items", "").await, "item", "jid").contains(&"echo.localhost"));
    server.stop().await;
}

#[tokio::test]
async fn a_node_is_what_a_hook_says_of_it() {
    let server = Server::with_modules(&MODULES).await;
    let mut alice = server.client("alice").await;
    let node = "urn:moult:fixture:node";
    let info = ask(&mut alice, "localhost", "info", node).await;
    assert_eq!(all(&info, "feature", "var"), [node]);
    assert_eq!(info.child("query").and_then(|query| query.attr("node")), Some(node));
    let items = ask(&mut alice, "localhost", "items", node).await;
    assert_eq!((all(&items, "item", "node"), all(&items, "item", "name")), (vec!["1"], vec!["One"]));
    let empty = ask(&mut alice, "localhost", "items", "urn:moult:fixture:empty").await;
    assert_eq!((empty.attr("type"), all(&empty, "item", "jid")), (Some("result"), Vec::new()));
    for (what, node) in
        [("info", "urn:moult:fixture:empty"), ("items", "urn:unknown"), ("info", "urn:unknown")]
    {
        let answer = ask(&mut alice, "localhost", what, node).await;
        assert_eq!(answer.error(), Some(("cancel", "item-not-found")), "{what} {node}: {answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_hook_that_asks_itself_in_a_circle_is_stopped() {
    let server = Server::with_modules(&MODULES).await;
    let mut alice = server.client("alice").await;
    let answer = ask(&mut alice, "localhost", "info", "urn:moult:fixture:circle").await;
    assert_eq!(all(&answer, "feature", "var"), ["resource-constraint"]);
    server.stop().await;
}
