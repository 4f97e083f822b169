//! Requests at a fixed rate while something is updated again and again: what the requesters notice, in the update windows and between them.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use memchr::memmem;
use moult_tests::xml::Piece;

use super::lanes::{Pace, is_error, number_of};
use crate::engine::{Crowd, Engine, Id, Outbox, Reactor};
use crate::error::BenchError;
use crate::measure::Latencies;
use crate::target::{DOMAIN, Updater};

/// Calm time before, between and after updates.
const CALM: Duration = Duration::from_millis(1200);
/// A request belongs to an update window if it was meant to leave at most so long after the command ended.
const AFTERMATH: Duration = Duration::from_millis(100);
const GRACE: Duration = Duration::from_secs(5);

/// From the start of an update command to its end.
pub type Window = (Instant, Instant);

/// IQ gets with one payload from all users of a crowd in turn.
pub struct Traffic {
    crowd: Crowd,
    payload: &'static str,
    /// When each request was meant to leave.
    due: Vec<Instant>,
    latency: Vec<Option<Duration>>,
    /// Answers of type error.
    pub errors: usize,
    /// Answers to requests that had one already.
    pub doubled: usize,
    /// Connections that ended.
    pub disconnects: usize,
    /// Values of the attribute `build` in the answers.
    pub builds: BTreeSet<Vec<u8>>,
    /// The highest number in an answer of the counting module, which adds one per request.
    pub highest_count: usize,
}

impl Traffic {
    /// Nothing is sent yet.
    pub fn new(crowd: Crowd, payload: &'static str) -> Traffic {
        Traffic {
            crowd,
            payload,
            due: Vec::new(),
            latency: Vec::new(),
            errors: 0,
            doubled: 0,
            disconnects: 0,
            builds: BTreeSet::new(),
            highest_count: 0,
        }
    }

    /// Sends `rate` requests per second while the updates happen; `progress` is told of each one that has.
    pub fn run(
        &mut self,
        engine: &mut Engine,
        rate: u32,
        updater: Updater,
        updates: usize,
        mut progress: impl FnMut(&Traffic, usize),
    ) -> Result<Vec<Window>, BenchError> {
        let (worker, results) = update_in_background(updater, updates);
        let mut pace = Pace::new(rate);
        let mut windows = Vec::new();
        let mut end = None;
        while end.is_none_or(|end| Instant::now() < end) {
            while let Some((number, due)) = pace.due() {
                self.send(number, due, engine.outbox());
            }
            engine.turn(pace.until_next(), self)?;
            while let Ok(window) = results.try_recv() {
                windows.push(window?);
                progress(self, windows.len());
            }
            if end.is_none() && windows.len() == updates && worker.is_finished() {
                end = Some(Instant::now() + CALM);
            }
        }
        self.wait_for_stragglers(engine)?;
        Ok(windows)
    }

    fn wait_for_stragglers(&mut self, engine: &mut Engine) -> Result<(), BenchError> {
        let deadline = Instant::now() + GRACE;
        while self.latency.contains(&None) && Instant::now() < deadline {
            engine.turn(Duration::from_millis(50), self)?;
        }
        Ok(())
    }

    fn send(&mut self, number: usize, due: Instant, outbox: &mut Outbox) {
        let stanza = format!("<iq type='get' to='{DOMAIN}' id='L{number}'>{}</iq>", self.payload);
        outbox.send(self.crowd.ids[number % self.crowd.ids.len()], stanza.as_bytes());
        self.due.push(due);
        self.latency.push(None);
    }

    /// How many requests were sent.
    pub fn requests(&self) -> usize {
        self.due.len()
    }

    /// How many were never answered.
    pub fn lost(&self) -> usize {
        self.latency.iter().filter(|latency| latency.is_none()).count()
    }

    /// Latencies in the update windows, and all others.
    pub fn latencies(&self, windows: &[Window]) -> (Latencies, Latencies) {
        let (mut during, mut calm) = (Latencies::default(), Latencies::default());
        for (due, latency) in self.due.iter().zip(&self.latency) {
            let is_during = windows.iter().any(|(start, end)| *start <= *due && *due <= *end + AFTERMATH);
            match latency {
                Some(latency) if is_during => during.add(*latency),
                Some(latency) => calm.add(*latency),
                None => {}
            }
        }
        (during, calm)
    }
}

impl Reactor for Traffic {
    fn received(&mut self, _from: Id, piece: Piece<'_>, _outbox: &mut Outbox) {
        let Piece::Stanza(stanza) = piece else { return };
        let Some(number) = number_of(stanza) else { return };
        let Some(latency) = self.latency.get_mut(number) else { return };
        if latency.is_some() {
            self.doubled += 1;
        }
        *latency = Some(self.due[number].elapsed());
        self.errors += usize::from(is_error(stanza));
        if let Some(build) = build_of(stanza)
            && !self.builds.contains(build)
        {
            self.builds.insert(build.to_owned());
        }
        self.highest_count = self.highest_count.max(count_of(stanza).unwrap_or(0));
    }

    fn closed(&mut self, _who: Id) {
        self.disconnects += 1;
    }
}

/// Updates from a thread of its own, with calm time between preparing a build and loading it.
fn update_in_background(
    mut updater: Updater,
    updates: usize,
) -> (JoinHandle<()>, Receiver<Result<Window, BenchError>>) {
    let (sender, receiver) = channel();
    let worker = std::thread::spawn(move || {
        for build in 1..=updates {
            let prepared = (updater.prepare)(build);
            std::thread::sleep(CALM);
            let start = Instant::now();
            let outcome = prepared.and_then(|()| (updater.load)()).map(|()| (start, Instant::now()));
            if sender.send(outcome).is_err() {
                return;
            }
        }
    });
    (worker, receiver)
}

fn build_of(stanza: &[u8]) -> Option<&[u8]> {
    let start = memmem::find(stanza, b" build=")? + b" build='".len();
    let value = stanza.get(start..)?;
    Some(&value[..value.iter().position(|byte| matches!(byte, b'\'' | b'"'))?])
}

/// The number in an answer of the counting module.
pub fn count_of(stanza: &[u8]) -> Option<usize> {
    let end = memmem::find(stanza, b"</count>")?;
    let start = stanza[..end].iter().rposition(|byte| *byte == b'>')? + 1;
    std::str::from_utf8(&stanza[start..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_and_counts_are_found_in_answers() {
        let answer = b"<iq id='L1'><count xmlns='urn:moult:fixture:count' build=\"2\">1234</count></iq>";
        assert_eq!(build_of(answer), Some(&b"2"[..]));
        assert_eq!(count_of(answer), Some(1234));
        assert_eq!((build_of(b"<iq/>"), count_of(b"<iq/>")), (None, None));
    }
}
