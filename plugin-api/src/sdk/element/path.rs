//! `get_path_s`: a value deep inside an element, or the empty string.

use super::Element;
use std::borrow::Cow;

/// One step of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'p> {
    /// Into the first child element of this name.
    Elem(&'p str),
    /// The value of this attribute; the path ends here.
    Attr(&'p str),
    /// The text of the element; the path ends here.
    Cdata,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathValue<'a> {
    /// The path ended on an element.
    Element(&'a Element),
    /// The path ended on text, or led nowhere: then the text is empty.
    Text(Cow<'a, str>),
}

impl<'a> PathValue<'a> {
    /// The text, empty for an element.
    pub fn as_str(&self) -> &str {
        match self {
            PathValue::Text(text) => text,
            PathValue::Element(_) => "",
        }
    }

    /// The element, if the path ended on one.
    pub fn element(&self) -> Option<&'a Element> {
        match self {
            PathValue::Element(element) => Some(element),
            PathValue::Text(_) => None,
        }
    }
}

impl Element {
    /// Follows a path (`get_path_s/2`): the empty path gives the element itself, the first missing step the empty string.
    pub fn path<'a>(&'a self, path: &[Step<'_>]) -> PathValue<'a> {
        match path.split_first() {
            None => PathValue::Element(self),
            Some((Step::Elem(name), rest)) => match self.subtag(name) {
                Some(child) => child.path(rest),
                None => PathValue::Text(Cow::Borrowed("")),
            },
            Some((Step::Attr(name), _)) => PathValue::Text(Cow::Borrowed(self.attr_s(name))),
            Some((Step::Cdata, _)) => PathValue::Text(Cow::Owned(self.text())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Step::{Attr, Cdata, Elem};
    use super::*;
    use crate::sdk::element::parse_element;

    #[test]
    fn twelve_paths() {
        let el = parse_element("<a k='v'>t<b k='w'>u<c/></b><b>second</b><d><e m='x&amp;y'>z</e></d></a>")
            .unwrap();
        let texts: [(&[Step<'_>], &str); 9] = [
            (&[Attr("k")], "v"),
            (&[Attr("none")], ""),
            (&[Cdata], "t"),
            (&[Elem("b"), Attr("k")], "w"),
            (&[Elem("b"), Cdata], "u"),
            (&[Elem("none"), Attr("k")], ""),
            (&[Elem("d"), Elem("e"), Attr("m")], "x&y"),
            (&[Elem("d"), Elem("e"), Cdata], "z"),
            (&[Elem("b"), Elem("c"), Cdata], ""),
        ];
        for (path, expected) in texts {
            assert_eq!(el.path(path), PathValue::Text(expected.into()), "{path:?}");
        }
        assert_eq!(el.path(&[]).element(), Some(&el));
        assert_eq!(el.path(&[Elem("d"), Elem("e")]).element().map(Element::name), Some("e"));
        assert_eq!(el.path(&[Elem("none")]), PathValue::Text("".into()));
    }
}
