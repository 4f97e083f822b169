//! The elements of stream management (XEP-0198) and client state (XEP-0352) as they are read and written. They are no
//! stanzas: they are not routed and not counted.
//!
//! What they mean for queues and sessions is the driver's business.

use crate::stanza::{StanzaErrorCondition, StreamError, StreamErrorCondition, ns};
use crate::xml::{Framed, Writer};

/// What a client says beside its stanzas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nonza {
    /// `<enable/>`.
    Enable {
        /// Whether the session shall outlive its connection.
        resume: bool,
        /// For how many seconds at most, if the client has a wish.
        max: Option<u32>,
    },
    /// `<resume/>`.
    Resume {
        /// The id that `<enabled/>` told.
        previous: String,
        /// How many stanzas the client has handled.
        handled: u32,
    },
    /// `<r/>`: how many have we handled?
    Request,
    /// `<a/>`: how many the client has handled.
    Acknowledge(u32),
    /// `<active/>` or `<inactive/>` (XEP-0352): whether somebody looks at the client.
    ClientState(ClientState),
}

/// Whether somebody looks at the client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientState {
    /// Send everything at once; how a stream begins.
    #[default]
    Active,
    /// What can wait may wait.
    Inactive,
}

/// Why an element in one of these namespaces cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadNonza {
    /// Whether it could have been answered. An acknowledgement could not.
    pub has_answer: bool,
}

/// Reads an element; `None` if it belongs to neither extension.
pub(super) fn read(element: &Framed<'_>) -> Option<Result<Nonza, BadNonza>> {
    match &*element.namespace() {
        ns::STREAM_MANAGEMENT => {
            Some(read_management(element).ok_or_else(|| BadNonza { has_answer: element.name() != "a" }))
        }
        ns::CLIENT_STATE => match element.name() {
            "active" => Some(Ok(Nonza::ClientState(ClientState::Active))),
            "inactive" => Some(Ok(Nonza::ClientState(ClientState::Inactive))),
            _ => None,
        },
        _ => None,
    }
}

fn read_management(element: &Framed<'_>) -> Option<Nonza> {
    let number = |name| element.attribute(name).and_then(|text| text.trim().parse::<u32>().ok());
    match element.name() {
        "enable" => {
            let resume = element.attribute("resume");
            let resume = resume.as_deref().is_some_and(|value| matches!(value, "true" | "1"));
            Some(Nonza::Enable { resume, max: number("max") })
        }
        "resume" => {
            let previous = element.attribute("previd")?.into_owned();
            Some(Nonza::Resume { previous, handled: number("h")? })
        }
        "r" => Some(Nonza::Request),
        "a" => Some(Nonza::Acknowledge(number("h")?)),
        _ => None,
    }
}

/// What `<enabled/>` tells of resumption.
#[derive(Debug, Clone, Copy)]
pub struct Resumption<'a> {
    /// The id to resume by.
    pub id: &'a str,
    /// For how many seconds the session is kept.
    pub max: u64,
    /// Where the client should connect to first, if anywhere in particular.
    pub location: Option<&'a str>,
}

/// Answers `<enable/>`.
pub fn write_enabled(out: &mut String, resumption: Option<Resumption<'_>>) {
    let mut writer = Writer::new(out);
    writer.start("enabled").attribute("xmlns", ns::STREAM_MANAGEMENT);
    if let Some(resumption) = resumption {
        writer.attribute("resume", "true").attribute("id", resumption.id);
        writer.attribute("max", &resumption.max.to_string());
        if let Some(location) = resumption.location {
            writer.attribute("location", location);
        }
    }
    writer.end();
}

/// Answers `<resume/>`.
pub fn write_resumed(out: &mut String, previous: &str, handled: u32) {
    let mut writer = Writer::new(out);
    writer.start("resumed").attribute("xmlns", ns::STREAM_MANAGEMENT);
    writer.attribute("previd", previous).attribute("h", &handled.to_string()).end();
}

/// Refuses `<enable/>`, `<resume/>`, or what should not have come.
pub fn write_failed(
    out: &mut String,
    condition: StanzaErrorCondition,
    handled: Option<u32>,
    text: Option<&str>,
) {
    let mut writer = Writer::new(out);
    writer.start("failed").attribute("xmlns", ns::STREAM_MANAGEMENT);
    if let Some(handled) = handled {
        writer.attribute("h", &handled.to_string());
    }
    writer.start(condition.as_str()).attribute("xmlns", ns::STANZA_ERRORS).end();
    if let Some(text) = text {
        writer.start("text").attribute("xmlns", ns::STANZA_ERRORS).attribute("xml:lang", "en");
        writer.text(text).end();
    }
    writer.end();
}

/// Tells how many stanzas we have handled.
pub fn write_acknowledgement(out: &mut String, handled: u32) {
    let mut writer = Writer::new(out);
    writer.start("a").attribute("xmlns", ns::STREAM_MANAGEMENT).attribute("h", &handled.to_string()).end();
}

