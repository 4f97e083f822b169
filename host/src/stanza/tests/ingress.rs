//! Taking stanzas in.

use super::*;
use crate::xml::FrameError;

/// What a stanza looks like after it was taken in.
fn canonical(xml: &str) -> String {
    sent(xml).unwrap().as_str().to_owned()
}

#[test]
fn from_is_stamped_and_the_addresses_come_first() {
    assert_eq!(
        canonical("<message type='chat' to='Romeo@Example.NET' id=\"a'b\" x='1' ><body>hi</body></message >"),
        "<message from='juliet@example.com/balcony' to='romeo@example.net' type='chat' id=\"a'b\" x='1'>\
         <body>hi</body></message>"
    );
    assert_eq!(canonical("<presence/>"), "<presence from='juliet@example.com/balcony'/>");
    assert_eq!(canonical("<presence></presence>"), "<presence from='juliet@example.com/balcony'/>");
}

#[test]
fn subscriptions_are_stamped_with_the_bare_jid() {
    let subscribe = sent("<presence type='subscribe' to='romeo@example.net'/>").unwrap();
    assert_eq!(subscribe.from(), Some(&jid("juliet@example.com")));
    let probe = sent("<presence type='unavailable'/>").unwrap();
    assert_eq!(probe.from(), Some(&jid("juliet@example.com/balcony")));
}

#[test]
fn the_facts_are_read_off_the_start_tag() {
    let iq =
        sent("<iq type='get' id='&lt;1' to='a@b/c' xml:lang='de'>\n<query xmlns='jabber:iq:version'/></iq>")
            .unwrap();
    assert_eq!(iq.type_(), StanzaType::Iq(IqType::Get));
    assert_eq!(iq.kind(), Kind::Iq);
    assert_eq!(iq.raw_type().as_deref(), Some("get"));
    assert_eq!(iq.id().as_deref(), Some("<1"));
    assert_eq!(iq.lang().as_deref(), Some("de"));
    assert_eq!(iq.to(), Some(&jid("a@b/c")));
    assert_eq!(iq.payload(), Some(PayloadName { name: "query", ns: "jabber:iq:version" }));
    assert_eq!(iq.child_count(), 1);
    assert_eq!(iq.content(), "\n<query xmlns='jabber:iq:version'/>");
}

#[test]
fn the_payload_is_named_wherever_its_namespace_is_declared() {
    let cases = [
        ("<message><body/></message>", "body", "jabber:client"),
        ("<message xmlns='jabber:client'><body/></message>", "body", "jabber:client"),
        ("<message><x xmlns='u'/></message>", "x", "u"),
        ("<message><x xmlns=''/></message>", "x", ""),
        ("<message>text <q:x xmlns:q='u'/></message>", "x", "u"),
        ("<message a='1' xmlns:q=\"u\" b='2'><q:x/></message>", "x", "u"),
        ("<message><p:x/></message>", "x", "urn:p"),
        ("<message><odd:x/></message>", "x", "a&b"),
        ("<message><x xmlns='a&amp;b'/></message>", "x", "a&b"),
        ("<message><xml:x/></message>", "x", "http://www.w3.org/XML/1998/namespace"),
        ("<message><![CDATA[<a/>]]><x xmlns='u'/></message>", "x", "u"),
        ("<odd:message xmlns:odd='jabber:client'><odd:body/></odd:message>", "body", "jabber:client"),
    ];
    for (xml, name, ns) in cases {
        let stanza = sent(xml).unwrap();
        assert_eq!(stanza.payload(), Some(PayloadName { name, ns }), "{xml}");
        let moved = stanza.with_to(&jid("somebody@with.a.long.name.example/and-a-resource"));
        assert_eq!(moved.payload(), Some(PayloadName { name, ns }), "{xml}");
    }
}

