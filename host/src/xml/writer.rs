//! A small writer of XML: elements, attributes and escaped text into a `String`.
//!
//! Names, prefixes and declarations are the caller's business; values and text are escaped here.

use smallvec::SmallVec;

use super::escape::{push_attribute, push_text};

/// Appends elements to a `String`. Every [`Writer::start`] needs its [`Writer::end`].
pub struct Writer<'o> {
    out: &'o mut String,
    /// Where the names of the open elements stand in `out`.
    open: SmallVec<[(usize, usize); 8]>,
    in_tag: bool,
}

impl<'o> Writer<'o> {
    /// A writer that appends to `out`.
    pub fn new(out: &'o mut String) -> Self {
        Self { out, open: SmallVec::new(), in_tag: false }
    }

    /// Opens an element.
    pub fn start(&mut self, name: &str) -> &mut Self {
        self.finish_tag();
        self.out.push('<');
        let from = self.out.len();
        self.out.push_str(name);
        self.open.push((from, self.out.len()));
        self.in_tag = true;
        self
    }

    /// Adds an attribute to the element just opened.
    pub fn attribute(&mut self, name: &str, value: &str) -> &mut Self {
        debug_assert!(self.in_tag, "attributes come before content");
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("='");
        push_attribute(self.out, value);
        self.out.push('\'');
        self
    }

    /// Adds text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.finish_tag();
        push_text(self.out, text);
        self
    }

    /// Adds XML that is well-formed already.
    pub fn raw(&mut self, xml: &str) -> &mut Self {
        self.finish_tag();
        self.out.push_str(xml);
        self
    }

    /// Closes the innermost open element.
    pub fn end(&mut self) -> &mut Self {
        let Some((from, to)) = self.open.pop() else {
            debug_assert!(false, "an end without a start");
            return self;
        };
        if self.in_tag {
            self.out.push_str("/>");
            self.in_tag = false;
        } else {
            self.out.push_str("</");
            self.out.extend_from_within(from..to);
            self.out.push('>');
        }
        self
    }

    /// Adds an element that holds nothing but text.
    pub fn element(&mut self, name: &str, text: &str) -> &mut Self {
        self.start(name).text(text).end()
    }

    fn finish_tag(&mut self) {
        if self.in_tag {
            self.out.push('>');
            self.in_tag = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_nest_and_empty_ones_are_short() {
        let mut out = String::new();
        let mut writer = Writer::new(&mut out);
        writer.start("a").attribute("b", "'<\"").start("c").end().element("d", "<&>").raw("<e/>").end();
        assert_eq!(out, "<a b='&apos;&lt;&quot;'><c/><d>&lt;&amp;&gt;</d><e/></a>");
    }
}
