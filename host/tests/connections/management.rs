//! Stream management (XEP-0198) over real sockets.

use std::sync::atomic::Ordering;
use std::time::Duration;

use moult_host::stanza::{Stanza, StreamError, StreamErrorCondition};

use crate::support::{Client, DOMAIN, Server, ServerBuilder, eventually, scram};

const JULIET: &str = "juliet@moult.example/balcony";
const SM: &str = "xmlns='urn:xmpp:sm:3'";

fn builder() -> ServerBuilder {
    ServerBuilder::without_tls().with(|settings| {
        settings.stream.management = true;
        settings.management.ack_every = 2;
        settings.management.ack_after = Duration::from_secs(3_600);
    })
}

/// A client that has enabled stream management; its session's id.
fn managed(server: &Server) -> (Client, String) {
    let mut client = server.bound_client("juliet", "balcony");
    client.say(&format!("<enable {SM} resume='true'/>"));
    let enabled = client.hear("/>");
    assert!(enabled.contains("resume='true'") && enabled.contains("max='300'"), "{enabled}");
    let id = enabled.split_once(" id='").unwrap().1.split_once('\'').unwrap().0.to_owned();
    (client, id)
}

/// A client that has logged in and may bind or resume.
fn logged_in(server: &Server, user: &str) -> Client {
    let mut client = server.client();
    client.open(DOMAIN);
    scram::log_in(&mut client, user, user, None);
    assert!(client.open(DOMAIN).contains(&format!("<sm {SM}/>")));
    client
}

fn resume(server: &Server, id: &str, handled: u32) -> (Client, String) {
    let mut client = logged_in(server, "juliet");
    client.say(&format!("<resume {SM} previd='{id}' h='{handled}'/>"));
    let answer = client.hear(">");
    (client, answer)
}

fn push(server: &Server, id: &str) {
    let message = format!("<message id='{id}'><body>for juliet</body></message>");
    server.record.mailbox(JULIET).push(Stanza::parse(message.as_bytes()).unwrap()).unwrap();
}

fn ended(server: &Server) -> Vec<Vec<String>> {
    server.record.ended.lock().unwrap().iter().map(|(_, lost)| lost.clone()).collect()
}

fn is_detached(server: &Server) {
    eventually("the session waits for its client", || server.hub.counts().detached == 1);
}

#[test]
fn both_sides_count_what_they_have_handled() {
    let server = builder().start();
    let (mut client, _) = managed(&server);
    client.say(&format!("<r {SM}/>"));
    assert_eq!(client.hear("/>"), format!("<a {SM} h='0'/>"));
    // A stanza that is refused, one that the stream answers itself, and one that goes inwards: all of them are handled.
    client.say("<message to='@' id='1'/><iq type='set' id='2'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>");
    client.say(&format!("<message id='3'/><r {SM}/>"));
    let heard = client.hear("<a ");
    assert!(heard.contains("jid-malformed") && heard.contains("type='result'"), "{heard}");
    assert_eq!(client.hear("/>"), "xmlns='urn:xmpp:sm:3' h='3'/>");
    // The two answers were stanzas as well, so we are asked about them.
    assert!(heard.contains(&format!("<r {SM}/>")) || client.hear("/>") == format!("<r {SM}/>"));
    client.say(&format!("<a {SM} h='2'/>"));
    client.say(&format!("<r {SM}/><r {SM}/>"));
    assert_eq!(client.hear("/>"), format!("<a {SM} h='3'/>"));
}

#[test]
fn the_client_is_asked_after_some_stanzas_and_after_some_time() {
    let server = builder().start();
    let (mut client, _) = managed(&server);
    push(&server, "1");
    client.hear("</message>");
    assert!(!client.hears_within(Duration::from_millis(50)));
    push(&server, "2");
    client.hear("</message>");
    assert_eq!(client.hear("/>"), format!("<r {SM}/>"));

    let server = builder().with(|settings| settings.management.ack_after = Duration::from_millis(10)).start();
    let (mut client, _) = managed(&server);
    push(&server, "1");
    client.hear("</message>");
    assert_eq!(client.hear("/>"), format!("<r {SM}/>"));
}

#[test]
fn acknowledging_more_than_was_sent_ends_the_stream() {
    let server = builder().start();
    let (mut client, id) = managed(&server);
    client.say(&format!("<a {SM} h='1'/>"));
    let heard = client.hear_until_closed();
    assert!(heard.contains("<undefined-condition "), "{heard}");
    assert!(heard.contains(&format!("<handled-count-too-high {SM} h='1' send-count='0'/>")), "{heard}");
    eventually("the session has ended", || ended(&server).len() == 1);
    let (_, answer) = resume(&server, &id, 0);
    assert!(answer.starts_with(&format!("<failed {SM} h='0'")), "{answer}");
}

