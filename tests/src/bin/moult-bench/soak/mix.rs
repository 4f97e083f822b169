//! The traffic: five kinds of numbered stanzas in turn, each with one place where it must arrive.

use std::fmt;
use std::time::Instant;

use moult_tests::xml::Piece;

use crate::engine::{Crowd, Id, Outbox, Reactor};
use crate::measure::Latencies;
use crate::scenario::lanes::{is_error, number_of};
use crate::scenario::setup::echo_service;
use crate::scenario::traffic::count_of;
use crate::target::DOMAIN;

/// The counting module's request.
pub const COUNT: &str = "<query xmlns='urn:moult:fixture:count'/>";
const PING: &str = "<ping xmlns='urn:xmpp:ping'/>";
const KINDS: usize = 5;
const COUNTED: usize = 1;

/// What must not happen, and did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    doubled: usize,
    astray: usize,
    errors: usize,
    disconnects: usize,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Faults { doubled, astray, errors, disconnects } = self;
        write!(f, "doubled {doubled}, astray {astray}, errors {errors}, disconnects {disconnects}")
    }
}

/// Everything sent and everything that came.
pub struct Mix {
    crowd: Crowd,
    echo: String,
    due: Vec<Instant>,
    arrived: Vec<bool>,
    missing: usize,
    highest_count: usize,
    /// From the moment each stanza was meant to leave.
    pub latencies: Latencies,
    /// Arrived again.
    pub doubled: usize,
    /// Arrived where they do not belong.
    pub astray: usize,
    /// Came back as errors.
    pub errors: usize,
    /// Connections that ended.
    pub disconnects: usize,
}

impl Mix {
    /// Nothing is sent yet.
    pub fn new(crowd: Crowd) -> Mix {
        Mix {
            crowd,
            echo: echo_service(),
            due: Vec::new(),
            arrived: Vec::new(),
            missing: 0,
            highest_count: 0,
            latencies: Latencies::default(),
            doubled: 0,
            astray: 0,
            errors: 0,
            disconnects: 0,
        }
    }

    /// Sends the stanza with this number, which is the next one.
    pub fn send(&mut self, number: usize, due: Instant, outbox: &mut Outbox) {
        let peer = &self.crowd.jids[self.peer(number)];
        let stanza = match number % KINDS {
            0 => format!(
                "<message type='chat' to='{peer}' id='L{number}'><body>soak {number}</body></message>"
            ),
            COUNTED => format!("<iq type='get' to='{DOMAIN}' id='L{number}'>{COUNT}</iq>"),
            2 => format!("<iq type='get' to='{DOMAIN}' id='L{number}'>{PING}</iq>"),
            3 => format!("<message to='{}' id='L{number}'><body>echo {number}</body></message>", self.echo),
            _ => format!("<presence to='{peer}' id='L{number}'><show>chat</show></presence>"),
        };
        outbox.send(self.crowd.ids[self.sender(number)], stanza.as_bytes());
        self.due.push(due);
        self.arrived.push(false);
        self.missing += 1;
    }

    fn sender(&self, number: usize) -> usize {
        (number / KINDS) % self.crowd.ids.len()
    }

    /// Somebody of the other half.
    fn peer(&self, number: usize) -> usize {
        (self.sender(number) + self.crowd.ids.len() / 2) % self.crowd.ids.len()
    }

    fn receiver(&self, number: usize) -> Id {
        let user = if matches!(number % KINDS, 0 | 4) { self.peer(number) } else { self.sender(number) };
        self.crowd.ids[user]
    }

    /// How many stanzas were sent.
    pub fn sent(&self) -> usize {
        self.due.len()
    }

    /// How many have not arrived.
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// What else went wrong.
    pub fn faults(&self) -> Faults {
        let Mix { doubled, astray, errors, disconnects, .. } = *self;
        Faults { doubled, astray, errors, disconnects }
    }

    /// Requests that the counting module got from here.
    pub fn requests_counted(&self) -> usize {
        (self.sent() + KINDS - 1 - COUNTED) / KINDS
    }

    /// What it has counted, less the request that asked whether it is there.
    pub fn counted(&self) -> usize {
        self.highest_count.saturating_sub(1)
    }
}

impl Reactor for Mix {
    fn received(&mut self, from: Id, piece: Piece<'_>, _outbox: &mut Outbox) {
        let Piece::Stanza(stanza) = piece else { return };
        let Some(number) = number_of(stanza).filter(|number| *number < self.arrived.len()) else { return };
        if is_error(stanza) {
            self.errors += 1;
        } else if self.receiver(number) != from {
            self.astray += 1;
        } else if std::mem::replace(&mut self.arrived[number], true) {
            self.doubled += 1;
        } else {
            self.missing -= 1;
            self.latencies.add(self.due[number].elapsed());
            self.highest_count = self.highest_count.max(count_of(stanza).unwrap_or(0));
        }
    }

    fn closed(&mut self, _who: Id) {
        self.disconnects += 1;
    }
}
