//! Namespace declarations in scope, and the rules of Namespaces in XML 1.0.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::escape::unescape_attribute;
use super::tag::{Name, RawAttribute, Span, StartTag, is_declaration};
use super::{FrameError, Limits, XML_NAMESPACE, XMLNS_NAMESPACE};

/// What is in scope around an element: the declarations of the stream header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The default namespace; empty when there is none.
    pub(super) default: Cow<'static, str>,
    /// Prefixes and their namespaces, at most [`MAX_OUTER_PREFIXES`].
    pub(super) prefixes: Cow<'static, [(Cow<'static, str>, Cow<'static, str>)]>,
}

/// How many prefixes a stream header may declare: their uses are noted in the bits of one number.
pub(super) const MAX_OUTER_PREFIXES: usize = 64;

impl Scope {
    /// A scope with nothing but a default namespace.
    pub const fn with_default(namespace: &'static str) -> Self {
        Self { default: Cow::Borrowed(namespace), prefixes: Cow::Borrowed(&[]) }
    }

    /// The default namespace; empty when there is none.
    pub fn default_namespace(&self) -> &str {
        &self.default
    }

    /// The namespace of the prefix with that number.
    pub(super) fn prefix(&self, index: u8) -> Option<&(Cow<'static, str>, Cow<'static, str>)> {
        self.prefixes.get(usize::from(index))
    }
}

/// Where the namespace of a name is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Namespace {
    /// In a declaration inside the element, at this place.
    Declared(Span),
    /// Nowhere on the tag itself: the default namespace around it applies.
    Inherited,
    /// In the stream header, in the declaration with this number.
    Outer(u8),
    /// Nowhere: it is that of the prefix `xml`.
    Xml,
}

#[derive(Clone, Copy, Debug)]
struct Binding {
    prefix: Span,
    namespace: Span,
}

/// The prefixes that the open elements declare. Default namespaces need no tracking to tell whether XML is
/// well-formed.
#[derive(Clone, Debug, Default)]
pub(super) struct Bindings(SmallVec<[Binding; 4]>);

impl Bindings {
    /// How many there are: what [`Bindings::leave`] is told at the end of an element that was entered now.
    pub(super) fn mark(&self) -> u32 {
        u32::try_from(self.0.len()).expect("their number is limited to 16 bits")
    }

    /// Drops the declarations made since that mark.
    pub(super) fn leave(&mut self, mark: u32) {
        self.0.truncate(mark as usize);
    }

    /// Takes the declarations of a tag into scope.
    pub(super) fn declare(&mut self, data: &[u8], tag: &StartTag, limits: &Limits) -> Result<(), FrameError> {
        if !tag.declares {
            return Ok(());
        }
        for attribute in &tag.attributes {
            match declares(attribute, data) {
                Some(prefix) => self.declare_one(data, prefix, attribute.value)?,
                None => continue,
            }
            if self.0.len() > usize::from(limits.declarations) {
                return Err(FrameError::TooManyDeclarations(limits.declarations));
            }
        }
        Ok(())
    }

    /// Namespaces in XML 1.0, section 3 (reserved prefixes and names) and section 2.2 (no empty binding).
    fn declare_one(&mut self, data: &[u8], prefix: Span, value: Span) -> Result<(), FrameError> {
        let raw = value.of(data);
        // White space needs no decoding: no reserved name has any.
        let namespace = if memchr::memchr(b'&', raw).is_some() { decoded(raw)? } else { Cow::Borrowed(raw) };
        let is_xml = *namespace == *XML_NAMESPACE.as_bytes();
        let reserved = is_xml || *namespace == *XMLNS_NAMESPACE.as_bytes();
        match prefix.of(data) {
            b"xml" if is_xml => Ok(()),
            b"xml" | b"xmlns" => Err(FrameError::ReservedNamespace),
            _ if reserved => Err(FrameError::ReservedNamespace),
            b"" => Ok(()),
            _ if namespace.is_empty() => Err(FrameError::EmptyPrefixBinding),
            _ => {
                self.0.push(Binding { prefix, namespace: value });
                Ok(())
            }
        }
    }

