//! The rules, one by one: what follows a usual stream header, and what becomes of it.

use super::oracle::{End, framed, judge};
use super::{Event, FrameError, FrameErrorClass, Framer, Limits};

const HEADER: &str = "<?xml version='1.0'?><stream:stream to='example.com' version='1.0' xml:lang='en' \
                      xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

/// What the framer says of `xml` behind the usual header; the judge has its say too.
fn end_of(xml: &[u8]) -> End<FrameError> {
    let input = [HEADER.as_bytes(), xml].concat();
    judge(&input, &[7, 1, 3]);
    framed(&input, &[input.len()]).end
}

#[test]
fn what_xmpp_allows_is_accepted() {
    let accepted = [
        "<message/>",
        "<message></message>",
        "<message ></message\t>",
        "<message\r\n a = 'x'\t/>",
        "<message to='a' from=\"b\"/>",
        "<message to='\"' from=\"'\">></message>",
        "<message a='>'>a > b</message>",
        "<message><body>&lt;&#65;&#x42;&amp;&apos;&quot;&gt;</body></message>",
        "<message a='&lt;&#10;'/>",
        "<message><body><![CDATA[<&]]]]><![CDATA[>]]></body></message>",
        "<message><![CDATA[]]></message>",
        "<message xmlns=''/>",
        "<message xmlns='jabber:client'><x xmlns='y'/></message>",
        "<stream:features/>",
        "<p:message xmlns:p='jabber:client'/>",
        "<message p:a='1' xmlns:p='u' a='2'/>",
        "<message p:a='1' q:a='1' xmlns:p='u' xmlns:q='v'/>",
        "<message xml:lang='de'><xml:x/></message>",
        "<message xmlns:xml='http://www.w3.org/XML/1998/namespace'/>",
        "<_a-b.c1/>",
        "<名前 é='ü'/>",
        "<message>\u{10ffff}\u{7f}\u{85}\u{fffd}</message>",
        " \t\r\n<message/> \n",
        "<message>]]&gt;]] ></message>",
    ];
    for xml in accepted {
        assert_eq!(end_of(xml.as_bytes()), End::Idle, "{xml:?}");
    }
}

