//! A read-only tree of one element, for the few that the host itself must look into.
//!
//! Stanzas that are only passed on never become trees. Text and attribute values are decoded, namespaces resolved.

use std::sync::Arc;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::escape::{resolve_reference, unescape_attribute, unescape_text};
use super::namespaces::Scope;
use super::writer::Writer;
use super::{FrameError, Limits, XML_NAMESPACE};

/// One element with everything in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    name: String,
    namespace: Arc<str>,
    attributes: Vec<Attribute>,
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Attribute {
    name: String,
    /// Empty for an attribute without prefix.
    namespace: Arc<str>,
    value: String,
}

/// What stands inside an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// An element.
    Element(Element),
    /// Text, decoded and not empty. Two texts never follow each other.
    Text(String),
}

impl Element {
    /// The name without prefix.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace; empty when there is none.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether name and namespace are these.
    pub fn is(&self, name: &str, namespace: &str) -> bool {
        self.name == name && *self.namespace == *namespace
    }

    /// The value of an attribute without prefix.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attribute_ns(name, "")
    }

    /// The value of an attribute in a namespace.
    pub fn attribute_ns(&self, name: &str, namespace: &str) -> Option<&str> {
        let mut attributes = self.attributes.iter();
        attributes.find(|a| a.name == name && *a.namespace == *namespace).map(|a| a.value.as_str())
    }

    /// Namespace, name and value of every attribute; the namespace is empty for attributes without prefix.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str, &str)> + Clone {
        self.attributes.iter().map(|a| (&*a.namespace, a.name.as_str(), a.value.as_str()))
    }

    /// Everything inside, in order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The child elements in order.
    pub fn children(&self) -> impl Iterator<Item = &Element> + Clone {
        self.nodes.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// The first child of that name and namespace.
    pub fn child(&self, name: &str, namespace: &str) -> Option<&Element> {
        self.children().find(|child| child.is(name, namespace))
    }

    /// The text directly inside this element, put together.
    pub fn text(&self) -> String {
        let texts = self.nodes.iter().filter_map(|node| match node {
            Node::Text(text) => Some(text.as_str()),
            Node::Element(_) => None,
        });
        texts.collect()
    }
}

impl Element {
    /// Reads a whole element from text that others wrote: a module, a file, an administrator.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, FrameError> {
        Ok(super::frame_whole(text.as_bytes(), limits, &NO_SCOPE)?.to_element())
    }

    /// Builds the tree of an element that was framed, which is why nothing is checked here. `outer` is what is in
    /// scope around it.
    pub(crate) fn of_checked(framed: &str, outer: &Scope) -> Self {
        let prefixes = outer.prefixes.iter().map(|(prefix, namespace)| (&**prefix, &**namespace));
        let bindings = std::iter::once(("", outer.default_namespace())).chain(prefixes);
        let scope = bindings.map(|(prefix, namespace)| (prefix.into(), namespace.into())).collect();
        let mut builder = Builder { scope, open: Vec::new(), done: None };
        let mut reader = Reader::from_str(framed);
        loop {
            match reader.read_event() {
                Ok(Event::Eof) | Err(_) => break,
                Ok(event) => builder.take(event),
            }
        }
        builder.finish()
    }

    /// The element as XML that stands alone: it relies on no declaration outside of itself.
    pub fn to_xml(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, "");
        out
    }

    /// Appends the element to XML in which `default_namespace` is the default namespace.
    pub fn write(&self, out: &mut String, default_namespace: &str) {
        self.write_into(&mut Writer::new(out), default_namespace);
    }

    fn write_into(&self, writer: &mut Writer<'_>, default_namespace: &str) {
        let mut inside = &*self.namespace;
        if inside == XML_NAMESPACE {
            // The one namespace that no declaration may make the default.
            writer.start(&format!("xml:{}", self.name));
            inside = default_namespace;
        } else {
            writer.start(&self.name);
        }
        if inside != default_namespace {
            writer.attribute("xmlns", inside);
        }
        for (index, attribute) in self.attributes.iter().enumerate() {
            attribute.write_into(writer, index);
        }
        for node in &self.nodes {
            match node {
                Node::Element(element) => element.write_into(writer, inside),
                Node::Text(text) => {
                    writer.text(text);
                }
            }
        }
        writer.end();
    }
}

