//! Binding, and stanzas on a bound stream.

use super::dialogue::{LOGGED_IN, Scene, converse_bound, converse_in};
use crate::stream::StreamSettings;
use crate::xml::Limits;

fn converse_logged_in(turns: &[&str]) {
    converse_in(&Scene { prologue: LOGGED_IN, ..Scene::default() }, turns);
}

#[test]
fn a_resource_is_bound_as_wished_or_as_the_server_likes() {
    converse_logged_in(&[
        "C $BIND_REQUEST",
        "A bind balcony",
        "D bound juliet@a.example/balcony",
        "S $BIND_RESULT",
    ]);
    for request in
        ["<bind $BIND/>", "<bind $BIND><resource/></bind>", "<bind $BIND><resource></resource></bind>"]
    {
        converse_logged_in(&[
            &format!("C <iq type='set' id='&lt;1&gt;' to='a.example'>{request}</iq>"),
            "A bind",
            "D bound juliet@a.example/chosen",
            "S <iq type='result' id='&lt;1&gt;'><bind $BIND><jid>juliet@a.example/chosen</jid></bind></iq>",
        ]);
    }
}

#[test]
fn a_resource_that_is_refused_may_be_followed_by_another_wish() {
    converse_logged_in(&[
        "C $BIND_REQUEST",
        "A bind balcony",
        "D unbound conflict",
        "S <iq type='error' id='b1'><error type='cancel'><conflict $STANZAS/></error></iq>",
        "C $BIND_REQUEST",
        "A bind balcony",
        "D bound juliet@a.example/balcony",
        "S $BIND_RESULT",
    ]);
}

#[test]
fn nothing_but_binding_is_taken_before_binding() {
    let cases = [
        ("<message><body>hi</body></message>", "not-authorized"),
        ("<presence/>", "not-authorized"),
        ("<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>", "not-authorized"),
        ("<iq type='get' id='1'><bind $BIND/></iq>", "not-authorized"),
        ("<iq type='set' id='1' to='b.example'><bind $BIND/></iq>", "not-authorized"),
        ("<iq type='set' id='1'><session $SESSION/></iq>", "not-authorized"),
        ("<starttls $TLS/>", "unsupported-stanza-type"),
        ("<auth $SASL mechanism='X'/>", "unsupported-stanza-type"),
    ];
    for (element, condition) in cases {
        let error = format!("S $ERROR({condition})ERROR");
        converse_logged_in(&[&format!("C {element}"), &error, "A failed"]);
    }
}

#[test]
fn stanzas_are_stamped_with_the_full_jid() {
    let juliet = "from='juliet@a.example/balcony'";
    converse_bound(&[
        "C <message to='romeo@a.example'><body>hi</body></message>",
        &format!("A deliver <message {juliet} to='romeo@a.example'><body>hi</body></message>"),
        "C <presence from='juliet@a.example'/>",
        &format!("A deliver <presence {juliet}/>"),
        "C <iq type='get' id='1' from='juliet@a.example/balcony'><ping xmlns='urn:xmpp:ping'/></iq>",
        &format!("A deliver <iq {juliet} type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>"),
    ]);
}

#[test]
fn a_wrong_from_ends_the_stream() {
    for from in ["romeo@a.example", "juliet@a.example/window", "a.example", "@", ""] {
        let stanza = format!("C <message from='{from}'><body>hi</body></message>");
        converse_bound(&[&stanza, "S $ERROR(invalid-from)ERROR", "A failed"]);
    }
}

#[test]
fn an_impossible_recipient_is_a_stanza_error_and_the_stream_goes_on() {
    converse_bound(&[
        "C <message to='@' id='m1'><body>hi</body></message>",
        "S <message*type='error'*<jid-malformed $STANZAS/>*</message>",
        "C <message to='@' type='error'/>",
        "C <presence/>",
        "A deliver <presence from='juliet@a.example/balcony'/>",
    ]);
}

#[test]
fn what_is_no_stanza_ends_the_stream() {
    let cases = [
        ("<x xmlns='urn:x'/>", "unsupported-stanza-type"),
        ("<starttls $TLS/>", "unsupported-stanza-type"),
        ("<r xmlns='urn:xmpp:sm:3'/>", "unsupported-stanza-type"),
        ("<letter/>", "unsupported-stanza-type"),
        ("<message xmlns='jabber:server'/>", "invalid-namespace"),
    ];
    for (element, condition) in cases {
        let error = format!("S $ERROR({condition})ERROR");
        converse_bound(&[&format!("C {element}"), &error, "A failed"]);
    }
}