#[test]
fn what_xmpp_refuses_is_refused_for_its_own_reason() {
    use FrameError::*;
    let refused: &[(&[u8], FrameError)] = &[
        (b"<a><!-- c --></a>", Comment),
        (b"<!-- c -->", Comment),
        (b"<a><?pi x?></a>", ProcessingInstruction),
        (b"<?xml version='1.0'?>", ProcessingInstruction),
        (b"<!DOCTYPE a [<!ENTITY x 'y'>]><a/>", MarkupDeclaration),
        (b"<a><!DOCTYPE a></a>", MarkupDeclaration),
        (b"<a><![INCLUDE[x]]></a>", MarkupDeclaration),
        (b"<a>&x;</a>", EntityReference),
        (b"<a b='&nbsp;'/>", EntityReference),
        (b"<a>\xFF</a>", NotUtf8),
        (b"<a>\xC0\x80</a>", NotUtf8),
        (b"<a>\xED\xA0\x80</a>", NotUtf8),
        (b"<a b='\xE2\x82'/>", NotUtf8),
        (b"<\xFF/>", NotUtf8),
        (b"text<a/>", TextBetweenElements),
        (b"&lt;<a/>", TextBetweenElements),
        (b"<![CDATA[x]]>", TextBetweenElements),
        (b"\x0C<a/>", TextBetweenElements),
        (b"\xEF\xBB\xBF<a/>", TextBetweenElements),
        (b"<a>\x01</a>", BadCharacter),
        (b"<a b='\x00'/>", BadCharacter),
        (b"<a>\xEF\xBF\xBF</a>", BadCharacter),
        (b"<a><![CDATA[\x0B]]></a>", BadCharacter),
        (b"<1a/>", BadName),
        (b"< a/>", BadName),
        (b"<-a/>", BadName),
        (b"<:a/>", BadName),
        (b"<a:/>", BadName),
        (b"<a:b:c xmlns:a='u'/>", BadName),
        (b"<a:1 xmlns:a='u'/>", BadName),
        (b"<a 1='x'/>", BadName),
        (b"<a ='x'/>", BadName),
        (b"<\xC3\x97/>", BadName),
        (b"<a\xC3\x97/>", BadName),
        (b"<a b='1'c='2'/>", BadTag),
        (b"<a b=1/>", BadTag),
        (b"<a b/>", BadTag),
        (b"<a b='<'/>", BadTag),
        (b"<a b='1'<c/>", BadTag),
        (b"<a / >", BadTag),
        (b"<a /b>", BadTag),
        (b"<a!>", BadTag),
        (b"<a>&#0;</a>", BadReference),
        (b"<a>&#xD800;</a>", BadReference),
        (b"<a>&#x110000;</a>", BadReference),
        (b"<a>&#xFFFE;</a>", BadReference),
        (b"<a>&#X41;</a>", BadReference),
        (b"<a>&</a>", BadReference),
        (b"<a>&lt</a>", BadReference),
        (b"<a>& lt;</a>", BadReference),
        (b"<a>&;</a>", BadReference),
        (b"<a b='&am'/>;", BadReference),
        (b"<a>]]></a>", CdataEndInText),
        (b"<a><![CDATA[x]]>]]></a>", CdataEndInText),
        (b"<a></b>", MismatchedEndTag),
        (b"<a><b></a></b>", MismatchedEndTag),
        (b"<p:a xmlns:p='u'></a>", MismatchedEndTag),
        (b"<a></ a>", MismatchedEndTag),
        (b"<a></a b='1'>", MismatchedEndTag),
        (b"</stream>", MismatchedEndTag),
        (b"</a>", MismatchedEndTag),
        (b"<a b='1' b='2'/>", DuplicateAttribute),
        (b"<a xmlns='u' xmlns='u'/>", DuplicateAttribute),
        (b"<a xmlns:p='u' xmlns:p='v'/>", DuplicateAttribute),
        (b"<a p:x='1' q:x='2' xmlns:p='u' xmlns:q='u'/>", DuplicateAttribute),
        (b"<a p:x='1' q:x='2' xmlns:p='u' xmlns:q='&#117;'/>", DuplicateAttribute),
        (b"<a xmlns:q='http://etherx.jabber.org/streams'><b q:x='1' stream:x='2'/></a>", DuplicateAttribute),
        (b"<p:a/>", UndeclaredPrefix),
        (b"<a p:b='1'/>", UndeclaredPrefix),
        (b"<a><b xmlns:p='u'/><p:c/></a>", UndeclaredPrefix),
        (b"<a><b xmlns:p='u'></b><p:c/></a>", UndeclaredPrefix),
        (b"<xmlns:a/>", UndeclaredPrefix),
        (b"<a xmlns:p=''/>", EmptyPrefixBinding),
        (b"<a xmlns:xml='urn:other'/>", ReservedNamespace),
        (b"<a xmlns:xmlns='urn:other'/>", ReservedNamespace),
        (b"<a xmlns:xmlns='http://www.w3.org/2000/xmlns/'/>", ReservedNamespace),
        (b"<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>", ReservedNamespace),
        (b"<a xmlns='http://www.w3.org/XML/1998/namespace'/>", ReservedNamespace),
        (b"<a xmlns='http://www.w3.org/2000/xmlns/'/>", ReservedNamespace),
        (b"<a xmlns:p='http://www.w3.org/2000/xmlns&#x2F;'/>", ReservedNamespace),
        (b"</stream:stream>x", DataAfterEnd),
        (b"</stream:stream><a/>", DataAfterEnd),
    ];
    for (xml, error) in refused {
        assert_eq!(end_of(xml), End::Failed(*error), "{}", xml.escape_ascii());
    }
}

#[test]
fn half_received_input_waits() {
    for xml in [
        "<",
        "<a",
        "<a b='",
        "<a>",
        "<a>text",
        "<a>&l",
        "<a></a",
        "<a><![CDA",
        "<a><![CDATA[ ]]",
        "</stream:stream",
    ] {
        assert_eq!(end_of(xml.as_bytes()), End::Waiting, "{xml:?}");
    }
}

/// What the framer says of a whole input.
fn end_of_stream(xml: &str) -> End<FrameError> {
    judge(xml.as_bytes(), &[5, 2]);
    framed(xml.as_bytes(), &[xml.len()]).end
}

