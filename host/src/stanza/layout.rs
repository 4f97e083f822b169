//! Where things are in a stanza's text, and how such a text is put together.

use std::cell::Cell;
use std::sync::Arc;

use super::{Jid, Kind};
use crate::xml::{Span, push_attribute};

/// Positions in the text of a stanza. The text starts with `<`, the name, `from` and `to`, in this order; everything
/// else comes after them, so that new addresses move all of it by the same distance.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Layout {
    /// Where the addresses end.
    pub rest: u32,
    /// Where the start tag ends.
    pub open_end: u32,
    /// The value of `type`, as written.
    pub type_: Option<Span>,
    /// The value of `id`, as written.
    pub id: Option<Span>,
    /// The value of `xml:lang`, as written.
    pub lang: Option<Span>,
    /// The name of the first child element.
    pub payload: Option<Span>,
    /// The namespace of the first child element, where it is declared inside the stanza.
    pub payload_namespace: Option<Span>,
    /// How many child elements there are.
    pub children: u32,
}

impl Layout {
    /// The same layout with everything after the addresses moved to start at `rest`.
    pub(super) fn moved(self, rest: usize) -> Self {
        let distance = rest as i64 - i64::from(self.rest);
        let moved =
            |at: u32| u32::try_from(i64::from(at) + distance).expect("stanzas are below 32 bits in size");
        let span = |span: Option<Span>| span.map(|s| Span { start: moved(s.start), end: moved(s.end) });
        Self {
            rest: moved(self.rest),
            open_end: moved(self.open_end),
            type_: span(self.type_),
            id: span(self.id),
            lang: span(self.lang),
            payload: span(self.payload),
            payload_namespace: span(self.payload_namespace),
            children: self.children,
        }
    }
}

/// Writes the beginning of a start tag: the name and the addresses.
pub(super) fn write_addresses(out: &mut String, kind: Kind, from: Option<&Jid>, to: Option<&Jid>) {
    out.push('<');
    out.push_str(kind.as_str());
    for (name, jid) in [(" from='", from), (" to='", to)] {
        if let Some(jid) = jid {
            out.push_str(name);
            push_attribute(out, jid.as_str());
            out.push('\'');
        }
    }
}

/// The capacity up to which the scratch text of a thread is kept.
const KEPT_CAPACITY: usize = 64 * 1024;

thread_local! {
    /// Where texts are put together before they are shared, so that a stanza costs one allocation.
    static SCRATCH: Cell<String> = const { Cell::new(String::new()) };
}

/// Puts a text together and shares it, in one allocation.
pub(super) fn shared<R>(write: impl FnOnce(&mut String) -> R) -> (Arc<str>, R) {
    let mut scratch = SCRATCH.take();
    scratch.clear();
    let result = write(&mut scratch);
    let text = Arc::from(scratch.as_str());
    if scratch.capacity() <= KEPT_CAPACITY {
        SCRATCH.set(scratch);
    }
    (text, result)
}
