//! STARTTLS and SASL.

use super::dialogue::{Scene, Whole, converse, converse_in};
use crate::stream::StreamSettings;

const ENCRYPTED: &[&str] = &["D tls", "C $OPEN", "S *</stream:features>"];

fn converse_encrypted(turns: &[&str]) {
    converse_in(&Scene { prologue: ENCRYPTED, ..Scene::default() }, turns);
}

#[test]
fn starttls_restarts_the_stream_and_then_offers_login() {
    converse(&[
        "C $OPEN",
        "S $HEADER$STARTTLS_REQUIRED",
        "C <starttls $TLS/>",
        "S <proceed $TLS/>",
        "A start-tls",
        "D tls",
        "C $OPEN",
        "S $HEADER<stream:features><mechanisms $SASL>*</mechanisms><register xmlns='x:before'/></stream:features>",
    ]);
}

#[test]
fn channel_bindings_are_announced_when_the_tls_session_has_them() {
    converse(&[
        "D tls exporter and end-point",
        "C $OPEN",
        "S *<mechanism>SCRAM-SHA-256-PLUS</mechanism>*<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'>\
         <channel-binding type='tls-exporter'/><channel-binding type='tls-server-end-point'/>\
         </sasl-channel-binding>*",
    ]);
}

/// Byte by byte nothing comes along: the stream stops listening with the last byte of the element.
#[test]
fn bytes_sent_along_with_starttls_are_refused() {
    for injected in ["<auth $SASL mechanism='PLAIN'>AGEAYg==</auth>", " ", "<message"] {
        let together = format!("C <starttls $TLS/>{injected}");
        let turns = ["C $OPEN", "S *", &together, "S <failure $TLS/></stream:stream>", "A failed"];
        Whole::new().turns(&turns);
    }
}

#[test]
fn starttls_is_refused_twice_and_without_a_certificate() {
    converse_encrypted(&["C <starttls $TLS/>", "S <failure $TLS/></stream:stream>", "A failed"]);
    let scene = Scene { without_certificate: true, ..Scene::default() };
    let turns = ["C $OPEN", "S *", "C <starttls $TLS/>", "S <failure $TLS/></stream:stream>", "A failed"];
    converse_in(&scene, &turns);
}

#[test]
fn a_login_before_required_tls_fails() {
    converse(&[
        "C $OPEN",
        "S *",
        "C <auth $SASL mechanism='PLAIN'>AGEAYg==</auth>",
        "S <failure $SASL><encryption-required/></failure>",
    ]);
}

#[test]
fn a_login_in_several_steps() {
    converse_encrypted(&[
        "C <auth $SASL mechanism='SCRAM-SHA-1'>biwsbj1qdWxpZXQscj1r</auth>",
        "A login SCRAM-SHA-1 6e2c2c6e3d6a756c6965742c723d6b",
        "D challenge r=k",
        "S <challenge $SASL>cj1r</challenge>",
        "C <response $SASL>Yz1iaXdz</response>",
        "A respond 633d62697773",
        "D success juliet v=1",
        "S <success $SASL>dj0x</success>",
        "C $OPEN",
        "S $HEADER$AFTER_LOGIN",
    ]);
}

#[test]
fn no_initial_response_differs_from_an_empty_one() {
    converse_encrypted(&["C <auth $SASL mechanism='X'/>", "A login X"]);
    converse_encrypted(&["C <auth $SASL mechanism='X'>=</auth>", "A login X empty"]);
    converse_encrypted(&[
        "C <auth $SASL mechanism='X'/>",
        "A login X",
        "D challenge ",
        "S <challenge $SASL>*</challenge>",
        "C <response $SASL/>",
        "A respond",
    ]);
}

#[test]
fn an_account_that_can_have_no_jid_is_a_fault_of_the_server() {
    converse_encrypted(&[
        "C <auth $SASL mechanism='PLAIN'>AGEAYg==</auth>",
        "A login PLAIN 00610062",
        "D success a@b",
        "S <success $SASL/>$ERROR(internal-server-error)ERROR",
        "A failed",
    ]);
}

