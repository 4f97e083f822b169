//! A room: one occupant speaks, all hear it, then it speaks again.

use std::time::{Duration, Instant};

use moult_tests::xml::Piece;

use super::fan_out::FanOut;
use super::{Recorder, Settings, micros, setup};
use crate::engine::{Crowd, Engine, Id, Outbox, Reactor, user_name};
use crate::error::BenchError;
use crate::measure::Meter;
use crate::target::{DOMAIN, Needs, Target};

const STALL: Duration = Duration::from_secs(30);

/// One room per size, plain.
pub fn run(target: Target, settings: &Settings, recorder: &mut Recorder<'_>) -> Result<(), BenchError> {
    for &occupants in settings.occupants {
        let server = target.start(&Needs { accounts: occupants, ..Needs::default() })?;
        let mut engine = Engine::new()?;
        let crowd = setup::available_crowd(&mut engine, &server, 0..occupants, false)?;
        let service = format!("conference.{DOMAIN}");
        let disco = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
        setup::require(&mut engine, crowd.ids[0], &service, disco, "the server has no rooms")?;
        let room = format!("bench@{service}");
        let meter = Meter::start(server.pid);
        let presences = Joining::run(&mut engine, &crowd, &room)?;
        let join_cost = micros(meter.stop().server) / presences as f64;
        let message = format!(
            "<message type='groupchat' to='{room}' id='#'><body>{}</body></message>",
            "x".repeat(100)
        );
        let outcome =
            FanOut::new(crowd.ids[0], &crowd.ids, &message).run(&mut engine, server.pid, settings)?;
        let mut values = outcome.values();
        values.push(("join_us_presence", join_cost));
        recorder.add(format!("occupants={occupants} plain"), values);
    }
    Ok(())
}

/// Occupants enter one by one; everybody inside sees each of them.
#[derive(Default)]
struct Joining {
    presences: usize,
}

impl Joining {
    /// Returns how many presences were delivered.
    fn run(engine: &mut Engine, crowd: &Crowd, room: &str) -> Result<usize, BenchError> {
        let mut joining = Joining::default();
        let mut expected = 0;
        let since = Instant::now();
        for (user, &id) in crowd.ids.iter().enumerate() {
            let nick = user_name(user);
            let join = format!(
                "<presence to='{room}/{nick}'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
            );
            engine.outbox().send(id, join.as_bytes());
            // The newcomer sees everybody and itself, everybody else sees the newcomer.
            expected += 2 * user + 1;
            while joining.presences < expected {
                engine.turn(Duration::from_secs(1), &mut joining)?;
                if since.elapsed() > STALL {
                    return Err(BenchError::Stalled { what: "joining the room", seconds: STALL.as_secs() });
                }
            }
        }
        setup::settle(engine)?;
        Ok(joining.presences)
    }
}

impl Reactor for Joining {
    fn received(&mut self, _from: Id, piece: Piece<'_>, _outbox: &mut Outbox) {
        if let Piece::Stanza(stanza) = piece
            && stanza.starts_with(b"<presence")
        {
            self.presences += 1;
        }
    }

    fn closed(&mut self, _who: Id) {}
}
