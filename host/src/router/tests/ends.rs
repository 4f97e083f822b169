//! Full mailboxes, closing sessions, and what they held.

use std::sync::Arc;
use std::time::Duration;

use super::super::testing::{Bench, Client, condition, stanza};
use super::super::{NoFederation, Routing};
use crate::session::{MailboxLimits, SessionLimits};
use crate::stanza::{IqType, StanzaErrorCondition, StanzaType, StreamError, StreamErrorCondition};

fn small() -> Bench {
    let mailbox = MailboxLimits { items: 2, bytes: 1 << 20, stalled_after: Duration::from_secs(60) };
    Bench::with(SessionLimits { mailbox, ..SessionLimits::default() }, Arc::new(NoFederation))
}

const SAY: &str = "<message to='juliet@b.example/y' type='chat' id='m'><body/></message>";
const ASK: &str = "<iq to='juliet@b.example/y' type='get' id='q'><q xmlns='urn:x'/></iq>";

#[tokio::test]
async fn a_full_mailbox_gives_messages_and_requests_back_to_their_sender() {
    let bench = small();
    let mut romeo = bench.bind("romeo@a.example/x").await;
    let mut juliet = bench.bind("juliet@b.example/y").await;
    for _ in 0..2 {
        romeo.send(SAY).await;
    }
    romeo.send(SAY).await;
    assert_eq!(condition(&romeo.got_one()), Some(StanzaErrorCondition::ResourceConstraint));
    romeo.send(ASK).await;
    assert_eq!(condition(&romeo.got_one()), Some(StanzaErrorCondition::ResourceConstraint));
    assert_eq!(juliet.got().len(), 2, "what was taken stays");
    romeo.send(SAY).await;
    assert_eq!(juliet.got().len(), 1, "room again");
}

#[tokio::test]
async fn a_sender_is_held_up_until_the_receiver_takes_something() {
    let bench = small();
    let mut romeo = bench.bind("romeo@a.example/x").await;
    let mut juliet = bench.bind("juliet@b.example/y").await;
    for _ in 0..2 {
        romeo.send(SAY).await;
    }
    let mut held = say(&bench, &romeo, SAY);
    assert!(look(&mut held).is_pending(), "there is no room yet");
    assert_eq!(juliet.got().len(), 2);
    held.await;
    assert_eq!(juliet.got().len(), 1);
    assert!(romeo.got().is_empty(), "nothing came back");
}

#[tokio::test]
async fn a_sender_who_is_held_up_hears_of_the_receivers_end() {
    let bench = small();
    let mut romeo = bench.bind("romeo@a.example/x").await;
    let juliet = bench.bind("juliet@b.example/y").await;
    for _ in 0..2 {
        romeo.send(SAY).await;
    }
    let mut held = say(&bench, &romeo, ASK);
    assert!(look(&mut held).is_pending(), "there is no room yet");
    juliet.leave().await;
    held.await;
    let answers = romeo.got();
    assert!(answers.iter().any(|answer| answer.id().as_deref() == Some("q")), "{answers:?}");
}

#[tokio::test]
async fn a_sender_without_patience_is_not_held_up() {
    let bench = small();
    let mut romeo = bench.bind("romeo@a.example/x").await;
    let _juliet = bench.bind("juliet@b.example/y").await;
    for _ in 0..2 {
        romeo.send(SAY).await;
    }
    romeo.session.as_ref().unwrap().patience().spend(Duration::from_secs(2));
    let mut at_once = say(&bench, &romeo, SAY);
    assert!(look(&mut at_once).is_ready(), "no patience is left");
    drop(at_once);
    assert_eq!(condition(&romeo.got_one()), Some(StanzaErrorCondition::ResourceConstraint));
}

fn say(bench: &Bench, who: &Client, xml: &str) -> Routing {
    bench.router.from_session(who.session.as_ref().unwrap(), stanza(xml).with_from(&who.jid()))
}

fn look(future: &mut (impl Future<Output = ()> + Unpin)) -> std::task::Poll<()> {
    std::pin::Pin::new(future).poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test]
async fn what_cannot_be_given_back_uses_the_reserve_and_then_ends_the_session() {
    let bench = small();
    let romeo = bench.bind("romeo@a.example/x").await;
    let mut juliet = bench.bind("juliet@b.example/y").await;
    for _ in 0..3 {
        romeo.send("<presence to='juliet@b.example/y'/>").await;
    }
    assert_eq!(juliet.got().len(), 3, "two and the reserve");
    for _ in 0..5 {
        romeo.send("<iq type='result' id='1' to='juliet@b.example/y'/>").await;
    }
    let closed = juliet.closed().expect("the session is closed");
    assert_eq!(closed.condition, StreamErrorCondition::ResourceConstraint);
}

#[tokio::test]
async fn requests_left_in_a_closed_mailbox_are_answered_with_an_error() {
    let bench = Bench::new();
    let mut romeo = bench.bind("romeo@a.example/x").await;
    let juliet = bench.bind("juliet@b.example/y").await;
    romeo.send(ASK).await;
    romeo.send("<iq to='juliet@b.example/y' type='result' id='r'/>").await;
    juliet.leave().await;
    let answer = romeo.got_one();
    assert_eq!(answer.id().as_deref(), Some("q"));
    assert_eq!(condition(&answer), Some(StanzaErrorCondition::ServiceUnavailable));
}

#[tokio::test]
async fn requests_left_by_a_crashed_connection_are_answered_too() {
    let bench = Bench::new();
    let mut romeo = bench.bind("romeo@a.example/x").await;
    let juliet = bench.bind("juliet@b.example/y").await;
    romeo.send(ASK).await;
    drop(juliet);
    let answers = romeo.wait().await;
    assert_eq!(condition(&answers[0]), Some(StanzaErrorCondition::ServiceUnavailable));
}