#[test]
fn what_makes_no_sense_is_refused_and_the_stream_goes_on() {
    let server = builder().start();
    let mut client = server.bound_client("juliet", "balcony");
    let unexpected =
        format!("<failed {SM}><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>");
    for element in ["<r", "<a h='0'", "<resume previd='x' h='0'"] {
        client.say(&format!("{element} {SM}/>"));
        assert_eq!(client.hear("</failed>"), unexpected);
    }
    client.say(&format!("<enable {SM}/>"));
    assert_eq!(client.hear("/>"), format!("<enabled {SM}/>"));
    client.say(&format!("<enable {SM}/>"));
    assert_eq!(client.hear("</failed>"), unexpected);
    client.say(&format!("<r {SM}/>"));
    assert_eq!(client.hear("/>"), format!("<a {SM} h='0'/>"));
}

#[test]
fn a_session_goes_on_after_its_connection_was_cut() {
    let server = builder().start();
    let (mut client, id) = managed(&server);
    client.say("<message id='up1'/>");
    push(&server, "1");
    push(&server, "2");
    client.hear("<r ");
    eventually("it was handled", || server.record.delivered_count() == 1);
    drop(client);
    is_detached(&server);
    assert_eq!(server.hub.counts().total, 0);
    push(&server, "3");

    let (mut client, answer) = resume(&server, &id, 1);
    assert_eq!(answer, format!("<resumed {SM} previd='{id}' h='1'/>"));
    let heard = client.hear("id='3'") + &client.hear("</message>");
    assert!(!heard.contains("id='1'") && heard.contains("id='2'"), "{heard}");
    // What came while the client was away says so; what it may have got already does not.
    assert_eq!(heard.matches("<delay xmlns='urn:xmpp:delay' from='moult.example'").count(), 1, "{heard}");
    assert_eq!(server.hub.counts().detached, 0);
    assert_eq!(*server.record.detached.lock().unwrap(), [JULIET]);
    assert_eq!(server.record.resumed.lock().unwrap()[0].0, JULIET);
    // The counters go on where they were.
    client.say(&format!("<a {SM} h='3'/><message id='up2'/><r {SM}/>"));
    assert!(client.hear("/>").ends_with("<r xmlns='urn:xmpp:sm:3'/>"));
    assert_eq!(client.hear("/>"), format!("<a {SM} h='2'/>"));
    push(&server, "4");
    assert!(client.hear("</message>").contains("id='4'"));
    client.say(&format!("<a {SM} h='4'/></stream:stream>"));
    client.hear_the_end();
    eventually("the session has ended", || ended(&server) == [Vec::<String>::new()]);
}

#[test]
fn an_old_connection_that_is_still_open_gives_way() {
    let server = builder().start();
    let (mut old, id) = managed(&server);
    push(&server, "1");
    old.hear("</message>");
    let (mut new, answer) = resume(&server, &id, 0);
    assert!(answer.starts_with("<resumed "), "{answer}");
    assert!(new.hear("</message>").contains("id='1'"));
    assert!(old.hear_until_closed().contains("<conflict "));
    push(&server, "2");
    assert!(new.hear("</message>").contains("id='2'"));
    assert!(ended(&server).is_empty());
    // And once more, with a stanza on its way inwards on the connection that is given up.
    server.record.is_held.store(true, Ordering::SeqCst);
    new.say("<message id='up1'/>");
    let (third, answer) = std::thread::scope(|scope| {
        let third = scope.spawn(|| resume(&server, &id, 2));
        eventually("it has claimed the session", || server.hub.counts().total >= 2);
        server.record.release();
        third.join().unwrap()
    });
    drop(third);
    let handled = if server.record.delivered_count() == 1 { "h='1'" } else { "h='0'" };
    assert!(answer.contains(handled), "{answer}");
}

#[test]
fn nobody_else_can_resume_it_and_it_ends_when_the_time_is_over() {
    let server = builder().with(|s| s.management.resume_timeout = Duration::from_secs(300)).start();
    let mut client = server.bound_client("juliet", "balcony");
    client.say(&format!("<enable {SM} resume='true' max='1'/>"));
    let enabled = client.hear("/>");
    assert!(enabled.contains("max='1'"), "{enabled}");
    let id = enabled.split_once(" id='").unwrap().1.split_once('\'').unwrap().0.to_owned();
    push(&server, "1");
    client.hear("</message>");
    drop(client);
    eventually("it was left to a keeper", || !server.record.detached.lock().unwrap().is_empty());
    let mut romeo = logged_in(&server, "romeo");
    romeo.say(&format!("<resume {SM} previd='{id}' h='0'/>"));
    let refused =
        format!("<failed {SM}><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>");
    assert_eq!(romeo.hear("</failed>"), refused);
    romeo.bind("orchard");

    eventually("the time is over", || ended(&server).len() == 1);
    assert!(ended(&server)[0][0].contains("id='1'"), "what was not acknowledged is given back");
    eventually("nothing waits", || server.hub.counts().detached == 0);
    let (mut late, answer) = resume(&server, &id, 0);
    assert_eq!(answer, format!("<failed {SM} h='0'>"));
    late.hear("</failed>");
    late.bind("balcony");
}

