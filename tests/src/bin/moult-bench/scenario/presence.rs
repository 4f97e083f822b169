//! Presence of one user to many subscribed contacts: the next one leaves when all have the last one.

use std::time::{Duration, Instant};

use moult_tests::Element;
use moult_tests::xml::Piece;

use super::fan_out::FanOut;
use super::{Recorder, Settings, setup, transport};
use crate::engine::{Crowd, Engine, Id, Outbox, Reactor, user_name};
use crate::error::BenchError;
use crate::target::{DOMAIN, Needs, Target};

const ROSTER: &str = "<query xmlns='jabber:iq:roster'/>";
const STALL: Duration = Duration::from_secs(30);

/// User 0 is the one, all others are its contacts; plain and TLS.
pub fn run(target: Target, settings: &Settings, recorder: &mut Recorder<'_>) -> Result<(), BenchError> {
    for tls in [false, true] {
        let users = settings.contacts + 1;
        let needs = Needs { accounts: users, fan_out: true, floor_tls: tls, ..Needs::default() };
        let server = target.start(&needs)?;
        let mut engine = Engine::new()?;
        let crowd = if target == Target::Floor {
            setup::floor_crowd(&mut engine, &server, users, tls)?
        } else {
            let crowd = setup::available_crowd(&mut engine, &server, 0..users, tls)?;
            setup::require(&mut engine, crowd.ids[0], "", ROSTER, "the server has no rosters")?;
            ask_for_rosters(&mut engine, &crowd)?;
            Subscribing::run(&mut engine, &crowd)?;
            crowd
        };
        let fan_out =
            FanOut::new(crowd.ids[0], &crowd.ids[1..], "<presence id='#'><show>away</show></presence>");
        let outcome = fan_out.run(&mut engine, server.pid, settings)?;
        recorder.add(format!("contacts={} {}", settings.contacts, transport(tls)), outcome.values());
    }
    Ok(())
}

/// A resource that has asked for its roster is told of subscriptions (RFC 6121 section 2.1.6).
fn ask_for_rosters(engine: &mut Engine, crowd: &Crowd) -> Result<(), BenchError> {
    for &id in &crowd.ids {
        engine.outbox().send(id, format!("<iq type='get' id='roster'>{ROSTER}</iq>").as_bytes());
    }
    setup::settle(engine)
}

/// Every contact asks for a subscription, user 0 grants it.
struct Subscribing {
    granter: Id,
    granted: usize,
}

impl Subscribing {
    fn run(engine: &mut Engine, crowd: &Crowd) -> Result<(), BenchError> {
        let contacts = &crowd.ids[1..];
        let mut subscribing = Subscribing { granter: crowd.ids[0], granted: 0 };
        let request = format!("<presence type='subscribe' to='{}@{DOMAIN}'/>", user_name(0));
        for &contact in contacts {
            engine.outbox().send(contact, request.as_bytes());
        }
        let since = Instant::now();
        while subscribing.granted < contacts.len() {
            engine.turn(Duration::from_secs(1), &mut subscribing)?;
            if since.elapsed() > STALL {
                return Err(BenchError::Stalled { what: "subscribing", seconds: STALL.as_secs() });
            }
        }
        setup::settle(engine)
    }
}

impl Reactor for Subscribing {
    fn received(&mut self, from: Id, piece: Piece<'_>, outbox: &mut Outbox) {
        let Piece::Stanza(bytes) = piece else { return };
        let Ok(element) = Element::parse(bytes) else { return };
        match (element.name.as_str(), element.attr("type"), element.attr("from")) {
            ("presence", Some("subscribe"), Some(contact)) if from == self.granter => {
                outbox.send(from, format!("<presence type='subscribed' to='{contact}'/>").as_bytes());
            }
            ("presence", Some("subscribed"), _) if from != self.granter => self.granted += 1,
            _ => {}
        }
    }

    fn closed(&mut self, _who: Id) {}
}
