//! Stream errors (RFC 6120 section 4.9): every condition, writing, and which one a framing error calls for.

use std::fmt;

use super::ns;
use crate::xml::{FrameError, FrameErrorClass, Writer};

macro_rules! conditions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// A stream error condition (RFC 6120 4.9.3).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum StreamErrorCondition { $($(#[$doc])* $variant,)* }

        impl StreamErrorCondition {
            /// Every condition, in the order of the RFC.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name of the condition's element.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

conditions! {
    /// XML that cannot be processed, where no more specific condition applies.
    BadFormat = "bad-format";
    /// A namespace prefix that is not supported, or none where one is needed.
    BadNamespacePrefix = "bad-namespace-prefix";
    /// A new stream conflicts with this one.
    Conflict = "conflict";
    /// The peer did not answer or send anything for too long.
    ConnectionTimeout = "connection-timeout";
    /// The domain asked for is no longer served here.
    HostGone = "host-gone";
    /// The domain asked for is not served here.
    HostUnknown = "host-unknown";
    /// A server stanza without or with an impossible address.
    ImproperAddressing = "improper-addressing";
    /// The server failed for a reason of its own.
    InternalServerError = "internal-server-error";
    /// The `from` address is not one that the peer may use.
    InvalidFrom = "invalid-from";
    /// The stream namespace or the content namespace is wrong.
    InvalidNamespace = "invalid-namespace";
    /// XML that does not validate.
    InvalidXml = "invalid-xml";
    /// The peer sent data before it was authorised.
    NotAuthorized = "not-authorized";
    /// XML that is not well-formed, with or without namespaces.
    NotWellFormed = "not-well-formed";
    /// A local policy was violated.
    PolicyViolation = "policy-violation";
    /// The connection to a remote entity that this stream needs failed.
    RemoteConnectionFailed = "remote-connection-failed";
    /// The stream is closed because the credentials or terms changed.
    Reset = "reset";
    /// The server lacks the resources to serve the stream.
    ResourceConstraint = "resource-constraint";
    /// XML features that XMPP does not allow: comments, processing instructions, DTDs, entities.
    RestrictedXml = "restricted-xml";
    /// The peer should connect to another host.
    SeeOtherHost = "see-other-host";
    /// The server is being shut down.
    SystemShutdown = "system-shutdown";
    /// None of the others.
    UndefinedCondition = "undefined-condition";
    /// The stream is not encoded in UTF-8.
    UnsupportedEncoding = "unsupported-encoding";
    /// A feature that the server does not support was made mandatory.
    UnsupportedFeature = "unsupported-feature";
    /// A first-level child of the stream that the server does not know.
    UnsupportedStanzaType = "unsupported-stanza-type";
    /// The version asked for is not supported.
    UnsupportedVersion = "unsupported-version";
}

impl StreamErrorCondition {
    /// Reads the name of a condition's element.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|condition| condition.as_str() == name)
    }
}

impl fmt::Display for StreamErrorCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A stream error: what ends a stream, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamError {
    /// The defined condition.
    pub condition: StreamErrorCondition,
    /// A sentence for people, in English.
    pub text: Option<String>,
    /// The other host that `see-other-host` names.
    pub host: Option<String>,
    /// An application-specific condition (RFC 6120 section 4.9.4), as one whole element.
    pub application: Option<String>,
}

impl From<StreamErrorCondition> for StreamError {
    fn from(condition: StreamErrorCondition) -> Self {
        Self { condition, text: None, host: None, application: None }
    }
}

impl StreamError {
    /// An error with a text.
    pub fn new(condition: StreamErrorCondition, text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..condition.into() }
    }

    /// The peer is to go to this host: a domain or an address, with a port if need be.
    pub fn see_other_host(host: String) -> Self {
        let text = "This domain is served elsewhere.";
        Self { host: Some(host), ..Self::new(StreamErrorCondition::SeeOtherHost, text) }
    }

    /// Writes the `<stream:error/>` element; the prefix `stream` must be declared on the stream.
    pub fn write(&self, out: &mut String) {
        let mut writer = Writer::new(out);
        writer.start("stream:error");
        writer.start(self.condition.as_str()).attribute("xmlns", ns::STREAM_ERRORS);
        if let Some(host) = &self.host {
            writer.text(host);
        }
        writer.end();
        if let Some(text) = &self.text {
            let writer = writer.start("text").attribute("xmlns", ns::STREAM_ERRORS);
            writer.attribute("xml:lang", "en").text(text).end();
        }
        if let Some(application) = &self.application {
            writer.raw(application);
        }
        writer.end();
    }

    /// The `<stream:error/>` element as XML.
    pub fn to_xml(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
}

/// RFC 6120 11.1 (restricted XML), 11.3 (well-formedness of both kinds), 11.6 (encoding) and 13.12 (limits).
impl From<&FrameError> for StreamErrorCondition {
    fn from(error: &FrameError) -> Self {
        match error.class() {
            FrameErrorClass::NotWellFormed => Self::NotWellFormed,
            FrameErrorClass::BadFormat => Self::BadFormat,
            FrameErrorClass::Restricted => Self::RestrictedXml,
            FrameErrorClass::Encoding => Self::UnsupportedEncoding,
            FrameErrorClass::Limit => Self::PolicyViolation,
        }
    }
}

impl From<&FrameError> for StreamError {
    fn from(error: &FrameError) -> Self {
        Self::new(error.into(), error.to_string())
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => write!(f, "{}: {text}", self.condition),
            None => self.condition.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::{Element, Limits};

    #[test]
    fn every_condition_is_written_as_the_rfc_names_it() {
        assert_eq!(StreamErrorCondition::ALL.len(), 25);
        for &condition in StreamErrorCondition::ALL {
            assert_eq!(StreamErrorCondition::from_name(condition.as_str()), Some(condition));
            let error =
                StreamError { host: Some("other.example".into()), ..StreamError::new(condition, "So & so.") };
            let xml = error.to_xml().replacen("<stream:error", "<stream:error xmlns:stream='urn:s'", 1);
            let tree = Element::parse(&xml, &Limits::default()).unwrap();
            let child = tree.child(condition.as_str(), ns::STREAM_ERRORS).map(Element::text);
            assert_eq!(child.as_deref(), Some("other.example"));
            assert_eq!(tree.child("text", ns::STREAM_ERRORS).map(Element::text).as_deref(), Some("So & so."));
        }
    }

    #[test]
    fn framing_errors_call_for_the_rfcs_stream_errors() {
        use StreamErrorCondition::*;
        for (error, condition) in [
            (FrameError::ElementTooLong(1), PolicyViolation),
            (FrameError::TooDeep(1), PolicyViolation),
            (FrameError::Comment, RestrictedXml),
            (FrameError::EntityReference, RestrictedXml),
            (FrameError::NotUtf8, UnsupportedEncoding),
            (FrameError::UnsupportedEncoding, UnsupportedEncoding),
            (FrameError::TextBetweenElements, BadFormat),
            (FrameError::UndeclaredPrefix, NotWellFormed),
            (FrameError::MismatchedEndTag, NotWellFormed),
        ] {
            assert_eq!(StreamErrorCondition::from(&error), condition, "{error}");
        }
    }
}
