//! Push notifications (XEP-0357) on the real server. The push service is a client that answers publications.

use moult_tests::{Client, Element, Plugin, Server, eventually};

const SM: &str = "xmlns='urn:xmpp:sm:3'";
const PUSH: &str = "urn:xmpp:push:0";
const PUBSUB: &str = "http://jabber.org/protocol/pubsub";

async fn server() -> Server {
    let builder = Server::builder().plugin(&Plugin::built("mod_push")).plugin(&Plugin::built("mod_offline"));
    builder.start().await
}

/// Enables the service for a client.
async fn enable(client: &mut Client, service: &Client, node: &str) {
    let form = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>\
                <value>http://jabber.org/protocol/pubsub#publish-options</value></field>\
                <field var='secret'><value>sesame</value></field></x>";
    let payload = format!("<enable xmlns='{PUSH}' jid='{}' node='{node}'>{form}</enable>", service.jid());
    let own = client.bare_jid().to_owned();
    let answer = client.set(&own, &payload).await;
    assert_eq!(answer.attr("type"), Some("result"), "{answer}");
}

/// The next publication, unanswered.
async fn publication(service: &mut Client) -> Element {
    let is_publication =
        |stanza: &Element| stanza.name == "iq" && stanza.child_ns("pubsub", PUBSUB).is_some();
    service.expect("a publication", is_publication).await
}

/// The next publication, answered; its node and how many messages it tells of.
async fn told(service: &mut Client) -> (String, String) {
    let iq = publication(service).await;
    assert_eq!(iq.attr("from"), Some("localhost"), "{iq}");
    let id = iq.attr("id").unwrap_or_default();
    service.send(format!("<iq type='result' id='{id}' to='localhost'/>")).await;
    let pubsub = iq.child_ns("pubsub", PUBSUB).expect("it was just found");
    let options = pubsub.child("publish-options").and_then(|options| options.child("x")).expect("options");
    assert!(options.children.iter().any(|field| field.attr("var") == Some("secret")), "{iq}");
    let publish = pubsub.child("publish").expect("something is published");
    let notification = publish.child("item").and_then(|item| item.child("notification")).expect("news");
    let form = notification.child("x").expect("a summary");
    let count = form.children.iter().find(|field| field.attr("var") == Some("message-count"));
    let count = count.and_then(|field| field.child_text("value")).unwrap_or_default().to_owned();
    (publish.attr("node").unwrap_or_default().to_owned(), count)
}

fn news(node: &str, count: u32) -> (String, String) {
    (node.to_owned(), count.to_string())
}

#[tokio::test]
async fn a_service_hears_of_messages_for_who_is_away_over_a_swap_and_a_restart() {
    let mut server = server().await;
    let mut service = server.login("carol").resource("service").connect().await;
    let mut alice = server.login("alice").resource("phone").connect().await;
    alice.available().await;
    enable(&mut alice, &service, "node-1").await;
    alice.close().await;
    let mut bob = server.client("bob").await;
    bob.message("alice@localhost", "one").await;
    assert_eq!(told(&mut service).await, news("node-1", 1));
    server.plugins().install(&Plugin::built("mod_push").variant(1));
    server.ctl(&["update", "mod_push"]).await;
    bob.message("alice@localhost", "two").await;
    assert_eq!(told(&mut service).await, news("node-1", 2));

    server.ctl(&["stop"]).await;
    assert_eq!(server.ended().await, Some(0));
    let server = server.restart().await;
    let mut service = server.login("carol").resource("service").connect().await;
    let mut bob = server.client("bob").await;
    bob.message("alice@localhost", "three").await;
    assert_eq!(told(&mut service).await.0, "node-1");

    // An error disables it, and who wrote before is kept all the same.
    bob.message("alice@localhost", "four").await;
    let iq = publication(&mut service).await;
    let condition = "<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>";
    let id = iq.attr("id").unwrap_or_default();
    service
        .send(format!(
            "<iq type='error' id='{id}' to='localhost'><error type='cancel'>{condition}</error></iq>"
        ))
        .await;
    eventually("the service is disabled", async || {
        server.ctl_json(&["list_push_services", "alice", "localhost"]).await == serde_json::json!([])
    })
    .await;
    let mut alice = server.client("alice").await;
    alice.available().await;
    for text in ["one", "two", "three", "four"] {
        assert_eq!(alice.expect_message().await.child_text("body"), Some(text));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_service_hears_of_messages_for_sessions_that_lost_their_connection() {
    let server = server().await;
    let mut service = server.login("carol").resource("service").connect().await;
    let mut alice = server.login("alice").resource("phone").connect().await;
    alice.available().await;
    alice.send(&format!("<enable {SM} resume='true'/>")).await;
    alice.expect("enabled", |element| element.name == "enabled").await;
    enable(&mut alice, &service, "phone").await;
    let mut bob = server.client("bob").await;
    // It arrives, and is never acknowledged.
    bob.message("alice@localhost/phone", "not acknowledged").await;
    alice.expect_message().await;
    drop(alice);
    assert_eq!(told(&mut service).await, news("phone", 1));
    bob.message("alice@localhost/phone", "while it waits").await;
    assert_eq!(told(&mut service).await.0, "phone");
    // Without a body there is nothing to tell, so the next news are of the message behind.
    bob.send("<message to='alice@localhost/phone' type='chat'><active xmlns='http://jabber.org/protocol/chatstates'/></message>")
        .await;
    bob.message("alice@localhost", "to the account").await;
    assert_eq!(told(&mut service).await.0, "phone");
    assert!(service.received().await.iter().all(|stanza| stanza.child_ns("pubsub", PUBSUB).is_none()));
    server.stop().await;
}
