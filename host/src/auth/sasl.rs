//! SASL as RFC 6120 section 6 uses it: mechanisms, failure conditions and one exchange as explicit steps, without I/O.
//!
//! The caller moves bytes: [`Exchange::start`] and [`Exchange::respond`] take what the peer sent (base64 already undone by
//! [`decode`]) and answer a [`Step`]. Where the exchange needs an account it says so, and the caller goes on with
//! [`Exchange::secrets`] or [`Exchange::checked`].
//!
//! An exchange ends with the first success or failure; whatever comes later fails.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::plain::Plain;
use super::scram::Scram;
use super::{Hash, ScramSecrets};
use crate::config;
pub use crate::config::Mechanism;

/// A channel-binding type, by the names of the IANA registry.
///
/// `tls-unique` is missing on purpose: it is broken without the extended master secret and undefined in TLS 1.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BindingType {
    /// `tls-exporter` (RFC 9266).
    TlsExporter,
    /// `tls-server-end-point` (RFC 5929).
    TlsServerEndPoint,
}

/// What the TLS layer of this stream can be bound by. Both empty means that no `-PLUS` mechanism is offered.
#[derive(Clone, Debug, Default)]
pub struct ChannelBindings {
    /// The exported keying material of RFC 9266: 32 bytes.
    pub tls_exporter: Option<Vec<u8>>,
    /// The hash of the server's certificate (RFC 5929 section 4.1).
    pub tls_server_end_point: Option<Vec<u8>>,
}

/// What the server offers on one stream; the exchange holds the peer to it.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The vhost of the stream: accounts are looked up there.
    pub vhost: String,
    /// True if the stream is encrypted.
    pub encrypted: bool,
    /// What the TLS layer gives for channel binding.
    pub bindings: ChannelBindings,
    /// The mechanisms that the configuration allows, the best first.
    pub allowed: Vec<Mechanism>,
}

/// The failure conditions of RFC 6120 section 6.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SaslCondition {
    /// The peer gave up.
    Aborted,
    /// The account is disabled.
    AccountDisabled,
    /// The credentials are too old.
    CredentialsExpired,
    /// The mechanism needs TLS.
    EncryptionRequired,
    /// The base64 is wrong.
    IncorrectEncoding,
    /// The authorization identity is wrong or not allowed.
    InvalidAuthzid,
    /// The mechanism is not offered.
    InvalidMechanism,
    /// The message is malformed.
    MalformedRequest,
    /// The mechanism is weaker than the server's policy allows.
    MechanismTooWeak,
    /// Wrong credentials, or a failure whose reason is not disclosed.
    NotAuthorized,
    /// The server cannot check now.
    TemporaryAuthFailure,
}

/// A failure to be told to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaslFailure {
    /// The condition.
    pub condition: SaslCondition,
    /// Words for the peer's developer; never says whether the account exists.
    pub text: Option<&'static str>,
}

/// What to do next.
pub enum Step {
    /// Send this challenge and wait for a response.
    Challenge(Vec<u8>),
    /// Look up the secrets of this account (or a decoy) and call [`Exchange::secrets`].
    NeedSecrets {
        /// The normalised user name.
        localpart: String,
        /// The hash function.
        hash: Hash,
    },
    /// Check this password and call [`Exchange::checked`].
    NeedCheck {
        /// The normalised user name.
        localpart: String,
        /// The password as sent.
        password: Zeroizing<String>,
    },
    /// The peer is authenticated.
    Success {
        /// The account's normalised user name on the stream's vhost.
        localpart: String,
        /// Data to send along with success.
        additional: Option<Vec<u8>>,
    },
    /// The peer is not authenticated; the exchange is over.
    Failure(SaslFailure),
}

/// Passwords never reach a log.
impl std::fmt::Debug for Step {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Step::Challenge(data) => write!(formatter, "Challenge({})", data.escape_ascii()),
            Step::NeedSecrets { localpart, hash } => write!(formatter, "NeedSecrets({localpart}, {hash:?})"),
            Step::NeedCheck { localpart, .. } => write!(formatter, "NeedCheck({localpart})"),
            Step::Success { localpart, .. } => write!(formatter, "Success({localpart})"),
            Step::Failure(failure) => write!(formatter, "Failure({failure:?})"),
        }
    }
}

