//! Client state indication (XEP-0352) over real sockets.

use moult_host::stanza::Stanza;

use crate::support::{Client, Server, ServerBuilder, eventually};

const JULIET: &str = "juliet@moult.example/balcony";
const CSI: &str = "xmlns='urn:xmpp:csi:0'";

fn server() -> Server {
    ServerBuilder::without_tls()
        .with(|settings| {
            settings.stream.client_state = true;
            settings.stream.management = true;
        })
        .start()
}

/// A client that nobody looks at; the server knows it.
fn inactive(server: &Server) -> Client {
    let mut client = server.bound_client("juliet", "balcony");
    client.say(&format!("<inactive {CSI}/><message id='known'/>"));
    eventually("it is inactive", || server.record.delivered_count() > 0);
    client
}

fn push(server: &Server, xml: &str) {
    server.record.mailbox(JULIET).push(Stanza::parse(xml.as_bytes()).unwrap()).unwrap();
}

fn away(server: &Server, status: &str) {
    push(server, &format!("<presence from='romeo@b.example/a'><status>{status}</status></presence>"));
}

#[test]
fn presence_waits_until_something_important_comes_and_only_the_last_one_is_sent() {
    let server = server();
    let mut client = inactive(&server);
    (0..50).for_each(|number| away(&server, &format!("status {number}.")));
    push(&server, "<message from='romeo@b.example/a'><body>hi</body></message>");
    let heard = client.hear("</message>");
    assert_eq!(heard.matches("<presence").count(), 1, "{heard}");
    let (presence, message) = heard.split_once("</presence>").unwrap();
    assert!(presence.contains("status 49.") && message.contains("<body>hi</body>"), "{heard}");

    away(&server, "later");
    client.say(&format!("<active {CSI}/>"));
    assert!(client.hear("</presence>").contains("later"));
    away(&server, "now");
    assert!(client.hear("</presence>").contains("now"));
}

#[test]
fn what_was_held_back_is_not_lost_with_the_connection() {
    let server = server();
    let mut client = inactive(&server);
    client.say("<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    let enabled = client.hear("/>");
    let id = enabled.split_once(" id='").unwrap().1.split_once('\'').unwrap().0.to_owned();
    away(&server, "held");
    eventually("it was taken", || server.record.mailbox(JULIET).backlog().0 == 0);
    drop(client);
    eventually("the session waits for its client", || server.hub.counts().detached == 1);
    let mut client = server.client();
    client.open(crate::support::DOMAIN);
    crate::support::scram::log_in(&mut client, "juliet", "juliet", None);
    assert!(client.open(crate::support::DOMAIN).contains(&format!("<csi {CSI}/>")));
    client.say(&format!("<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='0'/>"));
    client.hear("<resumed ");
    assert!(client.hear("</presence>").contains("held"), "a resumed session is active");
}

#[test]
fn what_was_held_back_is_given_back_or_written_at_the_end() {
    let server = server();
    let mut client = inactive(&server);
    away(&server, "held");
    eventually("it was taken", || server.record.mailbox(JULIET).backlog().0 == 0);
    client.say("</stream:stream>");
    assert!(client.hear_the_end().contains("held"));
    eventually("the session has ended", || server.record.ended.lock().unwrap().len() == 1);
    assert!(server.record.ended.lock().unwrap()[0].1.is_empty());

    server.record.delivered.lock().unwrap().clear();
    let client = inactive(&server);
    away(&server, "held");
    eventually("it was taken", || server.record.mailbox(JULIET).backlog().0 == 0);
    drop(client);
    eventually("the session has ended", || server.record.ended.lock().unwrap().len() == 2);
    assert_eq!(server.record.ended.lock().unwrap()[1].1.len(), 1);
}
