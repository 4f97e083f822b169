use super::*;
use std::fs;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(folder)
    }

    fn read(&self, name: &str) -> (Vec<Piece>, Result<(), String>) {
        let mut pieces = Vec::new();
        let read = read(&self.0.path().join(name), &mut |piece| {
            pieces.push(piece);
            true
        });
        (pieces, read)
    }
}

fn of(text: &str) -> (Vec<Piece>, Result<(), String>) {
    Folder::new(&[("f.xml", text)]).read("f.xml")
}

fn in_user(content: &str) -> String {
    format!(
        "<?xml version='1.0'?><!-- c --><server-data xmlns='urn:xmpp:pie:0'><host jid='a.b'><user name='u' password='p&amp;q'>\
         {content}</user></host></server-data>"
    )
}

fn children(pieces: &[Piece]) -> Vec<&str> {
    let mut all = Vec::new();
    for piece in pieces {
        if let Piece::Child(text) = piece {
            all.push(text.as_str());
        }
    }
    all
}

#[test]
fn hosts_users_and_their_children_come_in_order_and_stand_alone() {
    let (pieces, read) = of(&in_user(
        "<vCard xmlns='vcard-temp'><FN>A &amp; <![CDATA[<b>]]></FN></vCard>\n<p:x xmlns:p='urn:p' p:a='1'><p:y/></p:x><empty/>",
    ));
    read.unwrap();
    assert_eq!(pieces[0], Piece::Host("a.b".into()));
    assert_eq!(pieces[1], Piece::User { name: "u".into(), password: Some("p&q".into()) });
    assert_eq!(
        children(&pieces),
        [
            "<vCard xmlns='vcard-temp'><FN>A &amp; <![CDATA[<b>]]></FN></vCard>",
            "<p:x xmlns:p='urn:p' p:a='1' xmlns='urn:xmpp:pie:0'><p:y/></p:x>",
            "<empty xmlns='urn:xmpp:pie:0'/>",
        ]
    );
    assert_eq!(pieces.last(), Some(&Piece::EndOfUser));
}

#[test]
fn a_prefix_of_far_outside_is_declared_where_it_is_used() {
    let text = "<q:server-data xmlns:q='urn:xmpp:pie:0' xmlns:r='jabber:iq:roster'><q:host jid='a.b'><q:user name='u'>\
        <r:query><r:item jid='x@y'/></r:query></q:user></q:host></q:server-data>";
    let (pieces, read) = of(text);
    read.unwrap();
    let limits = crate::xml::Limits {
        stanza_bytes: 65536,
        depth: 8,
        attributes: 8,
        token_bytes: 1024,
        declarations: 8,
    };
    let element = crate::xml::Element::parse(children(&pieces)[0], &limits).unwrap();
    assert!(element.is("query", "jabber:iq:roster") && element.children().count() == 1);
}

#[test]
fn a_long_list_comes_in_parts_of_the_same_name() {
    let items: String = (0..LIST_ITEMS * 2 + 1).map(|n| format!("<item jid='{n}@x'/>")).collect();
    let (pieces, read) = of(&in_user(&format!("<query xmlns='jabber:iq:roster'>{items}</query>")));
    read.unwrap();
    let parts = children(&pieces);
    assert_eq!(parts.len(), 3);
    assert!(parts.iter().all(|part| part.starts_with("<query xmlns='jabber:iq:roster'><item")), "{parts:?}");
    let again: String = parts
        .iter()
        .map(|part| {
            part.strip_prefix("<query xmlns='jabber:iq:roster'>").unwrap().strip_suffix("</query>").unwrap()
        })
        .collect();
    assert_eq!(again, items);

    let whole: String = (0..LIST_ITEMS * 2).map(|n| format!("<TEL>{n}</TEL>")).collect();
    let (pieces, _) = of(&in_user(&format!("<vCard xmlns='vcard-temp'>{whole}</vCard>")));
    assert_eq!(children(&pieces).len(), 1, "a vCard is one thing");
}