#[tokio::test]
async fn what_a_connection_could_not_write_is_routed_again_in_order() {
    let bench = Bench::new();
    let romeo = bench.bind("romeo@a.example/x").await;
    let mut phone = bench.bind("juliet@b.example/phone").await;
    let mut desk = bench.available("juliet@b.example/desk", 0).await;
    for id in 1..=4 {
        romeo
            .send(&format!("<message to='juliet@b.example/phone' type='chat' id='{id}'><body/></message>"))
            .await;
    }
    let mut batch = crate::session::Batch::new();
    let more = phone.mailbox.as_mut().unwrap().drain(&mut batch, 1);
    assert!(more && batch.len() == 1);
    let unsent = vec![stanza(
        "<message from='romeo@a.example/x' to='juliet@b.example/phone' type='chat' id='1'><body/></message>",
    )];
    drop(phone.mailbox.take());
    bench.router.end_session(phone.session.take().unwrap(), unsent).await;
    let ids: Vec<_> = desk.got().iter().map(|stanza| stanza.id().unwrap().into_owned()).collect();
    assert_eq!(ids, ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_copy_that_another_resource_took_is_not_delivered_twice() {
    let bench = Bench::new();
    let mut romeo = bench.bind("romeo@a.example/x").await;
    let mut phone = bench.available("juliet@b.example/phone", 5).await;
    let desk = bench.available("juliet@b.example/desk", 5).await;
    phone.got();
    let to_both = "<message to='juliet@b.example' type='chat' id='m'><body/></message>";
    romeo.send(to_both).await;
    assert_eq!(phone.got().len(), 1);
    desk.leave().await;
    phone.got();
    assert!(romeo.got().is_empty());
    assert!(phone.got().is_empty());
}

#[tokio::test]
async fn a_copy_that_could_not_be_written_is_not_doubled_and_not_lost() {
    let bench = Bench::new();
    let mut romeo = bench.bind("romeo@a.example/x").await;
    let mut phone = bench.available("juliet@b.example/phone", 5).await;
    let mut desk = bench.available("juliet@b.example/desk", 5).await;
    phone.got();
    romeo.send("<message to='juliet@b.example' type='chat' id='m'><body/></message>").await;
    let (unsent, also) = (phone.got(), desk.got());
    assert_eq!((unsent.len(), also.len()), (1, 1));
    drop(phone.mailbox.take());
    bench.router.end_session(phone.session.take().unwrap(), unsent).await;
    assert!(desk.got().iter().all(|stanza| stanza.kind() == crate::stanza::Kind::Presence), "no second copy");
    drop(desk.mailbox.take());
    bench.router.end_session(desk.session.take().unwrap(), also).await;
    assert_eq!(condition(&romeo.got_one()), Some(StanzaErrorCondition::ServiceUnavailable));
}

#[tokio::test]
async fn a_message_that_none_of_its_receivers_took_comes_back_once() {
    let bench = Bench::new();
    let mut romeo = bench.bind("romeo@a.example/x").await;
    let phone = bench.available("juliet@b.example/phone", 5).await;
    let desk = bench.available("juliet@b.example/desk", 5).await;
    romeo.send("<message to='juliet@b.example' type='chat' id='m'><body/></message>").await;
    phone.leave().await;
    assert!(romeo.got().is_empty(), "the desk still has a copy");
    desk.leave().await;
    assert_eq!(condition(&romeo.got_one()), Some(StanzaErrorCondition::ServiceUnavailable));
}

#[tokio::test]
async fn a_closing_session_counts_as_gone() {
    let bench = Bench::new();
    let mut romeo = bench.bind("romeo@a.example/x").await;
    let mut high = bench.available("juliet@b.example/high", 9).await;
    let mut low = bench.available("juliet@b.example/low", 1).await;
    high.got();
    let kicked: StreamError = StreamErrorCondition::PolicyViolation.into();
    assert!(bench.router.sessions().kick(&high.jid(), &kicked));
    romeo.send("<message to='juliet@b.example' type='chat' id='1'><body/></message>").await;
    romeo.send("<message to='juliet@b.example/high' type='chat' id='2'><body/></message>").await;
    romeo.send("<iq to='juliet@b.example/high' type='get' id='3'><q xmlns='urn:x'/></iq>").await;
    let ids: Vec<_> = low.got().iter().map(|stanza| stanza.id().unwrap().into_owned()).collect();
    assert_eq!(ids, ["1", "2"]);
    assert_eq!(condition(&romeo.got_one()), Some(StanzaErrorCondition::ServiceUnavailable));
    assert_eq!(high.closed().unwrap().condition, StreamErrorCondition::PolicyViolation);
    high.send("<message to='romeo@a.example/x'><body/></message>").await;
    assert!(romeo.got().is_empty(), "its stream has ended for the server");
}

#[tokio::test]
async fn a_replaced_session_hands_its_rest_to_its_successor() {
    let bench = Bench::new();
    let mut romeo = bench.bind("romeo@a.example/x").await;
    let mut old = bench.bind("juliet@b.example/y").await;
    romeo.send(SAY).await;
    let mut new = bench.bind("juliet@b.example/y").await;
    romeo.send(ASK).await;
    assert_eq!(new.got_one().type_(), StanzaType::Iq(IqType::Get), "new stanzas go to the new session");
    drop(old.mailbox.take());
    bench.router.end_session(old.session.take().unwrap(), Vec::new()).await;
    assert_eq!(new.got_one().id().as_deref(), Some("m"));
    assert!(bench.router.sessions().find(&new.jid()).is_some());
    assert!(romeo.got().is_empty());
}
