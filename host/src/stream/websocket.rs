//! XMPP in WebSocket messages (RFC 7395): what the stream core reads and writes as one long document, cut into elements
//! that stand for themselves.
//!
//! The core knows nothing of it: `<open/>` and `<close/>` become the tags of a stream on the way in, and the tags become
//! these elements on the way out.

use super::units::{STREAM_CLOSE, Unit, client_header, units};
use crate::stanza::ns;
use crate::xml::{Element, FrameError, Limits, Scope, frame_whole};

/// What an element may rely on: nothing but the content namespace, which some clients do not declare.
static SCOPE: Scope = Scope::with_default(ns::CLIENT);

/// Appends what a message of the peer means to the core. A message is exactly one element (section 3.3.3).
pub(super) fn take_message(message: &str, limits: &Limits, input: &mut Vec<u8>) -> Result<(), FrameError> {
    let element = frame_whole(message.as_bytes(), limits, &SCOPE)?;
    if element.is("open", ns::FRAMING) {
        let open = Element::parse(message, limits)?;
        let plain = ["to", "from", "version"].map(|name| (name, open.attribute(name)));
        let language = ("xml:lang", open.attribute_ns("lang", ns::XML));
        input.extend_from_slice(client_header(plain.into_iter().chain([language])).as_bytes());
    } else if element.is("close", ns::FRAMING) {
        input.extend_from_slice(STREAM_CLOSE.as_bytes());
    } else {
        input.extend_from_slice(element.as_str().as_bytes());
    }
    Ok(())
}

/// Cuts what the core says into messages (section 3.3.2).
pub(super) fn messages(said: &str) -> Vec<String> {
    let message = |unit| match unit {
        Unit::Open(attributes) => format!("<open xmlns='{}' {attributes}/>", ns::FRAMING),
        Unit::Close => format!("<close xmlns='{}'/>", ns::FRAMING),
        Unit::Element(element) => element,
    };
    units(said).into_iter().map(message).collect()
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
