//! SASL and resource binding for many connections at a time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use moult_tests::Element;
use moult_tests::client::stream_header;
use moult_tests::sasl::{self, Binding, Mechanism, Scram};
use moult_tests::xml::Piece;
use rustls::ClientConfig;

use super::{Id, Outbox, Reactor};

const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

/// How the users of one server log in.
#[derive(Clone)]
pub struct LoginPlan {
    /// Where to connect.
    pub address: SocketAddr,
    /// Direct TLS, where wanted.
    pub tls: Option<Arc<ClientConfig>>,
    /// The vhost.
    pub domain: String,
    /// Everybody's password.
    pub password: String,
    /// The SASL mechanism.
    pub mechanism: Mechanism,
}

/// What a connection waits for.
enum Stage {
    Mechanisms,
    Challenge(Box<Scram>),
    Success(Box<Scram>),
    PlainSuccess,
    BindFeature,
    Bound,
}

/// Logins in progress.
pub struct Logins<'a> {
    plan: &'a LoginPlan,
    underway: HashMap<Id, (Stage, usize, Instant)>,
    /// Connection, user, full JID and duration of every finished login.
    pub finished: Vec<(Id, usize, String, Duration)>,
    /// Why logins failed.
    pub failures: Vec<String>,
}

/// The account of a user by number.
pub fn user_name(user: usize) -> String {
    format!("u{user}")
}

impl<'a> Logins<'a> {
    pub fn new(plan: &'a LoginPlan) -> Logins<'a> {
        Logins { plan, underway: HashMap::new(), finished: Vec::new(), failures: Vec::new() }
    }

    /// Opens the stream of a user who has just connected (at `since`).
    pub fn begin(&mut self, id: Id, user: usize, since: Instant, outbox: &mut Outbox) {
        outbox.send(id, stream_header(&self.plan.domain).as_bytes());
        self.underway.insert(id, (Stage::Mechanisms, user, since));
    }

    pub fn underway(&self) -> usize {
        self.underway.len()
    }

    fn step(&mut self, id: Id, element: &Element, outbox: &mut Outbox) -> Result<(), String> {
        let (stage, user, since) = self.underway.remove(&id).ok_or("nobody asked")?;
        let unexpected = || Err(format!("the server said {element}"));
        let next = match stage {
            Stage::Mechanisms if element.name == "features" => self.authenticate(id, user, outbox),
            Stage::Challenge(mut scram) if element.is("challenge", SASL) => {
                let response = scram.respond(&decode(element)).map_err(|error| error.to_string())?;
                let response = BASE64.encode(response);
                outbox.send(id, format!("<response xmlns='{SASL}'>{response}</response>").as_bytes());
                Stage::Success(scram)
            }
            Stage::Success(scram) if element.is("success", SASL) => {
                scram.verify(&decode(element)).map_err(|error| error.to_string())?;
                self.reopen(id, outbox)
            }
            Stage::PlainSuccess if element.is("success", SASL) => self.reopen(id, outbox),
            Stage::BindFeature if element.name == "features" => {
                outbox.send(id, b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>bench</resource></bind></iq>");
                Stage::Bound
            }
            Stage::Bound if element.attr("type") == Some("result") => {
                let jid = element.child("bind").and_then(|bind| bind.child_text("jid")).unwrap_or_default();
                self.finished.push((id, user, jid.to_owned(), since.elapsed()));
                return Ok(());
            }
            _ => return unexpected(),
        };
        self.underway.insert(id, (next, user, since));
        Ok(())
    }

    fn authenticate(&self, id: Id, user: usize, outbox: &mut Outbox) -> Stage {
        let (user, password) = (user_name(user), &self.plan.password);
        let (initial, stage) = match self.plan.mechanism {
            Mechanism::Plain => (sasl::plain(&user, password), Stage::PlainSuccess),
            Mechanism::Scram(hash) | Mechanism::ScramPlus(hash) => {
                let scram = Scram::new(hash, &user, password, Binding::Unsupported);
                (scram.first(), Stage::Challenge(Box::new(scram)))
            }
        };
        let (name, initial) = (self.plan.mechanism.name(), BASE64.encode(initial));
        outbox.send(id, format!("<auth xmlns='{SASL}' mechanism='{name}'>{initial}</auth>").as_bytes());
        stage
    }

    fn reopen(&self, id: Id, outbox: &mut Outbox) -> Stage {
        outbox.restart(id);
        outbox.send(id, stream_header(&self.plan.domain).as_bytes());
        Stage::BindFeature
    }
}

impl Reactor for Logins<'_> {
    fn received(&mut self, from: Id, piece: Piece<'_>, outbox: &mut Outbox) {
        let Piece::Stanza(bytes) = piece else { return };
        if !self.underway.contains_key(&from) {
            return;
        }
        let element = Element::parse(bytes).map_err(|error| error.to_string());
        if let Err(failure) = element.and_then(|element| self.step(from, &element, outbox)) {
            self.failures.push(failure);
        }
    }

    fn closed(&mut self, who: Id) {
        if self.underway.remove(&who).is_some() {
            self.failures.push("the server closed the connection".to_owned());
        }
    }
}

fn decode(element: &Element) -> Vec<u8> {
    BASE64.decode(&element.text).unwrap_or_default()
}
