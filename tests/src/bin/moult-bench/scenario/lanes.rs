//! Numbered stanzas on lanes: each lane has a sender and a receiver, which are the same for IQ.
//!
//! Closed loop: so many stanzas are underway on each lane, and each one that arrives causes the next. Open loop:
//! stanzas leave at a fixed rate whatever comes back, and latency counts from the moment they were meant to leave.

use std::time::{Duration, Instant};

use memchr::memmem;
use moult_tests::xml::Piece;

use crate::engine::{Engine, Id, Outbox, Reactor};
use crate::error::BenchError;
use crate::measure::{Cost, Latencies, Meter};

use super::{Settings, micros};

/// How many stanzas may be underway on one lane.
const RING: usize = 4096;
/// How long stragglers are waited for.
const GRACE: Duration = Duration::from_secs(5);

/// One lane.
pub struct Lane {
    from: Id,
    to: Id,
    head: Vec<u8>,
    tail: Vec<u8>,
    next: usize,
    /// When the stanza with this number (modulo the size) left or was meant to leave.
    underway: Vec<Option<Instant>>,
}

impl Lane {
    /// A lane for a stanza whose id goes where `template` has `#`.
    pub fn new(from: Id, to: Id, template: &str) -> Lane {
        let (head, tail) = template.split_once('#').expect("a template has a place for the id");
        let head = format!("{head}L").into_bytes();
        Lane { from, to, head, tail: tail.as_bytes().to_vec(), next: 0, underway: vec![None; RING] }
    }

    fn send(&mut self, since: Instant, outbox: &mut Outbox) {
        let mut digits = [0u8; 20];
        let number = decimal(self.next, &mut digits);
        outbox.send_parts(self.from, &[&self.head, number, &self.tail]);
        self.underway[self.next % RING] = Some(since);
        self.next += 1;
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Stanzas that arrived while it was measured.
    pub count: usize,
    /// Their latencies.
    pub latencies: Latencies,
    /// What it cost.
    pub cost: Cost,
    /// Stanza errors, and stanzas that arrived twice or were never sent.
    pub errors: usize,
    /// Stanzas that never arrived, and connections that closed.
    pub lost: usize,
}

impl Outcome {
    /// The usual columns.
    pub fn values(mut self) -> Vec<(&'static str, f64)> {
        let (count, seconds) = (self.count as f64, self.cost.wall.as_secs_f64());
        let percent = |time: Duration| time.as_secs_f64() / seconds * 100.0;
        let [p50, p99, p999, max] = self.latencies.quantiles();
        vec![
            ("srv_us_op", micros(self.cost.server) / count),
            ("ops_s", count / seconds),
            ("cli_us_op", micros(self.cost.client) / count),
            ("srv_cpu_pct", percent(self.cost.server)),
            ("srv_sys_pct", self.cost.server_system.as_secs_f64() / self.cost.server.as_secs_f64() * 100.0),
            ("other_cpu_pct", percent(self.cost.other)),
            ("p50_us", p50),
            ("p99_us", p99),
            ("p999_us", p999),
            ("max_us", max),
            ("errors", self.errors as f64),
            ("lost", self.lost as f64),
        ]
    }
}

/// All lanes of one case.
pub struct Lanes {
    lanes: Vec<Lane>,
    by_receiver: Vec<Option<usize>>,
    answering: bool,
    count: usize,
    latencies: Latencies,
    errors: usize,
    closed: usize,
}

impl Lanes {
    /// Lanes to be loaded.
    pub fn new(lanes: Vec<Lane>) -> Lanes {
        let highest = lanes.iter().map(|lane| lane.to).max().map_or(0, |id| id + 1);
        let mut by_receiver = vec![None; highest];
        for (index, lane) in lanes.iter().enumerate() {
            by_receiver[lane.to] = Some(index);
        }
        let latencies = Latencies::default();
        Lanes { lanes, by_receiver, answering: false, count: 0, latencies, errors: 0, closed: 0 }
    }

    /// Keeps `window` stanzas underway on each lane.
    pub fn closed_loop(
        mut self,
        engine: &mut Engine,
        server: u32,
        window: usize,
        settings: &Settings,
    ) -> Result<Outcome, BenchError> {
        self.answering = true;
        for lane in &mut self.lanes {
            for _ in 0..window {
                lane.send(Instant::now(), engine.outbox());
            }
        }
        self.turn_for(engine, settings.warm_up)?;
        self.forget();
        let meter = Meter::start(server);
        self.turn_for(engine, settings.measure)?;
        let cost = meter.stop();
        self.answering = false;
        self.finish(engine, cost)
    }

