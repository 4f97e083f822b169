//! Stanzas as shared text with the few facts that routing needs.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::ingress::{self, CLIENT_SCOPE, Ingress};
use super::layout::{Layout, shared, write_addresses};
use super::{Jid, Kind, StanzaError, StanzaFault, StanzaType, ns};
use crate::xml::escape::unescape_attribute;
use crate::xml::{Element, Framed, Span};

/// Whether a stanza can wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// It cannot.
    Now,
    /// It can.
    Later,
}

/// Name and namespace of the first child element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadName<'a> {
    /// The name without prefix.
    pub name: &'a str,
    /// The namespace, decoded; `jabber:client` where the child declares none.
    pub ns: &'a str,
}

/// A stanza: shared, immutable, canonical text and the facts about its start tag. Cloning counts references.
///
/// The text is written as on a `jabber:client` stream: the outermost tag has no prefix and no `xmlns`, and nothing
/// inside relies on a declaration outside.
#[derive(Clone)]
pub struct Stanza {
    pub(super) text: Arc<str>,
    pub(super) layout: Layout,
    pub(super) type_: StanzaType,
    pub(super) hops: u8,
    pub(super) copied: bool,
    pub(super) urgency: Option<Urgency>,
    pub(super) from: Option<Jid>,
    pub(super) to: Option<Jid>,
    /// The namespace of the payload, where it is not written plainly in the text.
    pub(super) odd_namespace: Option<Arc<str>>,
}

impl Stanza {
    /// Takes a stanza off a client's stream: stamps `from`, makes it self-contained.
    pub fn from_stream(framed: Framed<'_>, stamped_from: &Jid) -> Result<Self, StanzaFault> {
        ingress::from_session(&framed, Ingress { from: stamped_from, lang: None })
    }

    /// Takes a stanza off a client's stream as [`Stanza::from_stream`] does, and gives it the stream's language if it
    /// names none itself.
    pub fn from_ingress(framed: &Framed<'_>, ingress: Ingress<'_>) -> Result<Self, StanzaFault> {
        ingress::from_session(framed, ingress)
    }

    /// Takes a whole stanza from a module or a command, with its `from` and `to` as written.
    pub fn parse(bytes: &[u8]) -> Result<Self, StanzaFault> {
        ingress::from_text(bytes)
    }

    /// The same with these addresses, whatever the text says of them.
    pub fn parse_between(bytes: &[u8], from: Jid, to: Jid) -> Result<Self, StanzaFault> {
        ingress::from_text_between(bytes, from, to)
    }

    /// Which of the three it is.
    pub fn kind(&self) -> Kind {
        self.type_.kind()
    }

    /// Kind and type.
    pub fn type_(&self) -> StanzaType {
        self.type_
    }

    /// The `type` attribute as it was written, decoded.
    pub fn raw_type(&self) -> Option<Cow<'_, str>> {
        self.layout.type_.map(|span| self.value(span))
    }

    /// Whether it is of type `error`.
    pub fn is_error(&self) -> bool {
        self.type_.is_error()
    }

    /// The sender.
    pub fn from(&self) -> Option<&Jid> {
        self.from.as_ref()
    }

    /// The recipient.
    pub fn to(&self) -> Option<&Jid> {
        self.to.as_ref()
    }

    /// The `id` attribute, decoded.
    pub fn id(&self) -> Option<Cow<'_, str>> {
        self.layout.id.map(|span| self.value(span))
    }

    /// The `xml:lang` attribute, decoded.
    pub fn lang(&self) -> Option<Cow<'_, str>> {
        self.layout.lang.map(|span| self.value(span))
    }

    /// The first child element.
    pub fn payload(&self) -> Option<PayloadName<'_>> {
        let name = self.layout.payload?.text(&self.text);
        let ns = match (&self.odd_namespace, self.layout.payload_namespace) {
            (Some(namespace), _) => namespace,
            (None, Some(span)) => span.text(&self.text),
            (None, None) => ns::CLIENT,
        };
        Some(PayloadName { name, ns })
    }

    /// How many child elements there are.
    pub fn child_count(&self) -> usize {
        self.layout.children as usize
    }

    /// How often modules have passed this on since a client, a command or a module's own idea sent it: what the router
    /// ends circles by. Stanzas made of another one (other addresses, replies) keep its number.
    pub fn hops(&self) -> u8 {
        self.hops
    }

    /// The same stanza with another number of hops.
    pub fn with_hops(self, hops: u8) -> Self {
        Self { hops, ..self }
    }

    /// Whether this is one of several copies that the router made for the resources of one account: then another
    /// resource has it too. Stanzas made of another one are no copies in this sense.
    pub fn is_copied(&self) -> bool {
        self.copied
    }

    /// The same stanza as one of several copies, or as the only one again.
    pub fn with_copied(self, copied: bool) -> Self {
        Self { copied, ..self }
    }

    /// Whether it can wait for a client that nobody looks at (XEP-0352), if that was decided on its way.
    pub fn urgency(&self) -> Option<Urgency> {
        self.urgency
    }

    /// The same stanza with that decision.
    pub fn with_urgency(self, urgency: Urgency) -> Self {
        Self { urgency: Some(urgency), ..self }
    }

    /// The stanza as XML.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The stanza as bytes of XML.
    pub fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// Everything between the start tag and the end tag.
    pub fn content(&self) -> &str {
        let inside = &self.text[self.layout.open_end as usize..];
        inside.rfind("</").map_or("", |end| &inside[..end])
    }

    /// The tree of the stanza, built anew at each call.
    pub fn to_element(&self) -> Element {
        Element::of_checked(&self.text, &CLIENT_SCOPE)
    }

    /// What the `<error/>` child says, if this is an error.
    pub fn error(&self) -> Option<StanzaError> {
        if !self.is_error() {
            return None;
        }
        self.to_element().child("error", ns::CLIENT).map(StanzaError::from_element)
    }

    /// The same stanza to another recipient.
    pub fn with_to(&self, to: &Jid) -> Self {
        self.readdressed(self.from.clone(), Some(to.clone()))
    }

    /// The same stanza from another sender.
    pub fn with_from(&self, from: &Jid) -> Self {
        self.readdressed(Some(from.clone()), self.to.clone())
    }

    /// The same stanza with other addresses, or without.
    pub fn readdressed(&self, from: Option<Jid>, to: Option<Jid>) -> Self {
        let (text, rest) = shared(|out| {
            write_addresses(out, self.kind(), from.as_ref(), to.as_ref());
            let rest = out.len();
            out.push_str(&self.text[self.layout.rest as usize..]);
            rest
        });
        let (layout, odd_namespace) = (self.layout.moved(rest), self.odd_namespace.clone());
        Self {
            text,
            layout,
            type_: self.type_,
            hops: self.hops,
            copied: false,
            urgency: None,
            from,
            to,
            odd_namespace,
        }
    }

    fn value(&self, span: Span) -> Cow<'_, str> {
        unescape_attribute(span.text(&self.text))
    }
}

/// Logs tell who sent what kind of thing to whom, never what it says.
impl fmt::Debug for Stanza {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Stanza");
        debug
            .field("type", &self.type_)
            .field("from", &self.from)
            .field("to", &self.to)
            .field("id", &self.id());
        debug.field("payload", &self.payload()).field("bytes", &self.text.len()).finish()
    }
}