impl Attribute {
    /// Attributes in a namespace get a prefix of their own, declared beside them.
    fn write_into(&self, writer: &mut Writer<'_>, index: usize) {
        if self.namespace.is_empty() {
            writer.attribute(&self.name, &self.value);
        } else if *self.namespace == *XML_NAMESPACE {
            writer.attribute(&format!("xml:{}", self.name), &self.value);
        } else {
            writer.attribute(&format!("xmlns:a{index}"), &self.namespace);
            writer.attribute(&format!("a{index}:{}", self.name), &self.value);
        }
    }
}

/// The scope around an element that stands alone.
static NO_SCOPE: Scope = Scope::with_default("");

/// A namespace declaration in scope; the default namespace has the empty prefix.
type Binding = (Arc<str>, Arc<str>);

/// Turns quick-xml's events into a tree.
struct Builder {
    scope: Vec<Binding>,
    /// The open elements, each with the length of `scope` outside of it.
    open: Vec<(Element, usize)>,
    done: Option<Element>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::Empty(tag) => {
                self.start(&tag);
                self.end();
            }
            Event::End(_) => self.end(),
            Event::Text(text) => self.text(&unescape_text(&text)),
            Event::CData(text) => self.text(&text.replace("\r\n", "\n").replace('\r', "\n")),
            Event::GeneralRef(name) => {
                self.text(resolve_reference(&name).unwrap_or_default().encode_utf8(&mut [0; 4]))
            }
            _ => {}
        }
    }

    /// The tree. What is still open, if quick-xml stopped where the framer saw nothing wrong, ends here.
    fn finish(mut self) -> Element {
        while !self.open.is_empty() {
            self.end();
        }
        self.done.unwrap_or_default()
    }

    fn start(&mut self, tag: &BytesStart<'_>) {
        let outside = self.scope.len();
        let raw: Vec<(&str, String)> = tag
            .attributes()
            .with_checks(false)
            .flatten()
            .map(|a| (a.key.into_inner(), unescape_attribute(&a.value).into_owned()))
            .collect();
        for (name, value) in &raw {
            if let Some(prefix) = declared_prefix(name) {
                self.scope.push((prefix.into(), value.as_str().into()));
            }
        }
        let (namespace, name) = self.resolve(tag.name().into_inner(), true);
        let mut element = Element { name: name.into(), namespace, attributes: Vec::new(), nodes: Vec::new() };
        for (name, value) in raw.into_iter().filter(|(name, _)| declared_prefix(name).is_none()) {
            let (namespace, name) = self.resolve(name, false);
            element.attributes.push(Attribute { name: name.into(), namespace, value });
        }
        self.open.push((element, outside));
    }

    fn end(&mut self) {
        let Some((element, outside)) = self.open.pop() else { return };
        self.scope.truncate(outside);
        match self.open.last_mut() {
            Some((parent, _)) => parent.nodes.push(Node::Element(element)),
            None => self.done = Some(element),
        }
    }

    fn text(&mut self, text: &str) {
        let Some((element, _)) = self.open.last_mut().filter(|_| !text.is_empty()) else { return };
        match element.nodes.last_mut() {
            Some(Node::Text(before)) => before.push_str(text),
            _ => element.nodes.push(Node::Text(text.into())),
        }
    }

    /// Splits a name and finds its namespace; only names of elements take the default namespace.
    fn resolve<'n>(&self, name: &'n str, use_default: bool) -> (Arc<str>, &'n str) {
        let (prefix, local) = name.split_once(':').unwrap_or(("", name));
        if prefix == "xml" {
            return (XML_NAMESPACE.into(), local);
        }
        let binding = self.scope.iter().rev().find(|(declared, _)| **declared == *prefix);
        let namespace =
            binding.filter(|_| use_default || !prefix.is_empty()).map(|(_, namespace)| namespace.clone());
        (namespace.unwrap_or_else(|| "".into()), local)
    }
}

/// The prefix that an attribute declares, if it is a namespace declaration.
fn declared_prefix(attribute: &str) -> Option<&str> {
    if attribute == "xmlns" { Some("") } else { attribute.strip_prefix("xmlns:") }
}
