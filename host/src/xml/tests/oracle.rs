//! The judge: whatever the framer says of an input is held against what `rxml` says, and against itself when the same
//! input arrives in other pieces. The fuzz target in `host/fuzz` uses this very file.
//!
//! Where the two may differ, all of it on purpose:
//!
//! - The framer judges a tag, a text or an element when it is complete, `rxml` at the first wrong byte. So the framer
//!   may still be waiting where `rxml` already failed; but it never hands out anything that `rxml` did not. For text
//!   outside of the root element it is the other way round.
//! - The framer accepts white space before a root element without XML declaration, and `standalone` without
//!   `encoding`, as XML does.
//! - The framer reads a carriage return alone as a line end, as XML does.
//! - The framer refuses more than `rxml` does, in the cases listed in [`may_refuse_alone`].

use rxml::error::EndOrError;
use rxml::{Parse, WithOptions};

use super::{Element, Event, FrameError, Framer, Limits, Node};

/// How the input ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End<E> {
    /// Between two units.
    Idle,
    /// In the middle of something.
    Waiting,
    /// Refused.
    Failed(E),
}

/// Everything that a parser made of an input: a line per event, elements as their canonical trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<E> {
    pub events: Vec<String>,
    pub end: End<E>,
}

/// What may complete the markup that an input ends in.
const ENDINGS: &[&str] =
    &[">", "/>", "'>", "'/>", "\">", "\"/>", ";<a/>", "<a/>", "]]>", "]]></a>", "</a>", "</s>", "s>"];

/// Judges one input, cut as `cuts` says: lengths of pieces, used in turn.
///
/// # Panics
///
/// When the framer contradicts itself or `rxml`.
pub fn judge(input: &[u8], cuts: &[usize]) {
    let whole = framed(input, &[input.len().max(1)]);
    assert_eq!(whole, framed(input, cuts), "cut as {cuts:?}: {}", show(input));
    assert_eq!(whole, framed(input, &[1]), "byte by byte: {}", show(input));
    if declares_standalone_alone(input) || has_lone_carriage_return(input) {
        return;
    }
    let judged = rxml(input);
    compare(input, &whole, &judged);
    if whole.end == End::Waiting && matches!(judged.end, End::Failed(_)) {
        for ending in ENDINGS {
            let longer = [input, ending.as_bytes()].concat();
            compare(&longer, &framed(&longer, &[longer.len()]), &rxml(&longer));
        }
    }
}

fn compare(input: &[u8], ours: &Outcome<FrameError>, theirs: &Outcome<rxml::Error>) {
    let excused = match (&ours.end, &theirs.end) {
        (End::Failed(error), End::Idle | End::Waiting) => may_refuse_alone(*error) || is_stuck(input, theirs),
        (End::Failed(error), End::Failed(_)) if ours.events != theirs.events => may_refuse_alone(*error),
        (End::Waiting, End::Failed(_)) | (End::Failed(_), End::Failed(_)) => true,
        (End::Idle, End::Failed(_)) => false,
        _ => true,
    };
    assert!(excused, "the framer says {ours:#?}\nrxml says {theirs:#?}\nof {}", show(input));
    let shorter = ours.events.len() <= theirs.events.len();
    let same_so_far =
        shorter && ours.events.iter().zip(&theirs.events).all(|(a, b)| line_ends(a) == line_ends(b));
    let complete = matches!(ours.end, End::Failed(_)) || ours.events.len() == theirs.events.len();
    assert!(same_so_far && complete, "the framer says {ours:#?}\nrxml says {theirs:#?}\nof {}", show(input));
}

/// `rxml` misses the line ends behind `]` in CDATA sections, so that CR LF and LF must count as the same.
fn line_ends(event: &str) -> String {
    event.replace("\\r\\n", "\\n")
}

/// Whether `rxml`, which did not fail yet, will: it completes nothing more, whatever follows.
fn is_stuck(input: &[u8], theirs: &Outcome<rxml::Error>) -> bool {
    ENDINGS
        .iter()
        .all(|ending| rxml(&[input, ending.as_bytes()].concat()).events.len() == theirs.events.len())
}

/// The rules of which `rxml` knows nothing.
fn may_refuse_alone(error: FrameError) -> bool {
    matches!(
        error,
        // Limits are a matter of policy.
        FrameError::ElementTooLong(_)
            | FrameError::TooDeep(_)
            | FrameError::TooManyAttributes(_)
            | FrameError::TokenTooLong(_)
            | FrameError::TooManyDeclarations(_)
            | FrameError::DeclarationsTooLong(_)
            // Streams have no text, and no CDATA, between their elements.
            | FrameError::TextBetweenElements
            // `rxml` lets `xmlns:xmlns`, and any prefix bound to the namespace of `xmlns`, pass.
            | FrameError::ReservedNamespace
            // `rxml` lets the last of two `xmlns` attributes win.
            | FrameError::DuplicateAttribute
            // `rxml` lets `standalone` be written in any case, and references stand in the XML declaration.
            | FrameError::BadDeclaration
            | FrameError::UnsupportedEncoding
    )
}

