//! The syntax of one start tag: name, attributes, references in their values.
//!
//! Positions are 32-bit offsets into the element that the tag belongs to; [`Limits`] keeps elements below that.
//! What the names and values mean, namespaces above all, is not looked at here.

use smallvec::SmallVec;

use super::chars::{check_wide_name, skip_name, skip_space, starts_name};
use super::escape::resolve_reference;
use super::{FrameError, Limits};

/// A range of bytes of an element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        let offset = |at| u32::try_from(at).expect("elements are limited to less than 32 bits");
        Self { start: offset(start), end: offset(end) }
    }

    pub(crate) fn of(self, data: &[u8]) -> &[u8] {
        &data[self.start as usize..self.end as usize]
    }

    pub(crate) fn text(self, text: &str) -> &str {
        &text[self.start as usize..self.end as usize]
    }

    pub(crate) fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

/// A name, with or without a prefix. Sixteen bits suffice for what is inside of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Name {
    start: u32,
    length: u16,
    /// Bytes of the prefix and its colon; 0 when there is none.
    prefix: u16,
}

impl Name {
    pub(crate) fn has_prefix(self) -> bool {
        self.prefix > 0
    }

    /// The name as it is written.
    pub(crate) fn whole(self) -> Span {
        Span { start: self.start, end: self.start + u32::from(self.length) }
    }

    /// The name without its prefix.
    pub(crate) fn local(self) -> Span {
        Span { start: self.start + u32::from(self.prefix), ..self.whole() }
    }

    /// The prefix without its colon; empty when there is none.
    pub(crate) fn prefix(self) -> Span {
        Span { start: self.start, end: self.start + u32::from(self.prefix.saturating_sub(1)) }
    }
}

/// An attribute; `value` is what stands between the quotes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawAttribute {
    pub name: Name,
    pub value: Span,
}

impl RawAttribute {
    /// The value with its quotes.
    pub(crate) fn quoted(&self) -> Span {
        Span { start: self.value.start - 1, end: self.value.end + 1 }
    }
}

/// A complete start tag.
#[derive(Clone, Debug, Default)]
pub(crate) struct StartTag {
    pub name: Name,
    pub attributes: SmallVec<[RawAttribute; 8]>,
    /// The position after `>`.
    pub end: u32,
    /// Whether it ends with `/>`.
    pub empty: bool,
    /// Whether any name in it has a prefix that must be declared.
    pub prefixed: bool,
    /// Whether any of the attributes is a namespace declaration.
    pub declares: bool,
}

impl StartTag {
    /// Reads the start tag at `at` into `self`. Says `false` when `data` ends before the tag does.
    ///
    /// An error may be raised although the end of the tag is not in `data` yet; the caller makes sure that peers hear
    /// of it at a place that does not depend on how their bytes arrived.
    pub(super) fn read(&mut self, data: &[u8], at: usize, limits: &Limits) -> Result<bool, FrameError> {
        self.attributes.clear();
        let Some(name) = read_name(data, at + 1, limits)? else { return Ok(false) };
        self.name = name;
        self.prefixed = name.has_prefix();
        self.declares = false;
        let mut at = name.whole().end as usize;
        loop {
            let next = skip_space(data, at);
            match data.get(next) {
                None => return Ok(false),
                Some(b'>') => return Ok(self.close(next + 1, false)),
                Some(b'/') => return self.read_slash(data, next),
                Some(_) if next == at => return Err(FrameError::BadTag),
                Some(_) => {}
            }
            let Some(attribute) = read_attribute(data, next, limits)? else { return Ok(false) };
            if self.attributes.len() >= usize::from(limits.attributes) {
                return Err(FrameError::TooManyAttributes(limits.attributes));
            }
            if is_declaration(attribute.name, data) {
                self.declares = true;
            } else {
                self.prefixed |= attribute.name.has_prefix();
            }
            self.attributes.push(attribute);
            at = attribute.value.end as usize + 1;
        }
    }

    fn read_slash(&mut self, data: &[u8], at: usize) -> Result<bool, FrameError> {
        match data.get(at + 1) {
            None => Ok(false),
            Some(b'>') => Ok(self.close(at + 2, true)),
            Some(_) => Err(FrameError::BadTag),
        }
    }

    fn close(&mut self, end: usize, empty: bool) -> bool {
        self.end = Span::new(end, end).end;
        self.empty = empty;
        true
    }

    /// The attribute of that name, prefix included.
    pub(super) fn attribute(&self, data: &[u8], name: &[u8]) -> Option<RawAttribute> {
        self.attributes.iter().find(|a| a.name.whole().of(data) == name).copied()
    }

    /// The raw value of the attribute of that name, prefix included.
    pub(super) fn value(&self, data: &[u8], name: &[u8]) -> Option<Span> {
        self.attribute(data, name).map(|attribute| attribute.value)
    }
}

/// Whether an attribute of that name declares a namespace.
pub(super) fn is_declaration(name: Name, data: &[u8]) -> bool {
    let xmlns = b"xmlns";
    match usize::from(name.prefix) {
        0 => usize::from(name.length) == xmlns.len() && name.whole().of(data) == xmlns,
        prefix => prefix == xmlns.len() + 1 && name.prefix().of(data) == xmlns,
    }
}

