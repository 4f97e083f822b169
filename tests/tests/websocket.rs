//! XMPP by WebSocket (RFC 7395) on the HTTP listener, beside clients over TCP.

use moult_tests::server::PASSWORD;
use moult_tests::{Server, WebSocketClient};

const SM: &str = "xmlns='urn:xmpp:sm:3'";

fn browser(server: &Server, user: &str, resource: &str) -> WebSocketClient {
    let mut client = WebSocketClient::connect(server.listeners().http, "/ws", "").expect("an upgrade");
    client.log_in("localhost", user, PASSWORD);
    assert!(client.bind(resource).contains(&format!("{user}@localhost/{resource}")));
    client
}

#[tokio::test]
async fn a_browser_and_a_desktop_client_talk() {
    let server = Server::start().await;
    let mut alice = browser(&server, "alice", "web");
    let mut bob = server.client("bob").await;
    alice.say(&format!(
        "<message xmlns='jabber:client' to='{}' type='chat'><body>from the browser</body></message>",
        bob.jid()
    ));
    let message = bob.expect_message().await;
    assert_eq!(message.attr("from"), Some("alice@localhost/web"), "{message}");
    bob.message("alice@localhost/web", "to the browser").await;
    let heard = alice.hear_of("to the browser");
    assert!(heard.starts_with("<message xmlns='jabber:client' "), "{heard}");
    let sessions = server.ctl_json(&["user_sessions_info", "alice", "localhost"]).await;
    assert_eq!(sessions[0]["connection"], "websocket", "{sessions}");
    alice.close();
    server.stop().await;
}

#[tokio::test]
async fn a_session_moves_from_tcp_to_a_websocket_and_nothing_is_lost() {
    let server = Server::start().await;
    let mut alice = server.login("alice").resource("moving").connect().await;
    alice.send(&format!("<enable {SM} resume='true'/>")).await;
    let enabled = alice.expect("enabled", |element| element.name == "enabled").await;
    let id = enabled.attr("id").unwrap_or_else(|| panic!("{enabled}")).to_owned();
    let mut bob = server.client("bob").await;
    drop(alice);
    for number in 0..20 {
        bob.message("alice@localhost/moving", &format!("number {number}.")).await;
    }
    let mut alice = WebSocketClient::connect(server.listeners().http, "/ws", "").expect("an upgrade");
    alice.log_in("localhost", "alice", PASSWORD);
    alice.say(&format!("<resume {SM} previd='{id}' h='0'/>"));
    assert!(alice.hear().starts_with(&format!("<resumed {SM} previd='{id}'")));
    for number in 0..20 {
        assert!(alice.hear_of("<body>").contains(&format!("<body>number {number}.</body>")));
    }
    assert_eq!(server.ctl_json(&["connected_users_number"]).await, 2);
    alice.close();
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_websocket_with_xmpp_is_refused() {
    let server = Server::start().await;
    assert_eq!(server.http_get("/ws").await.status, 426);
    let refused =
        WebSocketClient::connect(server.listeners().http, "/elsewhere", "").expect_err("nothing is there");
    assert!(refused.starts_with("http/1.1 404 "), "{refused}");
    // A proxy says that the client came without encryption, which this server requires.
    let plain = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n";
    let mut client = WebSocketClient::connect(server.listeners().http, "/ws", plain).expect("an upgrade");
    client.say("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='localhost' version='1.0'/>");
    assert!(client.hear_of("<stream:error").contains("<policy-violation "));
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn browsers_are_told_where_the_websocket_is_before_and_after_an_update() {
    let server = Server::with_modules(&["mod_host_meta"]).await;
    let link = "<Link rel='urn:xmpp:alt-connections:websocket' href='wss://localhost/ws'/>";
    for round in 0..2 {
        let answer = server.http_get("/.well-known/host-meta").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.body.contains(link), "{answer:?}");
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
        let answer = server.http_get("/.well-known/host-meta.json").await;
        assert_eq!(answer.json()["links"][0]["href"], "wss://localhost/ws", "{answer:?}");
        assert_eq!(answer.json()["links"][1]["href"], "https://localhost/bosh", "{answer:?}");
        if round == 0 {
            server.ctl(&["restart_module", "global", "mod_host_meta"]).await;
        }
    }
    server.stop().await;
}
