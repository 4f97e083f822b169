//! Tests of stanzas as a whole: taking them in, rewriting them, answering them.

use super::*;
use crate::xml::{Event, Framer, Limits};

mod ingress;
mod rewriting;

/// The header that clients send.
const HEADER: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
                      xmlns:p='urn:p' xmlns:odd='a&amp;b' version='1.0'>";

fn jid(text: &str) -> Jid {
    Jid::parse(text).unwrap()
}

/// What becomes of `xml` when Juliet sends it on a stream with that header.
fn sent_on(header: &str, xml: &str) -> Result<Stanza, StanzaFault> {
    let mut framer = Framer::new(Limits::default());
    let input = format!("{header}{xml}");
    let mut rest = input.as_bytes();
    assert!(matches!(framer.next(&mut rest), Ok(Some(Event::StreamOpen(_)))));
    match framer.next(&mut rest) {
        Ok(Some(Event::Element(framed))) => Stanza::from_stream(framed, &jid("juliet@example.com/balcony")),
        other => panic!("{xml} is no element: {other:?}"),
    }
}

fn sent(xml: &str) -> Result<Stanza, StanzaFault> {
    sent_on(HEADER, xml)
}