#[test]
fn what_is_no_proper_xml_ends_the_stream() {
    let cases = [
        ("<message></presence>", "not-well-formed"),
        ("<message foo=bar/>", "not-well-formed"),
        ("<message x:y='1'/>", "not-well-formed"),
        ("<message><!-- x --></message>", "restricted-xml"),
        ("<message><?x y?></message>", "restricted-xml"),
        ("<message>&evil;</message>", "restricted-xml"),
        ("between", "*"),
    ];
    for (element, condition) in cases {
        let error = format!("S $ERROR({condition})ERROR");
        converse_bound(&[&format!("C {element}"), &error, "A failed"]);
    }
}

#[test]
fn what_is_too_large_or_too_deep_ends_the_stream() {
    let limits = Limits { stanza_bytes: 1_000, depth: 5, attributes: 5, ..Limits::default() };
    let settings = StreamSettings { limits, ..StreamSettings::default() };
    let scene = Scene { settings, prologue: super::dialogue::BOUND, ..Scene::default() };
    let cases = [
        format!("<message><body>{}</body></message>", "x".repeat(1_000)),
        "<a><b><c><d><e><f>".to_owned(),
        "<message a='1' b='2' c='3' d='4' e='5' f='6'/>".to_owned(),
    ];
    for element in cases {
        converse_in(&scene, &[&format!("C {element}"), "S $ERROR(policy-violation)ERROR", "A failed"]);
    }
}

#[test]
fn strangers_have_smaller_limits_than_users() {
    let limits = Limits { stanza_bytes: 1_000, ..Limits::default() };
    let settings = StreamSettings { limits_before_login: limits, ..StreamSettings::default() };
    let long = "x".repeat(2_000);
    let scene = Scene { settings: settings.clone(), ..Scene::default() };
    let auth = format!("C <auth $SASL mechanism='X'>{long}</auth>");
    converse_in(&scene, &["C $OPEN", "S *", &auth, "S $ERROR(policy-violation)ERROR", "A failed"]);
    let scene = Scene { settings, prologue: super::dialogue::BOUND, ..Scene::default() };
    let message = format!("C <message><body>{long}</body></message>");
    let delivered =
        format!("A deliver <message from='juliet@a.example/balcony'><body>{long}</body></message>");
    converse_in(&scene, &[&message, &delivered]);
}

#[test]
fn white_space_between_stanzas_is_nothing() {
    converse_bound(&[
        "C   ",
        "C <presence/> ",
        "A deliver <presence from='juliet@a.example/balcony'/>",
        "C  ",
    ]);
}

#[test]
fn late_bind_and_session_requests_are_answered_by_the_stream() {
    converse_bound(&[
        "C <iq type='set' id='s1'><session $SESSION/></iq>",
        "S <iq type='result' id='s1'/>",
        "C <iq type='set' id='s2' to='a.example'><session $SESSION/></iq>",
        "S <iq type='result' id='s2'/>",
        "C <iq type='set' id='s3' to='b.example'><session $SESSION/></iq>",
        "A deliver <iq from='juliet@a.example/balcony' to='b.example' type='set' id='s3'><session $SESSION/></iq>",
        "C $BIND_REQUEST",
        "S <iq type='error' id='b1'><error type='cancel'><not-allowed $STANZAS/>*</error></iq>",
    ]);
}

#[test]
fn stanzas_without_a_language_get_the_streams() {
    let open = |lang: &str| {
        format!(
            "C <stream:stream to='a.example' version='1.0' xml:lang='{lang}' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>"
        )
    };
    let converse = |lang: &str, stanza: &str, delivered: &str| {
        let scene = Scene { prologue: &LOGGED_IN[..7], ..Scene::default() };
        converse_in(
            &scene,
            &[
                &open(lang),
                "S $HEADER$AFTER_LOGIN",
                "C $BIND_REQUEST",
                "A bind balcony",
                "D bound juliet@a.example/balcony",
                "S $BIND_RESULT",
                &format!("C {stanza}"),
                &format!("A deliver {delivered}"),
            ],
        );
    };
    let juliet = "from='juliet@a.example/balcony'";
    converse("de-AT", "<message/>", &format!("<message {juliet} xml:lang='de-AT'/>"));
    converse("de", "<message xml:lang='fr'/>", &format!("<message {juliet} xml:lang='fr'/>"));
    for odd in ["", "-", "de_AT", "much-too-long-for-a-language-of-any-kind-on-earth"] {
        converse(odd, "<message/>", &format!("<message {juliet}/>"));
    }
}
