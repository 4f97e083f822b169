//! What a client needs of XML: cutting a stream into stanzas, and looking into one stanza.

mod element;
mod splitter;

pub use element::{Element, ParseError, escape};
pub use splitter::{Piece, Splitter};
