//! A parsed stanza to look into: names, namespaces, attributes, children, text.

use std::collections::BTreeMap;
use std::fmt;

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use thiserror::Error;

/// An element with its namespace resolved. Prefixes are gone; attributes keep their name as written.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Element {
    /// Local name.
    pub name: String,
    /// Namespace.
    pub ns: String,
    /// Attributes without namespace declarations.
    pub attributes: BTreeMap<String, String>,
    /// Child elements in order.
    pub children: Vec<Element>,
    /// All text directly inside, concatenated.
    pub text: String,
}

/// The server sent something that is not XML.
#[derive(Debug, Error)]
#[error("The server sent {source_text:?}, which is not well-formed XML: {reason}.")]
pub struct ParseError {
    source_text: String,
    reason: String,
}

impl Element {
    /// Parses one element as it stands on a `jabber:client` stream.
    pub fn parse(bytes: &[u8]) -> Result<Element, ParseError> {
        let source_text = String::from_utf8_lossy(bytes).into_owned();
        build(&source_text).map_err(|reason| ParseError { source_text, reason })
    }

    /// The value of an attribute.
    pub fn attr(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    /// Whether this is `name` in `ns`.
    pub fn is(&self, name: &str, ns: &str) -> bool {
        self.name == name && self.ns == ns
    }

    /// The first child `name` in any namespace.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The first child `name` in `ns`.
    pub fn child_ns(&self, name: &str, ns: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.is(name, ns))
    }

    /// The text of the first child `name`.
    pub fn child_text(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }

    /// The stanza error's type and condition, as in `("cancel", "item-not-found")`.
    pub fn error(&self) -> Option<(&str, &str)> {
        let error = self.child("error")?;
        let condition = error.children.iter().find(|child| child.ns == STANZAS && child.name != "text")?;
        Some((error.attr("type").unwrap_or(""), &condition.name))
    }

    /// The defined condition inside a `<stream:error/>` or SASL `<failure/>`.
    pub fn condition(&self) -> Option<&str> {
        self.children.iter().find(|child| child.name != "text").map(|child| child.name.as_str())
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_element(f, self, "")
    }
}

impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Escapes text for use in an attribute or as content.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\'' => escaped.push_str("&apos;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

/// An open element while parsing, with the namespaces it declares (prefix to name).
struct Open {
    element: Element,
    declared: BTreeMap<String, String>,
    prefix: String,
}

fn build(text: &str) -> Result<Element, String> {
    let mut reader = quick_xml::Reader::from_str(text);
    let mut stack: Vec<Open> = Vec::new();
    loop {
        let closed = match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(tag) => {
                let open = open(&tag, &stack)?;
                stack.push(open);
                None
            }
            Event::Empty(tag) => Some(open(&tag, &stack)?.element),
            Event::End(_) => stack.pop().map(|open| open.element),
            Event::Text(text) => {
                append(&mut stack, &text.xml10_content());
                None
            }
            Event::GeneralRef(reference) => {
                append(&mut stack, &resolve(&format!("&{};", reference.xml10_content()))?);
                None
            }
            Event::Eof => return Err("it ends too early".to_owned()),
            other => return Err(format!("it contains {other:?}")),
        };
        if let Some(element) = closed {
            match stack.last_mut() {
                Some(parent) => parent.element.children.push(element),
                None => return Ok(element),
            }
        }
    }
}

fn open(tag: &BytesStart<'_>, stack: &[Open]) -> Result<Open, String> {
    let mut declared = BTreeMap::new();
    let mut attributes = BTreeMap::new();
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let key = attribute.key.as_ref().to_owned();
        let value = attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .map_err(|error| error.to_string())?
            .into_owned();
        match (key.as_str(), key.strip_prefix("xmlns:")) {
            ("xmlns", _) => declared.insert(String::new(), value),
            (_, Some(prefix)) => declared.insert(prefix.to_owned(), value),
            _ => attributes.insert(key, value),
        };
    }
    let qualified = tag.name().as_ref().to_owned();
    let (prefix, name) = qualified.split_once(':').unwrap_or(("", &qualified));
    let mut open = Open { element: Element::default(), declared, prefix: prefix.to_owned() };
    let ns = namespace(&open, stack).ok_or_else(|| format!("the prefix {prefix:?} is not declared"))?;
    open.element = Element { name: name.to_owned(), ns, attributes, ..Element::default() };
    Ok(open)
}

/// Looks the prefix up in the element, its ancestors, and what every client stream's header declares.
fn namespace(open: &Open, stack: &[Open]) -> Option<String> {
    let scopes = std::iter::once(&open.declared).chain(stack.iter().rev().map(|open| &open.declared));
    let found = scopes.into_iter().find_map(|scope| scope.get(&open.prefix)).cloned();
    found.or_else(|| match open.prefix.as_str() {
        "" => Some("jabber:client".to_owned()),
        "stream" => Some("http://etherx.jabber.org/streams".to_owned()),
        "xml" => Some("http://www.w3.org/XML/1998/namespace".to_owned()),
        _ => None,
    })
}

fn append(stack: &mut [Open], text: &str) {
    if let Some(open) = stack.last_mut() {
        open.element.text.push_str(text);
    }
}

fn resolve(reference: &str) -> Result<String, String> {
    quick_xml::escape::unescape(reference).map(|text| text.into_owned()).map_err(|error| error.to_string())
}

fn write_element(f: &mut fmt::Formatter<'_>, element: &Element, outer: &str) -> fmt::Result {
    write!(f, "<{}", element.name)?;
    if element.ns != outer {
        write!(f, " xmlns='{}'", escape(&element.ns))?;
    }
    for (key, value) in &element.attributes {
        write!(f, " {key}='{}'", escape(value))?;
    }
    if element.children.is_empty() && element.text.is_empty() {
        return f.write_str("/>");
    }
    write!(f, ">{}", escape(&element.text))?;
    for child in &element.children {
        write_element(f, child, &element.ns)?;
    }
    write!(f, "</{}>", element.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_inherited_and_overridden() {
        let iq = Element::parse(
            b"<iq type='result' id='1'><query xmlns='urn:q'><item/><x:y xmlns:x='urn:x'/></query></iq>",
        )
        .expect("well-formed");
        assert!(iq.is("iq", "jabber:client"));
        let query = iq.child_ns("query", "urn:q").expect("query");
        assert!(query.child_ns("item", "urn:q").is_some());
        assert!(query.child_ns("y", "urn:x").is_some());
    }

    #[test]
    fn text_and_references_are_joined() {
        let message =
            Element::parse(b"<message><body>a &lt;b&gt; &amp;&#65;</body></message>").expect("well-formed");
        assert_eq!(message.child_text("body"), Some("a <b> &A"));
    }

    #[test]
    fn errors_show_their_type_and_condition() {
        let iq = Element::parse(
            b"<iq type='error'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
        )
        .expect("well-formed");
        assert_eq!(iq.error(), Some(("cancel", "item-not-found")));
    }

    #[test]
    fn an_unknown_prefix_is_told() {
        assert!(Element::parse(b"<a:b/>").is_err());
    }
}