#[test]
fn what_the_stream_header_declares_moves_into_the_stanza() {
    assert_eq!(
        canonical("<message><p:x><odd:y stream:z='1'/></p:x></message>"),
        "<message from='juliet@example.com/balcony' xmlns:stream='http://etherx.jabber.org/streams' xmlns:p='urn:p' \
         xmlns:odd='a&amp;b'><p:x><odd:y stream:z='1'/></p:x></message>"
    );
    assert_eq!(
        canonical("<message xmlns:p='own'><p:x/></message>"),
        "<message from='juliet@example.com/balcony' xmlns:p='own'><p:x/></message>"
    );
}

#[test]
fn cdata_becomes_text() {
    assert_eq!(
        canonical("<message><body><![CDATA[<&]]]]><![CDATA[>\r\n]]></body></message>"),
        "<message from='juliet@example.com/balcony'><body>&lt;&amp;]]&gt;\n</body></message>"
    );
}

#[test]
fn a_prefixed_stanza_loses_its_prefix() {
    assert_eq!(
        canonical("<c:message xmlns:c='jabber:client'><c:body>x</c:body></c:message>"),
        "<message from='juliet@example.com/balcony' xmlns:c='jabber:client'><c:body>x</c:body></message>"
    );
    let header = "<s xmlns='http://etherx.jabber.org/streams' xmlns:c='jabber:client'>";
    let fault = sent_on(header, "<c:message><c:body/></c:message>").unwrap_err();
    assert_eq!(fault.stream_error(), Some(StreamErrorCondition::BadNamespacePrefix));
}

#[test]
fn streams_may_leave_the_content_namespace_to_each_stanza() {
    let header = "<stream xmlns='http://etherx.jabber.org/streams'>";
    let stanza = sent_on(header, "<message xmlns='jabber:client'><body/></message>").unwrap();
    assert_eq!(stanza.as_str(), "<message from='juliet@example.com/balcony'><body/></message>");
    let fault = sent_on(header, "<message><body/></message>").unwrap_err();
    assert_eq!(fault.stream_error(), Some(StreamErrorCondition::InvalidNamespace));
}

#[test]
fn top_level_elements_that_are_no_stanzas_end_the_stream() {
    use StreamErrorCondition::*;
    for (xml, condition) in [
        ("<message xmlns='urn:x'/>", InvalidNamespace),
        ("<iq xmlns=''/>", InvalidNamespace),
        ("<p:presence/>", InvalidNamespace),
        ("<stream:message/>", InvalidNamespace),
        ("<foo/>", UnsupportedStanzaType),
        ("<auth xmlns='urn:x'/>", UnsupportedStanzaType),
        ("<Message/>", UnsupportedStanzaType),
    ] {
        assert_eq!(sent(xml).unwrap_err().stream_error(), Some(condition), "{xml}");
    }
}

#[test]
fn a_client_speaks_for_itself_alone() {
    for from in ["juliet@example.com", "juliet@example.com/balcony", "Juliet@EXAMPLE.com"] {
        let stanza = sent(&format!("<message from='{from}'/>")).unwrap();
        assert_eq!(stanza.from(), Some(&jid("juliet@example.com/balcony")), "{from}");
        assert_eq!(stanza.as_str().matches("from=").count(), 1);
    }
    for from in [
        "romeo@example.net",
        "juliet@example.com/chamber",
        "example.com",
        "",
        "@",
        "juliet@example.com/Balcony",
    ] {
        let fault = sent(&format!("<message from='{from}'/>")).unwrap_err();
        assert_eq!(fault.stream_error(), Some(StreamErrorCondition::InvalidFrom), "{from}");
    }
}

/// The reply that a refused stanza gets.
fn refused(xml: &str) -> Option<String> {
    match sent(xml) {
        Err(StanzaFault::Refused { reply, .. }) => reply.map(|reply| reply.as_str().to_owned()),
        other => panic!("{xml} was not refused but {other:?}"),
    }
}

