//! Reading one whole element (`xml_stream:parse_element/1`), over quick-xml, within limits.
//!
//! Refused with a reason and never with a panic: anything before or after the element but white space, document types,
//! processing instructions, comments, references to other than the five predefined entities and characters, repeated
//! attributes, characters that XML 1.0 does not allow, and whatever passes the limits.

use super::{Element, Node};
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use std::fmt;

/// Limits of [`parse_with_limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the text.
    pub size: usize,
    /// Elements inside each other.
    pub depth: usize,
    /// Attributes of one element.
    pub attributes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { size: 4 << 20, depth: 128, attributes: 128 }
    }
}

/// Why a text is no element: a sentence without a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError(String);

impl ParseError {
    pub(crate) fn not_utf8() -> Self {
        Self("it is not UTF-8".into())
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParseError {}

/// Reads one element within the default limits.
pub fn parse_element(text: &str) -> Result<Element, ParseError> {
    parse_with_limits(text, Limits::default())
}

/// Reads one element within these limits.
pub fn parse_with_limits(text: &str, limits: Limits) -> Result<Element, ParseError> {
    if text.len() > limits.size {
        return refuse(format!("it has {} bytes where {} are allowed", text.len(), limits.size));
    }
    if let Some(c) = text.chars().find(|&c| !allowed(c)) {
        return refuse(format!("it contains the character U+{:04X}", u32::from(c)));
    }
    let mut reader = Reader::from_str(text);
    let mut tree = Tree { limits, open: Vec::new(), done: None };
    loop {
        match reader.read_event().map_err(|e| ParseError(e.to_string()))? {
            Event::Start(tag) => tree.start(&tag)?,
            Event::Empty(tag) => {
                tree.start(&tag)?;
                tree.end()?;
            }
            Event::End(_) => tree.end()?,
            Event::Text(text) => tree.text(&text.xml10_content())?,
            Event::CData(text) => tree.cdata(&text.xml10_content())?,
            Event::GeneralRef(reference) => tree.text_char(resolve(&reference)?)?,
            Event::Eof => return tree.finish(),
            Event::Comment(_) => return refuse("it contains a comment"),
            Event::PI(_) | Event::Decl(_) => {
                return refuse("it contains a processing instruction or declaration");
            }
            Event::DocType(_) => return refuse("it contains a document type"),
        }
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError(why.into()))
}

/// XML 1.0, production 2.
fn allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn resolve(reference: &BytesRef<'_>) -> Result<char, ParseError> {
    if reference.is_char_ref() {
        return match reference.resolve_char_ref() {
            Ok(Some(c)) if allowed(c) => Ok(c),
            _ => refuse(format!("it refers to the character &{};", &**reference)),
        };
    }
    match &**reference {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        other => refuse(format!("it refers to the entity &{other};")),
    }
}

/// The tree under construction.
struct Tree {
    limits: Limits,
    open: Vec<Element>,
    done: Option<Element>,
}

impl Tree {
    fn start(&mut self, tag: &BytesStart<'_>) -> Result<(), ParseError> {
        if self.done.is_some() {
            return refuse("it has a second element after the first");
        }
        if self.open.len() >= self.limits.depth {
            return refuse(format!("its elements are nested deeper than {}", self.limits.depth));
        }
        let name = tag.name();
        check_name(name.as_ref())?;
        let mut element = Element::new(name.as_ref());
        for attribute in tag.attributes() {
            let attribute = attribute.map_err(|e| ParseError(e.to_string()))?;
            if element.attrs.len() >= self.limits.attributes {
                return refuse(format!("an element has more than {} attributes", self.limits.attributes));
            }
            let key = attribute.key;
            check_name(key.as_ref())?;
            if attribute.value.contains('<') {
                return refuse("an attribute contains <");
            }
            let value =
                attribute.normalized_value(XmlVersion::Explicit1_0).map_err(|e| ParseError(e.to_string()))?;
            if value.contains(|c| !allowed(c)) {
                return refuse("an attribute refers to a character that XML does not allow");
            }
            element.attrs.push((key.as_ref().to_owned(), value.into_owned()));
        }
        self.open.push(element);
        Ok(())
    }

    fn end(&mut self) -> Result<(), ParseError> {
        let Some(element) = self.open.pop() else {
            return refuse("it closes an element that is not open");
        };
        match self.open.last_mut() {
            Some(parent) => parent.children.push(Node::Element(element)),
            None => self.done = Some(element),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), ParseError> {
        if text.contains("]]>") {
            return refuse("its text contains ]]>");
        }
        match self.open.last_mut() {
            Some(element) => element.push_text(text.to_owned()),
            None if text.chars().all(|c| c.is_ascii_whitespace()) => {}
            None => return refuse("it has text outside the element"),
        }
        Ok(())
    }

    fn cdata(&mut self, text: &str) -> Result<(), ParseError> {
        match self.open.last_mut() {
            Some(element) => element.push_text(text.to_owned()),
            None => return refuse("it has text outside the element"),
        }
        Ok(())
    }

    fn text_char(&mut self, c: char) -> Result<(), ParseError> {
        self.cdata(c.encode_utf8(&mut [0; 4]))
    }

    fn finish(self) -> Result<Element, ParseError> {
        match (self.done, self.open.last()) {
            (_, Some(element)) => refuse(format!("the element {} is not closed", element.name)),
            (Some(element), None) => Ok(element),
            (None, None) => refuse("there is no element"),
        }
    }
}

/// XML names as far as it matters: no separators inside, no digit or mark first (Namespaces in XML 1.0, production 7).
fn check_name(name: &str) -> Result<(), ParseError> {
    let part_ok = |part: &str| {
        let mut chars = part.chars();
        chars.next().is_some_and(|c| c.is_alphabetic() || c == '_' || (c as u32) > 0x2ff)
            && chars
                .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '\u{b7}') || (c as u32) > 0x2ff)
    };
    let good = match name.split_once(':') {
        Some((prefix, local)) => part_ok(prefix) && part_ok(local),
        None => part_ok(name),
    };
    if good { Ok(()) } else { refuse(format!("{name:?} is no name of an element or attribute")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_references_and_cdata_become_one_text() {
        let el = parse_element(" <a>x &amp; <![CDATA[<y>]]>&#x41;&#66;</a>\n").unwrap();
        assert_eq!(el.children(), [Node::Text("x & <y>AB".into())]);
    }

    #[test]
    fn white_space_in_attributes_is_normalised_unless_referred_to() {
        let el = parse_element("<a k='1\n2&#10;3&lt;'/>").unwrap();
        assert_eq!(el.attr("k"), Some("1 2\n3<"));
    }

    #[test]
    fn everything_unlawful_is_refused_with_a_reason() {
        for (text, says) in [
            ("", "no element"),
            ("text", "outside"),
            ("<a>", "not closed"),
            ("<a></b>", ""),
            ("</a>", ""),
            ("<a/><b/>", "second"),
            ("<a/>x", "outside"),
            ("<!DOCTYPE a><a/>", "document type"),
            ("<?xml version='1.0'?><a/>", "declaration"),
            ("<a><?pi?></a>", "processing"),
            ("<a><!-- c --></a>", "comment"),
            ("<a>&nbsp;</a>", "&nbsp;"),
            ("<a>&#0;</a>", "&#0;"),
            ("<a k='&#1;'/>", ""),
            ("<a k='&x;'/>", ""),
            ("<a k='1' k='2'/>", ""),
            ("<a k=1/>", ""),
            ("<a k='<'/>", "<"),
            ("<a>]]></a>", "]]>"),
            ("<1/>", "no name"),
            ("<a:b:c/>", "no name"),
            ("<a\u{1}/>", "U+0001"),
            ("<a", ""),
            ("<a>&amp</a>", ""),
        ] {
            let error = parse_element(text).expect_err(text);
            assert!(error.to_string().contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn limits_hold() {
        let limits = Limits { size: 60, depth: 3, attributes: 2 };
        assert!(parse_with_limits("<a><b><c/></b></a>", limits).is_ok());
        for text in
            ["<a><b><c><d/></c></b></a>", "<a x='1' y='2' z='3'/>", &format!("<a>{}</a>", "x".repeat(60))]
        {
            assert!(parse_with_limits(text, limits).is_err(), "{text}");
        }
        let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
        assert!(parse_element(&deep).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_text_makes_it_panic(text in "[<>/a-c='\"&;!\\[\\]CDATA#x0-9? :\u{0}-\u{ff}-]{0,40}") {
            let _ = parse_element(&text);
        }

        #[test]
        fn what_it_reads_it_can_write_and_read_again(text in "<a( [b-d]='[a-z&;<]{0,3}')?>(x|&amp;|<b/>|</a>|<c>){0,6}</a>") {
            if let Ok(element) = parse_element(&text) {
                prop_assert_eq!(parse_element(&element.to_string()), Ok(element));
            }
        }
    }
}