    /// Sends `rate` stanzas per second, spread over the lanes.
    pub fn open_loop(
        mut self,
        engine: &mut Engine,
        server: u32,
        rate: u32,
        settings: &Settings,
    ) -> Result<Outcome, BenchError> {
        let mut pace = Pace::new(rate);
        self.paced_for(engine, &mut pace, settings.warm_up)?;
        self.forget();
        let meter = Meter::start(server);
        self.paced_for(engine, &mut pace, settings.measure)?;
        let cost = meter.stop();
        self.finish(engine, cost)
    }

    fn paced_for(&mut self, engine: &mut Engine, pace: &mut Pace, time: Duration) -> Result<(), BenchError> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            while let Some((number, due)) = pace.due() {
                let lane = number % self.lanes.len();
                self.lanes[lane].send(due, engine.outbox());
            }
            engine.turn(pace.until_next(), self)?;
        }
        Ok(())
    }

    fn turn_for(&mut self, engine: &mut Engine, time: Duration) -> Result<(), BenchError> {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            engine.turn(left, self)?;
        }
        Ok(())
    }

    fn finish(mut self, engine: &mut Engine, cost: Cost) -> Result<Outcome, BenchError> {
        let (count, latencies) = (self.count, std::mem::take(&mut self.latencies));
        let deadline = Instant::now() + GRACE;
        while self.underway() > 0 && Instant::now() < deadline {
            engine.turn(Duration::from_millis(100), &mut self)?;
        }
        let lost = self.underway() + self.closed;
        Ok(Outcome { count, latencies, cost, errors: self.errors, lost })
    }

    fn underway(&self) -> usize {
        self.lanes.iter().flat_map(|lane| &lane.underway).flatten().count()
    }

    fn forget(&mut self) {
        self.count = 0;
        self.latencies.clear();
    }
}

impl Reactor for Lanes {
    fn received(&mut self, from: Id, piece: Piece<'_>, outbox: &mut Outbox) {
        let Piece::Stanza(stanza) = piece else { return };
        let Some(&Some(index)) = self.by_receiver.get(from) else { return };
        let Some(number) = number_of(stanza) else { return };
        let lane = &mut self.lanes[index];
        let Some(since) = lane.underway[number % RING].take() else {
            self.errors += 1;
            return;
        };
        if is_error(stanza) {
            self.errors += 1;
        }
        let now = Instant::now();
        self.count += 1;
        self.latencies.add(now.saturating_duration_since(since));
        if self.answering {
            lane.send(now, outbox);
        }
    }

    fn closed(&mut self, _who: Id) {
        self.closed += 1;
    }
}

/// When the stanzas of an open loop are due.
pub struct Pace {
    start: Instant,
    interval: Duration,
    sent: usize,
}

impl Pace {
    /// So many per second, from now on.
    pub fn new(rate: u32) -> Pace {
        Pace { start: Instant::now(), interval: Duration::from_secs(1) / rate, sent: 0 }
    }

    /// The number and the due time of the next stanza, if it is due.
    pub fn due(&mut self) -> Option<(usize, Instant)> {
        let due = self.next_due();
        if due > Instant::now() {
            return None;
        }
        self.sent += 1;
        Some((self.sent - 1, due))
    }

    /// How long until the next one is.
    pub fn until_next(&self) -> Duration {
        self.next_due().saturating_duration_since(Instant::now())
    }

    fn next_due(&self) -> Instant {
        self.start + self.interval * u32::try_from(self.sent).unwrap_or(u32::MAX)
    }
}

/// The number in `id='L...'` of a stanza's first tag.
pub fn number_of(stanza: &[u8]) -> Option<usize> {
    let value = memmem::find(stanza, b" id=")? + b" id='".len();
    let digits = stanza.get(value..)?.strip_prefix(b"L")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// Whether the stanza is of type `error`.
pub fn is_error(stanza: &[u8]) -> bool {
    let tag = &stanza[..memchr::memchr(b'>', stanza).unwrap_or(stanza.len())];
    [&b" type='error'"[..], b" type=\"error\""].iter().any(|kind| memmem::find(tag, kind).is_some())
}

fn decimal(number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut rest = number;
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return &digits[start..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_ids_of_either_quote() {
        assert_eq!(number_of(b"<message from='a' id='L17'><body/></message>"), Some(17));
        assert_eq!(number_of(b"<iq id=\"L0\" type=\"result\"/>"), Some(0));
        assert_eq!(number_of(b"<presence from='a'/>"), None);
        assert!(is_error(b"<iq type=\"error\" id='L1'></iq>"));
        assert!(!is_error(b"<iq id='L1'><error type='error'/></iq>"));
    }

    #[test]
    fn decimals_are_written_without_allocation() {
        let mut digits = [0; 20];
        assert_eq!(decimal(0, &mut digits), b"0");
        assert_eq!(decimal(90210, &mut digits), b"90210");
    }
}
