//! What the framer hands out: stream headers and whole elements, checked, with the facts about their outermost tags.

use std::borrow::Cow;

use super::XML_NAMESPACE;
use super::element::Element;
use super::escape::unescape_attribute;
use super::namespaces::{Scope, declares};
use super::scan::Facts;
use super::tag::{RawAttribute, Span};

/// The header of a stream: its start tag, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamHeader {
    /// The prefix of the root element.
    pub prefix: Option<String>,
    /// The name of the root element, without prefix.
    pub name: String,
    /// The namespace of the root element; empty when there is none.
    pub namespace: String,
    /// The default namespace declared there, which is the content namespace in XMPP.
    pub default_namespace: Option<String>,
    /// `to`.
    pub to: Option<String>,
    /// `from`.
    pub from: Option<String>,
    /// `id`.
    pub id: Option<String>,
    /// `version`.
    pub version: Option<String>,
    /// `xml:lang`.
    pub lang: Option<String>,
}

/// What happened next on a stream.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The stream header arrived.
    StreamOpen(StreamHeader),
    /// A top-level element is complete.
    Element(Framed<'a>),
    /// The end tag of the stream arrived.
    StreamClose,
}

/// A complete, validated element, borrowed from the input or from the framer's buffer.
#[derive(Clone, Debug)]
pub struct Framed<'a> {
    pub(super) text: &'a str,
    pub(super) facts: Facts,
    pub(super) scope: &'a Scope,
}

impl<'a> Framed<'a> {
    /// The element as it was sent.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The name of the element, without prefix.
    pub fn name(&self) -> &'a str {
        self.facts.top.name.local().text(self.text)
    }

    /// The prefix of the element's name.
    pub fn prefix(&self) -> Option<&'a str> {
        let name = self.facts.top.name;
        name.has_prefix().then(|| name.prefix().text(self.text))
    }

    /// The namespace of the element; empty when there is none.
    pub fn namespace(&self) -> Cow<'a, str> {
        match self.prefix() {
            None => self.default_inside(),
            Some("xml") => Cow::Borrowed(XML_NAMESPACE),
            Some(prefix) => self.declared(prefix).unwrap_or_else(|| {
                let outer = self.scope.prefixes.iter().find(|(declared, _)| declared == prefix);
                Cow::Borrowed(outer.map_or("", |(_, namespace)| namespace))
            }),
        }
    }

    /// The default namespace for what is inside the element; empty when there is none.
    pub(crate) fn default_inside(&self) -> Cow<'a, str> {
        self.declared("").unwrap_or(Cow::Borrowed(self.scope.default_namespace()))
    }

    /// The default namespace around the element, which is that of the stream.
    pub fn outer_default(&self) -> &'a str {
        self.scope.default_namespace()
    }

    /// Whether name and namespace are these.
    pub fn is(&self, name: &str, namespace: &str) -> bool {
        self.name() == name && self.namespace() == namespace
    }

    /// The value of an attribute of the outermost tag; `name` is compared as written, prefix included.
    pub fn attribute(&self, name: &str) -> Option<Cow<'a, str>> {
        self.raw_attribute(name).map(|attribute| self.value(&attribute))
    }

    /// How many child elements there are.
    pub fn child_count(&self) -> usize {
        self.facts.children as usize
    }

    /// The tree of the element.
    pub fn to_element(&self) -> Element {
        Element::of_checked(self.text, self.scope)
    }

    pub(crate) fn raw_attribute(&self, name: &str) -> Option<RawAttribute> {
        self.facts.top.attribute(self.text.as_bytes(), name.as_bytes())
    }

    /// The value of an attribute, decoded.
    pub(crate) fn value(&self, attribute: &RawAttribute) -> Cow<'a, str> {
        unescape_attribute(attribute.value.text(self.text))
    }

    pub(crate) fn scope(&self) -> &'a Scope {
        self.scope
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// A declaration of the stream header by its number: prefix and namespace.
    pub(crate) fn outer_declaration(&self, index: u8) -> Option<(&'a str, &'a str)> {
        self.scope.prefix(index).map(|(prefix, namespace)| (&**prefix, &**namespace))
    }

    /// The namespace that the outermost tag binds `prefix` to.
    fn declared(&self, prefix: &str) -> Option<Cow<'a, str>> {
        let mut attributes = self.facts.top.attributes.iter();
        let is_it = |span: Span| span.text(self.text) == prefix;
        let attribute = attributes.find(|a| declares(a, self.text.as_bytes()).is_some_and(is_it))?;
        Some(self.value(attribute))
    }
}
