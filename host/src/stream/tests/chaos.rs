//! Anything in any order and any pieces: what must hold whatever the peer and the driver do.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::dialogue::{Host, tls_facts};
use crate::auth::Reply;
use crate::auth::sasl::SaslCondition;
use crate::stanza::{Jid, StanzaError, StanzaErrorCondition, StreamError, StreamErrorCondition};
use crate::stream::{Action, Stream, StreamSettings, Via};

/// What a peer may come up with.
const SAYINGS: &[&str] = &[
    "<?xml version='1.0'?>",
    "<stream:stream to='a.example' version='1.0' xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams'>",
    "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>",
    "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AGEAYg==</response>",
    "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    "<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
    "<iq type='set' id='2'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
    "<message to='b.example'><body>hi</body></message>",
    "<message to='@'/>",
    "<message from='nobody@a.example'/>",
    "<presence/>",
    "<enable xmlns='urn:xmpp:sm:3' resume='true'/>",
    "<resume xmlns='urn:xmpp:sm:3' previd='x' h='1'/>",
    "<a xmlns='urn:xmpp:sm:3'/>",
    "<inactive xmlns='urn:xmpp:csi:0'/>",
    "<x xmlns='urn:x'/>",
    "<!-- -->",
    "<<",
    " ",
    "\u{0}",
    "</stream:stream>",
];

/// A way through negotiation, so that the later states are reached as often as the first ones.
const GOOD_WAY: &[usize] = &[0, 1, 3, 1, 6];

#[derive(Debug, Clone)]
struct Case {
    sayings: Vec<usize>,
    pieces: Vec<usize>,
    /// How the driver's reports go, one after the other.
    moods: Vec<u8>,
    has_tls: bool,
    close_at: usize,
}

fn cases() -> impl Strategy<Value = Case> {
    let good = prop_oneof![1 => 0..GOOD_WAY.len(), 3 => Just(GOOD_WAY.len())];
    let sayings = (good, prop::collection::vec(0..SAYINGS.len(), 0..12));
    let rest = (prop::collection::vec(1..40usize, 1..20), prop::collection::vec(any::<u8>(), 1..12));
    (sayings, rest, any::<bool>(), 0..3_000usize).prop_map(
        |((good, random), (pieces, moods), has_tls, close_at)| Case {
            sayings: GOOD_WAY[..good].iter().copied().chain(random).collect(),
            pieces,
            moods,
            has_tls,
            close_at,
        },
    )
}

/// How many cases came as far as a stanza; the test would say little if none did.
static DELIVERED: AtomicUsize = AtomicUsize::new(0);

/// The driver: reports back what its mood is for.
struct Driver {
    stream: Stream,
    host: Host,
    out: String,
    moods: Vec<u8>,
    reports: usize,
    was_bound: bool,
}

impl Driver {
    fn mood(&mut self) -> u8 {
        self.reports += 1;
        self.moods[self.reports % self.moods.len()]
    }

    /// Takes the input as far as the stream takes it.
    fn take(&mut self, input: &mut Vec<u8>) {
        let mut steps = 0;
        loop {
            steps += 1;
            assert!(steps < 10_000, "the stream neither takes its input nor asks for anything");
            let (was_closing, before) = (self.stream.is_closing(), self.out.len());
            let mut rest = input.as_slice();
            let action = self.stream.advance(&self.host, &mut rest, &mut self.out);
            let left = rest.len();
            input.drain(..input.len() - left);
            assert!(!was_closing || self.out.len() == before, "something was said after the closing tag");
            match action {
                Some(action) => self.act(action),
                None if self.stream.wants_input() => {
                    assert!(input.is_empty(), "input is left although it is wanted");
                    return;
                }
                None => return,
            }
        }
    }

    fn act(&mut self, action: Action) {
        let is_lucky = !self.mood().is_multiple_of(4);
        let (stream, host, out) = (&mut self.stream, &self.host, &mut self.out);
        match action {
            Action::StartTls => stream.tls_started(tls_facts("")),
            Action::Login(_) => {
                let reply = match self.moods[self.reports % self.moods.len()] % 4 {
                    0 => Reply::Failure(SaslCondition::NotAuthorized.into()),
                    1 => Reply::Challenge(b"?".to_vec()),
                    _ => Reply::Success { localpart: "juliet".to_owned(), additional: None },
                };
                if let Some(next) = stream.login_replied(reply, host, out) {
                    assert!(matches!(next, Action::Failed));
                }
            }
            Action::BeforeLogin(stanza) => {
                assert!(!stream.is_logged_in());
                let _ = stream.before_login_replied(is_lucky.then_some(&stanza), host, out);
            }
            Action::Bind(_) => {
                assert!(stream.is_logged_in());
                let outcome = match is_lucky {
                    true => Ok(Jid::parse("juliet@a.example/balcony").unwrap()),
                    false => Err(StanzaError::from(StanzaErrorCondition::Conflict)),
                };
                stream.bound(outcome, out);
                self.was_bound |= stream.is_bound();
            }
            Action::Deliver(stanza) => {
                assert!(self.was_bound, "a stanza came before binding");
                DELIVERED.fetch_add(1, Ordering::Relaxed);
                assert_eq!(stanza.from().unwrap().as_str(), "juliet@a.example/balcony");
            }
            Action::Answer(_) | Action::Nonza(_) => assert!(self.was_bound),
            Action::Resume { .. } => {
                assert!(stream.is_logged_in() && !stream.is_bound());
                stream.resumed(is_lucky.then(|| Jid::parse("juliet@a.example/balcony").unwrap()));
                self.was_bound |= stream.is_bound();
            }
            Action::PeerClosed => stream.close(None, host, out),
            Action::Failed => assert!(stream.is_closing()),
            Action::Closed => assert!(stream.is_closed()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    fn hold_the_rules(case in cases()) {
        let settings = StreamSettings {
            tls_required: false,
            management: true,
            client_state: true,
            ..StreamSettings::default()
        };
        let mut driver = Driver {
            stream: Stream::new(settings, Via::Tcp),
            host: Host { has_certificate: true },
            out: String::new(),
            moods: case.moods.clone(),
            reports: 0,
            was_bound: false,
        };
        if case.has_tls {
            driver.stream.tls_started(tls_facts("exporter"));
        }
        let all: String = case.sayings.iter().map(|index| SAYINGS[*index]).collect();
        let (mut input, mut rest) = (Vec::new(), all.as_bytes());
        let mut pieces = case.pieces.iter().cycle();
        while !rest.is_empty() {
            let (piece, others) = rest.split_at(pieces.next().copied().unwrap_or(1).min(rest.len()));
            input.extend_from_slice(piece);
            driver.take(&mut input);
            if all.len() - others.len() >= case.close_at {
                let error = StreamError::from(StreamErrorCondition::SystemShutdown);
                driver.stream.close(Some(&error), &driver.host, &mut driver.out);
            }
            rest = others;
        }
        prop_assert!(driver.out.matches("</stream:stream>").count() <= 1);
        prop_assert_eq!(driver.stream.is_closing(), driver.out.contains("</stream:stream>"));
    }
}

#[test]
fn whatever_is_said_the_rules_hold() {
    hold_the_rules();
    assert!(DELIVERED.load(Ordering::Relaxed) > 50);
}
