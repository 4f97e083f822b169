//! The scan of one top-level element: everything between its first `<` and its last `>`.
//!
//! A [`Scan`] is fed with ever longer prefixes of the element and resumes where it stopped. It raises every error at a
//! position that depends on the bytes alone, never on how they were cut into pieces.

use smallvec::SmallVec;

use super::chars::is_space;
use super::namespaces::{Bindings, Namespace, Scope};
use super::tag::{Name, Span, StartTag, TagEnd, check_reference};
use super::{FrameError, Limits};

/// What is known of an element once it is complete.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The outermost tag.
    pub top: StartTag,
    /// The first child element.
    pub first_child: Option<Child>,
    /// How many child elements there are.
    pub children: u32,
    /// Which prefixes of the stream header the element relies on, one bit for each.
    pub outer_prefixes: u64,
    /// Whether there are CDATA sections.
    pub cdata: bool,
}

/// The name of a child element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Child {
    pub local: Span,
    pub namespace: Namespace,
}

/// An element that is open.
#[derive(Clone, Copy, Debug)]
struct Open {
    name: Name,
    /// How many bindings were in scope outside of it.
    bindings: u32,
}

/// What the scan is in the middle of.
#[derive(Clone, Copy, Debug)]
enum Token {
    /// Text; the search for its end goes on at the position given.
    Text(usize),
    /// Markup of which only `<` is known.
    Markup,
    /// A start tag that is not complete.
    StartTag(TagEnd),
    /// An end tag; the search for its end goes on at the position given.
    EndTag(usize),
    /// A CDATA section; the search for its end goes on at the position given.
    Cdata(usize),
}

/// The state of a scan.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    /// Where the token begins; what lies before is checked.
    at: usize,
    token: Token,
    /// The start tag read last, unless it is the outermost.
    tag: StartTag,
    open: SmallVec<[Open; 12]>,
    bindings: Bindings,
    facts: Facts,
}

/// What every step needs beside the bytes: the limits, and what the stream header declared.
#[derive(Clone, Copy)]
pub(super) struct Context<'c> {
    pub limits: &'c Limits,
    pub scope: &'c Scope,
}

/// The mark that opens a CDATA section.
pub(crate) const CDATA_START: &str = "<![CDATA[";
/// The mark that closes a CDATA section.
pub(crate) const CDATA_END: &str = "]]>";

impl Scan {
    /// A scan of an element, whose first byte is `<` and whose second does not make it another kind of markup.
    pub(super) fn new() -> Self {
        Self {
            at: 0,
            token: Token::Markup,
            tag: StartTag::default(),
            open: SmallVec::new(),
            bindings: Bindings::default(),
            facts: Facts::default(),
        }
    }

    /// Goes on with the element that `data` starts with. Returns its length once it is complete.
    pub(super) fn run(&mut self, data: &[u8], context: Context<'_>) -> Result<Option<usize>, FrameError> {
        while self.step(data, context)? {
            if self.open.is_empty() {
                return Ok(Some(self.at));
            }
        }
        Ok(None)
    }

    /// What is known of the element, after it is complete.
    pub(super) fn into_facts(self) -> Facts {
        self.facts
    }

    /// Passes over one token, or goes as far into it as `data` does and returns `false`.
    fn step(&mut self, data: &[u8], context: Context<'_>) -> Result<bool, FrameError> {
        match self.token {
            Token::Text(next) => self.text(data, next),
            Token::Markup => self.markup(data, context),
            Token::StartTag(end) => self.long_start_tag(data, end, context),
            Token::EndTag(next) => self.end_tag(data, next),
            Token::Cdata(next) => Ok(self.cdata(data, next)),
        }
    }

    fn text(&mut self, data: &[u8], next: usize) -> Result<bool, FrameError> {
        let end = match data.get(next) {
            // Tags follow each other more often than not.
            Some(b'<') => next,
            _ => match memchr::memchr(b'<', &data[next..]) {
                Some(found) => next + found,
                None => {
                    self.token = Token::Text(data.len());
                    return Ok(false);
                }
            },
        };
        if end > self.at {
            check_character_data(&data[self.at..end])?;
        }
        self.at = end;
        self.markup_follows();
        Ok(true)
    }

    fn markup_follows(&mut self) {
        self.token = Token::Markup;
    }

    fn text_follows(&mut self, at: usize) {
        self.at = at;
        self.token = Token::Text(at);
    }

    fn markup(&mut self, data: &[u8], context: Context<'_>) -> Result<bool, FrameError> {
        match data.get(self.at + 1) {
            None => Ok(false),
            Some(b'/') => self.end_tag(data, self.at + 2),
            Some(b'!') => self.declaration(data),
            Some(b'?') => Err(FrameError::ProcessingInstruction),
            Some(_) => self.start_tag(data, context),
        }
    }

