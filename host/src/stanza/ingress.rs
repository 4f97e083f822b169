//! From a framed element to a canonical stanza.
//!
//! Canonical means: no prefix and no `xmlns` on the outermost tag, `from` and `to` first and in prepared form, no CDATA,
//! and no reliance on prefixes that only the stream header declares. The start tag is written anew; what is inside is
//! copied as it is, in one piece, unless there are CDATA sections to rewrite. No tree is built for it.

use std::borrow::Cow;
use std::sync::Arc;

use super::layout::{Layout, shared, write_addresses};
use super::{IqType, Jid, Kind, Stanza, StanzaError, StanzaErrorCondition, StanzaFault, StanzaType, ns};
use crate::xml::{
    Framed, Limits, Namespace, RawAttribute, Scope, Span, frame_whole, push_attribute, push_text,
};

/// Who sent an element, and what its stream adds to it.
#[derive(Clone, Copy, Debug)]
pub struct Ingress<'a> {
    /// The session's full JID, or what stands for it before there is one.
    pub from: &'a Jid,
    /// The `xml:lang` of the stream, for stanzas that have none (RFC 6120 8.1.5).
    pub lang: Option<&'a str>,
}

/// What stanzas rely on that stand outside of any stream.
pub(super) static CLIENT_SCOPE: Scope = Scope::with_default(ns::CLIENT);

/// For text that was checked before, or that the server or its modules wrote.
pub(super) const NO_LIMITS: Limits = Limits {
    stanza_bytes: Limits::MAX_STANZA_BYTES,
    depth: Limits::MAX_DEPTH,
    attributes: u16::MAX,
    token_bytes: u32::MAX,
    declarations: u16::MAX,
};

/// Takes a stanza off the stream of a session.
pub(super) fn from_session(framed: &Framed<'_>, ingress: Ingress<'_>) -> Result<Stanza, StanzaFault> {
    let kind = recognise(framed)?;
    check_from(framed, ingress.from)?;
    let attributes = Attributes::of(framed, kind);
    let to = address(framed, "to");
    let stamped = match attributes.type_ {
        // RFC 6121 3.1.2: subscriptions belong to accounts.
        Some(StanzaType::Presence(presence)) if presence.is_subscription() => ingress.from.bare(),
        _ => ingress.from.clone(),
    };
    match attributes.check(framed).and(to.clone()) {
        Ok(to) => build(framed, &attributes, Some(stamped), to, ingress.lang),
        Err(error) => Err(attributes.refusal(framed, error, to.ok().flatten(), ingress.from)),
    }
}

/// Takes a stanza as it is, with the addresses that it has.
pub(super) fn from_text(bytes: &[u8]) -> Result<Stanza, StanzaFault> {
    let framed = frame_whole(bytes, &NO_LIMITS, &CLIENT_SCOPE)?;
    let attributes = Attributes::of(&framed, recognise(&framed)?);
    attributes.check(&framed).map_err(refused)?;
    from_framed(&framed, &attributes)
}

/// Takes an answer that the server wrote itself. It has no id when what it answers had none.
pub(super) fn from_answer(bytes: &[u8]) -> Result<Stanza, StanzaFault> {
    let framed = frame_whole(bytes, &NO_LIMITS, &CLIENT_SCOPE)?;
    let attributes = Attributes::of(&framed, recognise(&framed)?);
    from_framed(&framed, &attributes)
}

fn refused(error: StanzaError) -> StanzaFault {
    StanzaFault::Refused { error: Box::new(error), reply: None }
}

fn from_framed(framed: &Framed<'_>, attributes: &Attributes) -> Result<Stanza, StanzaFault> {
    let [from, to] = ["from", "to"].map(|name| address(framed, name).map_err(refused));
    build(framed, attributes, from?, to?, None)
}

/// Tells the kind of stanza, or why the element is none.
fn recognise(framed: &Framed<'_>) -> Result<Kind, StanzaFault> {
    let (name, namespace) = (framed.name(), framed.namespace());
    let Some(kind) = Kind::from_name(name) else {
        return Err(StanzaFault::NotAStanza { name: name.into(), namespace: namespace.into() });
    };
    let content = content_namespace(framed);
    if namespace != content {
        return Err(StanzaFault::WrongNamespace { name: name.into(), namespace: namespace.into() });
    }
    match framed.prefix() {
        Some(prefix) if framed.default_inside() != content => {
            Err(StanzaFault::UnsupportedPrefix { prefix: prefix.into(), name: name.into() })
        }
        _ => Ok(kind),
    }
}

