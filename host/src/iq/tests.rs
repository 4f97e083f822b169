//! Requests that wait for answers, and answers that are owed.

use std::time::{Duration, Instant};

use super::{OwedAnswers, PendingError, PendingIqs, TooManyOwed};
use crate::stanza::Stanza;

fn request(id: &str) -> Stanza {
    let xml = format!("<iq type='get' id='{id}' from='a.example' to='b@c.example/d'><q xmlns='urn:x'/></iq>");
    Stanza::parse(xml.as_bytes()).unwrap()
}

fn answer(id: &str, from: &str) -> Stanza {
    Stanza::parse(format!("<iq type='result' id='{id}' from='{from}' to='a.example'/>").as_bytes()).unwrap()
}

const PEER: &str = "b@c.example/d";
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn an_answer_is_matched_by_id_and_sender() {
    let pending = PendingIqs::new(10);
    let waiting = pending.expect(&request("1"), SECOND).unwrap();
    assert!(pending.answer(answer("2", PEER)).is_some());
    assert!(pending.answer(answer("1", "mallory@c.example/d")).is_some());
    assert!(pending.answer(answer("1", "b@c.example")).is_some(), "not even its account");
    assert!(pending.answer(answer("1", PEER)).is_none());
    assert!(pending.answer(answer("1", PEER)).is_some(), "once");
    assert_eq!(waiting.answer().await.unwrap().id().as_deref(), Some("1"));
    assert_eq!((pending.counts().answered, pending.counts().waiting), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_missing_answer_is_an_error_at_the_deadline_and_a_late_one_is_nobodys() {
    let pending = PendingIqs::new(10);
    let waiting = pending.expect(&request("1"), SECOND).unwrap();
    assert_eq!(waiting.answer().await.unwrap_err(), PendingError::TimedOut(PEER.parse().unwrap()));
    assert!(pending.answer(answer("1", PEER)).is_some());
    assert_eq!((pending.counts().timed_out, pending.counts().waiting), (1, 0));
}

#[tokio::test]
async fn the_same_id_twice_to_the_same_peer_is_refused() {
    let pending = PendingIqs::new(10);
    let first = pending.expect(&request("1"), SECOND).unwrap();
    assert_eq!(pending.expect(&request("1"), SECOND).err(), Some(PendingError::Duplicate("1".into())));
    drop(first);
    assert!(pending.expect(&request("1"), SECOND).is_ok(), "its place is free again");
    assert_eq!(pending.expect(&answer("1", PEER), SECOND).err(), Some(PendingError::NoRequest));
}

#[tokio::test(start_paused = true)]
async fn the_table_is_bounded_and_forgotten_requests_make_room() {
    let pending = PendingIqs::new(2);
    let _one = pending.expect(&request("1"), SECOND).unwrap();
    let two = pending.expect(&request("2"), SECOND * 10).unwrap();
    assert_eq!(pending.expect(&request("3"), SECOND).err(), Some(PendingError::Full(2)));
    tokio::time::advance(SECOND * 2).await;
    // Nobody has polled the first one since its deadline.
    let three = pending.expect(&request("3"), SECOND).unwrap();
    assert_eq!(pending.counts().waiting, 2);
    drop((two, three));
    assert_eq!(pending.counts().waiting, 0);
}

#[test]
fn an_owed_answer_goes_out_once() {
    let (owed, now) = (OwedAnswers::new(10), Instant::now());
    owed.owe(&request("1"), now, SECOND).unwrap();
    assert!(owed.settle(&answer("1", PEER), now, SECOND));
    assert!(!owed.settle(&answer("1", PEER), now, SECOND));
    assert!(owed.expire(now + SECOND * 2, SECOND).is_empty());
    owed.owe(&request("1"), now, SECOND).unwrap();
    assert!(owed.settle(&answer("1", PEER), now, SECOND), "a new request may have the same id");
}

#[test]
fn an_overdue_answer_is_given_in_the_modules_place_and_its_own_comes_too_late() {
    let (owed, now) = (OwedAnswers::new(10), Instant::now());
    owed.owe(&request("1"), now, SECOND).unwrap();
    owed.owe(&request("2"), now, SECOND * 5).unwrap();
    assert!(owed.expire(now, SECOND).is_empty());
    let overdue = owed.expire(now + SECOND, SECOND);
    assert_eq!(overdue.len(), 1);
    assert_eq!(overdue[0].id().as_deref(), Some("1"));
    assert!(!owed.settle(&answer("1", PEER), now, SECOND));
    assert!(owed.settle(&answer("2", PEER), now, SECOND));
}

#[test]
fn an_early_answer_is_recognised_when_the_call_ends() {
    let (owed, now) = (OwedAnswers::new(10), Instant::now());
    assert!(!owed.take_early_answer(&request("1")));
    assert!(owed.settle(&answer("1", PEER), now, SECOND));
    assert!(owed.take_early_answer(&request("1")));
    assert!(!owed.take_early_answer(&request("1")));
}

#[test]
fn everything_is_forgotten_in_time_and_the_table_is_bounded() {
    let (owed, now) = (OwedAnswers::new(2), Instant::now());
    owed.owe(&request("1"), now, SECOND).unwrap();
    owed.owe(&request("2"), now, SECOND).unwrap();
    assert_eq!(owed.owe(&request("3"), now, SECOND), Err(TooManyOwed));
    owed.forget(&request("2"));
    owed.owe(&request("3"), now, SECOND).unwrap();
    for id in 0..9 {
        assert!(owed.settle(&answer(&format!("x{id}"), PEER), now, SECOND * 9), "not owed");
    }
    assert_eq!(owed.len(), 4, "no room to remember more");
    assert_eq!(owed.expire(now + SECOND, SECOND).len(), 2);
    assert!(owed.expire(now + SECOND * 9, SECOND).is_empty());
    assert!(owed.is_empty());
}

#[test]
fn late_answers_are_recognised_for_a_while() {
    let (owed, now) = (OwedAnswers::new(2), Instant::now());
    owed.owe(&request("1"), now, SECOND).unwrap();
    assert_eq!(owed.expire(now + SECOND, SECOND).len(), 1);
    assert_eq!(owed.len(), 1);
    assert!(owed.expire(now + SECOND * 2, SECOND).is_empty());
    assert!(owed.is_empty());
}

#[test]
fn a_stream_of_answered_requests_leaves_nothing_behind() {
    let owed = OwedAnswers::new(100);
    let mut now = Instant::now();
    for number in 0..10_000 {
        let id = number.to_string();
        owed.owe(&request(&id), now, SECOND * 30).unwrap();
        assert!(owed.settle(&answer(&id, PEER), now, SECOND));
        now += SECOND / 10;
        owed.expire(now, SECOND);
    }
    assert!(owed.len() < 50, "{}", owed.len());
}
