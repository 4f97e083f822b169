//! Invitations on the real server: an account by a token before the login, a contact by a subscription request with one.

use moult_tests::{Client, Element, Plugin, RawStream, Server};

const ROSTER: &str = "<query xmlns='jabber:iq:roster'/>";
const COMMANDS: &str = "http://jabber.org/protocol/commands";
const MODULES: [&str; 5] = ["mod_disco", "mod_adhoc", "mod_register", "mod_roster", "mod_invites"];
const CONFIG: &str = "[modules.mod_invites]\nusers_create_accounts = true";

async fn server() -> Server {
    let builder = Server::builder().config(CONFIG);
    MODULES.iter().fold(builder, |builder, name| builder.plugin(&Plugin::built(name))).start().await
}

/// A stream over direct TLS, opened, that has not logged in.
async fn stranger(server: &Server) -> (RawStream, String) {
    let mut stream = RawStream::connect(server.listeners().c2s_tls).await;
    stream.start_tls(server.certificate().client_config(rustls::ALL_VERSIONS), "localhost").await;
    let features = stream.open("localhost").await;
    (stream, features)
}

/// Sends a request and gives the answer to it.
async fn ask(stream: &mut RawStream, id: &str, payload: &str) -> String {
    stream.send(format!("<iq type='set' id='{id}' to='localhost'>{payload}</iq>")).await;
    let answer = stream.read_until(&format!("id='{id}'")).await;
    if answer.contains("type='result'") { answer } else { stream.read_until("</iq>").await }
}

fn registration(user: &str) -> String {
    format!(
        "<query xmlns='jabber:iq:register'><username>{user}</username><password>a password</password></query>"
    )
}

fn pre_auth(token: &str) -> String {
    format!("<preauth xmlns='urn:xmpp:pars:0' token='{token}'/>")
}

async fn invitation(client: &mut Client) -> (String, String) {
    let command = format!("<command xmlns='{COMMANDS}' node='urn:xmpp:invite#invite' action='execute'/>");
    let answer = client.set("localhost", &command).await;
    let command = answer.child_ns("command", COMMANDS).unwrap_or_else(|| panic!("{answer}"));
    let form = command.child_ns("x", "jabber:x:data").expect("a form");
    let value = |name: &str| {
        let field = form.children.iter().find(|field| field.attr("var") == Some(name)).expect("a field");
        field.child("value").expect("a value").text.clone()
    };
    (value("uri"), value("landing-url"))
}

fn token_of(uri: &str) -> String {
    let token = uri.split("preauth=").nth(1).expect("a token");
    token.split(';').next().expect("a part").to_owned()
}

fn item_of<'a>(stanza: &'a Element, contact: &str) -> Option<&'a Element> {
    let query = stanza.child_ns("query", "jabber:iq:roster")?;
    query.children.iter().find(|item| item.attr("jid") == Some(contact))
}

async fn is_both(client: &mut Client, contact: &str) {
    let own = client.bare_jid().to_owned();
    let roster = client.get(&own, ROSTER).await;
    if item_of(&roster, contact).is_some_and(|item| item.attr("subscription") == Some("both")) {
        return;
    }
    let what = format!("a push of {contact}");
    client
        .expect(&what, |stanza| {
            item_of(stanza, contact).is_some_and(|item| item.attr("subscription") == Some("both"))
        })
        .await;
}