#[test]
fn a_malformed_recipient_is_answered_by_the_server() {
    let reply = refused("<message to='a@b@c' id='1'><body/></message>").unwrap();
    assert!(
        reply.starts_with("<message from='example.com' to='juliet@example.com/balcony' type='error' id='1'>")
    );
    assert!(reply.contains("<jid-malformed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"), "{reply}");
    assert!(refused("<message to=''/>").is_some());
    assert_eq!(refused("<message to='a@b@c' type='error'/>"), None, "an error is never answered");
    assert_eq!(refused("<iq to='a@b@c' type='result' id='1'/>"), None, "nor is a result");
}

#[test]
fn impossible_iqs_and_presences_are_bad_requests() {
    for xml in [
        "<iq id='1'><q xmlns='u'/></iq>",
        "<iq id='1' type='fetch'><q xmlns='u'/></iq>",
        "<iq type='get'><q xmlns='u'/></iq>",
        "<iq type='get' id='1'/>",
        "<iq type='set' id='1'>text</iq>",
        "<iq type='set' id='1'><q xmlns='u'/><q xmlns='u'/></iq>",
        "<presence type='chat'/>",
        "<presence type='' id='1'/>",
    ] {
        let reply = refused(xml).unwrap();
        assert!(reply.contains("<bad-request "), "{reply}");
        assert!(reply.contains("from='juliet@example.com' to='juliet@example.com/balcony'"), "{reply}");
    }
    let to_somebody = refused("<iq type='get' id='1' to='a@b'/>").unwrap();
    assert!(to_somebody.starts_with("<iq from='a@b' to='juliet@example.com/balcony' type='error' id='1'>"));
}

#[test]
fn unknown_message_types_are_normal_and_kept() {
    let stanza = sent("<message type='shout'/>").unwrap();
    assert_eq!(stanza.type_(), StanzaType::Message(MessageType::Normal));
    assert_eq!(stanza.raw_type().as_deref(), Some("shout"));
}

#[test]
fn the_streams_language_is_added_where_there_is_none() {
    let mut framer = Framer::new(Limits::default());
    let input = format!("{HEADER}<message/><message xml:lang='de'/>");
    let (mut rest, from, mut found) = (input.as_bytes(), jid("a@b/c"), Vec::new());
    loop {
        match framer.next(&mut rest).unwrap() {
            Some(Event::Element(framed)) => {
                let ingress = Ingress { from: &from, lang: Some("en") };
                found.push(Stanza::from_ingress(&framed, ingress).unwrap().lang().unwrap().into_owned());
            }
            Some(_) => {}
            None => break,
        }
    }
    assert_eq!(found, ["en", "de"]);
}

#[test]
fn modules_must_write_whole_stanzas() {
    let stanza = Stanza::parse(b" <message xmlns='jabber:client' from='a@b' to='C@d'/>\n").unwrap();
    assert_eq!(stanza.as_str(), "<message from='a@b' to='c@d'/>");
    for xml in [
        "",
        "text",
        "<message>",
        "<message/><message/>",
        "<message/>x",
        "</message>",
        "<message><a></message>",
    ] {
        assert!(matches!(Stanza::parse(xml.as_bytes()), Err(StanzaFault::Xml(_))), "{xml:?}");
    }
    assert!(matches!(
        Stanza::parse(b"<message><!-- --></message>"),
        Err(StanzaFault::Xml(FrameError::Comment))
    ));
    assert!(matches!(Stanza::parse(b"<stream:error/>"), Err(StanzaFault::Xml(FrameError::UndeclaredPrefix))));
    assert!(matches!(Stanza::parse(b"<message from='@'/>"), Err(StanzaFault::Refused { reply: None, .. })));
    assert!(matches!(Stanza::parse(b"<x/>"), Err(StanzaFault::NotAStanza { .. })));
}

#[test]
fn a_stanza_stays_small() {
    assert!(size_of::<Stanza>() <= 160, "{}", size_of::<Stanza>());
}

#[test]
fn logs_never_show_bodies() {
    let stanza = sent("<message><body>secret</body></message>").unwrap();
    assert!(!format!("{stanza:?}").contains("secret"));
}