/// Reads a name with at most one colon. Nothing when `data` ends before something that is no name.
fn read_name(data: &[u8], at: usize, limits: &Limits) -> Result<Option<Name>, FrameError> {
    let Some(mut end) = read_plain_name(data, at)? else { return Ok(None) };
    let mut local = at;
    if data[end] == b':' {
        local = end + 1;
        match read_plain_name(data, local)? {
            Some(local_end) => end = local_end,
            None => return Ok(None),
        }
        if data[end] == b':' {
            return Err(FrameError::BadName);
        }
    }
    check_length(end - at, limits)?;
    let short = |length| u16::try_from(length).map_err(|_| FrameError::TokenTooLong(limits.token_bytes));
    Ok(Some(Name { start: Span::new(at, at).start, length: short(end - at)?, prefix: short(local - at)? }))
}

/// Reads a name without colon and returns where it ends, a byte that is in `data`.
fn read_plain_name(data: &[u8], at: usize) -> Result<Option<usize>, FrameError> {
    let Some(&first) = data.get(at) else { return Ok(None) };
    if !starts_name(first) {
        return Err(FrameError::BadName);
    }
    let (end, wide) = skip_name(data, at + 1);
    if end == data.len() {
        return Ok(None);
    }
    if wide || first >= 128 {
        check_wide_name(&data[at..end])?;
    }
    Ok(Some(end))
}

/// Reads an attribute; nothing when `data` ends before it does.
pub(super) fn read_attribute(
    data: &[u8],
    at: usize,
    limits: &Limits,
) -> Result<Option<RawAttribute>, FrameError> {
    let Some(name) = read_name(data, at, limits)? else { return Ok(None) };
    let equals = skip_space(data, name.whole().end as usize);
    match data.get(equals) {
        None => return Ok(None),
        Some(b'=') => {}
        Some(_) => return Err(FrameError::BadTag),
    }
    let quote = skip_space(data, equals + 1);
    let Some(value) = read_value(data, quote)? else { return Ok(None) };
    check_length(value.len(), limits)?;
    Ok(Some(RawAttribute { name, value }))
}

/// Reads a quoted value whose opening quote is at `at`.
fn read_value(data: &[u8], at: usize) -> Result<Option<Span>, FrameError> {
    let quote = match data.get(at) {
        None => return Ok(None),
        Some(&quote @ (b'"' | b'\'')) => quote,
        Some(_) => return Err(FrameError::BadTag),
    };
    let mut next = at + 1;
    loop {
        let Some(found) = memchr::memchr3(quote, b'<', b'&', &data[next..]) else { return Ok(None) };
        next += found;
        match data[next] {
            b'<' => return Err(FrameError::BadTag),
            b'&' => match check_reference(&data[next..])? {
                Some(length) => next += length,
                None => return Ok(None),
            },
            _ => return Ok(Some(Span::new(at + 1, next))),
        }
    }
}

fn check_length(length: usize, limits: &Limits) -> Result<(), FrameError> {
    if length > limits.token_bytes as usize {
        Err(FrameError::TokenTooLong(limits.token_bytes))
    } else {
        Ok(())
    }
}

/// The longest name that a reference may have, `#x` included. Eight digits are more than any character needs.
const MAX_REFERENCE: usize = 10;

/// Checks the reference that `data` starts with and returns its length; nothing when `data` ends within it.
pub(super) fn check_reference(data: &[u8]) -> Result<Option<usize>, FrameError> {
    match data {
        [_, b'l' | b'g', b't', b';', ..] => return Ok(Some(4)),
        [_, b'a', b'm', b'p', b';', ..] => return Ok(Some(5)),
        _ => {}
    }
    let in_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'#' | b'-' | b'.' | b'_' | b':');
    let after = &data[1..];
    let Some(length) = after.iter().take(MAX_REFERENCE + 1).position(|b| !in_name(b)) else {
        return if after.len() > MAX_REFERENCE { Err(FrameError::BadReference) } else { Ok(None) };
    };
    if after[length] != b';' {
        return Err(FrameError::BadReference);
    }
    match std::str::from_utf8(&after[..length]) {
        Ok(name) if resolve_reference(name).is_some() => Ok(Some(length + 2)),
        Ok(name) if name.starts_with(|c: char| c.is_ascii_alphabetic()) => Err(FrameError::EntityReference),
        _ => Err(FrameError::BadReference),
    }
}

/// Looks for the end of a tag that is not complete, remembering how far it looked.
///
/// It knows quotes and nothing else, so that its answer cannot depend on how the bytes arrived. A `<` ends the search
/// with an error: no tag may hold one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TagEnd {
    next: usize,
    quote: Option<u8>,
}

impl TagEnd {
    /// Starts behind the `<` of the tag at `at`.
    pub(super) fn after(at: usize) -> Self {
        Self { next: at + 1, quote: None }
    }

    /// The position after the tag, if its end is in `data`.
    pub(super) fn find(&mut self, data: &[u8]) -> Result<Option<usize>, FrameError> {
        while let Some(rest) = data.get(self.next..).filter(|rest| !rest.is_empty()) {
            let found = match self.quote {
                Some(quote) => memchr::memchr2(quote, b'<', rest),
                None => rest.iter().position(|b| matches!(b, b'>' | b'<' | b'"' | b'\'')),
            };
            let Some(found) = found else {
                self.next = data.len();
                return Ok(None);
            };
            self.next += found + 1;
            match rest[found] {
                b'<' => return Err(FrameError::BadTag),
                b'>' => return Ok(Some(self.next)),
                quote => self.quote = if self.quote.is_some() { None } else { Some(quote) },
            }
        }
        Ok(None)
    }
}
