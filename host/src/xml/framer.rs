//! The framer: bytes in, stream events out, without I/O.
//!
//! What lies whole in the input is handed out from there, without a copy. Only the bytes of an element that is not
//! complete are kept, together with how far they were looked at, and the memory is given back when nothing is left.
//! The events, and the error if there is one, depend on the bytes alone and not on how they were cut into pieces.

use super::chars::{check_text, skip_space};
use super::framed::{Event, Framed, StreamHeader};
use super::header::{SharedRoot, check_declaration, read_root};
use super::namespaces::Scope;
use super::scan::{Context, Facts, trim_end};
use super::unit::{Complete, Place, Unit};
use super::{FrameError, Limits};

/// Cuts a stream into its header, its top-level elements and its end, and checks all of it.
#[derive(Debug)]
pub struct Framer {
    limits: Limits,
    place: Place,
    root: SharedRoot,
    partial: Option<Box<Partial>>,
}

/// The beginning of a unit, kept until the rest arrives.
#[derive(Debug, Default)]
struct Partial {
    bytes: Vec<u8>,
    unit: Unit,
    /// The limits that held when the unit began.
    limits: Limits,
    /// Whether the unit is complete and was dealt with, so that the bytes are of no more use.
    done: bool,
}

/// What the caller is told, before it is tied to the buffer it lies in.
enum Found<'i> {
    Open(StreamHeader),
    /// The text is in the buffer when there is none here.
    Element(Facts, Option<&'i str>),
    Close,
}

/// A complete unit with its bytes, which are in the buffer when there are none here.
type Whole<'i> = (Complete, Option<&'i [u8]>);

/// The least that is appended to a half-received unit at once, so that its growth stays linear without taking in
/// much of what follows it.
const APPEND_AT_LEAST: usize = 1024;

/// The buffer of a large element does not serve for the beginning of the next one.
const KEPT_CAPACITY: usize = 8 * 1024;

impl Framer {
    /// A framer at the start of a stream.
    pub fn new(limits: Limits) -> Self {
        let place = Place::Start { after_restart: false };
        Self { limits: limits.clamped(), place, root: SharedRoot::default(), partial: None }
    }