/// The namespace of the stanzas of a stream (RFC 6120 4.8.2): its default namespace, or that of clients when the
/// stream leaves it to each stanza to declare it.
fn content_namespace<'a>(framed: &Framed<'a>) -> &'a str {
    match framed.outer_default() {
        default @ (ns::CLIENT | ns::SERVER | ns::COMPONENT_ACCEPT) => default,
        _ => ns::CLIENT,
    }
}

/// RFC 6120 8.1.2.1: a client may name its own full or bare JID as sender, and no other.
fn check_from(framed: &Framed<'_>, session: &Jid) -> Result<(), StanzaFault> {
    let Some(from) = framed.attribute("from") else { return Ok(()) };
    let own = |text: &str| text == session.as_str() || text == session.bare_str();
    if own(&from) || Jid::parse(&from).is_ok_and(|from| own(from.as_str())) {
        return Ok(());
    }
    Err(StanzaFault::InvalidFrom { session: session.clone(), from: from.into_owned() })
}

/// The attributes of a stanza that the server itself understands.
struct Attributes {
    kind: Kind,
    /// Nothing when the kind has no such type.
    type_: Option<StanzaType>,
    id: Option<RawAttribute>,
    raw_type: Option<RawAttribute>,
    lang: Option<RawAttribute>,
}

impl Attributes {
    fn of(framed: &Framed<'_>, kind: Kind) -> Self {
        let [id, raw_type, lang] = ["id", "type", "xml:lang"].map(|name| framed.raw_attribute(name));
        let value = raw_type.map(|attribute| framed.value(&attribute));
        Self { kind, type_: StanzaType::from_name(kind, value.as_deref()), id, raw_type, lang }
    }

    /// RFC 6120 8.2.3 for IQs, RFC 6121 4.7.1 for presence.
    fn check(&self, framed: &Framed<'_>) -> Result<(), StanzaError> {
        let wrong = match self.type_ {
            None if self.kind == Kind::Iq => "An IQ needs a type: get, set, result or error.",
            None => "There is no presence of this type.",
            Some(StanzaType::Iq(_)) if self.id.is_none() => "An IQ needs an id.",
            Some(StanzaType::Iq(IqType::Get | IqType::Set)) if framed.child_count() != 1 => {
                "An IQ of type get or set needs exactly one child element."
            }
            Some(_) => return Ok(()),
        };
        Err(StanzaError::new(StanzaErrorCondition::BadRequest, wrong))
    }

    /// Refuses the stanza, with a reply to its sender unless it must not be answered.
    fn refusal(&self, framed: &Framed<'_>, error: StanzaError, to: Option<Jid>, sender: &Jid) -> StanzaFault {
        let error = Box::new(error);
        if self.type_.is_some_and(|type_| !type_.may_be_answered()) {
            return StanzaFault::Refused { error, reply: None };
        }
        let had_recipient = framed.raw_attribute("to").is_some();
        let from = to.unwrap_or_else(|| if had_recipient { sender.to_domain() } else { sender.bare() });
        let id = self.id.map(|id| framed.value(&id));
        let reply = super::reply::error(self.kind, Some(&from), Some(sender), id.as_deref(), &error);
        StanzaFault::Refused { error, reply: reply.map(Box::new) }
    }
}

fn address(framed: &Framed<'_>, name: &str) -> Result<Option<Jid>, StanzaError> {
    let Some(text) = framed.attribute(name) else { return Ok(None) };
    match Jid::parse(&text) {
        Ok(jid) => Ok(Some(jid)),
        Err(error) => {
            let text = format!("The '{name}' address is malformed: {error}.");
            Err(StanzaError::new(StanzaErrorCondition::JidMalformed, text))
        }
    }
}

