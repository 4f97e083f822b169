//! Idle sessions: bound, available, silent. What they cost in memory, against the empty server.

use std::time::{Duration, Instant};

use super::{Recorder, Settings, setup, transport};
use crate::engine::Engine;
use crate::error::BenchError;
use crate::measure::{Meter, pss_bytes};
use crate::target::{Needs, Target};

/// Plain and TLS, each on a fresh server that grows from one size to the next.
pub fn run(target: Target, settings: &Settings, recorder: &mut Recorder<'_>) -> Result<(), BenchError> {
    for tls in [false, true] {
        grow(target, settings, tls, recorder)?;
    }
    Ok(())
}

fn grow(
    target: Target,
    settings: &Settings,
    tls: bool,
    recorder: &mut Recorder<'_>,
) -> Result<(), BenchError> {
    let largest = settings.idle_sessions.last().copied().unwrap_or(0);
    let server = target.start(&Needs { accounts: largest, ..Needs::default() })?;
    let mut engine = Engine::new()?;
    let empty = settled_pss(server.pid);
    let mut previous = (0, empty);
    for &sessions in settings.idle_sessions {
        let since = Instant::now();
        setup::available_crowd(&mut engine, &server, previous.0..sessions, tls)?;
        let logins_per_second = (sessions - previous.0) as f64 / since.elapsed().as_secs_f64();
        let pss = settled_pss(server.pid);
        let meter = Meter::start(server.pid);
        std::thread::sleep(settings.measure / 2);
        let cost = meter.stop();
        recorder.add(
            format!("n={sessions} {}", transport(tls)),
            vec![
                ("pss_b_session", (pss as f64 - empty as f64) / sessions as f64),
                ("marginal_b_session", (pss as f64 - previous.1 as f64) / (sessions - previous.0) as f64),
                ("pss_mib", mebibytes(pss)),
                ("empty_pss_mib", mebibytes(empty)),
                ("idle_cpu_pct", cost.server.as_secs_f64() / cost.wall.as_secs_f64() * 100.0),
                ("logins_s", logins_per_second),
            ],
        );
        previous = (sessions, pss);
    }
    Ok(())
}

/// The memory once it has stopped moving: half a second within half a percent.
fn settled_pss(pid: u32) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(6);
    let mut last = pss_bytes(pid);
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let now = pss_bytes(pid);
        if now.abs_diff(last) * 200 <= last || Instant::now() > deadline {
            return now;
        }
        last = now;
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
