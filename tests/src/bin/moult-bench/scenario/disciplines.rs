//! IQ to a module by its queue discipline, 50 clients, window 1. Only Moult has a choice.

use super::{Recorder, Settings, iq, setup};
use crate::engine::Engine;
use crate::error::BenchError;
use crate::target::{DOMAIN, Needs, Target};

const CLIENTS: usize = 50;

/// Each discipline on a server of its own.
pub fn run(target: Target, settings: &Settings, recorder: &mut Recorder<'_>) -> Result<(), BenchError> {
    for discipline in ["no_queue", "one_queue", "parallel", "parallel(4)"] {
        let needs = Needs { accounts: CLIENTS, discipline: Some(discipline), ..Needs::default() };
        let server = target.start(&needs)?;
        let mut engine = Engine::new()?;
        let crowd = setup::available_crowd(&mut engine, &server, 0..CLIENTS, false)?;
        setup::require(&mut engine, crowd.ids[0], DOMAIN, iq::CPU_TIME, "there is no mod_cputime")?;
        let outcome =
            iq::lanes(&crowd, DOMAIN, iq::CPU_TIME).closed_loop(&mut engine, server.pid, 1, settings)?;
        recorder.add(discipline, outcome.values());
    }
    Ok(())
}