    /// Checks that the prefixes of a tag are declared and its attributes distinct. Returns which declarations of the
    /// stream header it relies on, one bit for each.
    pub(super) fn check(&self, data: &[u8], tag: &StartTag, scope: &Scope) -> Result<u64, FrameError> {
        let written = |attribute: &RawAttribute| attribute.name.whole().of(data);
        if has_twins(&tag.attributes, |one, other| written(one) == written(other)) {
            return Err(FrameError::DuplicateAttribute);
        }
        if tag.prefixed { self.check_prefixes(data, tag, scope) } else { Ok(0) }
    }

    fn check_prefixes(&self, data: &[u8], tag: &StartTag, scope: &Scope) -> Result<u64, FrameError> {
        let mut outer = 0;
        let mut resolve = |name: Name| {
            let namespace = self.resolve(data, name.prefix(), scope).ok_or(FrameError::UndeclaredPrefix)?;
            if let Namespace::Outer(index) = namespace {
                outer |= 1 << index;
            }
            Ok((name, namespace))
        };
        if tag.name.has_prefix() {
            resolve(tag.name)?;
        }
        let prefixed = tag.attributes.iter().map(|attribute| attribute.name).filter(|name| name.has_prefix());
        let attributes = prefixed.filter(|name| !is_declaration(*name, data)).map(resolve);
        // Each prefix is resolved once, lest many attributes of one name cost more than their bytes.
        let attributes = attributes.collect::<Result<SmallVec<[_; 8]>, _>>()?;
        let same = |one: &(Name, Namespace), other: &(Name, Namespace)| {
            one.0.local().of(data) == other.0.local().of(data)
                && uri(data, one.1, scope) == uri(data, other.1, scope)
        };
        if has_twins(&attributes, same) {
            return Err(FrameError::DuplicateAttribute);
        }
        Ok(outer)
    }

    /// The namespace of the element that a tag, already declared, opens.
    pub(super) fn element_namespace(&self, data: &[u8], tag: &StartTag, scope: &Scope) -> Namespace {
        if tag.name.has_prefix() {
            return self.resolve(data, tag.name.prefix(), scope).unwrap_or(Namespace::Inherited);
        }
        let declaration = if tag.declares { tag.value(data, b"xmlns") } else { None };
        declaration.map_or(Namespace::Inherited, Namespace::Declared)
    }

    fn resolve(&self, data: &[u8], prefix: Span, scope: &Scope) -> Option<Namespace> {
        let prefix = prefix.of(data);
        if let Some(binding) = self.0.iter().rev().find(|binding| binding.prefix.of(data) == prefix) {
            return Some(Namespace::Declared(binding.namespace));
        }
        if prefix == b"xml" {
            return Some(Namespace::Xml);
        }
        let outer = scope.prefixes.iter().position(|(declared, _)| declared.as_bytes() == prefix)?;
        u8::try_from(outer).ok().map(Namespace::Outer)
    }
}

/// Whether two of the items are the same.
fn has_twins<T>(items: &[T], same: impl Fn(&T, &T) -> bool) -> bool {
    items.iter().enumerate().any(|(index, one)| items[..index].iter().any(|other| same(one, other)))
}

/// The namespace name that a declaration gives.
fn uri<'d>(data: &'d [u8], namespace: Namespace, scope: &'d Scope) -> Option<Cow<'d, [u8]>> {
    match namespace {
        Namespace::Declared(span) => decoded(span.of(data)).ok(),
        Namespace::Outer(index) => scope.prefix(index).map(|(_, uri)| Cow::Borrowed(uri.as_bytes())),
        Namespace::Xml => Some(Cow::Borrowed(XML_NAMESPACE.as_bytes())),
        Namespace::Inherited => None,
    }
}

/// The prefix that an attribute declares, empty for the default namespace; nothing if it is no declaration.
pub(super) fn declares(attribute: &RawAttribute, data: &[u8]) -> Option<Span> {
    let name = attribute.name;
    is_declaration(name, data).then(|| {
        let whole = name.whole();
        if name.has_prefix() { name.local() } else { Span { start: whole.end, ..whole } }
    })
}

/// A namespace name with its references resolved.
fn decoded(raw: &[u8]) -> Result<Cow<'_, [u8]>, FrameError> {
    if !raw.iter().any(|b| matches!(b, b'&' | b'\t' | b'\r' | b'\n')) {
        return Ok(Cow::Borrowed(raw));
    }
    let text = std::str::from_utf8(raw).map_err(|_| FrameError::NotUtf8)?;
    Ok(Cow::Owned(unescape_attribute(text).into_owned().into_bytes()))
}
