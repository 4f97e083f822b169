//! The canonical form of a stanza, in which it is passed around.
//!
//! Canonical means: no prefix and no `xmlns` on the outermost tag, `from` and `to` first and in prepared form, no CDATA,
//! and no reliance on prefixes that only the stream header declares. The start tag is written anew; what is inside is
//! copied as it is, in one piece, unless there are CDATA sections to rewrite. No tree is built for it.

use std::borrow::Cow;
use std::sync::Arc;

use super::ingress::{Arrival, NO_LIMITS};
use super::layout::{Layout, shared, write_addresses};
use super::{Jid, Stanza, StanzaFault, ns};
use crate::xml::escape::unescape_attribute;
use crate::xml::{
    CDATA_END, CDATA_START, Namespace, RawAttribute, Span, frame_whole, push_attribute, push_text,
};

/// Bytes of a stream's language that stanzas are given; no language tag is longer (RFC 5646 4.4.1).
const MAX_LANGUAGE: usize = 64;

/// Writes an arrival in canonical form, with these addresses, and with this language if it names none.
pub(super) fn write(
    arrival: &Arrival<'_, '_>,
    from: Option<Jid>,
    to: Option<Jid>,
    lang: Option<&str>,
) -> Result<Stanza, StanzaFault> {
    if arrival.framed.facts().cdata {
        let plain = without_cdata(arrival.framed.as_str());
        let framed = frame_whole(plain.as_bytes(), &NO_LIMITS, arrival.framed.scope())?;
        return write(&Arrival::recognise(&framed)?, from, to, lang);
    }
    let type_ = arrival.type_.expect("a stanza is written after its type was checked");
    let (text, (layout, odd_namespace)) = shared(|out| {
        write_addresses(out, arrival.kind, from.as_ref(), to.as_ref());
        Canonical { arrival, out, layout: Layout::default() }.write(lang)
    });
    Ok(Stanza { text, layout, type_, hops: 0, copied: false, urgency: None, from, to, odd_namespace })
}

/// Writes everything but the addresses, and notes where things are.
struct Canonical<'w, 'f> {
    arrival: &'w Arrival<'w, 'f>,
    out: &'w mut String,
    layout: Layout,
}

impl Canonical<'_, '_> {
    fn write(mut self, lang: Option<&str>) -> (Layout, Option<Arc<str>>) {
        let attributes = &self.arrival.attributes;
        self.layout.rest = self.position();
        self.layout.type_ = attributes.type_.map(|attribute| self.copy(&attribute));
        self.layout.id = attributes.id.map(|attribute| self.copy(&attribute));
        self.layout.lang = match attributes.lang {
            Some(attribute) => Some(self.copy(&attribute)),
            None => lang.filter(|lang| lang.len() <= MAX_LANGUAGE).map(|lang| self.add("xml:lang", lang)),
        };
        if attributes.others {
            self.copy_others();
        }
        self.declare_outer_prefixes();
        self.copy_content();
        let odd_namespace = self.odd_namespace();
        (self.layout, odd_namespace)
    }

    fn position(&self) -> u32 {
        u32::try_from(self.out.len()).expect("stanzas are below 32 bits in size")
    }

    /// Copies an attribute with its quotes and returns where its value went.
    fn copy(&mut self, attribute: &RawAttribute) -> Span {
        let quoted = attribute.quoted();
        self.out.push(' ');
        self.out.push_str(attribute.name.whole().text(self.arrival.framed.as_str()));
        self.out.push('=');
        let start = self.position() + 1;
        self.out.push_str(quoted.text(self.arrival.framed.as_str()));
        Span { start, end: self.position() - 1 }
    }

    /// Adds an attribute and returns where its value went.
    fn add(&mut self, name: &str, value: &str) -> Span {
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("='");
        let start = self.position();
        push_attribute(self.out, value);
        let end = self.position();
        self.out.push('\'');
        Span { start, end }
    }