#[test]
fn everything_up_to_binding_may_come_along_with_the_login() {
    Whole::new().turns(ENCRYPTED).turns(&[
        "C <auth $SASL mechanism='PLAIN'>AGEAYg==</auth>$OPEN$BIND_REQUEST<presence/>",
        "A login PLAIN 00610062",
        "D success juliet",
        "S <success $SASL/>$HEADER$AFTER_LOGIN",
        "A bind balcony",
        "D bound juliet@a.example/balcony",
        "S $BIND_RESULT",
        "A deliver <presence from='juliet@a.example/balcony'/>",
    ]);
}

#[test]
fn a_login_can_be_aborted_and_begun_anew() {
    converse_encrypted(&[
        "C <auth $SASL mechanism='X'/>",
        "A login X",
        "D challenge a",
        "S <challenge $SASL>YQ==</challenge>",
        "C <abort $SASL/>",
        "A abort",
        "D failure aborted",
        "S <failure $SASL><aborted/></failure>",
        "C <auth $SASL mechanism='Y'/>",
        "A login Y",
        "D challenge a",
        "S <challenge $SASL>YQ==</challenge>",
        "C <auth $SASL mechanism='Z'/>",
        "A login Z",
    ]);
}

#[test]
fn the_third_failure_ends_the_stream() {
    converse_encrypted(&[
        "C <auth $SASL mechanism='X'/>",
        "A login X",
        "D failure not-authorized",
        "S <failure $SASL><not-authorized/></failure>",
        "C <abort $SASL/>",
        "S <failure $SASL><aborted/></failure>",
        "C <response $SASL/>",
        "S <failure $SASL><malformed-request/>*</failure>$ERROR(policy-violation)ERROR",
        "A failed",
    ]);
}

#[test]
fn as_many_logins_may_fail_as_are_configured() {
    let settings = StreamSettings { login_attempts: 1, ..StreamSettings::default() };
    converse_in(
        &Scene { settings, prologue: ENCRYPTED, ..Scene::default() },
        &[
            "C <auth $SASL/>",
            "S <failure $SASL><invalid-mechanism/>*</failure>$ERROR(policy-violation)ERROR",
            "A failed",
        ],
    );
}

#[test]
fn wrong_base64_fails_the_login_and_no_more() {
    converse_encrypted(&[
        "C <auth $SASL mechanism='PLAIN'>A GEAYg</auth>",
        "S <failure $SASL><incorrect-encoding/>*</failure>",
    ]);
}

#[test]
fn nothing_but_login_is_taken_before_the_login() {
    let cases = [
        ("<message><body>hi</body></message>", "not-authorized"),
        ("<presence/>", "not-authorized"),
        ("<x xmlns='urn:x'/>", "unsupported-stanza-type"),
        ("<auth xmlns='urn:x'/>", "unsupported-stanza-type"),
        ("<success $SASL/>", "unsupported-stanza-type"),
    ];
    for (element, condition) in cases {
        let error = format!("S $ERROR({condition})ERROR");
        converse_encrypted(&[&format!("C {element}"), &error, "A failed"]);
        let during_login =
            ["C <auth $SASL mechanism='X'/>", "A login X", "D challenge a", "S *", &format!("C {element}")];
        converse_encrypted(&[&during_login[..], &[&error, "A failed"]].concat());
    }
}

#[test]
fn the_host_is_asked_about_iqs_before_the_login() {
    let register = "C <iq type='get' id='r1'><query xmlns='jabber:iq:register'/></iq>";
    let asked =
        "A before-login <iq from='a.example' type='get' id='r1'><query xmlns='jabber:iq:register'/></iq>";
    converse_encrypted(&[
        register,
        asked,
        "D reply <iq type='result' id='r1'/>",
        "S <iq type='result' id='r1'/>",
        "C <auth $SASL mechanism='X'/>",
        "A login X",
    ]);
    converse_encrypted(&[register, asked, "D reply", "S $ERROR(not-authorized)ERROR", "A failed"]);
    converse(&["C $OPEN", "S *", register, "S $ERROR(not-authorized)ERROR", "A failed"]);
}

#[test]
fn a_login_that_succeeds_after_the_stream_was_closed_changes_nothing() {
    converse_encrypted(&[
        "C <auth $SASL mechanism='X'/>",
        "A login X",
        "D close system-shutdown",
        "S $ERROR(system-shutdown)ERROR",
        "D success juliet",
    ]);
}
