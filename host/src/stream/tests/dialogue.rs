//! The small language of the tables.
//!
//! One line per turn, its first word says whose:
//!
//! * `C` the client sends the rest of the line;
//! * `S` the server has answered exactly the rest of the line, in which `*` stands for anything;
//! * `A` the stream asks its driver for this, until when nothing more is taken;
//! * `D` the driver reports this.
//!
//! `$OPEN`, `$HEADER`, `$FEATURES` and the like stand for what every conversation repeats.

use std::collections::VecDeque;

use zeroize::Zeroizing;

use crate::auth::Reply;
use crate::auth::sasl::{ChannelBindings, Mechanism, Offer, SaslCondition, SaslFailure};
use crate::stanza::{Jid, Stanza, StanzaError, StanzaErrorCondition, StreamError, StreamErrorCondition};
use crate::stream::tls::TlsFacts;
use crate::stream::{Action, FeatureStage, LoginStep, Stream, StreamHost, StreamSettings, Via};

const ABBREVIATIONS: &[(&str, &str)] = &[
    (
        "$OPEN",
        "<?xml version='1.0'?><stream:stream to='a.example' version='1.0' \
         xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
    ),
    (
        "$HEADER",
        "<?xml version='1.0'?><stream:stream from='a.example' id='*' version='1.0' xml:lang='en' \
         xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
    ),
    (
        "$STARTTLS_REQUIRED",
        "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>\
         </stream:features>",
    ),
    (
        "$AFTER_LOGIN",
        "<stream:features>$BIND_FEATURE$SESSION_FEATURE<sub xmlns='x:after'/></stream:features>",
    ),
    ("$BIND_FEATURE", "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"),
    ("$SESSION_FEATURE", "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>"),
    ("$SASL", "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'"),
    ("$TLS", "xmlns='urn:ietf:params:xml:ns:xmpp-tls'"),
    ("$BIND", "xmlns='urn:ietf:params:xml:ns:xmpp-bind'"),
    ("$SESSION", "xmlns='urn:ietf:params:xml:ns:xmpp-session'"),
    ("$SM", "xmlns='urn:xmpp:sm:3'"),
    ("$CSI", "xmlns='urn:xmpp:csi:0'"),
    ("$STANZAS", "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'"),
    ("$ERROR(", "<stream:error><"),
    (")ERROR", " xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>*</stream:error></stream:stream>"),
    ("$BIND_REQUEST", "<iq type='set' id='b1'><bind $BIND><resource>balcony</resource></bind></iq>"),
    ("$BIND_RESULT", "<iq type='result' id='b1'><bind $BIND><jid>juliet@a.example/balcony</jid></bind></iq>"),
];

/// How the client's lines arrive.
#[derive(Debug, Clone, Copy)]
enum Pace {
    Whole,
    ByteByByte,
    /// In pieces of 1 to 7 bytes.
    Uneven,
}

/// What a conversation begins with.
#[derive(Clone)]
pub(super) struct Scene {
    pub settings: StreamSettings,
    pub without_certificate: bool,
    pub via: Via,
    /// Turns that come before the table's own.
    pub prologue: &'static [&'static str],
}

impl Default for Scene {
    fn default() -> Self {
        let (settings, without_certificate) = (StreamSettings::default(), false);
        Self { settings, without_certificate, via: Via::Tcp, prologue: &[] }
    }
}

/// Through STARTTLS and login to an open stream without a resource.
pub(super) const LOGGED_IN: &[&str] = &[
    "D tls",
    "C $OPEN",
    "S *</stream:features>",
    "C <auth $SASL mechanism='PLAIN'>AGEAYg==</auth>",
    "A login PLAIN 006100 62",
    "D success juliet",
    "S <success $SASL/>",
    "C $OPEN",
    "S $HEADER$AFTER_LOGIN",
];

/// And on to a bound one.
pub(super) const BOUND: &[&str] = &[
    "D tls",
    "C $OPEN",
    "S *</stream:features>",
    "C <auth $SASL mechanism='PLAIN'>AGEAYg==</auth>",
    "A login PLAIN 00610062",
    "D success juliet",
    "S <success $SASL/>",
    "C $OPEN",
    "S $HEADER$AFTER_LOGIN",
    "C $BIND_REQUEST",
    "A bind balcony",
    "D bound juliet@a.example/balcony",
    "S $BIND_RESULT",
];

/// A server for `a.example` and `b.example`.
pub(super) struct Host {
    pub has_certificate: bool,
}

impl StreamHost for Host {
    fn serves(&self, domain: &str) -> bool {
        ["a.example", "b.example", "bücher.example"].contains(&domain)
    }

