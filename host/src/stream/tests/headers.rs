//! Stream headers: good ones, wrong ones, and what is announced after them.

use super::dialogue::{LOGGED_IN, Scene, converse, converse_in};
use crate::stream::StreamSettings;

#[test]
fn tls_comes_first_when_it_is_required() {
    converse(&["C $OPEN", "S $HEADER$STARTTLS_REQUIRED"]);
}

#[test]
fn login_is_offered_at_once_when_tls_is_not_required() {
    let settings = StreamSettings { tls_required: false, ..StreamSettings::default() };
    converse_in(
        &Scene { settings, ..Scene::default() },
        &[
            "C $OPEN",
            "S $HEADER<stream:features><starttls $TLS/><mechanisms $SASL>*</mechanisms>\
             <register xmlns='x:before'/></stream:features>",
        ],
    );
}

#[test]
fn without_a_certificate_there_is_no_starttls_to_offer() {
    let scene = Scene { without_certificate: true, ..Scene::default() };
    converse_in(&scene, &["C $OPEN", "S $HEADER<stream:features></stream:features>"]);
}

#[test]
fn the_clients_address_is_answered_and_its_header_may_be_odd() {
    converse(&[
        "C <stream:stream xmlns:stream=\"http://etherx.jabber.org/streams\" xmlns=\"jabber:client\" \
         from='Romeo@a.example' to='A.Example' version='1.9' id='ignored' custom='ignored'>",
        "S <?xml version='1.0'?><stream:stream from='a.example' id='*' to='romeo@a.example' version='1.0' *>\
         $STARTTLS_REQUIRED",
    ]);
}

#[test]
fn domains_are_compared_in_their_prepared_form() {
    converse(&[
        "C <stream:stream to='BÜCHER.example' version='1.0' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams'>",
        "S <?xml version='1.0'?><stream:stream from='bücher.example' *>$STARTTLS_REQUIRED",
    ]);
}

#[test]
fn each_fault_of_a_header_has_its_stream_error_after_a_header_of_ours() {
    let cases = [
        ("to='c.example' version='1.0'", "host-unknown"),
        ("version='1.0'", "improper-addressing"),
        ("to='' version='1.0'", "improper-addressing"),
        ("to='juliet@a.example' version='1.0'", "improper-addressing"),
        ("to='a.example/balcony' version='1.0'", "improper-addressing"),
        ("to='a.example' from='@' version='1.0'", "invalid-from"),
        ("to='a.example'", "unsupported-version"),
        ("to='a.example' version='0.9'", "unsupported-version"),
        ("to='a.example' version='one'", "unsupported-version"),
        ("to='a.example' version='1.x'", "unsupported-version"),
    ];
    for (attributes, condition) in cases {
        let open = format!(
            "C <stream:stream {attributes} xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        );
        let error = format!("S $HEADER$ERROR({condition})ERROR");
        converse(&[&open, &error, "A failed"]);
    }
}

#[test]
fn names_and_namespaces_of_the_root_are_checked_first() {
    let cases = [
        (
            "<stream:stream to='a.example' version='1.0' xmlns='jabber:client' xmlns:stream='urn:x'>",
            "invalid-namespace",
        ),
        (
            "<stream:stream to='a.example' version='1.0' xmlns='jabber:server' \
             xmlns:stream='http://etherx.jabber.org/streams'>",
            "invalid-namespace",
        ),
        (
            "<stream:stream to='a.example' version='1.0' xmlns:stream='http://etherx.jabber.org/streams'>",
            "invalid-namespace",
        ),
        (
            "<s:stream to='a.example' version='1.0' xmlns='jabber:client' \
             xmlns:s='http://etherx.jabber.org/streams'>",
            "bad-namespace-prefix",
        ),
        (
            "<stream to='a.example' version='1.0' xmlns='http://etherx.jabber.org/streams'>",
            "bad-namespace-prefix",
        ),
        (
            "<stream:flow to='a.example' version='1.0' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>",
            "bad-format",
        ),
        ("<html>", "invalid-namespace"),
    ];
    for (open, condition) in cases {
        converse(&[&format!("C {open}"), &format!("S $HEADER$ERROR({condition})ERROR"), "A failed"]);
    }
}

#[test]
fn what_is_no_xml_is_answered_on_a_stream_of_ours() {
    let cases = [
        ("GET / HTTP/1.1", "not-well-formed"),
        ("<stream:stream to='a.example'>", "not-well-formed"),
        ("<?xml version='1.0' encoding='latin1'?><stream:stream>", "unsupported-encoding"),
        ("<!DOCTYPE html><html>", "restricted-xml"),
        ("<!-- hello --><stream:stream>", "restricted-xml"),
    ];
    for (open, condition) in cases {
        converse(&[&format!("C {open}"), &format!("S $HEADER$ERROR({condition})ERROR"), "A failed"]);
    }
}

#[test]
fn after_the_login_the_header_has_to_be_the_accounts() {
    let scene = Scene { prologue: &LOGGED_IN[..7], ..Scene::default() };
    let open = |attributes: &str| {
        format!(
            "C <stream:stream {attributes} version='1.0' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>"
        )
    };
    let error = |condition: &str| format!("S $HEADER$ERROR({condition})ERROR");
    converse_in(&scene, &[&open("to='b.example'"), &error("not-authorized"), "A failed"]);
    let romeo = open("to='a.example' from='romeo@a.example'");
    converse_in(&scene, &[&romeo, &error("invalid-from"), "A failed"]);
    let juliet = open("to='a.example' from='juliet@a.example/x'");
    converse_in(&scene, &[&juliet, "S *to='juliet@a.example/x'*$AFTER_LOGIN"]);
}

#[test]
fn every_header_of_ours_has_an_id_of_its_own() {
    use crate::stream::header::random_id;
    let ids: std::collections::HashSet<String> = (0..1000).map(|_| random_id()).collect();
    assert_eq!(ids.len(), 1000);
    assert!(ids.iter().all(|id| id.len() == 32));
}