#[test]
fn without_resumption_nothing_is_kept_but_nothing_is_lost() {
    let server = builder().start();
    let mut client = server.bound_client("juliet", "balcony");
    client.say(&format!("<enable {SM}/>"));
    client.hear("/>");
    push(&server, "1");
    push(&server, "2");
    client.hear("id='2'");
    client.say(&format!("<a {SM} h='1'/><message/>"));
    eventually("it was handled", || server.record.delivered_count() == 1);
    drop(client);
    eventually("the session has ended", || ended(&server).len() == 1);
    let lost = &ended(&server)[0];
    assert!(lost.len() == 1 && lost[0].contains("id='2'"), "{lost:?}");
}

#[test]
fn a_session_that_gets_too_much_while_it_waits_ends() {
    let server = builder()
        .with(|settings| {
            settings.management.queue_items = 8;
            settings.mailbox.items = 8;
        })
        .start();
    let (client, id) = managed(&server);
    drop(client);
    is_detached(&server);
    let mut pushed = 0;
    eventually("too much has come", || {
        let mailbox = server.record.sessions.lock().unwrap().get(JULIET).cloned();
        let message = Stanza::parse(b"<message id='1'/>").unwrap();
        pushed += usize::from(mailbox.is_some_and(|mailbox| mailbox.push(message).is_ok()));
        !ended(&server).is_empty()
    });
    assert!(pushed > 16, "{pushed}");
    assert_eq!(ended(&server)[0].len(), pushed, "all of it is given back");
    let (_, answer) = resume(&server, &id, 0);
    assert!(answer.starts_with("<failed "), "{answer}");
}

#[test]
fn a_client_that_acknowledges_nothing_gets_no_more_and_is_given_up() {
    let server = builder()
        .with(|settings| {
            settings.management.queue_items = 8;
            settings.management.ack_timeout = Duration::from_secs(3);
        })
        .start();
    let (mut client, id) = managed(&server);
    (0..20).for_each(|number| push(&server, &number.to_string()));
    // The whole batch that filled the window may be out; nothing after it is.
    let heard = client.hear_the_end();
    let written = heard.matches("</message>").count();
    assert!((8..=20).contains(&written), "{written}");
    assert_eq!(heard.matches("<r ").count(), 1, "{heard}");
    is_detached(&server);
    let (mut client, answer) = resume(&server, &id, 8);
    assert!(answer.starts_with("<resumed "), "{answer}");
    let heard = client.hear("id='19'");
    assert_eq!(heard.matches("<message").count(), 12, "{heard}");
}

#[test]
fn a_session_that_is_closed_by_others_does_not_come_back() {
    let server = builder().start();
    let (client, id) = managed(&server);
    drop(client);
    is_detached(&server);
    push(&server, "1");
    let reason = StreamError::new(StreamErrorCondition::PolicyViolation, "Kicked.");
    server.record.mailbox(JULIET).close(reason);
    eventually("the session has ended", || ended(&server).len() == 1);
    assert_eq!(ended(&server)[0].len(), 1);
    let (_, answer) = resume(&server, &id, 0);
    assert!(answer.starts_with("<failed "), "{answer}");
}

#[test]
fn a_closing_tag_ends_the_session_for_good() {
    let server = builder().start();
    let (mut client, id) = managed(&server);
    push(&server, "1");
    client.hear("</message>");
    client.say("</stream:stream>");
    client.hear_the_end();
    eventually("the session has ended", || ended(&server).len() == 1);
    assert_eq!(ended(&server)[0].len(), 1, "it was not acknowledged");
    let (_, answer) = resume(&server, &id, 0);
    assert!(answer.starts_with("<failed "), "{answer}");
}

#[test]
fn only_so_many_sessions_wait_at_the_same_time() {
    let server = builder().with(|settings| settings.management.max_detached = 1).start();
    let (client, _) = managed(&server);
    drop(client);
    is_detached(&server);
    let mut romeo = server.bound_client("romeo", "orchard");
    romeo.say(&format!("<enable {SM} resume='true'/>"));
    romeo.hear("/>");
    drop(romeo);
    eventually("the second one has ended", || ended(&server).len() == 1);
    assert_eq!(server.hub.counts().detached, 1);
}

#[test]
fn a_resumption_that_claims_too_much_ends_only_its_stream() {
    let server = builder().start();
    let (client, id) = managed(&server);
    drop(client);
    is_detached(&server);
    let (mut client, answer) = resume(&server, &id, 5);
    let heard = answer + &client.hear_until_closed();
    assert!(heard.contains("<handled-count-too-high "), "{heard}");
    let (_, answer) = resume(&server, &id, 0);
    assert!(answer.starts_with("<resumed "), "{answer}");
}
