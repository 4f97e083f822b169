//! What the framer hands out: a whole element, checked, with the facts about its outermost tag.

use std::borrow::Cow;

use super::element::Element;

/// A complete, validated element.
#[derive(Clone, Debug)]
pub struct Framed<'a> {
    pub(super) text: &'a str,
}

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

impl<'a> Framed<'a> {
    /// The element as it was sent.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The name of the element, without prefix.
    pub fn name(&self) -> &'a str {
        ""
    }

    /// The namespace of the element; empty when there is none.
    pub fn namespace(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    /// Whether name and namespace are these.
    pub fn is(&self, name: &str, namespace: &str) -> bool {
        self.name() == name && self.namespace() == namespace
    }

    /// The value of an attribute of the outermost tag without prefix.
    pub fn attribute(&self, _name: &str) -> Option<Cow<'a, str>> {
        None
    }

    /// The tree of the element.
    pub fn to_element(&self) -> Element {
        Element::build(self.text, &[])
    }
}