    fn default_domain(&self) -> String {
        "a.example".to_owned()
    }

    fn offers_tls(&self) -> bool {
        self.has_certificate
    }

    fn offer(&self, domain: &str, encrypted: bool, bindings: ChannelBindings) -> Offer {
        Offer { vhost: domain.to_owned(), encrypted, bindings, allowed: Mechanism::ALL.to_vec() }
    }

    fn write_features(&self, stage: FeatureStage, _domain: &str, out: &mut String) {
        out.push_str(match stage {
            FeatureStage::BeforeLogin => "<register xmlns='x:before'/>",
            FeatureStage::AfterLogin => "<sub xmlns='x:after'/>",
        });
    }
}

/// A conversation with the client's lines whole only, for what depends on that.
pub(super) struct Whole(Dialogue);

impl Whole {
    pub(super) fn new() -> Self {
        Self(Dialogue::new(&Scene::default(), Pace::Whole))
    }

    /// Holds these turns as well.
    pub(super) fn turns(mut self, turns: &[&str]) -> Self {
        turns.iter().for_each(|turn| self.0.turn(turn));
        self
    }
}

/// Holds a conversation that begins with an untouched stream.
pub(super) fn converse(turns: &[&str]) {
    converse_in(&Scene::default(), turns);
}

/// Holds a conversation on a stream that is bound.
pub(super) fn converse_bound(turns: &[&str]) {
    converse_in(&Scene { prologue: BOUND, ..Scene::default() }, turns);
}

/// Holds a conversation in a scene.
pub(super) fn converse_in(scene: &Scene, turns: &[&str]) {
    for pace in [Pace::Whole, Pace::ByteByByte, Pace::Uneven] {
        let mut dialogue = Dialogue::new(scene, pace);
        for turn in scene.prologue.iter().chain(turns) {
            dialogue.turn(turn);
        }
        dialogue.expect_silence();
    }
}

struct Dialogue {
    stream: Stream,
    host: Host,
    pace: Pace,
    /// What the client has said and nobody has taken.
    input: Vec<u8>,
    /// What the server has said and nobody has checked.
    output: String,
    actions: VecDeque<Action>,
    at: String,
}

impl Dialogue {
    fn new(scene: &Scene, pace: Pace) -> Self {
        Self {
            stream: Stream::new(scene.settings.clone(), scene.via),
            host: Host { has_certificate: !scene.without_certificate },
            pace,
            input: Vec::new(),
            output: String::new(),
            actions: VecDeque::new(),
            at: String::new(),
        }
    }

    fn turn(&mut self, turn: &str) {
        self.at = format!("{turn} ({:?})", self.pace);
        let (who, what) = turn.split_once(' ').unwrap_or((turn, ""));
        let what = expand(what);
        match who {
            "C" => self.client_says(what.as_bytes()),
            "S" => self.expect_output(&what),
            "A" => self.expect_action(&what),
            "D" => self.driver_reports(&what),
            _ => panic!("nobody is called {who}"),
        }
    }

    fn client_says(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        let mut step = 0;
        while !rest.is_empty() {
            step = step % 7 + 1;
            let length = match self.pace {
                Pace::Whole => rest.len(),
                Pace::ByteByByte => 1,
                Pace::Uneven => step.min(rest.len()),
            };
            let (piece, others) = rest.split_at(length);
            self.input.extend_from_slice(piece);
            self.advance();
            rest = others;
        }
    }

    fn advance(&mut self) {
        loop {
            let mut rest = self.input.as_slice();
            let action = self.stream.advance(&self.host, &mut rest, &mut self.output);
            let taken = self.input.len() - rest.len();
            self.input.drain(..taken);
            match action {
                // What the driver writes for the stream counts as said by it.
                Some(Action::Answer(answer)) => {
                    self.output.push_str(answer.as_ref().map_or("", Stanza::as_str));
                }
                Some(action) => self.actions.push_back(action),
                None => return,
            }
        }
    }

    fn expect_output(&mut self, pattern: &str) {
        assert!(
            matches(pattern, &self.output),
            "at {}:\nexpected {pattern}\n     got {}",
            self.at,
            self.output
        );
        self.output.clear();
    }

    fn expect_action(&mut self, expected: &str) {
        let action =
            self.actions.pop_front().unwrap_or_else(|| panic!("at {}: nothing was asked for", self.at));
        assert_eq!(describe(&action), expected.replace(' ', ""), "at {}", self.at);
    }

