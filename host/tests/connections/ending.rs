//! How connections end: in agreement, by the server's wish, by the peer's disappearance.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use moult_host::stanza::{Stanza, StreamError, StreamErrorCondition};

use crate::support::{Client, DOMAIN, Server, ServerBuilder, eventually};

const JULIET: &str = "juliet@moult.example/balcony";

fn bodies(count: usize) -> String {
    (0..count)
        .map(|n| format!("<message id='{n}'><body>some text to fill the line</body></message>"))
        .collect()
}

#[test]
fn what_waits_for_a_peer_comes_before_the_answer_to_its_closing_tag() {
    let server = ServerBuilder::without_tls().start();
    for mut client in [server.bound_client("juliet", "balcony"), server.bound_tls_client("juliet", "cellar")]
    {
        let jid = if client.is_encrypted() { "juliet@moult.example/cellar" } else { JULIET };
        let mailbox = server.record.mailbox(jid);
        for number in 0..500 {
            let text = format!("<message id='m{number}'><body>{}</body></message>", "x".repeat(500));
            mailbox.push(Stanza::parse(text.as_bytes()).unwrap()).unwrap();
        }
        client.say("</stream:stream>");
        let heard = client.hear_the_end();
        assert!(heard.ends_with("</stream:stream>"));
        let ended = || server.record.ended.lock().unwrap().iter().find(|(ended, _)| ended == jid).cloned();
        eventually("the session has ended", || ended().is_some());
        // Nothing was both written and given back, and nothing got lost between.
        assert_eq!(heard.matches("</message>").count() + ended().unwrap().1.len(), 500);
        assert_eq!(ended().unwrap().1.len(), 0);
    }
}

#[test]
fn a_peer_that_vanishes_ends_its_session() {
    let server = ServerBuilder::without_tls().start();
    drop(server.bound_client("juliet", "balcony"));
    drop(server.bound_tls_client("romeo", "orchard"));
    eventually("both sessions have ended", || server.record.ended.lock().unwrap().len() == 2);
    eventually("the connections are gone", || server.hub.counts().total == 0);
    assert_eq!(server.record.abandoned.load(Ordering::SeqCst), 0);
}

#[test]
fn what_a_peer_said_before_it_vanished_is_taken_inwards_first() {
    let server = ServerBuilder::without_tls().start();
    for encrypted in [false, true] {
        server.record.is_held.store(true, Ordering::SeqCst);
        let mut client = match encrypted {
            false => server.bound_client("juliet", "balcony"),
            true => server.bound_tls_client("juliet", "balcony"),
        };
        client.say(&bodies(1_000));
        drop(client);
        assert!(server.record.ended.lock().unwrap().is_empty());
        server.record.release();
        eventually("the session has ended", || !server.record.ended.lock().unwrap().is_empty());
        assert_eq!(server.record.delivered_count(), 1_000);
        server.record.delivered.lock().unwrap().clear();
        server.record.ended.lock().unwrap().clear();
    }
}

#[test]
fn a_session_can_be_told_to_go() {
    let server = ServerBuilder::without_tls().start();
    let mut client = server.bound_client("juliet", "balcony");
    let mailbox = server.record.mailbox(JULIET);
    mailbox.push(Stanza::parse(b"<message><body>before</body></message>").unwrap()).unwrap();
    mailbox.close(StreamError::new(StreamErrorCondition::Conflict, "Another one is here."));
    let heard = client.hear("</stream:stream>");
    let (before, after) = heard.split_once("</message>").unwrap();
    assert!(before.contains("before") && after.contains("<conflict xmlns"), "{heard}");
    client.say("<message><body>too late</body></message></stream:stream>");
    assert_eq!(client.hear_the_end(), "");
    eventually("the session has ended", || server.record.ended.lock().unwrap().len() == 1);
    assert_eq!(server.record.delivered_count(), 0);
}

#[test]
fn a_peer_that_does_not_close_its_side_is_let_go() {
    let server = ServerBuilder::without_tls().with(|s| s.close_timeout = Duration::from_millis(200)).start();
    let mut client = server.bound_client("juliet", "balcony");
    client.say("<message from='romeo@moult.example'/>");
    assert!(client.hear_the_end().ends_with("</stream:stream>"));
    let begin = Instant::now();
    // The session is over as soon as the peer was told; the connection a little later.
    eventually("the session has ended", || server.record.ended.lock().unwrap().len() == 1);
    eventually("the connection is gone", || server.hub.counts().total == 0);
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_half_closed_stream_is_answered_and_closed() {
    let server = Server::start();
    let mut client = server.bound_tls_client("juliet", "balcony");
    client.stop_talking();
    client.hear_the_end();
    eventually("the session has ended", || server.record.ended.lock().unwrap().len() == 1);
}

#[test]
fn a_shutdown_ends_every_stream_with_a_reason() {
    let mut server = ServerBuilder::without_tls().start();
    let mut bound = server.bound_client("juliet", "balcony");
    let mut encrypted = server.bound_tls_client("romeo", "orchard");
    let mut opened = server.client();
    opened.open(DOMAIN);
    let mut untouched = server.client();
    let mut shaking = Client::connect(server.direct);
    eventually("all are connected", || server.hub.counts().total == 5);
    let mailbox = server.record.mailbox(JULIET);
    mailbox.push(Stanza::parse(b"<message><body>before</body></message>").unwrap()).unwrap();

    server.stop_listening();
    let refused = TcpStream::connect(server.plain).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let hub = server.hub.clone();
    let left = server.runtime.spawn(async move { hub.shut_down(Duration::from_secs(20)).await });
    for client in [&mut bound, &mut encrypted, &mut opened, &mut untouched] {
        let heard = client.hear_until_closed();
        assert!(heard.contains("<system-shutdown xmlns"), "{heard}");
    }
    assert_eq!(shaking.hear_the_end(), "");
    assert!(encrypted.heard_close_notify());
    assert_eq!(server.runtime.block_on(left).unwrap(), 0);
    assert_eq!(server.record.ended.lock().unwrap().len(), 2);
    assert!(server.record.ended.lock().unwrap().iter().all(|(_, lost)| lost.is_empty()));
}

#[test]
fn a_shutdown_cuts_what_does_not_end_in_time() {
    let server = ServerBuilder::without_tls().with(|s| s.close_timeout = Duration::from_secs(60)).start();
    let _deaf = server.bound_client("juliet", "balcony");
    server.record.is_held.store(true, Ordering::SeqCst);
    let mut stuck = server.bound_client("romeo", "orchard");
    stuck.say("<message/>");
    let begin = Instant::now();
    let left = server.runtime.block_on(server.hub.shut_down(Duration::from_millis(200)));
    assert_eq!(left, 2);
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert_eq!(server.hub.counts().total, 0);
    assert!(server.record.sessions.lock().unwrap().is_empty(), "every session has ended in some way");
}