#[tokio::test]
async fn an_invitation_makes_an_account_and_two_contacts_over_a_swap() {
    let server = server().await;
    let mut alice = server.client("alice").await;
    alice.get("alice@localhost", ROSTER).await;
    alice.available().await;
    let (uri, landing) = invitation(&mut alice).await;
    assert!(uri.starts_with("xmpp:alice@localhost?roster;preauth=") && uri.ends_with(";ibr=y"), "{uri}");
    let page = server.http_get(&format!("/invite/localhost/{}", landing.rsplit('/').next().unwrap())).await;
    assert!(page.status == 200 && page.body.contains(&uri), "{page:?}");

    let (mut guest, features) = stranger(&server).await;
    assert!(features.contains("<register xmlns='urn:xmpp:ibr-token:0'/>"), "{features}");
    let refused = ask(&mut guest, "early", &registration("juliet")).await;
    assert!(refused.contains("not-allowed"), "{refused}");
    let unknown = ask(&mut guest, "unknown", &pre_auth("unknown")).await;
    assert!(unknown.contains("item-not-found"), "{unknown}");
    let shown = ask(&mut guest, "shown", &pre_auth(&token_of(&uri))).await;
    assert!(shown.contains("type='result'"), "{shown}");

    // The next builds know who has shown what.
    for name in ["mod_invites", "mod_register"] {
        server.plugins().install(&Plugin::built(name).variant(1));
        server.ctl(&["update", name]).await;
    }
    // What one stream has shown is nothing to another of the same address.
    let (mut other, _) = stranger(&server).await;
    assert!(ask(&mut other, "other", &registration("eve")).await.contains("not-allowed"));
    let taken = ask(&mut guest, "taken", &registration("bob")).await;
    assert!(taken.contains("conflict"), "{taken}");
    let made = ask(&mut guest, "made", &registration("juliet")).await;
    assert!(made.contains("type='result'"), "{made}");
    assert!(ask(&mut guest, "again", &registration("juliet2")).await.contains("not-allowed"));
    assert!(ask(&mut other, "late", &pre_auth(&token_of(&uri))).await.contains("item-not-found"));

    alice
        .expect("a push of juliet", |stanza| {
            item_of(stanza, "juliet@localhost").is_some_and(|item| item.attr("subscription") == Some("both"))
        })
        .await;
    let mut juliet = server.login("juliet").password("a password").connect().await;
    is_both(&mut juliet, "alice@localhost").await;
    server.stop().await;
}

#[tokio::test]
async fn a_request_with_a_token_is_granted_and_returned_once() {
    let server = server().await;
    let mut alice = server.client("alice").await;
    alice.get("alice@localhost", ROSTER).await;
    alice.available().await;
    let mut bob = server.client("bob").await;
    bob.get("bob@localhost", ROSTER).await;
    bob.available().await;
    let (uri, _) = invitation(&mut alice).await;
    let subscribe =
        format!("<presence to='alice@localhost' type='subscribe'>{}</presence>", pre_auth(&token_of(&uri)));
    // RFC 6121 section 3.4: bob agrees beforehand to be asked in return.
    bob.send("<presence to='alice@localhost' type='subscribed'/>").await;
    bob.send(&subscribe).await;
    is_both(&mut bob, "alice@localhost").await;
    is_both(&mut alice, "bob@localhost").await;
    let (from, kind) = ("alice@localhost", Some("subscribed"));
    bob.expect("the grant", |stanza| stanza.attr("from") == Some(from) && stanza.attr("type") == kind).await;
    let asked = |stanza: &Element| stanza.attr("type") == Some("subscribe");
    assert!(!alice.received().await.iter().any(asked), "alice is not asked");

    // Used up: the next one is a usual request.
    let mut carol = server.client("carol").await;
    carol.send(&subscribe).await;
    alice.expect("a usual request", asked).await;
    let rows = server.ctl_json(&["list_invites", "localhost"]).await;
    assert_eq!((&rows[0]["invitee"], &rows[0]["valid"]), (&"bob@localhost".into(), &false.into()), "{rows}");
    server.stop().await;
}

#[tokio::test]
async fn operators_invite_to_accounts_whose_names_are_reserved() {
    let server = server().await;
    let made = server.ctl_json(&["generate_invite_with_username", "Juliet", "localhost"]).await;
    let uri = made["invite_uri"].as_str().expect("a link").to_owned();
    assert!(uri.starts_with("xmpp:juliet@localhost?register;preauth="), "{uri}");
    let open = server.ctl_json(&["generate_invite", "localhost"]).await;
    let open = token_of(open["invite_uri"].as_str().expect("a link"));
    let (mut guest, _) = stranger(&server).await;
    assert!(ask(&mut guest, "1", &pre_auth(&open)).await.contains("type='result'"));
    assert!(ask(&mut guest, "2", &registration("juliet")).await.contains("conflict"));
    assert!(ask(&mut guest, "3", &pre_auth(&token_of(&uri))).await.contains("type='result'"));
    assert!(ask(&mut guest, "4", &registration("romeo")).await.contains("not-acceptable"));
    assert!(ask(&mut guest, "5", &registration("juliet")).await.contains("type='result'"));
    // Without the module nobody is invited, and the stream says so.
    server.ctl(&["module_unload", "mod_invites"]).await;
    let (mut late, features) = stranger(&server).await;
    assert!(!features.contains("ibr-token") && !features.contains("iq-register"), "{features}");
    assert!(ask(&mut late, "6", &registration("tybalt")).await.contains("not-allowed"));
    late.send(format!("<iq type='set' id='7'>{}</iq>", pre_auth(&open))).await;
    assert!(late.read_until("</stream:stream>").await.contains("not-authorized"));
    server.stop().await;
}
