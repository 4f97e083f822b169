//! Stream management (XEP-0198) on the whole server: what becomes of a session's stanzas, also over a restart.

use moult_tests::client::stream_header;
use moult_tests::{Client, Element, Plugin, RawStream, Server, eventually};

const SM: &str = "xmlns='urn:xmpp:sm:3'";

/// A client whose session may be resumed, and the id for that.
async fn managed(server: &Server, user: &str) -> (Client, String) {
    let mut client = server.login(user).resource("phone").connect().await;
    client.available().await;
    client.send(&format!("<enable {SM} resume='true'/>")).await;
    let enabled = client.expect("enabled", |element| element.name == "enabled").await;
    let id = enabled.attr("id").unwrap_or_else(|| panic!("{enabled}")).to_owned();
    (client, id)
}

/// Logs in by PLAIN over TLS and resumes; gives the stream and the answer.
async fn resume(server: &Server, user: &str, id: &str, handled: u32) -> (RawStream, String) {
    use base64::Engine as _;
    let mut stream = server.raw().await;
    stream.open("localhost").await;
    stream.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;
    stream.read_until("<proceed").await;
    stream.start_tls(server.login(user).tls, "localhost").await;
    stream.open("localhost").await;
    let password = moult_tests::server::PASSWORD;
    let data = base64::engine::general_purpose::STANDARD.encode(format!("\0{user}\0{password}"));
    stream
        .send(format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{data}</auth>"))
        .await;
    stream.read_until("<success").await;
    stream.send(stream_header("localhost")).await;
    stream.read_until("</stream:features>").await;
    stream.send(format!("<resume {SM} previd='{id}' h='{handled}'/>")).await;
    let answer = stream.read_until(">").await;
    (stream, answer)
}

async fn detached(server: &Server, user: &str) -> bool {
    let sessions = server.ctl_json(&["user_sessions_info", user, "localhost"]).await;
    sessions[0]["detached"] == true
}

fn body(message: &Element) -> &str {
    message.child_text("body").unwrap_or_default()
}

#[tokio::test]
async fn what_a_session_did_not_acknowledge_in_time_goes_to_the_offline_store() {
    let config = "[stream_management]\nresume_timeout = \"1s\"\n";
    let server = Server::builder().plugin(&Plugin::built("mod_offline")).config(config).start().await;
    let (mut alice, id) = managed(&server, "alice").await;
    let mut bob = server.client("bob").await;
    for number in 0..4 {
        bob.message("alice@localhost/phone", &format!("number {number}")).await;
    }
    for _ in 0..4 {
        alice.expect_message().await;
    }
    // Of what it has seen it acknowledges two.
    alice.send(format!("<a {SM} h='2'/><r {SM}/>")).await;
    alice.expect("a", |element| element.name == "a").await;
    drop(alice);
    for number in 4..6 {
        bob.message("alice@localhost/phone", &format!("number {number}")).await;
    }
    eventually("the session has ended", async || server.ctl_json(&["connected_users_number"]).await == 1)
        .await;
    let (_, answer) = resume(&server, "alice", &id, 4).await;
    assert!(answer.contains("<failed "), "{answer}");
    let mut alice = server.client("alice").await;
    alice.available().await;
    for number in 2..6 {
        let message = alice.expect_message().await;
        assert_eq!(body(&message), format!("number {number}"), "{message}");
    }
    server.stop().await;
}

#[tokio::test]
async fn sessions_go_on_after_a_restart_of_the_server() {
    let mut server = Server::start().await;
    let (alice, alices) = managed(&server, "alice").await;
    let (mut carol, carols) = managed(&server, "carol").await;
    let mut bob = server.client("bob").await;
    drop(alice);
    eventually("the session waits", async || detached(&server, "alice").await).await;
    for number in 0..3 {
        bob.message("alice@localhost/phone", &format!("before {number}")).await;
        bob.message("carol@localhost/phone", &format!("to carol {number}")).await;
        carol.expect_message().await;
    }
    carol.send(format!("<message to='bob@localhost'/><a {SM} h='1'/><r {SM}/>")).await;
    carol.expect("a", |element| element.name == "a").await;
    drop(bob);
    server.ctl(&["stop"]).await;
    assert_eq!(carol.expect_stream_error().await.condition(), Some("system-shutdown"));
    drop(carol);
    assert_eq!(server.ended().await, Some(0));
    let server = server.restart().await;

    // They are there for everybody, and what comes for them waits behind what came before.
    assert!(detached(&server, "alice").await && detached(&server, "carol").await);
    let mut bob = server.client("bob").await;
    bob.message("alice@localhost", "after the restart").await;
    bob.received().await;
    let (mut alice, answer) = resume(&server, "alice", &alices, 0).await;
    assert!(answer.contains(&format!("<resumed {SM} previd='{alices}' h='0'")), "{answer}");
    let heard = alice.read_until("after the restart").await;
    let order: Vec<_> = (0..3).map(|number| heard.find(&format!("before {number}"))).collect();
    assert!(order.is_sorted() && order[0].is_some(), "{heard}");
    assert_eq!(heard.matches("<message ").count(), 4, "{heard}");

    let (mut carol, answer) = resume(&server, "carol", &carols, 1).await;
    assert!(answer.contains("h='1'"), "what it sent before was counted: {answer}");
    let heard = carol.read_until("to carol 2").await;
    assert!(heard.contains("to carol 1") && !heard.contains("to carol 0"), "{heard}");
    // A session that was resumed is an ordinary one again.
    bob.message("carol@localhost/phone", "and on").await;
    carol.read_until("and on").await;
    carol.send("<message to='bob@localhost' type='chat'><body>back</body></message>").await;
    bob.available().await;
    drop((alice, carol));
    server.stop().await;
}

#[tokio::test]
async fn sessions_go_on_when_the_server_starts_itself_anew_in_its_process() {
    let mut server = Server::start().await;
    let (pid, descriptors) = (server.pid(), descriptors(&server));
    for round in 0..3 {
        let (carol, carols) = managed(&server, "carol").await;
        let mut bob = server.client("bob").await;
        bob.message("carol@localhost/phone", "before").await;
        bob.received().await;
        drop(bob);
        server.restart_itself().await;
        drop(carol);
        assert!(detached(&server, "carol").await, "round {round}");
        let (mut carol, answer) = resume(&server, "carol", &carols, 0).await;
        assert!(answer.contains("<resumed"), "{answer}");
        carol.read_until("before").await;
        server.ctl(&["kick_user", "carol", "localhost"]).await;
    }
    assert_eq!(server.pid(), pid);
    eventually("nothing of the process before is left open", async || {
        self::descriptors(&server) <= descriptors
    })
    .await;
    server.stop().await;
}

fn descriptors(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("the server runs").count()
}