/// One exchange.
pub struct Exchange {
    machine: Option<Machine>,
}

enum Machine {
    Scram(Box<Scram>),
    Plain(Plain),
}

impl Exchange {
    /// Begins with the mechanism and the initial response the peer named.
    pub fn start(offer: &Offer, mechanism: &str, initial: Option<&[u8]>) -> (Exchange, Step) {
        let machine = match machine(offer, mechanism) {
            Ok(machine) => machine,
            Err(failure) => return (Exchange { machine: None }, Step::Failure(failure)),
        };
        let mut exchange = Exchange { machine: Some(machine) };
        let step = match initial {
            Some(initial) => exchange.respond(initial),
            // Both families let the client speak first: an empty challenge asks it to (RFC 6120 section 6.4.2).
            None => Step::Challenge(Vec::new()),
        };
        (exchange, step)
    }

    /// Goes on with a response of the peer.
    pub fn respond(&mut self, response: &[u8]) -> Step {
        self.go_on(|machine| match machine {
            Machine::Scram(scram) => scram.respond(response),
            Machine::Plain(plain) => plain.respond(response),
        })
    }

    /// Goes on with the secrets asked for by [`Step::NeedSecrets`].
    pub fn secrets(&mut self, secrets: ScramSecrets) -> Step {
        self.go_on(|machine| match machine {
            Machine::Scram(scram) => scram.secrets(secrets),
            Machine::Plain(_) => Err(out_of_turn()),
        })
    }

    /// Goes on with the verdict asked for by [`Step::NeedCheck`].
    pub fn checked(&mut self, correct: bool) -> Step {
        self.go_on(|machine| match machine {
            Machine::Scram(_) => Err(out_of_turn()),
            Machine::Plain(plain) => plain.checked(correct),
        })
    }

    /// The peer sent `<abort/>`.
    pub fn abort(&mut self) -> Step {
        self.machine = None;
        Step::Failure(SaslFailure { condition: SaslCondition::Aborted, text: None })
    }

    /// Takes a step; the machine is dropped, with the secrets it holds, when the exchange is over.
    fn go_on(&mut self, step: impl FnOnce(&mut Machine) -> Result<Step, SaslFailure>) -> Step {
        let step = match &mut self.machine {
            Some(machine) => step(machine).unwrap_or_else(Step::Failure),
            None => Step::Failure(out_of_turn()),
        };
        if matches!(step, Step::Success { .. } | Step::Failure(_)) {
            self.machine = None;
        }
        step
    }
}

/// The machine for a mechanism by its name, if the offer has it.
fn machine(offer: &Offer, name: &str) -> Result<Machine, SaslFailure> {
    let known = Mechanism::ALL.into_iter().find(|mechanism| mechanism.name() == name);
    let mechanism = known.ok_or(SaslCondition::InvalidMechanism)?;
    if mechanism == Mechanism::Plain && !offer.encrypted {
        return Err(SaslCondition::EncryptionRequired.into());
    }
    if !offer.mechanisms().contains(&mechanism) {
        return Err(SaslCondition::InvalidMechanism.into());
    }
    match hash_of(mechanism) {
        Some(hash) => Ok(Machine::Scram(Box::new(Scram::new(offer, hash, is_plus(mechanism))?))),
        None => Ok(Machine::Plain(Plain::new(offer))),
    }
}

fn out_of_turn() -> SaslFailure {
    SaslCondition::MalformedRequest.because("Nothing was expected at this point of the exchange.")
}

impl Offer {
    /// The offer of a configuration on one stream.
    pub fn new(auth: &config::Auth, vhost: &str, encrypted: bool, bindings: ChannelBindings) -> Offer {
        Offer { vhost: vhost.into(), encrypted, bindings, allowed: auth.mechanisms.clone() }
    }

    /// The mechanisms to announce, the best first.
    pub fn mechanisms(&self) -> Vec<Mechanism> {
        let bound = self.bindings.types().next().is_some();
        let possible = |mechanism: &Mechanism| match mechanism {
            Mechanism::Plain => self.encrypted,
            mechanism => bound || !is_plus(*mechanism),
        };
        self.allowed.iter().copied().filter(possible).collect()
    }

