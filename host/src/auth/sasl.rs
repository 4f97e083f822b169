//! SASL as RFC 6120 section 6 uses it: mechanisms, failure conditions and one exchange as explicit steps, without I/O.
//!
//! The caller moves bytes: [`Exchange::start`] and [`Exchange::respond`] take what the peer sent (base64 already undone by
//! [`decode`]) and answer a [`Step`]. Where the exchange needs an account it says so, and the caller goes on with
//! [`Exchange::secrets`] or [`Exchange::checked`].

use zeroize::Zeroizing;

use super::{Hash, ScramSecrets};

/// A mechanism this server can speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// SCRAM (RFC 5802, RFC 7677), with or without channel binding.
    Scram {
        /// The hash function.
        hash: Hash,
        /// The `-PLUS` form: bound to the TLS channel.
        plus: bool,
    },
    /// PLAIN (RFC 4616), only under TLS.
    Plain,
}

/// A channel-binding type, by the names of the IANA registry.
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
    /// The hash functions for which accounts have secrets.
    pub hashes: Vec<Hash>,
    /// Whether PLAIN may be used at all (under TLS).
    pub plain: bool,
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
#[derive(Debug)]
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

/// One exchange.
pub struct Exchange {}

impl Exchange {
    /// Begins with the mechanism and the initial response the peer named.
    pub fn start(_offer: &Offer, _mechanism: &str, _initial: Option<&[u8]>) -> (Exchange, Step) {
        let failure = SaslFailure { condition: SaslCondition::InvalidMechanism, text: None };
        (Exchange {}, Step::Failure(failure))
    }

    /// Goes on with a response of the peer.
    pub fn respond(&mut self, _response: &[u8]) -> Step {
        Step::Failure(SaslFailure { condition: SaslCondition::MalformedRequest, text: None })
    }

    /// Goes on with the secrets asked for by [`Step::NeedSecrets`].
    pub fn secrets(&mut self, _secrets: ScramSecrets) -> Step {
        Step::Failure(SaslFailure { condition: SaslCondition::MalformedRequest, text: None })
    }

    /// Goes on with the verdict asked for by [`Step::NeedCheck`].
    pub fn checked(&mut self, _correct: bool) -> Step {
        Step::Failure(SaslFailure { condition: SaslCondition::MalformedRequest, text: None })
    }

    /// The peer sent `<abort/>`.
    pub fn abort(&mut self) -> Step {
        Step::Failure(SaslFailure { condition: SaslCondition::Aborted, text: None })
    }
}

impl Offer {
    /// The mechanisms to announce, the best first.
    pub fn mechanisms(&self) -> Vec<Mechanism> {
        Vec::new()
    }

    /// The channel-binding types to announce (XEP-0440); empty means to announce none.
    pub fn binding_types(&self) -> Vec<BindingType> {
        Vec::new()
    }
}

impl Mechanism {
    /// Its registered name.
    pub fn name(self) -> &'static str {
        ""
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
}

impl SaslCondition {
    /// Its element name in `urn:ietf:params:xml:ns:xmpp-sasl`.
    pub fn name(self) -> &'static str {
        ""
    }
}

/// Undoes the base64 of an `<auth/>`, `<response/>` or `<challenge/>` element's text; `=` stands for empty data.
///
/// No text at all is `None` (no initial response, RFC 6120 section 6.4.2).
pub fn decode(_text: &str) -> Result<Option<Zeroizing<Vec<u8>>>, SaslFailure> {
    Ok(None)
}

/// The text of a `<challenge/>` or `<success/>` element with this data.
pub fn encode(_data: &[u8]) -> String {
    String::new()
}
