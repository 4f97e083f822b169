//! A module is updated again and again under 1,000 IQ per second.

use std::time::Duration;

use super::traffic::{Traffic, Window};
use super::{Recorder, Settings, micros, setup};
use crate::engine::Engine;
use crate::error::BenchError;
use crate::measure::Meter;
use crate::target::{DOMAIN, Needs, Target};

const CLIENTS: usize = 20;
const RATE: u32 = 1000;

/// Plain connections; each build of the measured module says in its answers which it is.
pub fn run(target: Target, settings: &Settings, recorder: &mut Recorder<'_>) -> Result<(), BenchError> {
    let mut server = target.start(&Needs { accounts: CLIENTS, two_builds: true, ..Needs::default() })?;
    let updater = server.updater.take().ok_or_else(|| BenchError::Skipped("nothing to update".to_owned()))?;
    let mut engine = Engine::new()?;
    let crowd = setup::available_crowd(&mut engine, &server, 0..CLIENTS, false)?;
    let query = target.updated_query();
    setup::require(&mut engine, crowd.ids[0], DOMAIN, query, "there is no module to update")?;
    let mut traffic = Traffic::new(crowd, query);
    let meter = Meter::start(server.pid);
    let windows = traffic.run(&mut engine, RATE, updater, settings.updates, |_, _| {})?;
    let cost = meter.stop();
    let mut values = values(&traffic, &windows);
    values.push(("srv_us_op", micros(cost.server) / traffic.requests() as f64));
    recorder.add(format!("{RATE}/s"), values);
    Ok(())
}

fn values(traffic: &Traffic, windows: &[Window]) -> Vec<(&'static str, f64)> {
    let (mut during, mut calm) = traffic.latencies(windows);
    let command: Duration = windows.iter().map(|(start, end)| *end - *start).sum();
    let [during_p50, during_p99, during_p999, during_max] = during.quantiles();
    let [calm_p50, calm_p99, calm_p999, calm_max] = calm.quantiles();
    vec![
        ("requests", traffic.requests() as f64),
        ("updates", windows.len() as f64),
        ("builds_seen", traffic.builds.len() as f64),
        ("lost", traffic.lost() as f64),
        ("doubled", traffic.doubled as f64),
        ("errors", traffic.errors as f64),
        ("disconnects", traffic.disconnects as f64),
        ("update_p50_us", during_p50),
        ("update_p99_us", during_p99),
        ("update_p999_us", during_p999),
        ("update_max_us", during_max),
        ("calm_p50_us", calm_p50),
        ("calm_p99_us", calm_p99),
        ("calm_p999_us", calm_p999),
        ("calm_max_us", calm_max),
        ("command_ms", command.as_secs_f64() * 1e3 / windows.len() as f64),
    ]
}
