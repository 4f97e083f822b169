//! Errors: of stanzas (RFC 6120 8.3), of host operations, of registrations, of starting.

use super::element::Element;
use super::ns;
use std::borrow::Cow;
use std::fmt;

macro_rules! conditions {
    ($($variant:ident = $name:literal, $default:ident;)+) => {
        /// A condition of RFC 6120 8.3.3.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the names are those of RFC 6120 8.3.3")]
        pub enum Condition {
            $($variant,)+
        }

        impl Condition {
            /// All of them.
            pub const ALL: &'static [Condition] = &[$(Condition::$variant),+];

            /// The element's name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Condition::$variant => $name,)+
                }
            }

            /// The type that RFC 6120 gives it.
            pub fn default_type(self) -> ErrorType {
                match self {
                    $(Condition::$variant => ErrorType::$default,)+
                }
            }
        }
    };
}

conditions! {
    BadRequest = "bad-request", Modify;
    Conflict = "conflict", Cancel;
    FeatureNotImplemented = "feature-not-implemented", Cancel;
    Forbidden = "forbidden", Auth;
    Gone = "gone", Cancel;
    InternalServerError = "internal-server-error", Cancel;
    ItemNotFound = "item-not-found", Cancel;
    JidMalformed = "jid-malformed", Modify;
    NotAcceptable = "not-acceptable", Modify;
    NotAllowed = "not-allowed", Cancel;
    NotAuthorized = "not-authorized", Auth;
    PolicyViolation = "policy-violation", Modify;
    RecipientUnavailable = "recipient-unavailable", Wait;
    Redirect = "redirect", Modify;
    RegistrationRequired = "registration-required", Auth;
    RemoteServerNotFound = "remote-server-not-found", Cancel;
    RemoteServerTimeout = "remote-server-timeout", Wait;
    ResourceConstraint = "resource-constraint", Wait;
    ServiceUnavailable = "service-unavailable", Cancel;
    SubscriptionRequired = "subscription-required", Auth;
    UndefinedCondition = "undefined-condition", Cancel;
    UnexpectedRequest = "unexpected-request", Wait;
}

impl Condition {
    /// The condition of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| c.name() == name)
    }
}

/// What the receiver of an error can do about it. The numbers are those of the boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// Retry after providing credentials.
    Auth = 1,
    /// Do not retry.
    Cancel = 2,
    /// Proceed.
    Continue = 3,
    /// Retry after changing the data.
    Modify = 4,
    /// Retry after waiting.
    Wait = 5,
}

impl ErrorType {
    /// The attribute's value.
    pub fn name(self) -> &'static str {
        match self {
            ErrorType::Auth => "auth",
            ErrorType::Cancel => "cancel",
            ErrorType::Continue => "continue",
            ErrorType::Modify => "modify",
            ErrorType::Wait => "wait",
        }
    }

    const ALL: [Self; 5] = [Self::Auth, Self::Cancel, Self::Continue, Self::Modify, Self::Wait];

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as i64 == number)
    }
}

/// A stanza error. `?` turns it into the answer of an IQ handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StanzaError {
    /// The condition.
    pub condition: Condition,
    /// The type.
    pub kind: ErrorType,
    /// Text for people; may be empty.
    pub text: Cow<'static, str>,
}

impl StanzaError {
    /// An error with the condition's default type.
    pub fn new(condition: Condition, text: impl Into<Cow<'static, str>>) -> Self {
        Self { condition, kind: condition.default_type(), text: text.into() }
    }

    /// `bad-request`.
    pub fn bad_request(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Condition::BadRequest, text)
    }

    /// `not-allowed`.
    pub fn not_allowed(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Condition::NotAllowed, text)
    }

    /// `item-not-found`.
    pub fn item_not_found(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Condition::ItemNotFound, text)
    }

    /// `forbidden`.
    pub fn forbidden(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Condition::Forbidden, text)
    }

    /// `internal-server-error`.
    pub fn internal(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Condition::InternalServerError, text)
    }

    /// The `<error/>` element.
    pub fn to_element(&self) -> Element {
        let condition = Element::new(self.condition.name()).with_ns(ns::STANZA_ERRORS);
        let error = Element::new("error").with_attr("type", self.kind.name()).with_child(condition);
        if self.text.is_empty() {
            return error;
        }
        error.with_child(Element::new("text").with_ns(ns::STANZA_ERRORS).with_text(&*self.text))
    }

    /// Reads an `<error/>` element; what it lacks becomes `undefined-condition`.
    pub fn from_element(error: &Element) -> Self {
        let named = error.elements().find_map(|e| Condition::from_name(e.name()));
        let condition = named.unwrap_or(Condition::UndefinedCondition);
        let kind = error.attr("type").and_then(ErrorType::from_name).unwrap_or(condition.default_type());
        let text = error.subtag("text").map(Element::text).unwrap_or_default();
        Self { condition, kind, text: text.into() }
    }
}

impl fmt::Display for StanzaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.condition.name())?;
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {}", self.text) }
    }
}

impl std::error::Error for StanzaError {}

/// Why a host operation or a registration failed: a condition in the words of RFC 6120 8.3.3 and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostError {
    /// Such as `item-not-found`, `conflict`, `timeout`.
    pub condition: String,
    /// What an operator should read.
    pub text: String,
}

impl HostError {
    pub(crate) fn new(condition: &str, text: impl Into<String>) -> Self {
        Self { condition: condition.to_owned(), text: text.into() }
    }

    /// The instance has ended: nothing reaches the host any more.
    pub(crate) fn gone() -> Self {
        Self::new("gone", "this instance of the module has ended")
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.condition)
    }
}

impl std::error::Error for HostError {}

impl From<HostError> for StanzaError {
    fn from(error: HostError) -> Self {
        let condition = match error.condition.as_str() {
            "timeout" => Condition::RemoteServerTimeout,
            name => Condition::from_name(name).unwrap_or(Condition::InternalServerError),
        };
        StanzaError::new(condition, error.text)
    }
}

/// Why an instance cannot start, go on, or take over: one sentence. Every error converts into it with `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop(pub String);

impl Stop {
    /// With this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl<E: std::error::Error> From<E> for Stop {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_its_element() {
        for &condition in Condition::ALL {
            let error = StanzaError::new(condition, "why & <how>");
            assert_eq!(StanzaError::from_element(&error.to_element()), error);
        }
    }

    #[test]
    fn an_error_element_without_condition_is_undefined() {
        let error = StanzaError::from_element(&Element::new("error").with_attr("type", "wait"));
        assert_eq!((error.condition, error.kind), (Condition::UndefinedCondition, ErrorType::Wait));
    }

    #[test]
    fn a_host_error_keeps_its_condition() {
        let error = StanzaError::from(HostError::new("conflict", "taken"));
        assert_eq!(error.condition, Condition::Conflict);
        assert_eq!(StanzaError::from(HostError::new("odd", "")).condition, Condition::InternalServerError);
    }
}
