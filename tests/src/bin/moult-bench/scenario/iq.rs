//! IQ gets from 50 clients: to the server (ping), to a module (CPU time), to the echo service.

use super::lanes::{Lane, Lanes};
use super::{Recorder, Settings, setup, transport};
use crate::engine::{Crowd, Engine};
use crate::error::BenchError;
use crate::target::{DOMAIN, Needs, Target};

const CLIENTS: usize = 50;
const RATE: u32 = 2000;
const PING: &str = "<ping xmlns='urn:xmpp:ping'/>";
/// What the measured module answers.
pub const CPU_TIME: &str = "<query xmlns='ejabberd:cputime'/>";

/// Closed loop with window 1 for all, open loop at 2,000 per second for ping; TLS for ping only.
pub fn run(target: Target, settings: &Settings, recorder: &mut Recorder<'_>) -> Result<(), BenchError> {
    let server = target.start(&Needs { accounts: CLIENTS, ..Needs::default() })?;
    let echo = setup::echo_service();
    for tls in [false, true] {
        let mut engine = Engine::new()?;
        let crowd = setup::available_crowd(&mut engine, &server, 0..CLIENTS, tls)?;
        setup::require(&mut engine, crowd.ids[0], DOMAIN, PING, "the server does not answer pings")?;
        let cases = [("ping", DOMAIN, PING), ("module", DOMAIN, CPU_TIME), ("echo", &echo, PING)];
        for (name, to, payload) in cases.into_iter().take(if tls { 1 } else { 3 }) {
            let outcome = lanes(&crowd, to, payload).closed_loop(&mut engine, server.pid, 1, settings)?;
            recorder.add(format!("{name} {}", transport(tls)), outcome.values());
        }
        let outcome = lanes(&crowd, DOMAIN, PING).open_loop(&mut engine, server.pid, RATE, settings)?;
        recorder.add(format!("ping {RATE}/s {}", transport(tls)), outcome.values());
    }
    Ok(())
}

/// One lane per client, from it to itself by way of the server.
pub fn lanes(crowd: &Crowd, to: &str, payload: &str) -> Lanes {
    let template = format!("<iq type='get' to='{to}' id='#'>{payload}</iq>");
    Lanes::new(crowd.ids.iter().map(|&id| Lane::new(id, id, &template)).collect())
}