    /// Copies the attributes that mean nothing here, prefix declarations among them.
    fn copy_others(&mut self) {
        let framed = self.arrival.framed;
        for attribute in &framed.facts().top.attributes {
            let name = attribute.name.whole().text(framed.as_str());
            if matches!(name, "from" | "to" | "type" | "id" | "xml:lang" | "xmlns") {
                continue;
            }
            let value = self.copy(attribute);
            if self.payload_declaration() == Some(attribute.value) {
                self.layout.payload_namespace = Some(value);
            }
        }
    }

    /// Declares the prefixes that the stanza takes from the stream header.
    fn declare_outer_prefixes(&mut self) {
        let mut used = self.arrival.framed.facts().outer_prefixes;
        while used != 0 {
            let index = used.trailing_zeros() as u8;
            used &= used - 1;
            let Some((prefix, namespace)) = self.arrival.framed.outer_declaration(index) else { continue };
            let value = self.add(&format!("xmlns:{prefix}"), namespace);
            let child = self.arrival.framed.facts().first_child;
            if child.is_some_and(|child| child.namespace == Namespace::Outer(index)) {
                self.layout.payload_namespace = Some(value);
            }
        }
    }

    /// Copies what is inside the element and closes it.
    fn copy_content(&mut self) {
        let (text, top) = (self.arrival.framed.as_str(), &self.arrival.framed.facts().top);
        let open_end = top.end as usize;
        let content = if top.empty { "" } else { &text[open_end..end_tag_start(text)] };
        if content.is_empty() {
            self.out.push_str("/>");
            self.layout.open_end = self.position();
            return;
        }
        self.out.push('>');
        self.layout.open_end = self.position();
        self.note_payload(open_end);
        self.out.push_str(content);
        self.out.push_str("</");
        self.out.push_str(self.arrival.kind.as_str());
        self.out.push('>');
    }

    /// Notes where the name and namespace of the first child will be, once the content that started at `old_start` is
    /// copied to where the text ends now.
    fn note_payload(&mut self, old_start: usize) {
        let facts = self.arrival.framed.facts();
        self.layout.children = facts.children;
        let Some(child) = facts.first_child else { return };
        let new_start = self.out.len();
        let moved = |span: Span| {
            let at = |position: u32| position as usize - old_start + new_start;
            Span::new(at(span.start), at(span.end))
        };
        self.layout.payload = Some(moved(child.local));
        if let Some(declaration) = self.payload_declaration().filter(|span| span.start as usize >= old_start)
        {
            self.layout.payload_namespace = Some(moved(declaration));
        }
    }

    /// Where the element that was framed declares the namespace of its first child.
    fn payload_declaration(&self) -> Option<Span> {
        match self.arrival.framed.facts().first_child?.namespace {
            Namespace::Declared(span) => Some(span),
            _ => None,
        }
    }

    /// The namespace of the first child, where it cannot be read off the text: it is written with references, or it is
    /// that of the prefix `xml`.
    fn odd_namespace(&self) -> Option<Arc<str>> {
        if self.arrival.framed.facts().first_child?.namespace == Namespace::Xml {
            return Some(ns::XML.into());
        }
        let raw = self.layout.payload_namespace?.text(self.out);
        match unescape_attribute(raw) {
            Cow::Borrowed(_) => None,
            Cow::Owned(namespace) => Some(namespace.into()),
        }
    }
}

/// Where the end tag starts: the last markup of an element that is not empty.
fn end_tag_start(text: &str) -> usize {
    memchr::memrchr(b'<', text.as_bytes()).expect("an element that is not empty ends with a tag")
}

/// Rewrites CDATA sections as escaped text. Line ends are normalised first (XML 1.0 section 2.11): a carriage return in
/// front of a section must not meet a line feed from inside of it.
fn without_cdata(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    // `<` starts markup wherever it stands, so what looks like the beginning of a section is one.
    while let Some((before, section)) = rest.split_once(CDATA_START) {
        let (content, after) = section.split_once(CDATA_END).unwrap_or((section, ""));
        out.push_str(before);
        push_text(&mut out, content);
        // What follows may complete a `]]>` that the section kept apart.
        let (text_after, markup) = after.split_at(after.find('<').unwrap_or(after.len()));
        out.push_str(&text_after.replace('>', "&gt;"));
        rest = markup;
    }
    out.push_str(rest);
    out
}
