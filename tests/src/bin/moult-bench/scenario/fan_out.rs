//! One sends, all receive, and only then the next leaves: presence to contacts, a message in a room.

use std::time::{Duration, Instant};

use moult_tests::xml::Piece;

use super::Settings;
use super::lanes::{Outcome, is_error, number_of};
use crate::engine::{Engine, Id, Outbox, Reactor};
use crate::error::BenchError;
use crate::measure::{Latencies, Meter};

const STALL: Duration = Duration::from_secs(10);

/// A sender and its receivers. One delivery is one operation.
pub struct FanOut {
    sender: Id,
    head: String,
    tail: String,
    /// The number each connection is waiting for, if it is a receiver.
    expected: Vec<Option<usize>>,
    receivers: usize,
    number: usize,
    arrived: usize,
    since: Instant,
    count: usize,
    latencies: Latencies,
    errors: usize,
    closed: usize,
}

impl FanOut {
    /// The id goes where `template` has `#`.
    pub fn new(sender: Id, receivers: &[Id], template: &str) -> FanOut {
        let (head, tail) = template.split_once('#').expect("a template has a place for the id");
        let highest = receivers.iter().max().map_or(0, |id| id + 1);
        let mut expected = vec![None; highest];
        receivers.iter().for_each(|&id| expected[id] = Some(0));
        FanOut {
            sender,
            head: format!("{head}L"),
            tail: tail.to_owned(),
            expected,
            receivers: receivers.len(),
            number: 0,
            arrived: 0,
            since: Instant::now(),
            count: 0,
            latencies: Latencies::default(),
            errors: 0,
            closed: 0,
        }
    }

    /// Sends and waits, again and again.
    pub fn run(
        mut self,
        engine: &mut Engine,
        server: u32,
        settings: &Settings,
    ) -> Result<Outcome, BenchError> {
        self.rounds_for(engine, settings.warm_up)?;
        self.count = 0;
        self.latencies.clear();
        let meter = Meter::start(server);
        self.rounds_for(engine, settings.measure)?;
        let cost = meter.stop();
        let FanOut { count, latencies, errors, closed, .. } = self;
        Ok(Outcome { count, latencies, cost, errors, lost: closed })
    }

    fn rounds_for(&mut self, engine: &mut Engine, time: Duration) -> Result<(), BenchError> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.round(engine)?;
        }
        Ok(())
    }

    fn round(&mut self, engine: &mut Engine) -> Result<(), BenchError> {
        self.arrived = 0;
        self.since = Instant::now();
        let stanza = format!("{}{}{}", self.head, self.number, self.tail);
        engine.outbox().send(self.sender, stanza.as_bytes());
        while self.arrived < self.receivers {
            engine.turn(Duration::from_secs(1), self)?;
            if self.since.elapsed() > STALL {
                return Err(BenchError::Stalled {
                    what: "waiting for all receivers",
                    seconds: STALL.as_secs(),
                });
            }
        }
        self.number += 1;
        Ok(())
    }
}

impl Reactor for FanOut {
    fn received(&mut self, from: Id, piece: Piece<'_>, _outbox: &mut Outbox) {
        let Piece::Stanza(stanza) = piece else { return };
        let Some(Some(expected)) = self.expected.get_mut(from) else { return };
        let Some(number) = number_of(stanza) else { return };
        if number != *expected || is_error(stanza) {
            self.errors += 1;
            return;
        }
        *expected += 1;
        self.arrived += 1;
        self.count += 1;
        self.latencies.add(self.since.elapsed());
    }

    fn closed(&mut self, _who: Id) {
        self.closed += 1;
    }
}
