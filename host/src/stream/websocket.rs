//! XMPP in WebSocket messages (RFC 7395): what the stream core reads and writes as one long document, cut into elements
//! that stand for themselves.
//!
//! The core knows nothing of it: `<open/>` and `<close/>` become the tags of a stream on the way in, and the tags become
//! these elements on the way out.

use crate::stanza::ns;
use crate::xml::{Element, FrameError, Limits, Scope, Writer, frame_whole};

/// What an element may rely on: nothing but the content namespace, which some clients do not declare.
static SCOPE: Scope = Scope::with_default(ns::CLIENT);

const STREAM_OPEN: &str = "<stream:stream ";
const STREAM_CLOSE: &str = "</stream:stream>";

/// Appends what a message of the peer means to the core. A message is exactly one element (section 3.3.3).
pub(super) fn take_message(message: &str, limits: &Limits, input: &mut Vec<u8>) -> Result<(), FrameError> {
    let element = frame_whole(message.as_bytes(), limits, &SCOPE)?;
    if element.is("open", ns::FRAMING) {
        let mut header = String::from("<?xml version='1.0'?>");
        write_header(&Element::parse(message, limits)?, &mut header);
        input.extend_from_slice(header.as_bytes());
    } else if element.is("close", ns::FRAMING) {
        input.extend_from_slice(STREAM_CLOSE.as_bytes());
    } else {
        input.extend_from_slice(element.as_str().as_bytes());
    }
    Ok(())
}

fn write_header(open: &Element, out: &mut String) {
    let mut writer = Writer::new(out);
    writer.start("stream:stream").attribute("xmlns", ns::CLIENT).attribute("xmlns:stream", ns::STREAMS);
    for name in ["to", "from", "version"] {
        if let Some(value) = open.attribute(name) {
            writer.attribute(name, value);
        }
    }
    if let Some(language) = open.attribute_ns("lang", ns::XML) {
        writer.attribute("xml:lang", language);
    }
    writer.end();
    out.truncate(out.len() - "/>".len());
    out.push('>');
}

/// Cuts what the core says into messages. White space that keeps connections alive is none.
pub(super) fn messages(said: &str) -> Vec<String> {
    let mut messages = Vec::new();
    let mut rest = said.trim_start();
    while !rest.is_empty() {
        let end = if rest.starts_with("<?") || rest.starts_with(STREAM_OPEN) || rest.starts_with("</") {
            tag_end(rest)
        } else {
            element_end(rest)
        };
        let (unit, others) = rest.split_at(end);
        if let Some(attributes) = unit.strip_prefix(STREAM_OPEN) {
            messages.push(open(attributes));
        } else if unit == STREAM_CLOSE {
            messages.push(format!("<close xmlns='{}'/>", ns::FRAMING));
        } else if !unit.starts_with("<?") {
            messages.push(standing_alone(unit));
        }
        rest = others.trim_start();
    }
    messages
}

/// An element with the declarations that it relied on in the stream's header.
pub(super) fn standing_alone(element: &str) -> String {
    let name_end = element.find([' ', '/', '>']).unwrap_or(element.len());
    let (name, rest) = element.split_at(name_end);
    match name {
        "<iq" | "<message" | "<presence" => format!("{name} xmlns='{}'{rest}", ns::CLIENT),
        _ if name.starts_with("<stream:") => format!("{name} xmlns:stream='{}'{rest}", ns::STREAMS),
        _ => element.to_owned(),
    }
}

/// Our header's addresses, id, version and language, without its namespaces (section 3.3.2).
fn open(attributes: &str) -> String {
    let own = attributes.split(" xmlns").next().unwrap_or_default().trim_end_matches('>');
    format!("<open xmlns='{}' {own}/>", ns::FRAMING)
}

/// Where the tag ends with which the text begins. What is ours has a `>` in values only, if anywhere.
fn tag_end(text: &str) -> usize {
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate() {
        match (byte, quote) {
            (b'\'' | b'"', None) => quote = Some(byte),
            (_, Some(open)) if byte == open => quote = None,
            (b'>', None) => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn element_end(text: &str) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(begin) = text[at..].find('<').map(|found| at + found) {
        let end = begin + tag_end(&text[begin..]);
        let tag = &text[begin..end];
        if tag.starts_with("</") {
            depth = depth.saturating_sub(1);
        } else if !tag.ends_with("/>") {
            depth += 1;
        }
        if depth == 0 {
            return end;
        }
        at = end;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(message: &str) -> Result<String, FrameError> {
        let mut input = Vec::new();
        take_message(message, &Limits::default(), &mut input)?;
        Ok(String::from_utf8(input).unwrap())
    }

    #[test]
    fn what_comes_is_one_element_per_message() {
        let open =
            "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a&amp;b' xml:lang='de' version='1.0'/>";
        let header = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
                      xmlns:stream='http://etherx.jabber.org/streams' to='a&amp;b' version='1.0' xml:lang='de'>";
        assert_eq!(taken(open).unwrap(), header);
        assert_eq!(taken(&format!("{}</open>", open.replace("/>", ">"))).unwrap(), header);
        assert_eq!(taken("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>").unwrap(), STREAM_CLOSE);
        let message = "<message xmlns='jabber:client'><body>&lt;</body></message>";
        assert_eq!(taken(message).unwrap(), message);
        for wrong in [
            "",
            " ",
            "<message>",
            "<presence/><presence/>",
            "</stream:stream>",
            "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
            "<stream:features/>",
            "text",
            "<!-- --><presence/>",
        ] {
            assert!(taken(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_said_is_cut_into_elements_that_stand_alone() {
        let said = "<?xml version='1.0'?><stream:stream from='a.example' id='1>2' version='1.0' xml:lang='en' \
                    xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>\
                    <stream:features><a xmlns='x'><b/></a></stream:features> \
                    <iq type='result' id='>'/><message><body>1 > 0</body></message>\
                    <a xmlns='urn:xmpp:sm:3' h='1'/></stream:stream>";
        let framing = "xmlns='urn:ietf:params:xml:ns:xmpp-framing'";
        let stream = "xmlns:stream='http://etherx.jabber.org/streams'";
        let expected = [
            format!("<open {framing} from='a.example' id='1>2' version='1.0' xml:lang='en'/>"),
            format!("<stream:features {stream}><a xmlns='x'><b/></a></stream:features>"),
            "<iq xmlns='jabber:client' type='result' id='>'/>".to_owned(),
            "<message xmlns='jabber:client'><body>1 > 0</body></message>".to_owned(),
            "<a xmlns='urn:xmpp:sm:3' h='1'/>".to_owned(),
            format!("<close {framing}/>"),
        ];
        assert_eq!(messages(said), expected);
        assert_eq!(messages(" "), [""; 0]);
        for message in expected {
            Element::parse(&message, &Limits::default()).unwrap_or_else(|error| panic!("{message}: {error}"));
        }
    }
}
