//! Stanzas in both directions, and peers that are too slow for them.

use std::time::{Duration, Instant};

use moult_host::session::MailboxSender;
use moult_host::stanza::Stanza;

use crate::support::{Server, ServerBuilder, eventually};

const JULIET: &str = "juliet@moult.example/balcony";

fn message(number: usize, body: &str) -> String {
    format!("<message to='{JULIET}' id='m{number}'><body>{body}</body></message>")
}

/// Pushes until the mailbox takes it.
fn push(mailbox: &MailboxSender, text: &str) {
    let stanza = Stanza::parse(text.as_bytes()).unwrap();
    eventually("the mailbox takes the stanza", || mailbox.push(stanza.clone()).is_ok());
}

#[test]
fn stanzas_wait_for_the_one_before_and_keep_their_order() {
    let server = ServerBuilder::without_tls().start();
    let mut client = server.bound_client("juliet", "balcony");
    server.record.is_held.store(true, std::sync::atomic::Ordering::SeqCst);
    let all: String = (0..200).map(|number| message(number, "x")).collect();
    client.say(&all);
    assert!(!client.hears_within(Duration::from_millis(50)));
    assert_eq!(server.record.delivered_count(), 0);
    server.record.release();
    for number in 0..200 {
        let heard = client.hear("</message>");
        assert!(heard.contains(&format!("id='m{number}'")), "{number}: {heard}");
    }
}

#[test]
fn a_stanza_reaches_the_client_while_another_of_its_own_waits() {
    let server = ServerBuilder::without_tls().start();
    let mut client = server.bound_client("juliet", "balcony");
    server.record.is_held.store(true, std::sync::atomic::Ordering::SeqCst);
    client.say(&message(1, "held"));
    push(&server.record.mailbox(JULIET), &message(2, "from elsewhere"));
    client.hear("from elsewhere");
    server.record.release();
    client.hear("held");
}

#[test]
fn thousands_of_stanzas_arrive_in_order_plain_and_encrypted() {
    let server = ServerBuilder::without_tls().start();
    for mut client in [server.bound_client("juliet", "balcony"), server.bound_tls_client("juliet", "cellar")]
    {
        let jid = if client.is_encrypted() { "juliet@moult.example/cellar" } else { JULIET };
        let mailbox = server.record.mailbox(jid);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..5_000 {
                    push(&mailbox, &message(number, &"y".repeat(number % 700)));
                }
            });
            for number in 0..5_000 {
                let heard = client.hear("</message>");
                assert!(heard.contains(&format!("id='m{number}'")), "{number}: {heard}");
            }
        });
    }
}

#[test]
fn large_stanzas_arrive_plain_and_encrypted() {
    let server = ServerBuilder::without_tls().start();
    for mut client in [server.bound_client("juliet", "balcony"), server.bound_tls_client("romeo", "orchard")]
    {
        let body = "z".repeat(200_000);
        let to = if client.is_encrypted() { "romeo@moult.example/orchard" } else { JULIET };
        client.say(&format!("<message to='{to}'><body>{body}</body></message>"));
        assert!(client.hear("</message>").contains(&body));
    }
}

#[test]
fn a_reader_that_never_reads_is_let_go_and_its_stanzas_come_back() {
    for encrypted in [false, true] {
        let server = ServerBuilder::without_tls()
            .with(|s| {
                s.write_timeout = Duration::from_millis(300);
                s.mailbox.items = 100;
            })
            .start();
        let client = match encrypted {
            false => server.bound_client("juliet", "balcony"),
            true => server.bound_tls_client("juliet", "balcony"),
        };
        let mailbox = server.record.mailbox(JULIET);
        let stanza = Stanza::parse(message(1, &"w".repeat(50_000)).as_bytes()).unwrap();
        let (mut pushed, begin) = (0, Instant::now());
        while mailbox.is_open() {
            match mailbox.push(stanza.clone()) {
                Ok(()) => pushed += 1,
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "the mailbox of a dead reader stays open");
        }
        eventually("the session has ended", || !server.record.ended.lock().unwrap().is_empty());
        let ended = server.record.ended.lock().unwrap();
        let lost = ended[0].1.len();
        assert!(lost > 0 && lost < pushed, "{lost} of {pushed} came back");
        eventually("the connection is gone", || server.hub.counts().total == 0);
        drop(client);
    }
}

#[test]
fn a_peer_that_does_not_read_its_answers_is_not_listened_to() {
    let server = ServerBuilder::without_tls().with(|s| s.write_timeout = Duration::from_millis(300)).start();
    let mut client = server.bound_client("juliet", "balcony");
    let wrong = "<message to='@' id='x'><body>no such address</body></message>".repeat(100);
    client.socket().set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let begin = Instant::now();
    while client.try_say(&wrong).is_ok() {
        assert!(begin.elapsed() < Duration::from_secs(60), "the server goes on listening");
    }
    eventually("the connection is gone", || server.hub.counts().total == 0);
}

#[test]
fn silent_clients_get_white_space_and_stay() {
    let server =
        ServerBuilder::without_tls().with(|s| s.keepalive_interval = Some(Duration::from_millis(50))).start();
    for mut client in [server.bound_client("juliet", "balcony"), server.bound_tls_client("romeo", "orchard")]
    {
        assert_eq!(client.hear("   "), "   ");
        client.say(" ");
        client.say("<presence to='juliet@moult.example/balcony'/>");
    }
    eventually("both are still heard", || server.record.delivered_count() == 2);
}

#[test]
fn white_space_of_the_client_is_a_sign_of_life_and_silence_is_not() {
    let server =
        ServerBuilder::without_tls().with(|s| s.idle_timeout = Some(Duration::from_millis(400))).start();
    let mut lively = server.bound_client("juliet", "balcony");
    let mut silent = server.bound_client("romeo", "orchard");
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(1_000) {
        lively.say(" ");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(silent.hear_until_closed().contains("<connection-timeout xmlns"));
    lively.say(&message(1, "alive"));
    lively.hear("alive");
}

#[test]
fn many_clients_talk_to_each_other_at_once() {
    let server = ServerBuilder::without_tls().start();
    let mut clients: Vec<_> = (0..60).map(|n| server.bound_client("juliet", &format!("r{n}"))).collect();
    for round in 0..20 {
        for (n, client) in clients.iter_mut().enumerate() {
            let to = format!("juliet@moult.example/r{}", (n + round) % 60);
            client.say(&format!("<message to='{to}' id='{round}'><body>hi</body></message>"));
        }
    }
    for client in &mut clients {
        let mut rounds: Vec<usize> = (0..20).map(|_| id_of(&client.hear("</message>"))).collect();
        rounds.sort_unstable();
        assert_eq!(rounds, (0..20).collect::<Vec<_>>());
    }
}

fn id_of(message: &str) -> usize {
    let (_, rest) = message.split_once("id='").unwrap();
    rest.split_once('\'').unwrap().0.parse().unwrap()
}

#[test]
fn the_answer_to_a_wrong_address_leaves_the_stream_open() {
    let server = Server::start();
    let mut client = server.bound_tls_client("juliet", "balcony");
    client.say("<message to='@' id='m1'><body>hi</body></message>");
    let heard = client.hear("</message>");
    assert!(heard.contains("<jid-malformed xmlns") && heard.contains("id='m1'"), "{heard}");
    client.say(&message(2, "still here"));
    client.hear("still here");
}