#[test]
fn streams_start_as_the_rfc_allows() {
    for xml in [
        "<s>",
        " \n<s>",
        "<?xml version='1.0'?><s>",
        "<?xml version=\"1.0\" encoding='UTF-8' ?>\n<s>",
        "<?xml version='1.0' encoding='utf-8' standalone='yes'?><s>",
        "<?xml  version = '1.0'\tstandalone='yes'?><s>",
        "<s xmlns=''>",
        "<s/>",
        "<s></s>\n",
    ] {
        let end = end_of_stream(xml);
        assert_eq!(end, End::Idle, "{xml:?}");
    }
}

#[test]
fn streams_that_start_otherwise_are_refused() {
    use FrameError::*;
    for (xml, error) in [
        ("GET / HTTP/1.1", NoHeader),
        ("\u{feff}<s>", NoHeader),
        ("</s>", MismatchedEndTag),
        ("<!DOCTYPE s><s>", MarkupDeclaration),
        ("<!-- --><s>", Comment),
        (" <?xml version='1.0'?><s>", ProcessingInstruction),
        ("<?xml version='1.0'?><?xml version='1.0'?><s>", ProcessingInstruction),
        ("<?xml-stylesheet href='x'?><s>", ProcessingInstruction),
        ("<?php ?><s>", ProcessingInstruction),
        ("<?xml version='1.1'?><s>", BadDeclaration),
        ("<?xml?><s>", ProcessingInstruction),
        ("<?xml ?><s>", BadDeclaration),
        ("<?xml encoding='utf-8'?><s>", BadDeclaration),
        ("<?xml version='1.0' standalone='no'?><s>", BadDeclaration),
        ("<?xml version='1.0'encoding='utf-8'?><s>", BadDeclaration),
        ("<?xml version='1.0' standalone='yes' encoding='utf-8'?><s>", BadDeclaration),
        ("<?xml version='1.0' version='1.0'?><s>", BadDeclaration),
        ("<?xml version='1.0' <s>", BadDeclaration),
        ("<?xml version='1.0'><s>", BadDeclaration),
        ("<?xml version='1.0' encoding='ISO-8859-1'?><s>", UnsupportedEncoding),
        ("<p:s>", UndeclaredPrefix),
        ("<s a='1' a='2'>", DuplicateAttribute),
        ("<s>text", TextBetweenElements),
        ("<s/><a/>", DataAfterEnd),
    ] {
        assert_eq!(end_of_stream(xml), End::Failed(error), "{xml:?}");
    }
}

#[test]
fn each_limit_has_its_error_and_its_edge() {
    use FrameError::*;
    let limits = Limits { stanza_bytes: 64, depth: 3, attributes: 2, token_bytes: 8, declarations: 1 };
    let accepted = [
        format!("<a>{}</a>", "x".repeat(57)),
        "<a><b><c/></b></a>".into(),
        "<a b='' c=''/>".into(),
        "<abcdefgh b='12345678'/>".into(),
        "<a xmlns:p='u'><b/></a>".into(),
    ];
    for xml in accepted {
        assert_eq!(first_error(limits, &xml), None, "{xml}");
    }
    let refused = [
        (format!("<a>{}</a>", "x".repeat(58)), ElementTooLong(64)),
        (format!("<a>{}", "x".repeat(62)), ElementTooLong(64)),
        (format!("<a b='{}", "x".repeat(59)), ElementTooLong(64)),
        ("<a><b><c><d/></c></b></a>".into(), TooDeep(3)),
        ("<a b='' c='' d=''/>".into(), TooManyAttributes(2)),
        ("<abcdefghi/>".into(), TokenTooLong(8)),
        ("<a b='123456789'/>".into(), TokenTooLong(8)),
        ("<a abcdefghi=''/>".into(), TokenTooLong(8)),
        ("<a xmlns:p='u'><b xmlns:q='u'/></a>".into(), TooManyDeclarations(1)),
    ];
    for (xml, error) in refused {
        assert_eq!(error.class(), FrameErrorClass::Limit);
        assert_eq!(first_error(limits, &xml), Some(error), "{xml}");
    }
}

