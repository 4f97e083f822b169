//! A stanza as the host hands it over: borrowed bytes and addresses, parsed only when somebody asks.

use super::element::{Element, Limits, ParseError, parse_with_limits};
use super::{Jid, StanzaError};
use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::Event;
use std::borrow::Cow;
use std::sync::OnceLock;

/// A message, presence or IQ on its way through this module.
#[derive(Debug, Clone)]
pub struct Stanza<'a> {
    from: Jid<'a>,
    to: Jid<'a>,
    name: Cow<'a, str>,
    body: Body<'a>,
}

/// Bytes of a stanza and, once asked for, their tree.
#[derive(Debug, Clone)]
pub(crate) struct Body<'a> {
    bytes: Cow<'a, [u8]>,
    tree: OnceLock<Result<Element, ParseError>>,
}

impl<'a> Body<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: Cow::Borrowed(bytes), tree: OnceLock::new() }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn tree(&self) -> Result<&Element, &ParseError> {
        self.tree.get_or_init(|| parse_bytes(&self.bytes)).as_ref()
    }

    pub(crate) fn into_owned(self) -> Body<'static> {
        Body { bytes: Cow::Owned(self.bytes.into_owned()), tree: self.tree }
    }

    /// An attribute of the outermost start tag, without building a tree.
    pub(crate) fn attr(&self, name: &str) -> Option<String> {
        if let Some(Ok(tree)) = self.tree.get() {
            return tree.attr(name).map(str::to_owned);
        }
        let text = std::str::from_utf8(&self.bytes).ok()?;
        let (Event::Start(tag) | Event::Empty(tag)) = Reader::from_str(text).read_event().ok()? else {
            return None;
        };
        let attribute = tag.try_get_attribute(name).ok()??;
        attribute.normalized_value(XmlVersion::Explicit1_0).ok().map(Cow::into_owned)
    }
}

fn parse_bytes(bytes: &[u8]) -> Result<Element, ParseError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ParseError::not_utf8())?;
    parse_with_limits(text, Limits::default())
}

impl<'a> Stanza<'a> {
    pub(crate) fn borrowed(from: &'a str, to: &'a str, name: &'a str, bytes: &'a [u8]) -> Self {
        Self {
            from: Jid::trusted(from),
            to: Jid::trusted(to),
            name: Cow::Borrowed(name),
            body: Body::new(bytes),
        }
    }

    /// Who sent it: the host has stamped it.
    pub fn from(&self) -> &Jid<'a> {
        &self.from
    }

    /// Where it goes.
    pub fn to(&self) -> &Jid<'a> {
        &self.to
    }

    /// `message`, `presence` or `iq`.
    pub fn name(&self) -> Cow<'_, str> {
        if !self.name.is_empty() {
            return Cow::Borrowed(&self.name);
        }
        self.element().map(|e| Cow::Owned(e.name().to_owned())).unwrap_or_default()
    }

    /// The bytes as they are routed.
    pub fn bytes(&self) -> &[u8] {
        self.body.bytes()
    }

    /// Its `id`.
    pub fn id(&self) -> Option<String> {
        self.body.attr("id")
    }

    /// Its `type`.
    pub fn type_attr(&self) -> Option<String> {
        self.body.attr("type")
    }

    /// The result that answers this IQ with its own content: its bytes with another type and without addresses. No tree is
    /// built for it.
    pub fn echoed(&self) -> Result<Vec<u8>, StanzaError> {
        let unreadable = |why: &str| StanzaError::bad_request(format!("the stanza cannot be read: {why}"));
        let text = std::str::from_utf8(self.bytes()).map_err(|e| unreadable(&e.to_string()))?;
        let mut reader = Reader::from_str(text);
        let tag = match reader.read_event() {
            Ok(Event::Start(tag) | Event::Empty(tag)) => tag,
            Ok(_) => return Err(unreadable("it does not begin with an element")),
            Err(error) => return Err(unreadable(&error.to_string())),
        };
        let mut out = String::with_capacity(text.len() + 16);
        out.push('<');
        out.push_str(tag.name().as_ref());
        out.push_str(" type='result'");
        for attribute in tag.attributes() {
            let attribute = attribute.map_err(|error| unreadable(&error.to_string()))?;
            // Declarations of prefixes are for what is inside.
            if matches!(attribute.key.as_ref(), "type" | "from" | "to") {
                continue;
            }
            let quote = if attribute.value.contains('\'') { '"' } else { '\'' };
            out.push(' ');
            out.push_str(attribute.key.as_ref());
            out.push('=');
            out.push(quote);
            out.push_str(&attribute.value);
            out.push(quote);
        }
        let end = usize::try_from(reader.buffer_position()).unwrap_or(text.len());
        out.push_str(if text[..end].ends_with("/>") { "/>" } else { ">" });
        out.push_str(&text[end..]);
        Ok(out.into_bytes())
    }

    /// The whole tree, parsed at the first call.
    pub fn element(&self) -> Result<&Element, StanzaError> {
        self.body.tree().map_err(|e| StanzaError::bad_request(format!("the stanza cannot be read: {e}")))
    }

    /// One that borrows nothing.
    pub fn into_owned(self) -> Stanza<'static> {
        Stanza {
            from: self.from.into_owned(),
            to: self.to.into_owned(),
            name: Cow::Owned(self.name.into_owned()),
            body: self.body.into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_tag_is_read_without_a_tree() {
        let stanza =
            Stanza::borrowed("a@b/c", "d", "message", b"<message type='chat' id='1&amp;2'><oops></message>");
        assert_eq!((stanza.type_attr().as_deref(), stanza.id().as_deref()), (Some("chat"), Some("1&2")));
        assert!(stanza.element().unwrap_err().text.contains("cannot be read"));
    }

    #[test]
    fn an_echo_keeps_what_its_content_relies_on() {
        let echoed = |text: &str| {
            Stanza::borrowed("a@b/c", "d", "iq", text.as_bytes())
                .echoed()
                .map(|e| String::from_utf8(e).unwrap())
        };
        assert_eq!(
            echoed("<iq from='a@b/c' to='d' id=\"it's\" type='get' xmlns:p='urn:p'><p:q>&lt;</p:q></iq>")
                .unwrap(),
            "<iq type='result' id=\"it's\" xmlns:p='urn:p'><p:q>&lt;</p:q></iq>"
        );
        assert_eq!(echoed("<iq type='set' id='1'/>").unwrap(), "<iq type='result' id='1'/>");
        for unreadable in ["", "text", "<iq id='1' id='2'/>", "<!-- x --><iq/>"] {
            assert!(echoed(unreadable).unwrap_err().text.contains("cannot be read"), "{unreadable}");
        }
    }

    #[test]
    fn an_owned_stanza_says_the_same() {
        let bytes = b"<presence/>".to_vec();
        let owned = Stanza::borrowed("a@b", "c@d", "presence", &bytes).into_owned();
        drop(bytes);
        assert_eq!((owned.from().as_str(), owned.to().as_str(), &*owned.name()), ("a@b", "c@d", "presence"));
        assert_eq!(owned.element().unwrap().name(), "presence");
        assert_eq!(owned.bytes(), b"<presence/>");
    }
}