#[test]
fn files_are_included_where_the_specification_has_them() {
    let folder = Folder::new(&[
        (
            "main.xml",
            "<server-data xmlns='urn:xmpp:pie:0' xmlns:xi='http://www.w3.org/2001/XInclude'><xi:include href='a%2eb.xml'/></server-data>",
        ),
        (
            "a.b.xml",
            "<host xmlns='urn:xmpp:pie:0' xmlns:xi='http://www.w3.org/2001/XInclude' jid='a.b'><xi:include href='a.b/u.xml'/>\
             <user name='v'><query xmlns='jabber:iq:private'><xi:include href='a.b/u.xml'/></query></user></host>",
        ),
        (
            "a.b/u.xml",
            "<user xmlns='urn:xmpp:pie:0' xmlns:xi='http://www.w3.org/2001/XInclude' name='u'><xi:include href='card.xml'/></user>",
        ),
        ("a.b/card.xml", "<vCard xmlns='vcard-temp'/>"),
    ]);
    let (pieces, read) = folder.read("main.xml");
    read.unwrap();
    let users = pieces.iter().filter(|piece| matches!(piece, Piece::User { .. })).count();
    assert_eq!(users, 2);
    let children = children(&pieces);
    assert_eq!(children[0], "<vCard xmlns='vcard-temp'/>");
    assert!(children[1].contains("include href='a.b/u.xml'"), "data of users stay as they are: {children:?}");
}

#[test]
fn what_must_not_be_followed_is_refused() {
    let main = |href: &str| {
        format!(
            "<server-data xmlns='urn:xmpp:pie:0'><include xmlns='http://www.w3.org/2001/XInclude' {href}/></server-data>"
        )
    };
    for (href, part) in [
        ("href='../outside.xml'", "leads out of"),
        ("href='/etc/passwd'", "no relative reference"),
        ("href='http://x/y.xml'", "no relative reference"),
        ("href='%zz'", "no relative reference"),
        ("href='missing.xml'", "cannot be read"),
        ("href='main.xml'", "include each other"),
        ("href='main.xml' parse='text'", "not supported"),
        ("", "lacks the attribute"),
    ] {
        let folder = Folder::new(&[("in/main.xml", &main(href)), ("outside.xml", "<x/>")]);
        let (_, read) = folder.read("in/main.xml");
        let error = read.unwrap_err();
        assert!(error.contains(part), "{href}: {error}");
    }
}

#[test]
fn what_is_no_such_document_is_refused_with_its_place() {
    let deep = "<x>".repeat(MAX_DEPTH + 2);
    let long = format!("<x>{}</x>", "y".repeat(MAX_PIECE + 1));
    for (text, part) in [
        ("<html/>".to_owned(), "no data of users"),
        ("<!DOCTYPE x [<!ENTITY e 'e'>]><server-data xmlns='urn:xmpp:pie:0'/>".to_owned(), "document type"),
        (in_user("<x></y>"), "byte"),
        (in_user("<x>").replace("</user>", ""), "byte"),
        (in_user(&deep), "deep"),
        (in_user(&long), "more than"),
        (
            "<server-data xmlns='urn:xmpp:pie:0'><host></host></server-data>".to_owned(),
            "lacks the attribute «jid»",
        ),
        ("<server-data xmlns='urn:xmpp:pie:0'><host jid='a'>".to_owned(), "ends within"),
        (String::new(), "empty"),
    ] {
        let (_, read) = of(&text);
        let error = read.expect_err(&text[..text.len().min(80)]);
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn what_is_not_understood_is_told_once_and_passed_over() {
    let (pieces, read) = of(
        "<server-data xmlns='urn:xmpp:pie:0'><muc xmlns='urn:x'><user name='no'/></muc><host jid='a'><user name='u'/></host></server-data>",
    );
    read.unwrap();
    assert_eq!(pieces[0], Piece::Foreign("<muc/> of «urn:x»".into()));
    assert_eq!(pieces.iter().filter(|piece| matches!(piece, Piece::User { .. })).count(), 1);
    assert_eq!(pieces.last(), Some(&Piece::EndOfUser));
}
