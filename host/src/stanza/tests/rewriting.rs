//! Rewriting and answering stanzas: every text that results is read again and compared.

use proptest::prelude::*;

use super::*;
use crate::xml::Element;
use crate::xml::tests::generator::{Choices, content};

/// The attributes of an element that a rewriting must leave alone, in a fixed order.
fn kept_attributes(element: &Element) -> Vec<(String, String, String)> {
    let mut attributes: Vec<_> = element
        .attributes()
        .filter(|(namespace, name, _)| !(namespace.is_empty() && matches!(*name, "from" | "to")))
        .map(|(namespace, name, value)| (namespace.to_owned(), name.to_owned(), value.to_owned()))
        .collect();
    attributes.sort();
    attributes
}

fn assert_same_but_for_addresses(before: &Element, after: &Element) {
    assert_eq!((before.name(), before.namespace()), (after.name(), after.namespace()));
    assert_eq!(kept_attributes(before), kept_attributes(after));
    assert_eq!(before.nodes(), after.nodes());
}

/// The facts of a stanza must be those that a fresh reading of its text finds.
fn assert_facts_are_true(stanza: &Stanza) {
    let again = Stanza::parse(stanza.bytes()).unwrap();
    assert_eq!(again.as_str(), stanza.as_str(), "canonical text is stable");
    assert_eq!((again.from(), again.to()), (stanza.from(), stanza.to()));
    assert_eq!((again.id(), again.raw_type(), again.lang()), (stanza.id(), stanza.raw_type(), stanza.lang()));
    assert_eq!((again.payload(), again.child_count()), (stanza.payload(), stanza.child_count()));
    assert_eq!((again.type_(), again.content()), (stanza.type_(), stanza.content()));
    let tree = stanza.to_element();
    assert_eq!(tree.attribute("from"), stanza.from().map(Jid::as_str));
    assert_eq!(tree.attribute("to"), stanza.to().map(Jid::as_str));
    assert_eq!(tree.attribute("id"), stanza.id().as_deref());
    let first = tree.children().next();
    assert_eq!(
        first.map(|child| PayloadName { name: child.name(), ns: child.namespace() }),
        stanza.payload()
    );
}

const ATTRIBUTES: &[&str] = &[
    "to='romeo@example.net'",
    "to=\"Romeo@example.net/o&apos;r&amp;&quot;\"",
    "id='1'",
    "id=\"&#60;'\"",
    "type='chat'",
    "type = 'normal'",
    "xml:lang='de'",
    "xmlns='jabber:client'",
    "xmlns:p='urn:own'",
    "xmlns:q='urn:q'",
    "p:a='1'",
    "stream:b='2'",
    "a='x\ny'",
    "from='juliet@example.com'",
];

/// A message on a stream with the usual header, as odd as it can be.
fn message(choices: &mut Choices<'_>) -> String {
    let prefix = choices.of(&["", "", "", "", "c:"]);
    let mut out = format!("<{prefix}message xmlns:c='jabber:client' xmlns:r='urn:r'");
    if prefix.is_empty() {
        out.truncate("<message".len());
        out += " xmlns:r='urn:r'";
    }
    let mut left: Vec<&str> = ATTRIBUTES.to_vec();
    for _ in 0..choices.below(6) {
        let attribute = left.remove(choices.below(left.len()));
        out += choices.of(&[" ", "\r\n", "\t "]);
        out += attribute;
    }
    out += ">";
    for _ in 0..choices.below(5) {
        content(choices, &mut out, 1);
    }
    out + "</" + prefix + "message >"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn taking_in_and_rewriting_change_addresses_and_nothing_else(
        bytes in prop::collection::vec(any::<u8>(), 0..120),
        resource in "[a-z'\"&<> é\u{1f600}]{1,8}",
    ) {
        let xml = message(&mut Choices::new(&bytes));
        let input = format!("{HEADER}{xml}");
        let (mut framer, mut rest) = (Framer::new(Limits::default()), input.as_bytes());
        prop_assert!(matches!(framer.next(&mut rest), Ok(Some(Event::StreamOpen(_)))));
        let Ok(Some(Event::Element(framed))) = framer.next(&mut rest) else { return Ok(()) };
        let before = framed.to_element();
        let stanza = Stanza::from_stream(framed, &jid("juliet@example.com/balcony")).unwrap();
        assert_same_but_for_addresses(&before, &stanza.to_element());
        assert_facts_are_true(&stanza);

        let other = jid("somebody@else.example").with_resource(&resource).unwrap();
        for rewritten in [
            stanza.with_to(&other),
            stanza.with_from(&other),
            stanza.with_to(&other).with_from(&other).with_to(&jid("a")),
            stanza.readdressed(None, None),
        ] {
            assert_same_but_for_addresses(&before, &rewritten.to_element());
            assert_facts_are_true(&rewritten);
        }
        let reply = stanza.error_reply(&StanzaErrorCondition::ServiceUnavailable.into());
        if let Some(reply) = reply {
            assert_facts_are_true(&reply);
            prop_assert_eq!(reply.id(), stanza.id());
            prop_assert_eq!(reply.to(), stanza.from());
        }
    }

    #[test]
    fn errors_survive_writing_and_reading(
        index in 0..StanzaErrorCondition::ALL.len(),
        text in prop::option::of("\\PC{0,20}"),
        application in prop::bool::ANY,
    ) {
        let condition = StanzaErrorCondition::ALL[index];
        let error = StanzaError {
            text,
            by: Some(jid("example.com")),
            application: application.then(|| "<too-many xmlns='urn:x'/>".to_owned()),
            ..condition.into()
        };
        let message = Stanza::parse(b"<message from='a@b' to='c@d' id='x'/>").unwrap();
        let reply = message.error_reply(&error).unwrap();
        prop_assert_eq!(reply.error(), Some(error));
    }
}