/// Writes the stanza in canonical form.
fn build(
    framed: &Framed<'_>,
    attributes: &Attributes,
    from: Option<Jid>,
    to: Option<Jid>,
    lang: Option<&str>,
) -> Result<Stanza, StanzaFault> {
    if framed.facts().cdata {
        let plain = without_cdata(framed.as_str());
        let framed = frame_whole(plain.as_bytes(), &NO_LIMITS, framed.scope())?;
        return build(&framed, &Attributes::of(&framed, attributes.kind), from, to, lang);
    }
    let type_ = attributes.type_.expect("the type was checked");
    let (text, (layout, odd_namespace)) = shared(|out| {
        write_addresses(out, attributes.kind, from.as_ref(), to.as_ref());
        Canonical { framed, out, layout: Layout::default() }.write(attributes, lang)
    });
    Ok(Stanza { text, layout, type_, hops: 0, from, to, odd_namespace })
}

/// Writes everything but the addresses, and notes where things are.
struct Canonical<'w, 'f> {
    framed: &'w Framed<'f>,
    out: &'w mut String,
    layout: Layout,
}

impl Canonical<'_, '_> {
    fn write(mut self, attributes: &Attributes, lang: Option<&str>) -> (Layout, Option<Arc<str>>) {
        self.layout.rest = self.position();
        self.layout.type_ = attributes.raw_type.map(|attribute| self.copy(&attribute));
        self.layout.id = attributes.id.map(|attribute| self.copy(&attribute));
        self.layout.lang = match attributes.lang {
            Some(attribute) => Some(self.copy(&attribute)),
            None => lang.map(|lang| self.add("xml:lang", lang)),
        };
        self.copy_others();
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
        self.out.push_str(attribute.name.whole.text(self.framed.as_str()));
        self.out.push('=');
        let start = self.position() + 1;
        self.out.push_str(quoted.text(self.framed.as_str()));
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
        let framed = self.framed;
        for attribute in &framed.facts().top.attributes {
            let name = attribute.name.whole.text(framed.as_str());
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
        let mut used = self.framed.facts().outer_prefixes;
        while used != 0 {
            let index = used.trailing_zeros() as u8;
            used &= used - 1;
            let Some((prefix, namespace)) = self.framed.outer_declaration(index) else { continue };
            let value = self.add(&format!("xmlns:{prefix}"), namespace);
            let child = self.framed.facts().first_child;
            if child.is_some_and(|child| child.namespace == Namespace::Outer(index)) {
                self.layout.payload_namespace = Some(value);
            }
        }
    }

    /// Copies what is inside the element and closes it.
    fn copy_content(&mut self) {
        let (text, top) = (self.framed.as_str(), &self.framed.facts().top);
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
        self.out.push_str(Kind::from_name(self.framed.name()).map_or("", Kind::as_str));
        self.out.push('>');
    }

    /// Notes where the name and namespace of the first child will be, once the content that started at `old_start` is
    /// copied to where the text ends now.
    fn note_payload(&mut self, old_start: usize) {
        let facts = self.framed.facts();
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
        match self.framed.facts().first_child?.namespace {
            Namespace::Declared(span) => Some(span),
            _ => None,
        }
    }

    /// The namespace of the first child, where it cannot be read off the text: it is written with references, or it is
    /// that of the prefix `xml`.
    fn odd_namespace(&self) -> Option<Arc<str>> {
        if self.framed.facts().first_child?.namespace == Namespace::Xml {
            return Some(ns::XML.into());
        }
        let raw = self.layout.payload_namespace?.text(self.out);
        match crate::xml::escape::unescape_attribute(raw) {
            Cow::Borrowed(_) => None,
            Cow::Owned(namespace) => Some(namespace.into()),
        }
    }
}

/// Where the end tag starts: the last markup of an element that is not empty.
fn end_tag_start(text: &str) -> usize {
    memchr::memrchr(b'<', text.as_bytes()).expect("an element that is not empty ends with a tag")
}

/// Rewrites CDATA sections as escaped text. Line ends in them stay line ends, whatever they were written as.
fn without_cdata(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // `<` starts markup wherever it stands, so what looks like the beginning of a section is one.
    while let Some((before, section)) = rest.split_once(crate::xml::CDATA_START) {
        let (content, after) = section.split_once(crate::xml::CDATA_END).unwrap_or((section, ""));
        out.push_str(before);
        push_text(&mut out, &content.replace("\r\n", "\n").replace('\r', "\n"));
        // What follows may complete a `]]>` that the section kept apart.
        let (text_after, markup) = after.split_at(after.find('<').unwrap_or(after.len()));
        out.push_str(&text_after.replace('>', "&gt;"));
        rest = markup;
    }
    out.push_str(rest);
    out
}
