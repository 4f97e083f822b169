//! Writing elements: one canonical form.

use super::{Element, Node};
use std::borrow::Cow;
use std::fmt;

/// Escapes the five special characters of XML (`crypt/1`). Twice is not the same as once.
pub fn escape(text: &str) -> Cow<'_, str> {
    match text.find(special) {
        None => Cow::Borrowed(text),
        Some(first) => {
            let mut out = String::with_capacity(text.len() + 16);
            out.push_str(&text[..first]);
            escape_into(&mut out, &text[first..]);
            Cow::Owned(out)
        }
    }
}

/// Appends `text` escaped.
pub fn escape_into(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(i) = rest.find(special) {
        out.push_str(&rest[..i]);
        out.push_str(match rest.as_bytes()[i] {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            _ => "&apos;",
        });
        rest = &rest[i + 1..];
    }
    out.push_str(rest);
}

fn special(c: char) -> bool {
    matches!(c, '&' | '<' | '>' | '"' | '\'')
}

/// Inside an attribute a reader turns white space into blanks, unless it is written as a reference; a carriage return is
/// lost everywhere without one (XML 1.0, 2.11 and 3.3.3).
fn escape_exactly(out: &mut String, text: &str, attribute: bool) {
    let fragile = |c: char| c == '\r' || (attribute && matches!(c, '\n' | '\t'));
    let mut rest = text;
    while let Some(i) = rest.find(fragile) {
        escape_into(out, &rest[..i]);
        out.push_str(match rest.as_bytes()[i] {
            b'\r' => "&#13;",
            b'\n' => "&#10;",
            _ => "&#9;",
        });
        rest = &rest[i + 1..];
    }
    escape_into(out, rest);
}

impl Element {
    /// Appends the canonical form to `out` (`element_to_string/1`; `to_string` gives it alone).
    pub fn write_into(&self, out: &mut String) {
        out.push('<');
        out.push_str(&self.name);
        for (name, value) in &self.attrs {
            out.push(' ');
            out.push_str(name);
            out.push_str("='");
            escape_exactly(out, value, true);
            out.push('\'');
        }
        if self.children.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        for child in &self.children {
            match child {
                Node::Element(element) => element.write_into(out),
                Node::Text(text) => escape_exactly(out, text, false),
            }
        }
        out.push_str("</");
        out.push_str(&self.name);
        out.push('>');
    }

    /// The canonical form as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::with_capacity(128);
        self.write_into(&mut out);
        f.write_str(&out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdk::element::parse_element;
    use proptest::prelude::*;

    #[test]
    fn the_five_specials_and_nothing_else() {
        assert_eq!(escape("a<b>&\"'c ü"), "a&lt;b&gt;&amp;&quot;&apos;c ü");
        assert!(matches!(escape("plain"), Cow::Borrowed(_)));
        assert_eq!(escape(&escape("&")), "&amp;amp;");
    }

    #[test]
    fn empty_elements_are_closed_at_once() {
        assert_eq!(Element::new("a").with_attr("k", "it's").to_string(), "<a k='it&apos;s'/>");
    }

    fn name() -> impl Strategy<Value = String> {
        "[a-z][a-z0-9._-]{0,6}"
    }

    /// Characters that XML 1.0 allows.
    fn text() -> impl Strategy<Value = String> {
        "[\t\n\r -~\u{a0}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]{0,12}"
    }

    fn element() -> impl Strategy<Value = Element> {
        let leaf =
            (name(), proptest::collection::btree_map(name(), text(), 0..3)).prop_map(|(name, attrs)| {
                attrs.into_iter().fold(Element::new(name), |el, (k, v)| el.with_attr(k, v))
            });
        leaf.prop_recursive(4, 32, 4, |inner| {
            (inner.clone(), proptest::collection::vec((inner, text()), 0..4)).prop_map(
                |(parent, children)| {
                    children
                        .into_iter()
                        .fold(parent, |el, (child, text)| el.with_text(text).with_child(child))
                },
            )
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_equal(el in element()) {
            prop_assert_eq!(parse_element(&el.to_string()).unwrap(), el);
        }
    }
}
