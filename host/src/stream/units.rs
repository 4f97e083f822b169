//! What the stream core says as one long document, cut into units, for those that carry it in another form.

use crate::stanza::ns;
use crate::xml::Writer;

const STREAM_OPEN: &str = "<stream:stream ";
/// The end tag of a stream, as both sides write it.
pub(super) const STREAM_CLOSE: &str = "</stream:stream>";

/// A part of a stream that has to be carried in one piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unit {
    /// Our header: its addresses, id, version and language, without its namespaces.
    Open(String),
    /// Our end tag.
    Close,
    /// An element with the declarations that it relied on in the header.
    Element(String),
}

/// The header of a client's stream with these attributes, as the core reads it.
pub(super) fn client_header<'a>(attributes: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let mut header = String::from("<?xml version='1.0'?>");
    let mut writer = Writer::new(&mut header);
    writer.start("stream:stream").attribute("xmlns", ns::CLIENT).attribute("xmlns:stream", ns::STREAMS);
    for (name, value) in attributes {
        if let Some(value) = value {
            writer.attribute(name, value);
        }
    }
    writer.end();
    header.truncate(header.len() - "/>".len());
    header.push('>');
    header
}

/// Cuts what the core says. White space that keeps connections alive is no unit.
pub(super) fn units(said: &str) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut rest = said.trim_start();
    while !rest.is_empty() {
        let end = if rest.starts_with("<?") || rest.starts_with(STREAM_OPEN) || rest.starts_with("</") {
            tag_end(rest)
        } else {
            element_end(rest)
        };
        let (unit, others) = rest.split_at(end);
        if let Some(attributes) = unit.strip_prefix(STREAM_OPEN) {
            let own = attributes.split(" xmlns").next().unwrap_or_default();
            units.push(Unit::Open(own.trim_end_matches('>').to_owned()));
        } else if unit == STREAM_CLOSE {
            units.push(Unit::Close);
        } else if !unit.starts_with("<?") {
            units.push(Unit::Element(standing_alone(unit)));
        }
        rest = others.trim_start();
    }
    units
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

/// Where the tag ends with which the text begins: a `>` inside a value is none.
pub(super) fn tag_end(text: &str) -> usize {
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

    #[test]
    fn what_is_said_is_cut_into_elements_that_stand_alone() {
        let said = "<?xml version='1.0'?><stream:stream from='a.example' id='1>2' version='1.0' xml:lang='en' \
                    xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>\
                    <stream:features><a xmlns='x'><b/></a></stream:features> \
                    <iq type='result' id='>'/><a xmlns='urn:xmpp:sm:3' h='1'/></stream:stream>";
        let stream = "xmlns:stream='http://etherx.jabber.org/streams'";
        let expected = [
            Unit::Open("from='a.example' id='1>2' version='1.0' xml:lang='en'".to_owned()),
            Unit::Element(format!("<stream:features {stream}><a xmlns='x'><b/></a></stream:features>")),
            Unit::Element("<iq xmlns='jabber:client' type='result' id='>'/>".to_owned()),
            Unit::Element("<a xmlns='urn:xmpp:sm:3' h='1'/>".to_owned()),
            Unit::Close,
        ];
        assert_eq!(units(said), expected);
        assert_eq!(units(" "), []);
    }
}
