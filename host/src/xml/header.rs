//! The start of a stream: the XML declaration and the start tag of the root element.

use std::borrow::Cow;

use super::chars::{check_text, is_space, skip_space};
use super::escape::unescape_attribute;
use super::framed::StreamHeader;
use super::namespaces::{Bindings, MAX_OUTER_PREFIXES, Scope, declares};
use super::tag::{Span, StartTag, read_attribute};
use super::{FrameError, Limits, XML_NAMESPACE};

/// What stays of a stream header for as long as the stream lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Root {
    /// The name of the root element as it was written.
    pub name: Cow<'static, str>,
    pub scope: Scope,
}

/// What nearly every client declares; streams that do share this one.
static USUAL: Root = Root {
    name: Cow::Borrowed("stream:stream"),
    scope: Scope {
        default: Cow::Borrowed("jabber:client"),
        prefixes: Cow::Borrowed(&[(
            Cow::Borrowed("stream"),
            Cow::Borrowed("http://etherx.jabber.org/streams"),
        )]),
    },
};

/// A root, boxed only when it is not the usual one.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedRoot(Option<Box<Root>>);

impl SharedRoot {
    fn new(root: Root) -> Self {
        Self((root != USUAL).then(|| Box::new(root)))
    }

    pub(super) fn get(&self) -> &Root {
        self.0.as_deref().unwrap_or(&USUAL)
    }
}

/// Bytes of all prefixes that a stream header declares, and of their namespaces. Stanzas that use them repeat them, so
/// they must not be a means to send much for little.
const MAX_DECLARED: usize = 1024;

/// The mark that opens an XML declaration.
pub(super) const DECLARATION_START: &[u8] = b"<?xml";

/// Checks a complete XML declaration: version 1.0, UTF-8 or nothing, and no mention of other entities.
pub(super) fn check_declaration(declaration: &[u8], limits: &Limits) -> Result<(), FrameError> {
    check_text(declaration)?;
    let inner = &declaration[..declaration.len() - "?>".len()];
    let mut at = DECLARATION_START.len();
    let mut allowed: &[&[u8]] = &[b"version", b"encoding", b"standalone"];
    loop {
        let next = skip_space(inner, at);
        if next == inner.len() {
            break;
        }
        let attribute =
            read_attribute(inner, next, limits).ok().flatten().ok_or(FrameError::BadDeclaration)?;
        let name = attribute.name.whole().of(inner);
        let position = allowed.iter().position(|a| *a == name).ok_or(FrameError::BadDeclaration)?;
        let out_of_order = name != b"version" && allowed.len() == 3;
        if next == at || out_of_order {
            return Err(FrameError::BadDeclaration);
        }
        check_declared(name, attribute.value.of(inner))?;
        allowed = &allowed[position + 1..];
        at = attribute.value.end as usize + 1;
    }
    if allowed.len() == 3 { Err(FrameError::BadDeclaration) } else { Ok(()) }
}

fn check_declared(name: &[u8], value: &[u8]) -> Result<(), FrameError> {
    match name {
        b"encoding" if value.eq_ignore_ascii_case(b"utf-8") => Ok(()),
        b"encoding" => Err(FrameError::UnsupportedEncoding),
        b"version" if value == b"1.0" => Ok(()),
        b"standalone" if value == b"yes" => Ok(()),
        _ => Err(FrameError::BadDeclaration),
    }
}

/// Whether `data` can still become an XML declaration rather than another processing instruction.
pub(super) fn may_be_declaration(data: &[u8]) -> bool {
    let seen = &data[..data.len().min(DECLARATION_START.len())];
    DECLARATION_START.starts_with(seen) && data.get(DECLARATION_START.len()).is_none_or(|&b| is_space(b))
}

/// Reads the complete start tag of a stream. Says also whether the stream ends with it at once.
pub(super) fn read_root(
    data: &[u8],
    limits: &Limits,
) -> Result<(StreamHeader, SharedRoot, bool), FrameError> {
    let mut tag = StartTag::default();
    if !tag.read(data, 0, limits)? {
        return Err(FrameError::BadTag);
    }
    let declarations = limits.declarations.min(MAX_OUTER_PREFIXES as u16);
    let mut bindings = Bindings::default();
    bindings.declare(data, &tag, &Limits { declarations, ..*limits })?;
    bindings.check(data, &tag, &Scope::with_default(""))?;
    let text = check_text(data)?;
    let scope = declared_scope(text, &tag);
    if scope.prefixes.iter().map(|(prefix, namespace)| prefix.len() + namespace.len()).sum::<usize>()
        > MAX_DECLARED
    {
        return Err(FrameError::DeclarationsTooLong(MAX_DECLARED as u32));
    }
    let header = header(text, &tag, &scope);
    let root = Root { name: Cow::Owned(tag.name.whole().text(text).to_owned()), scope };
    Ok((header, SharedRoot::new(root), tag.empty))
}

fn declared_scope(text: &str, tag: &StartTag) -> Scope {
    let mut default = Cow::Borrowed("");
    let mut prefixes = Vec::new();
    for attribute in &tag.attributes {
        let Some(prefix) = declares(attribute, text.as_bytes()) else { continue };
        let namespace = Cow::Owned(decoded(text, attribute.value));
        match prefix.text(text) {
            "" => default = namespace,
            // Bound by definition, and only to one namespace.
            "xml" => {}
            prefix => prefixes.push((Cow::Owned(prefix.to_owned()), namespace)),
        }
    }
    Scope { default, prefixes: Cow::Owned(prefixes) }
}

fn header(text: &str, tag: &StartTag, scope: &Scope) -> StreamHeader {
    let value = |name: &str| tag.value(text.as_bytes(), name.as_bytes()).map(|span| decoded(text, span));
    let prefix = tag.name.prefix().text(text);
    let namespace = match prefix {
        "" => scope.default_namespace(),
        "xml" => XML_NAMESPACE,
        _ => scope.prefixes.iter().find(|(p, _)| p == prefix).map_or("", |(_, namespace)| namespace),
    };
    StreamHeader {
        prefix: (!prefix.is_empty()).then(|| prefix.to_owned()),
        name: tag.name.local().text(text).to_owned(),
        namespace: namespace.to_owned(),
        default_namespace: value("xmlns"),
        to: value("to"),
        from: value("from"),
        id: value("id"),
        version: value("version"),
        lang: value("xml:lang"),
    }
}

fn decoded(text: &str, value: Span) -> String {
    unescape_attribute(value.text(text)).into_owned()
}
