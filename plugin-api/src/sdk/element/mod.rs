//! An XML element as a tree: name, attributes, children, in the order they were written.
//!
//! Namespaces are kept as they stand: `xmlns` is an attribute, a prefixed name keeps its prefix. The host hands modules
//! self-contained elements, so that is enough for everything a stanza carries. Each function names the one of the
//! ejabberd sources that it stands for.

mod parse;
mod path;
mod write;

pub use parse::{Limits, ParseError, parse_element, parse_with_limits};
pub use path::{PathValue, Step};
pub use write::{escape, escape_into};

/// An element: what the sources write as `{xmlelement, Name, Attrs, Children}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    name: String,
    attrs: Vec<(String, String)>,
    children: Vec<Node>,
}

/// A child: an element or text (the sources' `{xmlcdata, Text}`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A child element.
    Element(Element),
    /// Character data, unescaped.
    Text(String),
}

impl Element {
    /// An empty element. The name is written as given: it is the caller's to choose a lawful one.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), attrs: Vec::new(), children: Vec::new() }
    }

    /// Its name, with a prefix if it has one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its own `xmlns`, if it carries one.
    pub fn ns(&self) -> Option<&str> {
        self.attr("xmlns")
    }

    /// Whether it has this name and carries this `xmlns`.
    pub fn is(&self, name: &str, ns: &str) -> bool {
        self.name == name && self.ns() == Some(ns)
    }

    /// The same with this `xmlns`.
    pub fn with_ns(self, ns: impl Into<String>) -> Self {
        self.with_attr("xmlns", ns)
    }

    /// The same with this attribute set.
    pub fn with_attr(mut self, name: impl AsRef<str>, value: impl Into<String>) -> Self {
        self.set_attr(name, value);
        self
    }

    /// The same with this child at the end.
    pub fn with_child(mut self, child: Element) -> Self {
        self.children.push(Node::Element(child));
        self
    }

    /// The same with these children at the end.
    pub fn with_children(mut self, children: impl IntoIterator<Item = Element>) -> Self {
        self.children.extend(children.into_iter().map(Node::Element));
        self
    }

    /// The same with this text at the end.
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.push_text(text.into());
        self
    }

    /// Sets an attribute, in place if it is there.
    pub fn set_attr(&mut self, name: impl AsRef<str>, value: impl Into<String>) {
        let name = name.as_ref();
        match self.attrs.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value.into(),
            None => self.attrs.push((name.to_owned(), value.into())),
        }
    }

    /// Removes an attribute and gives its value.
    pub fn remove_attr(&mut self, name: &str) -> Option<String> {
        let index = self.attrs.iter().position(|(n, _)| n == name)?;
        Some(self.attrs.remove(index).1)
    }

    /// Appends a child.
    pub fn push(&mut self, child: Element) {
        self.children.push(Node::Element(child));
    }

    fn push_text(&mut self, text: String) {
        match self.children.last_mut() {
            // Two neighbouring texts could not be told apart once written.
            Some(Node::Text(last)) => last.push_str(&text),
            _ if text.is_empty() => {}
            _ => self.children.push(Node::Text(text)),
        }
    }

    /// All attributes in order.
    pub fn attrs(&self) -> &[(String, String)] {
        &self.attrs
    }

    /// All children in order.
    pub fn children(&self) -> &[Node] {
        &self.children
    }

    /// All children, to be changed.
    pub fn children_mut(&mut self) -> &mut Vec<Node> {
        &mut self.children
    }

    /// The child elements in order.
    pub fn elements(&self) -> impl Iterator<Item = &Element> {
        self.children.iter().filter_map(Node::as_element)
    }

    /// An attribute's value (`get_tag_attr/2`).
    pub fn attr(&self, name: &str) -> Option<&str> {
        get_attr(name, &self.attrs)
    }

    /// An attribute's value, or the empty string (`get_tag_attr_s/2`).
    pub fn attr_s(&self, name: &str) -> &str {
        self.attr(name).unwrap_or("")
    }

    /// All text children concatenated (`get_tag_cdata/1`).
    pub fn text(&self) -> String {
        get_cdata(&self.children)
    }

    /// The first child element of this name (`get_subtag/2`).
    pub fn subtag(&self, name: &str) -> Option<&Element> {
        self.elements().find(|e| e.name == name)
    }

    /// The first child element of this name in this namespace: its own `xmlns`, or this element's where it carries none.
    pub fn subtag_ns(&self, name: &str, ns: &str) -> Option<&Element> {
        self.elements().find(|e| e.name == name && e.ns().or(self.ns()) == Some(ns))
    }

    /// The text of the first child element of this name, or the empty string.
    pub fn subtag_text(&self, name: &str) -> String {
        self.subtag(name).map(Element::text).unwrap_or_default()
    }
}

