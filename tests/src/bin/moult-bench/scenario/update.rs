//! A module is updated again and again under 1,000 IQ per second: what its users notice, in the update windows and between them.

use std::collections::HashSet;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use memchr::memmem;
use moult_tests::xml::Piece;

use super::lanes::{Pace, is_error, number_of};
use super::{Recorder, Settings, iq, setup};
use crate::engine::{Crowd, Engine, Id, Outbox, Reactor};
use crate::error::BenchError;
use crate::measure::{Latencies, Meter};
use crate::target::{DOMAIN, Needs, Target, Updater};

const CLIENTS: usize = 20;
const RATE: u32 = 1000;
/// Calm time before, between and after updates.
const CALM: Duration = Duration::from_millis(1200);
/// A request belongs to an update window if it was meant to leave at most so long after the command ended.
const AFTERMATH: Duration = Duration::from_millis(100);
const GRACE: Duration = Duration::from_secs(5);

/// Plain connections; the measured module is the one that answers the CPU time.
pub fn run(target: Target, settings: &Settings, recorder: &mut Recorder<'_>) -> Result<(), BenchError> {
    let mut server = target.start(&Needs { accounts: CLIENTS, ..Needs::default() })?;
    let updater = server.updater.take().ok_or_else(|| BenchError::Skipped("nothing to update".to_owned()))?;
    let mut engine = Engine::new()?;
    let crowd = setup::available_crowd(&mut engine, &server, 0..CLIENTS, false)?;
    setup::require(&mut engine, crowd.ids[0], DOMAIN, iq::CPU_TIME, "there is no module to update")?;
    let mut requests = Requests::new(crowd);
    let meter = Meter::start(server.pid);
    let windows = requests.run(&mut engine, updater, settings.updates)?;
    let cost = meter.stop();
    recorder.add(format!("{RATE}/s"), requests.values(&windows, micros_per(cost.server, requests.due.len())));
    Ok(())
}

fn micros_per(time: Duration, count: usize) -> f64 {
    super::micros(time) / count as f64
}

/// From the start of an update command to its end.
type Window = (Instant, Instant);

struct Requests {
    crowd: Crowd,
    /// When each request was meant to leave.
    due: Vec<Instant>,
    latency: Vec<Option<Duration>>,
    errors: usize,
    doubled: usize,
    disconnects: usize,
    builds: HashSet<Vec<u8>>,
}

impl Requests {
    fn new(crowd: Crowd) -> Requests {
        Requests {
            crowd,
            due: Vec::new(),
            latency: Vec::new(),
            errors: 0,
            doubled: 0,
            disconnects: 0,
            builds: HashSet::new(),
        }
    }

    fn run(
        &mut self,
        engine: &mut Engine,
        updater: Updater,
        updates: usize,
    ) -> Result<Vec<Window>, BenchError> {
        let (worker, results) = update_in_background(updater, updates);
        let mut pace = Pace::new(RATE);
        let mut windows = Vec::new();
        let mut end = None;
        while end.is_none_or(|end| Instant::now() < end) {
            while let Some((number, due)) = pace.due() {
                self.send(number, due, engine.outbox());
            }
            engine.turn(pace.until_next(), self)?;
            while let Ok(window) = results.try_recv() {
                windows.push(window?);
            }
            if end.is_none() && worker.is_finished() {
                end = Some(Instant::now() + CALM);
            }
        }
        let deadline = Instant::now() + GRACE;
        while self.latency.contains(&None) && Instant::now() < deadline {
            engine.turn(Duration::from_millis(50), self)?;
        }
        while let Ok(window) = results.try_recv() {
            windows.push(window?);
        }
        Ok(windows)
    }

    fn send(&mut self, number: usize, due: Instant, outbox: &mut Outbox) {
        let stanza = format!("<iq type='get' to='{DOMAIN}' id='L{number}'>{}</iq>", iq::CPU_TIME);
        outbox.send(self.crowd.ids[number % CLIENTS], stanza.as_bytes());
        self.due.push(due);
        self.latency.push(None);
    }

    fn values(&self, windows: &[Window], server_micros: f64) -> Vec<(&'static str, f64)> {
        let (mut during, mut calm) = (Latencies::default(), Latencies::default());
        let mut lost = 0;
        for (due, latency) in self.due.iter().zip(&self.latency) {
            let is_during = windows.iter().any(|(start, end)| *start <= *due && *due <= *end + AFTERMATH);
            match latency {
                Some(latency) if is_during => during.add(*latency),
                Some(latency) => calm.add(*latency),
                None => lost += 1,
            }
        }
        let command: Duration = windows.iter().map(|(start, end)| *end - *start).sum();
        let [during_p50, during_p99, during_p999, during_max] = during.quantiles();
        let [calm_p50, calm_p99, calm_p999, calm_max] = calm.quantiles();
        vec![
            ("requests", self.due.len() as f64),
            ("updates", windows.len() as f64),
            ("builds_seen", self.builds.len() as f64),
            ("lost", lost as f64),
            ("doubled", self.doubled as f64),
            ("errors", self.errors as f64),
            ("disconnects", self.disconnects as f64),
            ("update_p50_us", during_p50),
            ("update_p99_us", during_p99),
            ("update_p999_us", during_p999),
            ("update_max_us", during_max),
            ("calm_p50_us", calm_p50),
            ("calm_p99_us", calm_p99),
            ("calm_p999_us", calm_p999),
            ("calm_max_us", calm_max),
            ("command_ms", command.as_secs_f64() * 1e3 / windows.len() as f64),
            ("srv_us_op", server_micros),
        ]
    }
}

impl Reactor for Requests {
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

/// The value of the attribute `build`, which the peers' modules answer with.
fn build_of(stanza: &[u8]) -> Option<&[u8]> {
    let start = memmem::find(stanza, b" build=")? + b" build='".len();
    let value = stanza.get(start..)?;
    Some(&value[..value.iter().position(|byte| matches!(byte, b'\'' | b'"'))?])
}