/// The error that the framer raises for `xml` in a stream, whole and byte by byte.
fn first_error(limits: Limits, xml: &str) -> Option<FrameError> {
    let input = format!("<s>{xml}");
    let outcomes = [input.len(), 1].map(|length| {
        let mut framer = Framer::new(limits);
        input.as_bytes().chunks(length).find_map(|mut piece| {
            loop {
                match framer.next(&mut piece) {
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(error) => return Some(error),
                }
            }
        })
    });
    assert_eq!(outcomes[0], outcomes[1], "{xml}");
    outcomes[0]
}

#[test]
fn what_a_stream_header_declares_is_short() {
    let header = |length: usize| format!("<s xmlns:p='{}'>", "u".repeat(length));
    assert_eq!(end_of_stream(&header(1023)), End::Idle);
    assert_eq!(end_of_stream(&header(1024)), End::Failed(FrameError::DeclarationsTooLong(1024)));
}

#[test]
fn as_many_prefixes_and_attributes_as_are_allowed_are_told_apart() {
    let declarations: String = (0..63).map(|i| format!(" xmlns:p{i}='urn:{i}'")).collect();
    let attributes: String = (0..63).map(|i| format!(" p{i}:x=''")).collect();
    assert_eq!(end_of(format!("<a{declarations}><b{attributes}/></a>").as_bytes()), End::Idle);
    let twin = format!("<a{declarations}><b xmlns:q='urn:&#54;2' q:x=''{attributes}/></a>");
    let end = end_of(twin.replace(" p0:x=''", "").as_bytes());
    assert_eq!(end, End::Failed(FrameError::DuplicateAttribute));
}

#[test]
fn a_buffer_is_given_back_when_nothing_is_left() {
    let mut framer = Framer::new(Limits::default());
    for piece in ["<s>", "<a>", "text</a><b/>", " "] {
        let mut piece = piece.as_bytes();
        while framer.next(&mut piece).unwrap().is_some() {}
    }
    assert!(framer.is_idle() && !framer.holds_memory());
}

#[test]
fn a_restart_expects_a_new_header() {
    let mut framer = Framer::new(Limits::default());
    let mut input = &b"<s><a/>\r\n"[..];
    while framer.next(&mut input).unwrap().is_some() {}
    framer.restart();
    let mut input = &b"\r\n<?xml version='1.0'?><t xmlns='u'>"[..];
    let Ok(Some(Event::StreamOpen(header))) = framer.next(&mut input) else { panic!("there is a header") };
    assert_eq!((header.name.as_str(), header.default_namespace.as_deref()), ("t", Some("u")));
}

#[test]
fn new_limits_hold_from_the_next_element_on() {
    let limits = |stanza_bytes| Limits { stanza_bytes, ..Limits::default() };
    let mut framer = Framer::new(limits(100));
    let mut input = &b"<s><a>0123456789"[..];
    while framer.next(&mut input).unwrap().is_some() {}
    framer.set_limits(limits(8));
    let mut input = &b"0123456789</a><b/><c>123456789</c>"[..];
    assert!(matches!(framer.next(&mut input), Ok(Some(Event::Element(framed))) if framed.name() == "a"));
    assert!(matches!(framer.next(&mut input), Ok(Some(Event::Element(framed))) if framed.name() == "b"));
    assert!(matches!(framer.next(&mut input), Err(FrameError::ElementTooLong(8))));
}

#[test]
fn the_header_is_reported_decoded() {
    let mut framer = Framer::new(Limits::default());
    let header = "<stream:stream from='a&amp;b' to=\"c'd\" id='&#49;' version='1.0' xml:lang='de' xmlns='jabber:client' \
                  xmlns:stream='http://etherx.jabber.org/streams'>";
    let mut input = header.as_bytes();
    let Ok(Some(Event::StreamOpen(header))) = framer.next(&mut input) else { panic!("there is a header") };
    let expected = super::StreamHeader {
        prefix: Some("stream".into()),
        name: "stream".into(),
        namespace: "http://etherx.jabber.org/streams".into(),
        default_namespace: Some("jabber:client".into()),
        to: Some("c'd".into()),
        from: Some("a&b".into()),
        id: Some("1".into()),
        version: Some("1.0".into()),
        lang: Some("de".into()),
    };
    assert_eq!(header, expected);
}