    /// Changes the limits for the units that begin from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits.clamped();
    }

    /// Forgets the stream and expects a new header, as after SASL (RFC 6120 6.3.2). White space that belonged to the
    /// old stream may still arrive.
    pub fn restart(&mut self) {
        self.place = Place::Start { after_restart: true };
        self.root = SharedRoot::default();
        self.partial = None;
    }

    /// Takes bytes off the front of `input` up to the next event; `None` when more input is needed, all of `input`
    /// having been taken then. After an error every further call returns the same error.
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Result<Option<Event<'s>>, FrameError> {
        match self.advance(input) {
            Ok(Some(found)) => Ok(Some(self.event(found))),
            Ok(None) => Ok(None),
            Err(error) => {
                self.place = Place::Failed(error);
                self.partial = None;
                Err(error)
            }
        }
    }

    /// Whether nothing is half received.
    pub fn is_idle(&self) -> bool {
        self.partial.as_ref().is_none_or(|partial| partial.done)
    }

    /// Whether there is a buffer, in use or not.
    #[cfg(test)]
    pub(super) fn holds_memory(&self) -> bool {
        self.partial.is_some()
    }

    fn advance<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Found<'i>>, FrameError> {
        loop {
            match self.place {
                Place::Failed(error) => return Err(error),
                Place::EmptyRoot => {
                    self.place = Place::Ended;
                    return Ok(Some(Found::Close));
                }
                _ => {}
            }
            let complete = if self.is_idle() { self.begin(input)? } else { self.resume(input)? };
            let Some(whole) = complete else { return Ok(None) };
            if let Some(found) = self.take(whole)? {
                return Ok(Some(found));
            }
        }
    }

    /// Starts on a new unit. Gives it with its bytes if it is complete, else keeps what there is of it.
    fn begin<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Whole<'i>>, FrameError> {
        self.skip_space(input);
        let data = *input;
        match data.first() {
            None => {
                self.partial = None;
                return Ok(None);
            }
            Some(b'<') => {}
            Some(_) => return Err(self.place.text_error()),
        }
        let mut unit = Unit::default();
        if let Some(end) = unit.run(data, self.place, self.context())? {
            *input = &data[end..];
            return Ok(Some((unit.complete(), Some(&data[..end]))));
        }
        *input = &[];
        self.keep(data, unit);
        Ok(None)
    }

    fn skip_space(&mut self, input: &mut &[u8]) {
        let skipped = skip_space(input, 0);
        *input = &input[skipped..];
        if skipped > 0 && self.place == (Place::Start { after_restart: false }) {
            self.place = Place::Prolog;
        }
    }

    fn keep(&mut self, data: &[u8], unit: Unit) {
        let partial = self.partial.get_or_insert_default();
        if partial.bytes.capacity() > KEPT_CAPACITY {
            partial.bytes = Vec::new();
        }
        partial.bytes.clear();
        partial.bytes.extend_from_slice(data);
        partial.unit = unit;
        partial.limits = self.limits;
        partial.done = false;
    }

    /// Goes on with the unit that is half received. Its bytes are in the buffer when it is complete, and what was
    /// appended beyond its end is given back to `input`.
    fn resume<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Whole<'i>>, FrameError> {
        let scope = &self.root.get().scope;
        let Some(partial) = &mut self.partial else { return Ok(None) };
        let context = Context { limits: &partial.limits, scope };
        while !input.is_empty() {
            let known = partial.bytes.len();
            let room = (partial.limits.stanza_bytes as usize + 1).saturating_sub(known).max(1);
            let (appended, rest) = input.split_at(known.max(APPEND_AT_LEAST).min(room).min(input.len()));
            partial.bytes.extend_from_slice(appended);
            if let Some(end) = partial.unit.run(&partial.bytes, self.place, context)? {
                *input = &input[end.saturating_sub(known)..];
                partial.bytes.truncate(end);
                partial.done = true;
                return Ok(Some((std::mem::take(&mut partial.unit).complete(), None)));
            }
            *input = rest;
        }
        Ok(None)
    }

    fn context(&self) -> Context<'_> {
        Context { limits: &self.limits, scope: &self.root.get().scope }
    }

    /// Takes a complete unit into account.
    fn take<'i>(&mut self, (complete, bytes): Whole<'i>) -> Result<Option<Found<'i>>, FrameError> {
        let data = match (bytes, &self.partial) {
            (Some(data), _) => data,
            (None, Some(partial)) => &partial.bytes,
            (None, None) => return Ok(None),
        };
        match complete {
            Complete::Declaration => {
                check_declaration(data, &self.limits)?;
                self.place = Place::Prolog;
                Ok(None)
            }
            Complete::Root => {
                let (header, root, empty) = read_root(data, &self.limits)?;
                self.root = root;
                self.place = if empty { Place::EmptyRoot } else { Place::Stream };
                Ok(Some(Found::Open(header)))
            }
            Complete::Element(facts) => {
                let text = match bytes {
                    Some(data) => Some(check_text(data)?),
                    None => check_text(data).map(|_| None)?,
                };
                Ok(Some(Found::Element(facts, text)))
            }
            Complete::Close => {
                if trim_end(&data[2..data.len() - 1]) != self.root.get().name.as_bytes() {
                    return Err(FrameError::MismatchedEndTag);
                }
                self.place = Place::Ended;
                Ok(Some(Found::Close))
            }
        }
    }

    fn event<'a>(&'a self, found: Found<'a>) -> Event<'a> {
        match found {
            Found::Open(header) => Event::StreamOpen(header),
            Found::Close => Event::StreamClose,
            Found::Element(facts, text) => {
                let text = text.unwrap_or_else(|| self.buffered_text());
                Event::Element(Framed { text, facts, scope: &self.root.get().scope })
            }
        }
    }

    fn buffered_text(&self) -> &str {
        let bytes = self.partial.as_ref().map_or(&[][..], |partial| &partial.bytes);
        simdutf8::basic::from_utf8(bytes).expect("an element was checked when it became complete")
    }
}

/// Checks that `bytes` are one element, with nothing but white space around it. `scope` is what it may rely on.
pub fn frame_whole<'a>(bytes: &'a [u8], limits: &Limits, scope: &'a Scope) -> Result<Framed<'a>, FrameError> {
    let limits = &limits.clamped();
    let data = &bytes[skip_space(bytes, 0)..];
    if data.first().is_some_and(|&b| b != b'<') {
        return Err(FrameError::TextBetweenElements);
    }
    let mut unit = Unit::default();
    let end = unit.run(data, Place::Stream, Context { limits, scope })?.ok_or(FrameError::Incomplete)?;
    if skip_space(data, end) != data.len() {
        return Err(FrameError::DataAfterEnd);
    }
    match unit.complete() {
        Complete::Element(facts) => Ok(Framed { text: check_text(&data[..end])?, facts, scope }),
        _ => Err(FrameError::MismatchedEndTag),
    }
}
