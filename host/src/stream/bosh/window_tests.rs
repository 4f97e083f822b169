//! The rules of sessions, by the answers that holders get.

use std::sync::Mutex;

use super::*;
use crate::stanza::ns;

const SECOND: Duration = Duration::from_secs(1);
const TERMS: BoshTerms = BoshTerms {
    max_wait: Duration::from_secs(60),
    inactivity: Duration::from_secs(30),
    max_pause: Duration::from_secs(120),
    max_body: 1 << 20,
};

/// What the holders were told, by the number of the request.
type Told = Arc<Mutex<Vec<(u64, String)>>>;

struct Fake {
    number: u64,
    told: Told,
    is_gone: bool,
}

impl Holder for Fake {
    fn is_gone(&self) -> bool {
        self.is_gone
    }

    fn answer(self, body: Arc<str>, _: Option<Terminal>) {
        self.told.lock().unwrap().push((self.number, body.to_string()));
    }
}

struct Session {
    window: Window<Fake>,
    told: Told,
    now: Instant,
}

fn request(rid: u64, more: &str) -> BoshRequest {
    let text = format!("<body rid='{rid}' xmlns='{}' {more}", ns::HTTP_BIND);
    let text = if more.contains('>') { text } else { format!("{text}/>") };
    BoshRequest::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn said(text: &str) -> Speech {
    let mut speech = Speech::default();
    speech.text(text);
    speech
}

impl Session {
    /// One whose first request, number 10, is answered.
    fn begun(wishes: &str) -> Self {
        let (told, now) = (Told::default(), Instant::now());
        let first = Fake { number: 10, told: Arc::clone(&told), is_gone: false };
        let window = Window::open("sid".to_owned(), &request(10, wishes), &TERMS, first, now);
        let mut session = Self { window, told, now };
        session.say("<a xmlns='first'/>");
        assert!(session.answers()[0].1.contains("sid='sid'"));
        session
    }

    fn come(&mut self, rid: u64, more: &str) -> Result<Vec<u64>, Terminal> {
        let holder = Fake { number: rid, told: Arc::clone(&self.told), is_gone: false };
        self.come_with(rid, more, holder)
    }

    fn come_with(&mut self, rid: u64, more: &str, holder: Fake) -> Result<Vec<u64>, Terminal> {
        let arrived = self.window.arrive(request(rid, more), holder, self.now);
        arrived.map(|requests| requests.iter().map(|request| request.rid).collect()).map_err(|(why, _)| why)
    }

    fn say(&mut self, text: &str) {
        self.window.say(&said(text), self.now);
    }

    fn pass(&mut self, seconds: u32) {
        self.now += seconds * SECOND;
        self.window.let_go(self.now);
    }

    fn answers(&mut self) -> Vec<(u64, String)> {
        std::mem::take(&mut *self.told.lock().unwrap())
    }

    fn numbers(&mut self) -> Vec<u64> {
        self.answers().into_iter().map(|(number, _)| number).collect()
    }
}

const USUAL: &str = "to='a.example' wait='20' hold='1' ver='1.11'";
const STANZA: &str = "sid='sid'><presence/></body>";

#[test]
fn what_is_agreed_on_is_never_more_than_either_side_wants() {
    for (wishes, wait, hold, requests, inactivity) in [
        ("wait='20' hold='1'", 20, 1, 2, 30),
        ("wait='3600' hold='100'", 60, 4, 5, 30),
        ("", 60, 1, 2, 30),
        ("wait='0' hold='1'", 0, 0, 1, 40),
        ("wait='20' hold='0'", 0, 0, 1, 40),
    ] {
        let agreed = Agreed::on(&request(1, wishes).wishes, &TERMS);
        let seen = (agreed.wait.as_secs(), agreed.hold, agreed.requests, agreed.inactivity.as_secs());
        assert_eq!(seen, (wait, hold, requests, inactivity), "{wishes}");
    }
}

#[test]
fn a_request_is_held_until_there_is_something_to_say_or_its_time_is_over() {
    let mut session = Session::begun(USUAL);
    assert_eq!(session.come(11, "sid='sid'"), Ok(vec![11]));
    session.pass(19);
    assert_eq!(session.numbers(), [0; 0]);
    session.say("<message/>");
    let answers = session.answers();
    assert!(answers[0].0 == 11 && answers[0].1.contains("<message xmlns='jabber:client'/>"), "{answers:?}");
    assert_eq!(session.come(12, "sid='sid'"), Ok(vec![12]));
    session.pass(20);
    assert_eq!(session.answers(), [(12, format!("<body xmlns='{}'/>", ns::HTTP_BIND))]);
}

#[test]
fn a_second_request_lets_the_first_go() {
    let mut session = Session::begun(USUAL);
    session.come(11, "sid='sid'").unwrap();
    session.come(12, STANZA).unwrap();
    session.window.let_go(session.now);
    let answers = session.answers();
    assert!(answers.len() == 1 && answers[0].0 == 11 && answers[0].1.contains("ack='12'"), "{answers:?}");
}

#[test]
fn requests_are_taken_in_their_order_and_not_beyond_the_window() {
    let mut session = Session::begun(USUAL);
    assert_eq!(session.come(12, STANZA), Ok(vec![]));
    assert!(!session.window.is_listening());
    assert_eq!(session.come(11, STANZA), Ok(vec![11, 12]));
    for wrong in [10_000, 15, 1] {
        assert_eq!(session.come(wrong, STANZA), Err(Terminal::ItemNotFound), "{wrong}");
    }
    // Two are open, which is all that may be; but a session may be ended or interrupted at any time.
    assert_eq!(session.come(13, STANZA), Err(Terminal::PolicyViolation));
    assert_eq!(session.come(13, "sid='sid' type='terminate'"), Ok(vec![13]));
}

#[test]
fn what_was_answered_is_answered_again_word_by_word_as_long_as_it_may_be_asked_for() {
    let mut session = Session::begun(USUAL);
    for rid in 11..14 {
        session.come(rid, STANZA).unwrap();
        session.say(&format!("<message id='{rid}'/>"));
    }
    let first = session.answers();
    assert_eq!(session.come(12, STANZA), Ok(vec![]));
    assert_eq!(session.answers(), [first[1].clone()]);
    assert_eq!(session.come(10, STANZA), Err(Terminal::ItemNotFound), "it is kept no longer");
    let mut session = Session::begun(USUAL);
    session.come(11, "sid='sid' ack='10'").unwrap();
    assert_eq!(session.come(10, ""), Err(Terminal::ItemNotFound), "the client has said that it has it");
}

#[test]
fn a_request_that_is_sent_again_takes_the_place_of_the_first() {
    let mut session = Session::begun(USUAL);
    session.come(11, STANZA).unwrap();
    assert_eq!(session.come(11, STANZA), Ok(vec![]));
    assert_eq!(session.answers(), [(11, answer::recoverable())]);
    session.say("<message/>");
    assert!(session.answers()[0].1.contains("<message"));
    session.come(12, STANZA).unwrap();
    for _ in 0..MAX_REPEATS {
        session.come(12, STANZA).unwrap();
    }
    assert_eq!(session.come(12, STANZA), Err(Terminal::PolicyViolation));
}

#[test]
fn what_is_said_goes_to_somebody_who_listens_and_the_broken_request_finds_its_answer_later() {
    let mut session = Session::begun(USUAL);
    let gone = Fake { number: 11, told: Arc::clone(&session.told), is_gone: true };
    session.come_with(11, STANZA, gone).unwrap();
    assert!(!session.window.is_listening());
    session.come(12, STANZA).unwrap();
    session.say("<message/>");
    let answers = session.answers();
    assert!(!answers[0].1.contains("<message") && answers[1].1.contains("<message"), "{answers:?}");
    session.come(11, STANZA).unwrap();
    assert_eq!(session.answers(), answers[..1]);
}

#[test]
fn silence_is_the_end_unless_it_was_announced() {
    let mut session = Session::begun(USUAL);
    assert_eq!(session.window.end_of_silence(), Some(session.now + 30 * SECOND));
    session.pass(29);
    session.come(11, "sid='sid'").unwrap();
    assert_eq!(session.window.end_of_silence(), None);
    session.come(12, "sid='sid' pause='120'").unwrap();
    assert_eq!(session.numbers(), [10, 11, 12][1..]);
    assert_eq!(session.window.end_of_silence(), Some(session.now + 120 * SECOND));
    session.pass(100);
    session.come(13, STANZA).unwrap();
    session.say("<message/>");
    assert_eq!(session.window.end_of_silence(), Some(session.now + 30 * SECOND));
    // What is longer than allowed is no pause.
    session.come(14, "sid='sid' pause='121'").unwrap();
    assert_eq!(session.window.end_of_silence(), None);
}

#[test]
fn who_asks_for_nothing_all_the_time_is_told_off() {
    let mut session = Session::begun("wait='0' hold='0'");
    session.come(11, "sid='sid'").unwrap();
    session.pass(0);
    session.pass(5);
    session.come(12, "sid='sid'").unwrap();
    session.pass(0);
    assert_eq!(session.numbers(), [11, 12]);
    session.pass(4);
    assert_eq!(session.come(13, "sid='sid'"), Err(Terminal::PolicyViolation));

    let mut session = Session::begun("wait='0' hold='0'");
    session.come(11, "sid='sid'").unwrap();
    session.say("<message/>");
    assert_eq!(session.come(12, "sid='sid'"), Ok(vec![12]), "there was something, so there may be more");

    let mut session = Session::begun(USUAL);
    session.pass(5);
    for rid in 11..15 {
        session.come(rid, "sid='sid'").unwrap();
        session.pass(1);
    }
    assert_eq!(session.come(15, "sid='sid'"), Err(Terminal::PolicyViolation));
}

#[test]
fn a_page_that_is_loaded_anew_asks_at_once_and_may() {
    let mut session = Session::begun(USUAL);
    session.pass(5);
    for rid in 11..30 {
        let gone = Fake { number: rid, told: Arc::clone(&session.told), is_gone: true };
        session.come_with(rid, "sid='sid'", gone).unwrap();
        session.pass(0);
    }
}

#[test]
fn the_end_is_told_to_the_oldest_and_the_others_are_let_go() {
    let mut session = Session::begun(USUAL);
    session.come(11, STANZA).unwrap();
    session.come(12, "sid='sid' type='terminate'").unwrap();
    session.say("</stream:stream>");
    let answers = session.answers();
    assert!(answers[0].1.contains("type='terminate'") && !answers[1].1.contains("terminate"), "{answers:?}");
    assert_eq!(answers.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [11, 12]);
}