    /// `<!`: a CDATA section, or something that XMPP forbids.
    fn declaration(&mut self, data: &[u8]) -> Result<bool, FrameError> {
        let seen = &data[self.at..data.len().min(self.at + CDATA_START.len())];
        if !CDATA_START.as_bytes().starts_with(seen) {
            return Err(forbidden_declaration(seen));
        }
        if seen.len() < CDATA_START.len() {
            return Ok(false);
        }
        self.facts.cdata = true;
        self.token = Token::Cdata(self.at + CDATA_START.len());
        Ok(true)
    }

    fn cdata(&mut self, data: &[u8], next: usize) -> bool {
        let Some(found) = memchr::memmem::find(&data[next..], CDATA_END.as_bytes()) else {
            // The last two bytes may be the beginning of the mark.
            self.token = Token::Cdata(next.max(data.len().saturating_sub(CDATA_END.len() - 1)));
            return false;
        };
        self.text_follows(next + found + CDATA_END.len());
        true
    }

    /// Reads a tag that is complete in one go. One that is not, or that is wrong, is looked at again when its end has
    /// come, so that it is judged in the same way however it arrived.
    fn start_tag(&mut self, data: &[u8], context: Context<'_>) -> Result<bool, FrameError> {
        match self.read_tag(data, context.limits) {
            Ok(true) => self.enter(data, context),
            _ => self.long_start_tag(data, TagEnd::after(self.at), context),
        }
    }

    fn long_start_tag(
        &mut self,
        data: &[u8],
        mut end: TagEnd,
        context: Context<'_>,
    ) -> Result<bool, FrameError> {
        let found = end.find(data)?;
        self.token = Token::StartTag(end);
        let Some(end) = found else { return Ok(false) };
        if !self.read_tag(&data[..end], context.limits)? {
            return Err(FrameError::BadTag);
        }
        self.enter(data, context)
    }

    /// The outermost tag stays, the others are soon forgotten.
    fn read_tag(&mut self, data: &[u8], limits: &Limits) -> Result<bool, FrameError> {
        let tag = if self.open.is_empty() { &mut self.facts.top } else { &mut self.tag };
        tag.read(data, self.at, limits)
    }

    /// Takes the start tag just read into account.
    fn enter(&mut self, data: &[u8], context: Context<'_>) -> Result<bool, FrameError> {
        let depth = self.open.len();
        if depth >= usize::from(context.limits.depth) {
            return Err(FrameError::TooDeep(context.limits.depth));
        }
        let tag = if depth == 0 { &self.facts.top } else { &self.tag };
        let outside = self.bindings.mark();
        self.bindings.declare(data, tag, context.limits)?;
        self.facts.outer_prefixes |= self.bindings.check(data, tag, context.scope)?;
        if depth == 1 {
            self.facts.children += 1;
            if self.facts.first_child.is_none() {
                let namespace = self.bindings.element_namespace(data, tag, context.scope);
                self.facts.first_child = Some(Child { local: tag.name.local(), namespace });
            }
        }
        let (end, empty, name) = (tag.end as usize, tag.empty, tag.name);
        if empty {
            self.bindings.leave(outside);
        } else {
            self.open.push(Open { name, bindings: outside });
        }
        self.text_follows(end);
        Ok(true)
    }

    fn end_tag(&mut self, data: &[u8], next: usize) -> Result<bool, FrameError> {
        let Some(found) = memchr::memchr(b'>', &data[next..]) else {
            self.token = Token::EndTag(data.len());
            return Ok(false);
        };
        let end = next + found;
        let name = trim_end(&data[self.at + 2..end]);
        let open = self
            .open
            .pop()
            .filter(|open| open.name.whole().of(data) == name)
            .ok_or(FrameError::MismatchedEndTag)?;
        self.bindings.leave(open.bindings);
        self.text_follows(end + 1);
        Ok(true)
    }
}

/// Which rule a `<!` that opens no CDATA section breaks.
pub(super) fn forbidden_declaration(markup: &[u8]) -> FrameError {
    if markup.starts_with(b"<!-") { FrameError::Comment } else { FrameError::MarkupDeclaration }
}

/// Without white space at the end.
pub(super) fn trim_end(bytes: &[u8]) -> &[u8] {
    let spaces = bytes.iter().rev().take_while(|&&b| is_space(b)).count();
    &bytes[..bytes.len() - spaces]
}

/// Checks complete text between tags: its references, and that no CDATA end mark stands in it.
fn check_character_data(text: &[u8]) -> Result<(), FrameError> {
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'&', b'>', &text[at..]) {
        at += found;
        if text[at] == b'&' {
            at += check_reference(&text[at..])?.ok_or(FrameError::BadReference)?;
        } else if text[..at].ends_with(b"]]") {
            return Err(FrameError::CdataEndInText);
        } else {
            at += 1;
        }
    }
    Ok(())
}
