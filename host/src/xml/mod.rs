//! XML as XMPP allows it: a validating framer for streams, a small read-only tree and a small writer.
//!
//! Knows nothing of XMPP above element boundaries. What the framer lets through is well-formed by XML 1.0 and
//! Namespaces in XML 1.0, is UTF-8, and holds none of what RFC 6120 section 11.1 forbids: whatever is passed on
//! unparsed, another parser will read, and every disagreement with it would be a hole to smuggle stanzas through.

mod chars;
mod element;
mod error;
pub mod escape;
mod framed;
mod framer;
mod header;
mod limits;
mod namespaces;
mod scan;
mod tag;
mod unit;
mod writer;

pub use element::{Element, Node};
pub use error::{FrameError, FrameErrorClass};
pub(crate) use escape::{push_attribute, push_text};
pub use framed::{Event, Framed, StreamHeader};
pub use framer::{Framer, frame_whole};
pub use limits::Limits;
pub(crate) use namespaces::Namespace;
pub use namespaces::Scope;
pub(crate) use scan::{CDATA_END, CDATA_START};
pub(crate) use tag::{RawAttribute, Span};
pub use writer::Writer;

/// The namespace that the prefix `xml` is bound to (Namespaces in XML 1.0, section 3).
pub const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";
/// The namespace that the prefix `xmlns` is bound to (Namespaces in XML 1.0, section 3).
pub const XMLNS_NAMESPACE: &str = "http://www.w3.org/2000/xmlns/";

#[cfg(test)]
pub(crate) mod tests;