    fn expect_silence(&mut self) {
        assert_eq!(self.output, "", "after {}: unexpected output", self.at);
        assert!(self.actions.is_empty(), "after {}: unexpected {:?}", self.at, self.actions);
    }

    fn driver_reports(&mut self, report: &str) {
        let (what, detail) = report.split_once(' ').unwrap_or((report, ""));
        let (stream, host, out) = (&mut self.stream, &self.host, &mut self.output);
        let action = match what {
            "tls" => {
                stream.tls_started(tls_facts(detail));
                None
            }
            "challenge" => stream.login_replied(Reply::Challenge(detail.into()), host, out),
            "success" => stream.login_replied(success(detail), host, out),
            "failure" => stream.login_replied(Reply::Failure(failure(detail)), host, out),
            "reply" => stream.before_login_replied(Stanza::parse(detail.as_bytes()).ok().as_ref(), host, out),
            "bound" => {
                stream.bound(Ok(Jid::parse(detail).unwrap()), out);
                None
            }
            "unbound" => {
                let condition = StanzaErrorCondition::from_name(detail).unwrap();
                stream.bound(Err(StanzaError::from(condition)), out);
                None
            }
            "resumed" => {
                stream.resumed(Some(Jid::parse(detail).unwrap()));
                None
            }
            "not-resumed" => {
                stream.resumed(None);
                None
            }
            "close" => {
                let condition = StreamErrorCondition::from_name(detail);
                stream.close(condition.map(StreamError::from).as_ref(), host, out);
                None
            }
            _ => panic!("the driver cannot report {what}"),
        };
        self.actions.extend(action);
        self.advance();
    }
}

pub(super) fn tls_facts(bindings: &str) -> TlsFacts {
    TlsFacts {
        version: "TLSv1.3",
        cipher: "TLS13_AES_128_GCM_SHA256",
        exporter: bindings.contains("exporter").then_some([7; 32]),
        server_end_point: bindings.contains("end-point").then(|| vec![9; 32].into()),
    }
}

fn success(detail: &str) -> Reply {
    let (localpart, additional) = match detail.split_once(' ') {
        Some((localpart, additional)) => (localpart, Some(additional.into())),
        None => (detail, None),
    };
    Reply::Success { localpart: localpart.to_owned(), additional }
}

fn failure(name: &str) -> SaslFailure {
    let condition = match name {
        "not-authorized" => SaslCondition::NotAuthorized,
        "aborted" => SaslCondition::Aborted,
        "invalid-mechanism" => SaslCondition::InvalidMechanism,
        _ => panic!("no such condition in these tables: {name}"),
    };
    SaslFailure { condition, text: None }
}

fn describe(action: &Action) -> String {
    let hex = |data: &Zeroizing<Vec<u8>>| data.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match action {
        Action::StartTls => "start-tls".to_owned(),
        Action::Login(LoginStep::Start { mechanism, initial: None }) => format!("login{mechanism}"),
        Action::Login(LoginStep::Start { mechanism, initial: Some(initial) }) => {
            format!("login{mechanism}{}", if initial.is_empty() { "empty".to_owned() } else { hex(initial) })
        }
        Action::Login(LoginStep::Respond(data)) => format!("respond{}", hex(data)),
        Action::Login(LoginStep::Abort) => "abort".to_owned(),
        Action::BeforeLogin(stanza) => format!("before-login{}", stanza.as_str()).replace(' ', ""),
        Action::Bind(resource) => format!("bind{}", resource.as_deref().unwrap_or_default()),
        Action::Deliver(stanza) => format!("deliver{}", stanza.as_str()).replace(' ', ""),
        Action::Answer(_) => unreachable!("answers are written at once"),
        Action::Nonza(nonza) => format!("{nonza:?}").replace(' ', ""),
        Action::Resume { previous, handled } => format!("resume{previous}{handled}"),
        Action::PeerClosed => "peer-closed".to_owned(),
        Action::Failed => "failed".to_owned(),
        Action::Closed => "closed".to_owned(),
    }
}

/// Abbreviations may hold abbreviations; longer names come before the shorter ones that they begin with.
fn expand(text: &str) -> String {
    let mut expanded = text.to_owned();
    let mut abbreviations = ABBREVIATIONS.to_vec();
    abbreviations.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    for (name, meaning) in abbreviations {
        if expanded.contains(name) {
            expanded = expanded.replace(name, &expand(meaning));
        }
    }
    expanded
}

/// Whether the text is the pattern, in which `*` stands for anything.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => {
            let Some(text) = text.strip_prefix(start) else { return false };
            (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| matches(rest, &text[at..]))
        }
    }
}
