//! The traffic: five kinds of numbered stanzas in turn, each with one place where it must arrive.

use std::fmt;
use std::time::Instant;

use moult_tests::xml::Piece;

use super::people::{Circles, Heard};
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
/// What a person's client asks beside these: of the own account, then of the server.
const PERSONAL: [(bool, &str); 5] = [
    (true, "<query xmlns='jabber:iq:roster'/>"),
    (true, "<vCard xmlns='vcard-temp'/>"),
    (true, "<query xmlns='jabber:iq:private'><x xmlns='urn:x'/></query>"),
    (false, "<time xmlns='urn:xmpp:time'/>"),
    (false, "<query xmlns='http://jabber.org/protocol/disco#info'/>"),
];
const COUNTED: usize = 1;
/// So many stanzas for one presence that goes to all contacts.
const TOLD_EVERY: usize = 100;

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
    /// How many kinds of stanzas there are.
    kinds: usize,
    circles: Option<Circles>,
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
            kinds: KINDS,
            circles: None,
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

    /// The users have so many contacts each, and their clients ask what a person's client asks.
    pub fn with_people(mut self, contacts: usize) -> Mix {
        self.kinds = KINDS + PERSONAL.len();
        self.circles = Some(Circles::new(&self.crowd.ids, contacts));
        self
    }

    /// Sends the stanza with this number, which is the next one.
    pub fn send(&mut self, number: usize, due: Instant, outbox: &mut Outbox) {
        if number % TOLD_EVERY == TOLD_EVERY - 1 {
            let user = self.sender(number);
            let id = self.crowd.ids[user];
            self.circles.iter_mut().for_each(|circles| circles.tell(user, id, outbox));
        }
        let peer = &self.crowd.jids[self.peer(number)];
        let stanza = match number % self.kinds {
            0 => format!(
                "<message type='chat' to='{peer}' id='L{number}'><body>soak {number}</body></message>"
            ),
            COUNTED => format!("<iq type='get' to='{DOMAIN}' id='L{number}'>{COUNT}</iq>"),
            2 => format!("<iq type='get' to='{DOMAIN}' id='L{number}'>{PING}</iq>"),
            3 => format!("<message to='{}' id='L{number}'><body>echo {number}</body></message>", self.echo),
            4 => format!("<presence to='{peer}' id='L{number}'><show>chat</show></presence>"),
            kind => {
                let (is_own, payload) = PERSONAL[kind - KINDS];
                let to = if is_own { String::new() } else { format!(" to='{DOMAIN}'") };
                format!("<iq type='get'{to} id='L{number}'>{payload}</iq>")
            }
        };
        outbox.send(self.crowd.ids[self.sender(number)], stanza.as_bytes());
        self.due.push(due);
        self.arrived.push(false);
        self.missing += 1;
    }

    fn sender(&self, number: usize) -> usize {
        (number / self.kinds) % self.crowd.ids.len()
    }

    /// Somebody of the other half.
    fn peer(&self, number: usize) -> usize {
        (self.sender(number) + self.crowd.ids.len() / 2) % self.crowd.ids.len()
    }

    fn receiver(&self, number: usize) -> Id {
        let user = if matches!(number % self.kinds, 0 | 4) { self.peer(number) } else { self.sender(number) };
        self.crowd.ids[user]
    }

    /// How many stanzas were sent.
    pub fn sent(&self) -> usize {
        self.due.len()
    }

    /// How many have not arrived.
    pub fn missing(&self) -> usize {
        self.missing + self.circles.as_ref().map_or(0, Circles::missing)
    }

    /// How many presences were told to all contacts.
    pub fn told(&self) -> usize {
        self.circles.as_ref().map_or(0, Circles::told)
    }

    /// What else went wrong.
    pub fn faults(&self) -> Faults {
        let Mix { doubled, astray, errors, disconnects, .. } = *self;
        Faults { doubled, astray, errors, disconnects }
    }

    /// Requests that the counting module got from here.
    pub fn requests_counted(&self) -> usize {
        (self.sent() + self.kinds - 1 - COUNTED) / self.kinds
    }

    /// What it has counted, less the request that asked whether it is there.
    pub fn counted(&self) -> usize {
        self.highest_count.saturating_sub(1)
    }
}

impl Reactor for Mix {
    fn received(&mut self, from: Id, piece: Piece<'_>, _outbox: &mut Outbox) {
        let Piece::Stanza(stanza) = piece else { return };
        match self.circles.as_mut().and_then(|circles| circles.heard(from, stanza)) {
            Some(Heard::First) => return,
            Some(Heard::Again) => return self.doubled += 1,
            Some(Heard::Astray) => return self.astray += 1,
            None => {}
        }
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
