//! The pieces that a stream is cut into: each makes sense only when it is complete.

use super::FrameError;
use super::header::may_be_declaration;
use super::scan::{Context, Facts, Scan, forbidden_declaration};
use super::tag::TagEnd;

/// Where in the stream the framer is, between two units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At the start of a stream. White space means that no XML declaration follows, unless it may belong to the
    /// stream before.
    Start { after_restart: bool },
    /// Where the root element must come and an XML declaration cannot come any more.
    Prolog,
    /// Between the top-level elements.
    Stream,
    /// Behind a root element that is empty: its end is yet to be reported.
    EmptyRoot,
    /// After the end of the stream.
    Ended,
    /// Behind the first error.
    Failed(FrameError),
}

impl Place {
    /// What is wrong with text here.
    pub(super) fn text_error(self) -> FrameError {
        match self {
            Self::Stream => FrameError::TextBetweenElements,
            Self::EmptyRoot | Self::Ended => FrameError::DataAfterEnd,
            Self::Failed(error) => error,
            Self::Start { .. } | Self::Prolog => FrameError::NoHeader,
        }
    }
}

/// A unit, and how far it was looked at.
#[derive(Debug, Default)]
// Boxing the scan would cost an allocation for every element, and units are never stored by the thousand.
#[allow(clippy::large_enum_variant)]
pub(super) enum Unit {
    /// Nothing but `<`, or too little to tell what it is.
    #[default]
    Unknown,
    /// The XML declaration; the search for its end goes on at this position.
    Declaration(usize),
    /// The start tag of the stream.
    Root(TagEnd),
    /// A top-level element.
    Element(Scan),
    /// The end tag of the stream; the search for its end goes on at this position.
    Close(usize),
}

/// What a complete unit is.
pub(super) enum Complete {
    Declaration,
    Root,
    Element(Facts),
    Close,
}

impl Unit {
    /// Goes on with the unit that `data` starts with. Returns its length once it is complete.
    pub(super) fn run(
        &mut self,
        data: &[u8],
        place: Place,
        context: Context<'_>,
    ) -> Result<Option<usize>, FrameError> {
        let largest = context.limits.stanza_bytes as usize;
        let end = self.search(&data[..data.len().min(largest)], place, context)?;
        if end.is_none() && data.len() > largest {
            return Err(FrameError::ElementTooLong(context.limits.stanza_bytes));
        }
        Ok(end)
    }

    /// What the unit is, after it is complete.
    pub(super) fn complete(self) -> Complete {
        match self {
            Self::Declaration(_) => Complete::Declaration,
            Self::Root(_) => Complete::Root,
            Self::Element(scan) => Complete::Element(scan.into_facts()),
            Self::Close(_) | Self::Unknown => Complete::Close,
        }
    }

    fn search(
        &mut self,
        data: &[u8],
        place: Place,
        context: Context<'_>,
    ) -> Result<Option<usize>, FrameError> {
        if matches!(self, Self::Unknown) {
            *self = recognise(data, place)?;
        }
        match self {
            Self::Unknown => Ok(None),
            Self::Declaration(next) => declaration_end(data, next),
            Self::Root(end) => end.find(data),
            Self::Element(scan) => scan.run(data, context),
            Self::Close(next) => {
                let end = memchr::memchr(b'>', &data[*next..]).map(|found| *next + found + 1);
                *next = data.len();
                Ok(end)
            }
        }
    }
}

/// Tells by its second and third byte what the markup at the start of `data` is, and refuses what may not stand here.
fn recognise(data: &[u8], place: Place) -> Result<Unit, FrameError> {
    let Some(second) = data.get(1) else { return Ok(Unit::Unknown) };
    match (second, place) {
        (_, Place::Ended) => Err(FrameError::DataAfterEnd),
        (b'?', Place::Start { .. }) => Ok(Unit::Declaration(2)),
        (b'?', _) => Err(FrameError::ProcessingInstruction),
        (b'!', _) => match data.get(2) {
            None => Ok(Unit::Unknown),
            Some(b'[') if place == Place::Stream => Err(FrameError::TextBetweenElements),
            Some(_) => Err(forbidden_declaration(data)),
        },
        (b'/', Place::Stream) => Ok(Unit::Close(2)),
        (b'/', _) => Err(FrameError::MismatchedEndTag),
        (_, Place::Stream) => Ok(Unit::Element(Scan::new())),
        (_, _) => Ok(Unit::Root(TagEnd::after(0))),
    }
}

/// The end of an XML declaration, which has no angle bracket but its own.
fn declaration_end(data: &[u8], next: &mut usize) -> Result<Option<usize>, FrameError> {
    if !may_be_declaration(data) {
        return Err(FrameError::ProcessingInstruction);
    }
    let Some(found) = memchr::memchr2(b'<', b'>', &data[*next..]) else {
        *next = data.len();
        return Ok(None);
    };
    let end = *next + found + 1;
    if data[..end].ends_with(b"?>") { Ok(Some(end)) } else { Err(FrameError::BadDeclaration) }
}
