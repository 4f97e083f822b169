//! 1:1 messages between 50 pairs of available users, to full JIDs, with a body of 100 bytes.

use super::lanes::{Lane, Lanes};
use super::{Recorder, Settings, setup, transport};
use crate::engine::Engine;
use crate::error::BenchError;
use crate::target::{Needs, Running, Target};

const PAIRS: usize = 50;
const RATE: u32 = 2000;

/// Closed loop with windows of 1 and 8, open loop at 2,000 per second; plain and TLS.
pub fn run(target: Target, settings: &Settings, recorder: &mut Recorder<'_>) -> Result<(), BenchError> {
    for tls in [false, true] {
        let needs = Needs { accounts: 2 * PAIRS, floor_tls: tls, ..Needs::default() };
        let server = target.start(&needs)?;
        let mut engine = Engine::new()?;
        let templates = pairs(target, &mut engine, &server, tls)?;
        let lanes =
            || Lanes::new(templates.iter().map(|(from, to, text)| Lane::new(*from, *to, text)).collect());
        for window in [1, 8] {
            let outcome = lanes().closed_loop(&mut engine, server.pid, window, settings)?;
            recorder.add(format!("window {window} {}", transport(tls)), outcome.values());
        }
        let outcome = lanes().open_loop(&mut engine, server.pid, RATE, settings)?;
        recorder.add(format!("{RATE}/s {}", transport(tls)), outcome.values());
    }
    Ok(())
}

/// Sender, receiver and message of every pair.
fn pairs(
    target: Target,
    engine: &mut Engine,
    server: &Running,
    tls: bool,
) -> Result<Vec<(usize, usize, String)>, BenchError> {
    let crowd = if target == Target::Floor {
        setup::floor_crowd(engine, server, 2 * PAIRS, tls)?
    } else {
        setup::available_crowd(engine, server, 0..2 * PAIRS, tls)?
    };
    let message = |pair: usize| {
        let (from, to) = (2 * pair, 2 * pair + 1);
        let body = "x".repeat(100);
        let text =
            format!("<message to='{}' type='chat' id='#'><body>{body}</body></message>", crowd.jids[to]);
        (crowd.ids[from], crowd.ids[to], text)
    };
    Ok((0..PAIRS).map(message).collect())
}