    /// The channel-binding types to announce (XEP-0440); empty means to announce none.
    pub fn binding_types(&self) -> Vec<BindingType> {
        if self.has_plus() { self.bindings.types().collect() } else { Vec::new() }
    }

    /// True if a `-PLUS` mechanism is announced.
    pub(super) fn has_plus(&self) -> bool {
        self.mechanisms().into_iter().any(is_plus)
    }
}

impl ChannelBindings {
    /// What there is data for, the stronger type first.
    fn types(&self) -> impl Iterator<Item = BindingType> {
        [BindingType::TlsExporter, BindingType::TlsServerEndPoint]
            .into_iter()
            .filter(|kind| self.data(*kind).is_some())
    }

    /// The data of one type. Empty data would bind nothing: it counts as none.
    pub(super) fn data(&self, kind: BindingType) -> Option<&[u8]> {
        let data = match kind {
            BindingType::TlsExporter => self.tls_exporter.as_deref(),
            BindingType::TlsServerEndPoint => self.tls_server_end_point.as_deref(),
        };
        data.filter(|data| !data.is_empty())
    }
}

impl BindingType {
    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            BindingType::TlsExporter => "tls-exporter",
            BindingType::TlsServerEndPoint => "tls-server-end-point",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<BindingType> {
        [BindingType::TlsExporter, BindingType::TlsServerEndPoint]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

fn hash_of(mechanism: Mechanism) -> Option<Hash> {
    match mechanism {
        Mechanism::ScramSha1 | Mechanism::ScramSha1Plus => Some(Hash::Sha1),
        Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => Some(Hash::Sha256),
        Mechanism::ScramSha512 | Mechanism::ScramSha512Plus => Some(Hash::Sha512),
        Mechanism::Plain => None,
    }
}

fn is_plus(mechanism: Mechanism) -> bool {
    use Mechanism::*;
    matches!(mechanism, ScramSha1Plus | ScramSha256Plus | ScramSha512Plus)
}

impl SaslCondition {
    /// Its element name in `urn:ietf:params:xml:ns:xmpp-sasl`.
    pub fn name(self) -> &'static str {
        match self {
            SaslCondition::Aborted => "aborted",
            SaslCondition::AccountDisabled => "account-disabled",
            SaslCondition::CredentialsExpired => "credentials-expired",
            SaslCondition::EncryptionRequired => "encryption-required",
            SaslCondition::IncorrectEncoding => "incorrect-encoding",
            SaslCondition::InvalidAuthzid => "invalid-authzid",
            SaslCondition::InvalidMechanism => "invalid-mechanism",
            SaslCondition::MalformedRequest => "malformed-request",
            SaslCondition::MechanismTooWeak => "mechanism-too-weak",
            SaslCondition::NotAuthorized => "not-authorized",
            SaslCondition::TemporaryAuthFailure => "temporary-auth-failure",
        }
    }

    /// A failure of this kind with words for the peer's developer.
    pub fn because(self, text: &'static str) -> SaslFailure {
        SaslFailure { condition: self, text: Some(text) }
    }
}

impl From<SaslCondition> for SaslFailure {
    fn from(condition: SaslCondition) -> SaslFailure {
        SaslFailure { condition, text: None }
    }
}

/// Undoes the base64 of an `<auth/>` or `<response/>` element's text; `=` stands for empty data.
///
/// No text at all is `None` (no initial response, RFC 6120 section 6.4.2). White space and missing padding are errors,
/// as RFC 6120 section 13.9.1 asks.
pub fn decode(text: &str) -> Result<Option<Zeroizing<Vec<u8>>>, SaslFailure> {
    match text {
        "" => Ok(None),
        "=" => Ok(Some(Zeroizing::default())),
        text => match STANDARD.decode(text) {
            Ok(data) => Ok(Some(Zeroizing::new(data))),
            Err(_) => Err(SaslCondition::IncorrectEncoding.into()),
        },
    }
}

/// The text of a `<challenge/>` or `<success/>` element with this data.
pub fn encode(data: &[u8]) -> String {
    STANDARD.encode(data)
}
