//! The policy for clients that nobody looks at (XEP-0352): with the module, without it, and with other options.

use moult_tests::{Client, Element, Plugin, Server};

const SM: &str = "xmlns='urn:xmpp:sm:3'";
const CSI: &str = "xmlns='urn:xmpp:csi:0'";
const STATES: &str = "http://jabber.org/protocol/chatstates";
const PHONE: &str = "alice@localhost/phone";

async fn inactive(server: &Server) -> Client {
    let mut alice = server.login("alice").resource("phone").connect().await;
    alice.available().await;
    alice.send(&format!("<enable {SM}/>")).await;
    alice.expect("enabled", |element| element.name == "enabled").await;
    alice.send(format!("<inactive {CSI}/>")).await;
    nothing_has_come(&mut alice).await;
    alice
}

/// An acknowledgement is no stanza: it is answered at once, and nothing that waits goes with it.
async fn nothing_has_come(alice: &mut Client) {
    alice.send(format!("<r {SM}/>")).await;
    let next = alice.next_stanza().await;
    assert_eq!(next.name, "a", "{next}");
}

/// Sends to the phone, and waits until the server has taken it.
async fn send(bob: &mut Client, message: &str) {
    bob.send(message).await;
    let ping = bob.get("localhost", "<ping xmlns='urn:xmpp:ping'/>").await;
    assert_eq!(ping.name, "iq");
}

fn receipt(id: u32) -> String {
    format!("<message to='{PHONE}'><received xmlns='urn:xmpp:receipts' id='r{id}'/></message>")
}

fn state(name: &str) -> String {
    format!("<message to='{PHONE}' type='chat'><{name} xmlns='{STATES}'/></message>")
}

fn receipt_of(stanza: &Element) -> Option<&str> {
    stanza.child("received").and_then(|received| received.attr("id"))
}

#[tokio::test]
async fn the_policy_is_a_module_that_is_swapped_reloaded_and_taken_away() {
    let server = Server::builder().plugin(&Plugin::built("mod_client_state")).start().await;
    let mut alice = inactive(&server).await;
    let mut bob = server.client("bob").await;

    // Receipts wait, also for the next build, and go in order before what cannot wait.
    send(&mut bob, &receipt(1)).await;
    nothing_has_come(&mut alice).await;
    server.plugins().install(&Plugin::built("mod_client_state").variant(1));
    server.ctl(&["update", "mod_client_state"]).await;
    send(&mut bob, &receipt(2)).await;
    nothing_has_come(&mut alice).await;
    bob.message(PHONE, "hello").await;
    assert_eq!(receipt_of(&alice.next_stanza().await), Some("r1"));
    assert_eq!(receipt_of(&alice.next_stanza().await), Some("r2"));
    assert_eq!(alice.next_stanza().await.child_text("body"), Some("hello"));

    // Other options, same instance: chat states are of no use, receipts are urgent.
    server.reconfigure("[modules.mod_client_state]\nchat_states = \"never\"\nreceipts = \"now\"").await;
    send(&mut bob, &state("composing")).await;
    send(&mut bob, &receipt(3)).await;
    assert_eq!(receipt_of(&alice.next_stanza().await), Some("r3"), "the state before it is gone");

    // Without the module the server's own rules hold: receipts go at once, of chat states the last waits.
    server.ctl(&["module_unload", "mod_client_state"]).await;
    send(&mut bob, &state("composing")).await;
    send(&mut bob, &state("paused")).await;
    nothing_has_come(&mut alice).await;
    send(&mut bob, &receipt(4)).await;
    assert!(alice.next_stanza().await.child("paused").is_some());
    assert_eq!(receipt_of(&alice.next_stanza().await), Some("r4"));
    server.stop().await;
}
