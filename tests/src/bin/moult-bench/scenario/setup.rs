//! Starting a server, logging users in, waiting for quiet.

use std::ops::Range;
use std::time::Duration;

use moult_tests::Element;
use moult_tests::client::stream_header;
use moult_tests::sasl::{Hash, Mechanism};
use moult_tests::xml::Piece;

use crate::engine::{Crowd, Engine, Id, Outbox, Reactor, user_name};
use crate::error::BenchError;
use crate::target::{DOMAIN, Running};

/// Logs users in by SCRAM-SHA-1 and makes them available.
pub fn available_crowd(
    engine: &mut Engine,
    server: &Running,
    users: Range<usize>,
    tls: bool,
) -> Result<Crowd, BenchError> {
    let plan = server.login_plan(Mechanism::Scram(Hash::Sha1), tls);
    let crowd = Crowd::log_in(engine, &plan, users)?;
    crowd.become_available(engine);
    settle(engine)?;
    Ok(crowd)
}

/// Connections to the floor, which knows no logins: each sends a stream header to its peer, so that the framing fits.
pub fn floor_crowd(
    engine: &mut Engine,
    server: &Running,
    count: usize,
    tls: bool,
) -> Result<Crowd, BenchError> {
    let mut crowd = Crowd::default();
    for user in 0..count {
        let tls = tls.then(|| (server.client_config.clone(), DOMAIN));
        crowd.ids.push(engine.connect(server.tls, tls)?);
        crowd.jids.push(format!("{}@{DOMAIN}/bench", user_name(user)));
    }
    settle(engine)?;
    for &id in &crowd.ids {
        engine.outbox().send(id, stream_header(DOMAIN).as_bytes());
    }
    settle(engine)?;
    Ok(crowd)
}

/// Turns until nothing has come for a while.
pub fn settle(engine: &mut Engine) -> Result<(), BenchError> {
    settle_with(engine, &mut Ignore)
}

/// The same, and `reactor` gets what comes.
pub fn settle_with(engine: &mut Engine, reactor: &mut impl Reactor) -> Result<(), BenchError> {
    let mut quiet = Quiet { heard: true, reactor };
    while std::mem::take(&mut quiet.heard) {
        engine.turn(Duration::from_millis(150), &mut quiet)?;
    }
    Ok(())
}

/// Sends an IQ and returns its answer, whatever its type.
pub fn ask(engine: &mut Engine, id: Id, to: &str, payload: &str) -> Result<Element, BenchError> {
    let to = if to.is_empty() { String::new() } else { format!(" to='{to}'") };
    engine.outbox().send(id, format!("<iq type='get'{to} id='ask'>{payload}</iq>").as_bytes());
    let mut question = Question::default();
    for _ in 0..50 {
        engine.turn(Duration::from_millis(100), &mut question)?;
        if let Some(answer) = question.answer.take() {
            return Ok(answer);
        }
    }
    Err(BenchError::Stalled { what: "asking the server what it can do", seconds: 5 })
}

/// Skips the scenario when this IQ is not answered with a result.
pub fn require(engine: &mut Engine, id: Id, to: &str, payload: &str, what: &str) -> Result<(), BenchError> {
    let answer = ask(engine, id, to, payload)?;
    if answer.attr("type") == Some("result") {
        return Ok(());
    }
    Err(BenchError::Skipped(format!("{what}; it answered {answer}")))
}

/// The address of the echo service.
pub fn echo_service() -> String {
    format!("echo.{DOMAIN}")
}

struct Quiet<'a, R> {
    heard: bool,
    reactor: &'a mut R,
}

impl<R: Reactor> Reactor for Quiet<'_, R> {
    fn received(&mut self, from: Id, piece: Piece<'_>, outbox: &mut Outbox) {
        self.heard = true;
        self.reactor.received(from, piece, outbox);
    }

    fn closed(&mut self, who: Id) {
        self.reactor.closed(who);
    }
}

struct Ignore;

impl Reactor for Ignore {
    fn received(&mut self, _from: Id, _piece: Piece<'_>, _outbox: &mut Outbox) {}

    fn closed(&mut self, _who: Id) {}
}

#[derive(Default)]
struct Question {
    answer: Option<Element>,
}

impl Reactor for Question {
    fn received(&mut self, _from: Id, piece: Piece<'_>, _outbox: &mut Outbox) {
        let Piece::Stanza(bytes) = piece else { return };
        let element = Element::parse(bytes).ok();
        self.answer = element.filter(|element| element.attr("id") == Some("ask")).or(self.answer.take());
    }

    fn closed(&mut self, _who: Id) {}
}