/// Asks how many the client has handled.
pub fn write_request(out: &mut String) {
    Writer::new(out).start("r").attribute("xmlns", ns::STREAM_MANAGEMENT).end();
}

/// The stream error for an acknowledgement without a number: nothing can be answered to it, and without the number it is
/// not known what has arrived (RFC 6120 section 4.9.3.10: these elements are validated, because they are read here).
pub fn unreadable_acknowledgement() -> StreamError {
    StreamError::new(
        StreamErrorCondition::InvalidXml,
        "An acknowledgement needs the number 'h' of stanzas handled.",
    )
}

/// The stream error for a client that acknowledges more than was sent (XEP-0198 section 4).
pub fn handled_too_much(handled: u32, sent: u32) -> StreamError {
    let mut application = String::new();
    let mut writer = Writer::new(&mut application);
    writer.start("handled-count-too-high").attribute("xmlns", ns::STREAM_MANAGEMENT);
    writer.attribute("h", &handled.to_string()).attribute("send-count", &sent.to_string()).end();
    let text = format!("You acknowledged {handled} stanzas, but {sent} were sent to you.");
    StreamError {
        application: Some(application),
        ..StreamError::new(StreamErrorCondition::UndefinedCondition, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::{Event, Framer, Limits};

    fn parse(xml: &str) -> Option<Result<Nonza, BadNonza>> {
        let text = format!("<stream:stream xmlns='jabber:client' xmlns:stream='x'>{xml}");
        let mut framer = Framer::new(Limits::default());
        let mut input = text.as_bytes();
        while let Some(event) = framer.next(&mut input).unwrap() {
            if let Event::Element(element) = event {
                return read(&element);
            }
        }
        panic!("no element in {xml}");
    }

    #[test]
    fn what_a_client_says_is_read() {
        let sm = "xmlns='urn:xmpp:sm:3'";
        let enable = |resume, max| Nonza::Enable { resume, max };
        let cases = [
            (format!("<enable {sm}/>"), enable(false, None)),
            (format!("<enable {sm} resume='true' max='60'/>"), enable(true, Some(60))),
            (format!("<enable {sm} resume='1' max='soon'/>"), enable(true, None)),
            (format!("<enable {sm} resume='false'/>"), enable(false, None)),
            (
                format!("<resume {sm} previd='a&amp;b' h='4294967295'/>"),
                Nonza::Resume { previous: "a&b".into(), handled: u32::MAX },
            ),
            (format!("<r {sm}/>"), Nonza::Request),
            (format!("<a {sm} h='7'/>"), Nonza::Acknowledge(7)),
            ("<inactive xmlns='urn:xmpp:csi:0'/>".into(), Nonza::ClientState(ClientState::Inactive)),
            ("<active xmlns='urn:xmpp:csi:0'/>".into(), Nonza::ClientState(ClientState::Active)),
        ];
        for (xml, nonza) in cases {
            assert_eq!(parse(&xml), Some(Ok(nonza)), "{xml}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_told_from_what_is_not_ours() {
        for xml in ["<a/>", "<a h='-1'/>", "<a h='4294967296'/>", "<a h='x'/>", "<resume h='1'/>", "<foo/>"] {
            let xml = xml.replacen("/>", " xmlns='urn:xmpp:sm:3'/>", 1);
            let has_answer = !xml.starts_with("<a ");
            assert_eq!(parse(&xml), Some(Err(BadNonza { has_answer })), "{xml}");
        }
        for xml in ["<message/>", "<r/>", "<r xmlns='urn:xmpp:sm:2'/>", "<x xmlns='urn:xmpp:csi:0'/>"] {
            assert_eq!(parse(xml), None, "{xml}");
        }
    }

    #[test]
    fn answers_are_written_as_the_specification_shows_them() {
        let mut out = String::new();
        write_enabled(&mut out, None);
        write_enabled(&mut out, Some(Resumption { id: "x", max: 60, location: Some("[::1]:5222") }));
        write_resumed(&mut out, "x", 3);
        write_failed(&mut out, StanzaErrorCondition::ItemNotFound, Some(9), None);
        write_acknowledgement(&mut out, 4);
        write_request(&mut out);
        let sm = "xmlns='urn:xmpp:sm:3'";
        let expected = [
            format!("<enabled {sm}/>"),
            format!("<enabled {sm} resume='true' id='x' max='60' location='[::1]:5222'/>"),
            format!("<resumed {sm} previd='x' h='3'/>"),
            format!(
                "<failed {sm} h='9'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
            ),
            format!("<a {sm} h='4'/>"),
            format!("<r {sm}/>"),
        ];
        assert_eq!(out, expected.concat());
        let error = handled_too_much(10, 8).to_xml();
        assert!(error.contains("<undefined-condition "), "{error}");
        let detail = format!("<handled-count-too-high {sm} h='10' send-count='8'/></stream:error>");
        assert!(error.ends_with(&detail), "{error}");
    }
}
