//! What one HTTP answer says: a `<body/>` around what the stream has to say.

use super::window::Agreed;
use crate::stanza::ns;
use crate::stream::units::{Unit, standing_alone, units};
use crate::xml::Writer;

/// The version of XEP-0124 that is spoken.
const VERSION: (u32, u32) = (1, 11);

/// Why a session ends (section 17.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// The client has ended it.
    Asked,
    /// A request was not understood.
    BadRequest,
    /// There is no such session, or no such request in it.
    ItemNotFound,
    /// The client broke the rules.
    PolicyViolation,
    /// Another request was the end of the session.
    OtherRequest,
    /// The stream has come to its end without a word.
    RemoteConnectionFailed,
    /// The stream has ended with an error, which goes with it.
    RemoteStreamError,
    /// The domain is none of ours.
    HostUnknown,
    /// The client did not say to which domain it wants.
    ImproperAddressing,
    /// There is no room for another session.
    Undefined,
}

/// What the stream has to say in one answer.
#[derive(Debug, Default)]
pub(in crate::stream) struct Speech {
    /// Elements that stand alone.
    pub payload: String,
    /// The stream's id and domain, from its header.
    pub opened: Option<String>,
    /// Whether the stream is at its end, and how.
    pub end: Option<Terminal>,
}

impl Terminal {
    /// The condition, where there is one.
    pub(super) fn condition(self) -> Option<&'static str> {
        Some(match self {
            Self::Asked => return None,
            Self::BadRequest => "bad-request",
            Self::ItemNotFound => "item-not-found",
            Self::PolicyViolation => "policy-violation",
            Self::OtherRequest => "other-request",
            Self::RemoteConnectionFailed => "remote-connection-failed",
            Self::RemoteStreamError => "remote-stream-error",
            Self::HostUnknown => "host-unknown",
            Self::ImproperAddressing => "improper-addressing",
            Self::Undefined => "undefined-condition",
        })
    }

    /// The status for clients of before 2006, who read no conditions (section 17.1).
    pub(super) fn legacy_status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::PolicyViolation => 403,
            Self::ItemNotFound => 404,
            _ => 200,
        }
    }

    /// The answer that says nothing else.
    pub fn body(self) -> String {
        body(&[], "", Some(self))
    }
}

impl Speech {
    /// Adds a stanza.
    pub fn stanza(&mut self, stanza: &str) {
        self.payload.push_str(&standing_alone(stanza));
    }

    /// Adds what the stream itself says.
    pub fn text(&mut self, text: &str) {
        for unit in units(text) {
            match unit {
                Unit::Open(attributes) => self.opened = Some(attributes),
                Unit::Close => self.end = Some(self.end.unwrap_or(Terminal::Asked)),
                Unit::Element(element) => {
                    if element.starts_with("<stream:error ") {
                        self.end = Some(Terminal::RemoteStreamError);
                    }
                    self.payload.push_str(&element);
                }
            }
        }
    }

    /// Whether there is something that a client has to be told now.
    pub fn is_something(&self) -> bool {
        !self.payload.is_empty() || self.end.is_some()
    }
}

/// The answer to the request for a session: what was agreed on, and who is there (section 7.2).
pub(super) fn opening(sid: &str, rid: u64, agreed: &Agreed, speech: &Speech) -> String {
    // A domain that is not served is not the stream's business but ours (section 17.2).
    let end = match speech.end {
        Some(Terminal::RemoteStreamError) if speech.payload.contains("<host-unknown ") => {
            Some(Terminal::HostUnknown)
        }
        Some(Terminal::RemoteStreamError) if speech.payload.contains("<improper-addressing ") => {
            Some(Terminal::ImproperAddressing)
        }
        end => end,
    };
    if let Some(end) = end {
        let payload = if end == Terminal::RemoteStreamError { &*speech.payload } else { "" };
        return body(&[], payload, Some(end));
    }
    let ver = agreed.ver.unwrap_or(VERSION).min(VERSION);
    let numbers = [
        ("wait", agreed.wait.as_secs()),
        ("requests", agreed.requests as u64),
        ("hold", agreed.hold as u64),
        ("inactivity", agreed.inactivity.as_secs()),
        ("polling", agreed.polling.as_secs()),
        ("maxpause", agreed.max_pause.as_secs()),
        ("ack", rid),
    ];
    let mut attributes = vec![
        ("sid", sid.to_owned()),
        ("ver", format!("{}.{}", ver.0, ver.1)),
        ("xmlns:xmpp", ns::XBOSH.to_owned()),
        ("xmpp:version", "1.0".to_owned()),
        ("xmpp:restartlogic", "true".to_owned()),
    ];
    attributes.extend(numbers.map(|(name, number)| (name, number.to_string())));
    let opened = speech.opened.as_deref().unwrap_or_default();
    attributes.extend(value_in(opened, "from").map(|from| ("from", from)));
    attributes.extend(value_in(opened, "id").map(|id| ("authid", id)));
    body(&attributes, &speech.payload, None)
}