#[test]
fn errors_and_results_are_never_answered() {
    let error = StanzaErrorCondition::ItemNotFound.into();
    for xml in [
        "<message type='error'/>",
        "<presence type='error'/>",
        "<iq type='error' id='1'/>",
        "<iq type='result' id='1'/>",
    ] {
        assert!(Stanza::parse(xml.as_bytes()).unwrap().error_reply(&error).is_none(), "{xml}");
    }
}

#[test]
fn replies_swap_addresses_and_keep_id_and_hops() {
    let iq =
        Stanza::parse(b"<iq from='a@b/c' to='d' type='get' id=\"'1'\"><ping xmlns='urn:xmpp:ping'/></iq>")
            .unwrap();
    let result = iq.clone().with_hops(3).iq_result(b"<pong xmlns='urn:x'/>").unwrap();
    assert_eq!(
        result.as_str(),
        "<iq from='d' to='a@b/c' type='result' id='&apos;1&apos;'><pong xmlns='urn:x'/></iq>"
    );
    assert_eq!(result.hops(), 3);
    assert_eq!(
        iq.iq_result(b"").unwrap().as_str(),
        "<iq from='d' to='a@b/c' type='result' id='&apos;1&apos;'/>"
    );
    let own = Stanza::parse(b"<iq from='a@b/c' type='get' id='1'><x xmlns='u'/></iq>").unwrap();
    let reply = own.error_reply(&StanzaErrorCondition::ServiceUnavailable.into()).unwrap();
    assert_eq!(reply.from(), Some(&jid("a@b")));
}

#[test]
fn a_payload_cannot_break_out_of_its_result() {
    let iq = Stanza::parse(b"<iq from='a@b/c' to='d' type='get' id='1'><x xmlns='u'/></iq>").unwrap();
    for payload in ["</iq><iq>", "</iq><message to='x'/><iq>", "<a>", "&x;", "<a/><b/>", "<!-- -->", "\u{1}"]
    {
        assert!(iq.iq_result(payload.as_bytes()).is_err(), "{payload}");
    }
    assert!(iq.iq_result(b"\xFF").is_err());
    let message = Stanza::parse(b"<message/>").unwrap();
    assert!(message.iq_result(b"").is_err());
}

#[test]
fn an_application_condition_that_is_no_xml_is_left_out() {
    let error = StanzaError {
        application: Some("</error></message><message>".into()),
        ..StanzaErrorCondition::BadRequest.into()
    };
    let reply = Stanza::parse(b"<message from='a@b' to='c'/>").unwrap().error_reply(&error).unwrap();
    assert_eq!(
        reply.error().map(|error| (error.condition, error.application)),
        Some((StanzaErrorCondition::BadRequest, None))
    );
}

#[test]
fn clones_share_the_text() {
    let stanza = sent("<message><body>hi</body></message>").unwrap();
    assert!(std::ptr::eq(stanza.as_str(), stanza.clone().as_str()));
}
