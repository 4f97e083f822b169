//! Stanza errors (RFC 6120 section 8.3): conditions, types, reading and writing.

use std::fmt;

use super::{Jid, ns};
use crate::xml::{Element, Writer};

/// What the sender may do about a stanza error (RFC 6120 8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// Retry after providing credentials.
    Auth,
    /// Do not retry.
    Cancel,
    /// Proceed: the condition was only a warning.
    Continue,
    /// Retry after changing the data sent.
    Modify,
    /// Retry after waiting.
    Wait,
}

impl ErrorType {
    /// The value of the `type` attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Cancel => "cancel",
            Self::Continue => "continue",
            Self::Modify => "modify",
            Self::Wait => "wait",
        }
    }

    /// Reads the value of a `type` attribute.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Auth, Self::Cancel, Self::Continue, Self::Modify, Self::Wait]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

macro_rules! conditions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $kind:ident;)*) => {
        /// A stanza error condition (RFC 6120 8.3.3).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum StanzaErrorCondition { $($(#[$doc])* $variant,)* }

        impl StanzaErrorCondition {
            /// Every condition, in the order of the RFC.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name of the condition's element.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The error type that the RFC associates with the condition.
            pub fn default_type(self) -> ErrorType {
                match self { $(Self::$variant => ErrorType::$kind,)* }
            }
        }
    };
}

conditions! {
    /// The stanza does not conform to its schema or cannot be processed.
    BadRequest = "bad-request", Modify;
    /// A resource or session with that name exists already.
    Conflict = "conflict", Cancel;
    /// The feature represented in the stanza is not implemented.
    FeatureNotImplemented = "feature-not-implemented", Cancel;
    /// The sender lacks the permissions.
    Forbidden = "forbidden", Auth;
    /// The recipient is no longer at this address.
    Gone = "gone", Cancel;
    /// The server failed for a reason of its own.
    InternalServerError = "internal-server-error", Cancel;
    /// The addressed item does not exist.
    ItemNotFound = "item-not-found", Cancel;
    /// An address in the stanza is no JID.
    JidMalformed = "jid-malformed", Modify;
    /// The stanza does not meet the recipient's criteria.
    NotAcceptable = "not-acceptable", Modify;
    /// Nobody may do this.
    NotAllowed = "not-allowed", Cancel;
    /// The sender must authenticate first.
    NotAuthorized = "not-authorized", Auth;
    /// The stanza violates a local policy.
    PolicyViolation = "policy-violation", Modify;
    /// The recipient is unavailable for now.
    RecipientUnavailable = "recipient-unavailable", Wait;
    /// The recipient redirects to another address.
    Redirect = "redirect", Modify;
    /// The sender must register first.
    RegistrationRequired = "registration-required", Auth;
    /// The remote server does not exist or has no XMPP service.
    RemoteServerNotFound = "remote-server-not-found", Cancel;
    /// The remote server did not answer in time.
    RemoteServerTimeout = "remote-server-timeout", Wait;
    /// The server is too busy.
    ResourceConstraint = "resource-constraint", Wait;
    /// The service is not offered here.
    ServiceUnavailable = "service-unavailable", Cancel;
    /// The sender must be subscribed first.
    SubscriptionRequired = "subscription-required", Auth;
    /// None of the others.
    UndefinedCondition = "undefined-condition", Cancel;
    /// The request came at the wrong time.
    UnexpectedRequest = "unexpected-request", Wait;
}

impl StanzaErrorCondition {
    /// Reads the name of a condition's element.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|condition| condition.as_str() == name)
    }
}

impl fmt::Display for StanzaErrorCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A stanza error: what an `<error/>` child says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StanzaError {
    /// The defined condition.
    pub condition: StanzaErrorCondition,
    /// What the sender may do about it.
    pub kind: ErrorType,
    /// A sentence for people, in English.
    pub text: Option<String>,
    /// Who refused, where that is not the stanza's recipient.
    pub by: Option<Jid>,
    /// The new address (a URI) that `gone` and `redirect` carry.
    pub address: Option<String>,
    /// An application-specific condition: one element with its own namespace, as XML.
    pub application: Option<String>,
}

impl From<StanzaErrorCondition> for StanzaError {
    fn from(condition: StanzaErrorCondition) -> Self {
        Self {
            condition,
            kind: condition.default_type(),
            text: None,
            by: None,
            address: None,
            application: None,
        }
    }
}

impl StanzaError {
    /// An error with the condition's default type and a text.
    pub fn new(condition: StanzaErrorCondition, text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..condition.into() }
    }

    /// The same error with another type.
    pub fn with_type(self, kind: ErrorType) -> Self {
        Self { kind, ..self }
    }

    /// Reads an `<error/>` element. Conditions that RFC 6120 does not know count as `undefined-condition`
    /// (section 8.3.2), an absent or unknown type as the condition's default.
    pub fn from_element(error: &Element) -> Self {
        let defined = error.children().filter(|child| child.namespace() == ns::STANZA_ERRORS);
        let condition_element =
            defined.clone().find(|child| StanzaErrorCondition::from_name(child.name()).is_some());
        let condition = condition_element
            .and_then(|child| StanzaErrorCondition::from_name(child.name()))
            .unwrap_or(StanzaErrorCondition::UndefinedCondition);
        Self {
            condition,
            kind: error.attribute("type").and_then(ErrorType::from_name).unwrap_or(condition.default_type()),
            text: error.child("text", ns::STANZA_ERRORS).map(Element::text),
            by: error.attribute("by").and_then(|by| Jid::parse(by).ok()),
            address: condition_element.map(Element::text).filter(|address| !address.is_empty()),
            application: error
                .children()
                .find(|child| child.namespace() != ns::STANZA_ERRORS)
                .map(Element::to_xml),
        }
    }

    /// Writes the `<error/>` element.
    pub fn write(&self, out: &mut String) {
        let mut writer = Writer::new(out);
        writer.start("error").attribute("type", self.kind.as_str());
        if let Some(by) = &self.by {
            writer.attribute("by", by.as_str());
        }
        writer.start(self.condition.as_str()).attribute("xmlns", ns::STANZA_ERRORS);
        if let Some(address) = &self.address {
            writer.text(address);
        }
        writer.end();
        if let Some(text) = &self.text {
            writer.start("text").attribute("xmlns", ns::STANZA_ERRORS).text(text).end();
        }
        if let Some(application) = &self.application {
            writer.raw(application);
        }
        writer.end();
    }

    /// The `<error/>` element as XML.
    pub fn to_xml(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
}

impl fmt::Display for StanzaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => write!(f, "{} ({}): {text}", self.condition, self.kind.as_str()),
            None => write!(f, "{} ({})", self.condition, self.kind.as_str()),
        }
    }
}