/// Any other answer.
pub(super) fn usual(ack: Option<u64>, speech: &Speech) -> String {
    let ack = ack.map(|ack| ("ack", ack.to_string()));
    body(ack.as_slice(), &speech.payload, speech.end)
}

/// The answer to a request that was sent again before it was answered (section 14.3).
pub(super) fn recoverable() -> String {
    format!("<body type='error' xmlns='{}'/>", ns::HTTP_BIND)
}

fn body(attributes: &[(&str, String)], payload: &str, end: Option<Terminal>) -> String {
    let mut text = String::with_capacity(payload.len() + 256);
    let mut writer = Writer::new(&mut text);
    writer.start("body").attribute("xmlns", ns::HTTP_BIND);
    for (name, value) in attributes {
        writer.attribute(name, value);
    }
    if payload.contains("<stream:") {
        writer.attribute("xmlns:stream", ns::STREAMS);
    }
    if let Some(end) = end {
        writer.attribute("type", "terminate");
        if let Some(condition) = end.condition() {
            writer.attribute("condition", condition);
        }
    }
    if !payload.is_empty() {
        writer.raw(payload);
    }
    writer.end();
    text
}

/// The value of one of the attributes that we ourselves wrote.
fn value_in(attributes: &str, name: &str) -> Option<String> {
    let element = crate::xml::Element::parse(&format!("<a {attributes}/>"), &Default::default()).ok()?;
    element.attribute(name).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::{Element, Limits};

    fn read(body: &str) -> Element {
        Element::parse(body, &Limits::default()).unwrap_or_else(|error| panic!("{body}: {error}"))
    }

    fn speech(text: &str) -> Speech {
        let mut speech = Speech::default();
        speech.text(text);
        speech
    }

    const HEADER: &str = "<?xml version='1.0'?><stream:stream from='a.example' id='f00' version='1.0' \
                          xml:lang='en' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

    #[test]
    fn the_first_answer_tells_what_was_agreed_on_and_the_features() {
        let said = speech(&format!("{HEADER}<stream:features><a xmlns='x'/></stream:features>"));
        let body = read(&opening("51d", 9, &Agreed::default(), &said));
        for (name, value) in
            [("sid", "51d"), ("ver", "1.11"), ("from", "a.example"), ("authid", "f00"), ("ack", "9")]
        {
            assert_eq!(body.attribute(name), Some(value), "{}", body.to_xml());
        }
        assert_eq!(body.attribute_ns("restartlogic", ns::XBOSH), Some("true"));
        assert!(body.child("features", ns::STREAMS).is_some());
        let old = Agreed { ver: Some((1, 6)), ..Agreed::default() };
        assert_eq!(read(&opening("s", 1, &old, &said)).attribute("ver"), Some("1.6"));
    }

    #[test]
    fn an_error_of_the_stream_comes_with_what_was_said_before_it() {
        let said = speech(
            "<message/><stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>",
        );
        let body = read(&usual(Some(4), &said));
        assert_eq!(body.attribute("condition"), Some("remote-stream-error"));
        assert_eq!((body.attribute("type"), body.attribute("ack")), (Some("terminate"), Some("4")));
        assert!(body.child("error", ns::STREAMS).is_some() && body.child("message", ns::CLIENT).is_some());
        let body = read(&usual(None, &speech("</stream:stream>")));
        assert_eq!((body.attribute("type"), body.attribute("condition")), (Some("terminate"), None));
    }

    #[test]
    fn a_domain_that_is_not_served_is_named_as_such() {
        let said = speech(&format!(
            "{HEADER}<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"
        ));
        let body = read(&opening("s", 1, &Agreed::default(), &said));
        assert_eq!((body.attribute("condition"), body.nodes().len()), (Some("host-unknown"), 0));
    }
}