impl Node {
    /// The element, if it is one.
    pub fn as_element(&self) -> Option<&Element> {
        match self {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Node::Text(text) => Some(text),
            Node::Element(_) => None,
        }
    }
}

/// The nodes that are elements, in order (`remove_cdata/1`).
pub fn remove_cdata(nodes: &[Node]) -> Vec<Node> {
    nodes.iter().filter(|n| n.as_element().is_some()).cloned().collect()
}

/// The text of all text nodes, concatenated (`get_cdata/1`).
pub fn get_cdata(nodes: &[Node]) -> String {
    nodes.iter().filter_map(Node::as_text).collect()
}

/// An attribute's value in a list (`get_attr/2`).
pub fn get_attr<'a>(name: &str, attrs: &'a [(String, String)]) -> Option<&'a str> {
    attrs.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

/// An attribute's value in a list, or the empty string (`get_attr_s/2`).
pub fn get_attr_s<'a>(name: &str, attrs: &'a [(String, String)]) -> &'a str {
    get_attr(name, attrs).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groupchat() -> Element {
        Element::new("message")
            .with_attr("to", "test@conference.localhost")
            .with_attr("type", "groupchat")
            .with_child(Element::new("body").with_text("Hi all"))
    }

    #[test]
    fn the_groupchat_example_has_the_tree_of_the_sources() {
        let text = "<message to='test@conference.localhost' type='groupchat'><body>Hi all</body></message>";
        let tree = parse_element(text).unwrap();
        assert_eq!(tree, groupchat());
        assert_eq!(tree.attrs()[1], ("type".to_owned(), "groupchat".to_owned()));
        assert_eq!(tree.subtag("body").unwrap().children(), [Node::Text("Hi all".into())]);
    }

    #[test]
    fn cdata_is_removed_and_elements_keep_their_order() {
        let el = parse_element("<a>x<b/>y<c/>z</a>").unwrap();
        let names: Vec<_> =
            remove_cdata(el.children()).iter().map(|n| n.as_element().unwrap().name.clone()).collect();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(get_cdata(el.children()), "xyz");
        assert_eq!(el.text(), "xyz");
    }

    #[test]
    fn attributes_come_plain_or_as_an_empty_string() {
        let el = groupchat();
        assert_eq!((el.attr("type"), el.attr("from")), (Some("groupchat"), None));
        assert_eq!((el.attr_s("type"), el.attr_s("from")), ("groupchat", ""));
        assert_eq!(
            (get_attr("to", el.attrs()), get_attr_s("id", el.attrs())),
            (Some("test@conference.localhost"), "")
        );
    }

    #[test]
    fn subtags_are_found_by_name_and_by_inherited_namespace() {
        let el = parse_element("<q xmlns='urn:a'><i n='1'/><i n='2' xmlns='urn:b'/><i n='3'/></q>").unwrap();
        assert_eq!(el.subtag("i").unwrap().attr_s("n"), "1");
        assert_eq!(el.subtag_ns("i", "urn:b").unwrap().attr_s("n"), "2");
        assert_eq!(el.subtag_ns("i", "urn:a").unwrap().attr_s("n"), "1");
        assert!(el.subtag("x").is_none() && el.subtag_ns("i", "urn:c").is_none());
    }

    #[test]
    fn building_keeps_one_attribute_per_name_and_one_text_between_elements() {
        let mut el = Element::new("a")
            .with_attr("k", "1")
            .with_attr("k", "2")
            .with_text("x")
            .with_text("")
            .with_text("y");
        assert_eq!(el.attrs().len(), 1);
        assert_eq!(el.children(), [Node::Text("xy".into())]);
        assert_eq!(el.remove_attr("k").as_deref(), Some("2"));
        assert_eq!(el.remove_attr("k"), None);
    }
}