/// What the framer makes of the input.
pub fn framed(input: &[u8], cuts: &[usize]) -> Outcome<FrameError> {
    let limits = Limits { stanza_bytes: 1 << 20, ..Limits::default() };
    let mut framer = Framer::new(limits);
    let mut events = Vec::new();
    let mut rest = input;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let length = cuts.next().map_or(1, |&cut| cut.clamp(1, rest.len()));
        let (mut piece, after) = rest.split_at(length);
        rest = after;
        loop {
            match framer.next(&mut piece) {
                Ok(Some(event)) => events.push(line(&event)),
                Ok(None) => break,
                Err(error) => {
                    assert!(matches!(framer.next(&mut &b"<a/>"[..]), Err(again) if again == error));
                    return Outcome { events, end: End::Failed(error) };
                }
            }
        }
        assert!(piece.is_empty(), "input is taken to its end");
    }
    let end = if framer.is_idle() { End::Idle } else { End::Waiting };
    Outcome { events, end }
}

fn line(event: &Event<'_>) -> String {
    match event {
        Event::StreamOpen(header) => format!("open {{{}}}{}", header.namespace, header.name),
        Event::StreamClose => "close".into(),
        Event::Element(framed) => {
            let tree = framed.to_element();
            assert_eq!((framed.name(), &*framed.namespace()), (tree.name(), tree.namespace()));
            assert_eq!(framed.child_count(), tree.children().count());
            let mut out = String::from("element ");
            dump(&tree, &mut out);
            out
        }
    }
}

fn dump(element: &Element, out: &mut String) {
    *out += &format!("<{{{}}}{}", element.namespace(), element.name());
    let mut attributes: Vec<String> = element
        .attributes()
        .map(|(namespace, name, value)| format!(" {{{namespace}}}{name}={value:?}"))
        .collect();
    attributes.sort();
    *out += &attributes.concat();
    *out += ">";
    for node in element.nodes() {
        match node {
            Node::Element(child) => dump(child, out),
            Node::Text(text) => push_text(out, text),
        }
    }
    *out += "</>";
}

/// What `rxml` makes of the input.
fn rxml(input: &[u8]) -> Outcome<rxml::Error> {
    let options = rxml::Options { max_token_length: 1 << 20, ..rxml::Options::default() };
    let mut parser = rxml::Parser::with_options(options);
    parser.set_text_buffering(false);
    let mut rest = without_leading_space(input);
    let mut record = Record::default();
    loop {
        let before = rest.len();
        match parser.parse(&mut rest, false) {
            Ok(Some(event)) => record.take(event),
            Ok(None) => return record.outcome(End::Idle),
            Err(EndOrError::NeedMoreData) if rest.len() == before || rest.is_empty() => {
                let end = if record.depth > 1 { End::Waiting } else { End::Idle };
                return record.outcome(end);
            }
            Err(EndOrError::NeedMoreData) => {}
            Err(EndOrError::Error(error)) => return record.outcome(End::Failed(error)),
        }
    }
}

/// White space before a root element without XML declaration is well-formed, but `rxml` refuses it.
fn without_leading_space(input: &[u8]) -> &[u8] {
    let space = input.iter().take_while(|b| b" \t\r\n".contains(b)).count();
    let after = &input[space..];
    if after.starts_with(b"<?") { input } else { after }
}

/// `rxml` knows `standalone` only behind `encoding`, XML also without it.
fn declares_standalone_alone(input: &[u8]) -> bool {
    let declaration = input.split(|&b| b == b'>').next().unwrap_or_default();
    let mentions = |word: &[u8]| declaration.windows(word.len()).any(|window| window == word);
    declaration.starts_with(b"<?xml") && mentions(b"standalone") && !mentions(b"encoding")
}

/// `rxml` drops carriage returns that no line feed follows; by XML they are line ends.
fn has_lone_carriage_return(input: &[u8]) -> bool {
    input.iter().enumerate().any(|(at, &b)| b == b'\r' && input.get(at + 1) != Some(&b'\n'))
}

/// Turns the events of `rxml` into the lines that [`line`] makes.
#[derive(Default)]
struct Record {
    depth: usize,
    events: Vec<String>,
    current: String,
}

impl Record {
    fn take(&mut self, event: rxml::Event) {
        match event {
            rxml::Event::XmlDeclaration(..) => {}
            rxml::Event::StartElement(_, (namespace, name), attributes) => {
                if self.depth == 0 {
                    self.events.push(format!("open {{{namespace}}}{name}"));
                } else {
                    self.start(&namespace, &name, &attributes);
                }
                self.depth += 1;
            }
            rxml::Event::EndElement(_) => self.end(),
            rxml::Event::Text(_, text) if self.depth > 1 => push_text(&mut self.current, &text),
            rxml::Event::Text(..) => {}
        }
    }

    fn start(&mut self, namespace: &str, name: &str, attributes: &rxml::AttrMap) {
        self.current += &format!("<{{{namespace}}}{name}");
        let mut lines: Vec<String> = attributes
            .iter()
            .map(|((namespace, name), value)| format!(" {{{namespace}}}{name}={value:?}"))
            .collect();
        lines.sort();
        self.current += &lines.concat();
        self.current += ">";
    }

    fn end(&mut self) {
        self.depth -= 1;
        match self.depth {
            0 => self.events.push("close".into()),
            1 => {
                self.current += "</>";
                self.events.push(format!("element {}", std::mem::take(&mut self.current)));
            }
            _ => self.current += "</>",
        }
    }

    fn outcome(self, end: End<rxml::Error>) -> Outcome<rxml::Error> {
        Outcome { events: self.events, end }
    }
}

/// Adds text so that it does not matter into how many pieces a parser cut it.
fn push_text(out: &mut String, text: &str) {
    *out += &text.escape_debug().to_string();
}

fn show(input: &[u8]) -> String {
    String::from_utf8_lossy(input).escape_debug().to_string()
}
