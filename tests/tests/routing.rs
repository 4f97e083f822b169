//! Where a stanza goes: RFC 6120 section 10 and RFC 6121 section 8, seen by clients.

use moult_tests::{Element, Server};

const ALICE: &str = "alice@localhost";
const BOB: &str = "bob@localhost";

fn bodies(stanzas: &[Element]) -> Vec<&str> {
    stanzas
        .iter()
        .filter(|stanza| stanza.name == "message")
        .filter_map(|stanza| stanza.child_text("body"))
        .collect()
}

#[tokio::test]
async fn a_message_to_a_full_jid_reaches_that_resource_alone() {
    let server = Server::start().await;
    let mut alice = server.client("alice").await;
    let mut desk = server.login("bob").resource("desk").connect().await;
    let mut phone = server.login("bob").resource("phone").connect().await;
    desk.available().await;
    phone.available().await;
    alice.message("bob@localhost/phone", "hi").await;
    let received = phone.expect_message().await;
    assert_eq!(received.attr("from"), Some(alice.jid()));
    assert_eq!(received.child_text("body"), Some("hi"));
    assert!(bodies(&desk.received().await).is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_chat_message_to_a_bare_jid_goes_to_the_most_available_resources() {
    let server = Server::start().await;
    let mut alice = server.client("alice").await;
    let mut desk = server.login("bob").resource("desk").connect().await;
    let mut phone = server.login("bob").resource("phone").connect().await;
    let mut away = server.login("bob").resource("away").connect().await;
    let mut unavailable = server.login("bob").resource("unavailable").connect().await;
    desk.available_with_priority(1).await;
    phone.available_with_priority(5).await;
    away.available_with_priority(-1).await;
    alice.message(BOB, "to the best").await;
    assert_eq!(phone.expect_message().await.child_text("body"), Some("to the best"));
    for other in [&mut desk, &mut away, &mut unavailable] {
        assert!(bodies(&other.received().await).is_empty(), "{}", other.jid());
    }
    server.stop().await;
}

#[tokio::test]
async fn a_headline_goes_to_every_resource_that_is_not_negative() {
    let server = Server::start().await;
    let mut alice = server.client("alice").await;
    let mut desk = server.login("bob").resource("desk").connect().await;
    let mut phone = server.login("bob").resource("phone").connect().await;
    let mut away = server.login("bob").resource("away").connect().await;
    desk.available_with_priority(1).await;
    phone.available_with_priority(5).await;
    away.available_with_priority(-1).await;
    alice.send(format!("<message to='{BOB}' type='headline'><body>news</body></message>")).await;
    assert_eq!(desk.expect_message().await.child_text("body"), Some("news"));
    assert_eq!(phone.expect_message().await.child_text("body"), Some("news"));
    assert!(bodies(&away.received().await).is_empty());
    server.stop().await;
}

/// RFC 6121 section 8.5: what happens to stanzas for which there is no resource.
#[tokio::test]
async fn stanzas_to_nobody_are_bounced_or_dropped_as_the_rfc_says() {
    let server = Server::start().await;
    let mut alice = server.client("alice").await;
    let error = Some(("cancel", "service-unavailable"));
    let cases = [
        ("<message to='nobody@localhost' type='chat' id='ID'><body>x</body></message>", error),
        ("<message to='nobody@localhost' type='normal' id='ID'><body>x</body></message>", error),
        ("<message to='nobody@localhost/x' type='chat' id='ID'><body>x</body></message>", error),
        ("<message to='bob@localhost' type='groupchat' id='ID'><body>x</body></message>", error),
        ("<message to='bob@localhost' type='headline' id='ID'><body>x</body></message>", None),
        ("<message to='bob@localhost' type='error' id='ID'><body>x</body></message>", None),
        ("<presence to='nobody@localhost' id='ID'/>", None),
        ("<presence to='bob@localhost/gone' type='unavailable' id='ID'/>", None),
        ("<iq to='nobody@localhost' type='get' id='ID'><q xmlns='urn:x'/></iq>", error),
        ("<iq to='bob@localhost/gone' type='get' id='ID'><q xmlns='urn:x'/></iq>", error),
        ("<iq to='bob@localhost/gone' type='result' id='ID'/>", None),
    ];
    for (number, (stanza, expected)) in cases.iter().enumerate() {
        let id = format!("case{number}");
        alice.send(stanza.replace("ID", &id)).await;
        let received = alice.received().await;
        let answer = received.iter().find(|stanza| stanza.attr("id") == Some(&id));
        assert_eq!(answer.and_then(Element::error), *expected, "{stanza}: {received:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stanza_for_another_server_comes_back_until_there_is_a_way_out() {
    let server = Server::start().await;
    let mut alice = server.client("alice").await;
    let answer = alice.get("elsewhere.example", "<ping xmlns='urn:xmpp:ping'/>").await;
    assert_eq!(answer.error(), Some(("cancel", "remote-server-not-found")));
    assert_eq!(answer.attr("from"), Some("elsewhere.example"));
    server.stop().await;
}

#[tokio::test]
async fn an_address_that_is_no_jid_is_malformed() {
    let server = Server::start().await;
    let mut alice = server.client("alice").await;
    for address in ["@localhost", "a@b@c", "localhost/", "al ice@localhost"] {
        let id = alice.fresh_id();
        alice.send(format!("<iq to='{address}' type='get' id='{id}'><q xmlns='urn:x'/></iq>")).await;
        let answer = alice.answer_to(&id).await;
        assert_eq!(answer.error(), Some(("modify", "jid-malformed")), "{address}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_server_stamps_from_and_keeps_everything_else() {
    let server = Server::start().await;
    let mut alice = server.client("alice").await;
    let mut bob = server.client("bob").await;
    let to = bob.jid().to_owned();
    let payload = "<x xmlns='urn:example' a='&lt;&apos;'>t&amp;t<y xmlns='urn:other' xml:lang='de'/></x>";
    alice.send(format!("<message to='{to}' id='1' type='normal' xml:lang='fr'>{payload}</message>")).await;
    let received = bob.expect_message().await;
    assert_eq!(received.attr("from"), Some(alice.jid()));
    assert_eq!((received.attr("type"), received.attr("xml:lang")), (Some("normal"), Some("fr")));
    assert_eq!(received.children, [Element::parse(payload.as_bytes()).expect("well-formed")]);
    server.stop().await;
}

#[tokio::test]
async fn the_order_of_one_sender_is_kept() {
    let server = Server::start().await;
    let mut alice = server.client("alice").await;
    let mut bob = server.client("bob").await;
    let to = bob.jid().to_owned();
    for number in 0..500 {
        alice.message(&to, &number.to_string()).await;
    }
    for number in 0..500 {
        assert_eq!(bob.expect_message().await.child_text("body"), Some(number.to_string().as_str()));
    }
    server.stop().await;
}

#[tokio::test]
async fn directed_presence_is_taken_back_when_its_sender_leaves() {
    let server = Server::start().await;
    let mut alice = server.client("alice").await;
    let mut bob = server.client("bob").await;
    bob.available().await;
    alice.send(format!("<presence to='{BOB}'/>")).await;
    assert_eq!(bob.expect_presence().await.attr("from"), Some(alice.jid()));
    let left = alice.jid().to_owned();
    alice.close().await;
    let gone = bob.expect_presence().await;
    assert_eq!((gone.attr("from"), gone.attr("type")), (Some(left.as_str()), Some("unavailable")));
    server.stop().await;
}

#[tokio::test]
async fn resources_of_one_account_see_each_other() {
    let server = Server::start().await;
    let mut desk = server.login("alice").resource("desk").connect().await;
    desk.available().await;
    let mut phone = server.login("alice").resource("phone").connect().await;
    phone.available().await;
    let seen = desk.expect_presence().await;
    assert_eq!(seen.attr("from"), Some("alice@localhost/phone"));
    let seen = phone
        .expect("the other resource", |stanza| stanza.attr("from") == Some("alice@localhost/desk"))
        .await;
    assert_eq!((seen.name.as_str(), seen.attr("type")), ("presence", None));
    phone.close().await;
    let gone = desk.expect_presence().await;
    assert_eq!((gone.attr("from"), gone.attr("type")), (Some("alice@localhost/phone"), Some("unavailable")));
    server.stop().await;
}

#[tokio::test]
async fn virtual_hosts_have_users_of_their_own() {
    let server = Server::builder()
        .vhosts(&["one.example", "two.example"])
        .accounts(&["alice@one.example", "alice@two.example", "bob@two.example"])
        .start()
        .await;
    let mut one = server.client("alice@one.example").await;
    let mut two = server.client("alice@two.example").await;
    let mut bob = server.client("bob@two.example").await;
    one.available().await;
    two.available().await;
    bob.available().await;
    bob.message("alice@two.example", "to two").await;
    bob.message("alice@one.example", "to one").await;
    assert_eq!(two.expect_message().await.child_text("body"), Some("to two"));
    assert_eq!(one.expect_message().await.child_text("body"), Some("to one"));
    assert!(server.login("bob@one.example").try_connect().await.is_err());
    server.stop().await;
}

#[tokio::test]
async fn a_message_to_oneself_and_one_without_an_address_come_back() {
    let server = Server::start().await;
    let mut alice = server.client("alice").await;
    alice.available().await;
    let own = alice.jid().to_owned();
    alice.message(&own, "note").await;
    assert_eq!(alice.expect_message().await.child_text("body"), Some("note"));
    // RFC 6120 section 10.3: without an address it is for the account of its sender.
    alice.send("<message type='chat'><body>to my account</body></message>").await;
    let received = alice.expect_message().await;
    assert_eq!(received.child_text("body"), Some("to my account"));
    assert_eq!(received.attr("from"), Some(own.as_str()));
    assert!(received.attr("to").is_none_or(|to| to.starts_with(ALICE)));
    server.stop().await;
}
