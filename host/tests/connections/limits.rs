//! How many, how fast, how large.

use std::time::{Duration, Instant};

use moult_host::listener::Rate;

use crate::support::{Client, DOMAIN, Server, ServerBuilder, eventually};

#[test]
fn an_address_has_so_many_connections() {
    let server = ServerBuilder::default().with(|s| s.limits.per_address = 2).start();
    let (first, _second) = (server.client(), server.client());
    eventually("both are connected", || server.hub.counts().total == 2);
    let heard = server.client().hear_the_end();
    assert!(heard.contains("<policy-violation xmlns") && heard.ends_with("</stream:stream>"), "{heard}");
    assert_eq!(Client::connect(server.direct).hear_the_end(), "", "no handshake is wasted on a refusal");

    drop(first);
    eventually("the first is gone", || server.hub.counts().total == 1);
    server.client().open(DOMAIN);
}

#[test]
fn a_refusal_is_heard_by_a_peer_that_talks_first() {
    let server = ServerBuilder::default().with(|s| s.limits.total = 0).start();
    for _ in 0..20 {
        let mut client = server.client();
        let _ = client.try_say(&"<stream:stream xmlns:stream='x'>".repeat(100));
        let heard = client.hear_the_end();
        assert!(heard.contains("<resource-constraint xmlns"), "{heard}");
    }
}

#[test]
fn strangers_are_counted_until_they_log_in() {
    let server = ServerBuilder::default().with(|s| s.limits.unauthenticated = 1).start();
    let mut first = server.tls_client();
    first.open(DOMAIN);
    let heard = server.client().hear_the_end();
    assert!(heard.contains("<resource-constraint xmlns"), "{heard}");
    first.log_in(DOMAIN, "juliet", "juliet");
    server.client().open(DOMAIN);
}

#[test]
fn new_limits_hold_for_the_next_connection() {
    let server = Server::start();
    server.client().open(DOMAIN);
    let mut settings = ServerBuilder::default().settings;
    settings.limits.total = 0;
    server.hub.apply(settings);
    assert!(server.client().hear_the_end().contains("<resource-constraint xmlns"));
}

const SLOW: Rate = Rate { bytes_per_second: 20_000, burst: 10_000 };

#[test]
fn a_shaper_slows_a_peer_down_and_loses_nothing() {
    let mut builder = ServerBuilder::without_tls();
    builder.shaper = Some(SLOW);
    forty_kilobytes_come_slowly(&builder.start());
}

#[test]
fn a_shaper_may_be_changed_while_the_server_listens() {
    let server = ServerBuilder::without_tls().start();
    server.shape(Some(SLOW));
    forty_kilobytes_come_slowly(&server);
}

fn forty_kilobytes_come_slowly(server: &Server) {
    let mut client = server.bound_client("juliet", "balcony");
    let message = format!("<message><body>{}</body></message>", "x".repeat(968));
    let begin = Instant::now();
    for _ in 0..40 {
        client.say(&message);
    }
    eventually("all messages have come", || server.record.delivered_count() == 40);
    // 40 kB at 20 kB/s, less the burst.
    assert!(begin.elapsed() >= Duration::from_millis(1_300), "it took only {:?}", begin.elapsed());
}

#[test]
fn a_stanza_may_be_as_large_as_configured() {
    let server = ServerBuilder::without_tls().with(|s| s.stream.limits.stanza_bytes = 100_000).start();
    let mut client = server.bound_client("juliet", "balcony");
    let message = |size: usize| {
        let body = "x".repeat(size);
        format!("<message to='juliet@moult.example/balcony'><body>{body}</body></message>")
    };
    client.say(&message(99_000));
    assert!(client.hear("</message>").len() > 99_000);
    client.say(&message(100_000));
    assert!(client.hear_until_closed().contains("<policy-violation xmlns"));
}
