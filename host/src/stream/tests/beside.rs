//! Stream management and client state as the stream sees them: recognised, refused where they make no sense.

use super::dialogue::{BOUND, LOGGED_IN, Scene, converse_in};
use crate::stream::StreamSettings;

const ID: &str = "juliet@a.example/balcony";

fn settings() -> StreamSettings {
    StreamSettings { management: true, client_state: true, ..StreamSettings::default() }
}

/// The prologues say which features are expected; with these settings there are two more.
fn converse_after(prologue: &'static [&'static str], turns: &[&str]) {
    let features = "S $HEADER<stream:features>$BIND_FEATURE$SESSION_FEATURE<sm $SM/><csi $CSI/>\
                    <sub xmlns='x:after'/></stream:features>";
    let expected = |turn: &&'static str| if turn.ends_with("$AFTER_LOGIN") { features } else { *turn };
    let all: Vec<&str> = prologue.iter().map(expected).chain(turns.iter().copied()).collect();
    converse_in(&Scene { settings: settings(), ..Scene::default() }, &all);
}

#[test]
fn a_bound_stream_passes_on_what_is_said_beside_stanzas() {
    converse_after(
        BOUND,
        &[
            "C <enable $SM resume='true' max='10'/>",
            "A Enable { resume: true, max: Some(10) }",
            "C <r $SM/><a $SM h='3'/>",
            "A Request",
            "A Acknowledge(3)",
            "C <inactive $CSI/><active $CSI/>",
            "A ClientState(Inactive)",
            "A ClientState(Active)",
            "C <resume $SM previd='x' h='0'/>",
            "A Resume { previous: \"x\", handled: 0 }",
            "C <resume $SM/>",
            "S <failed $SM><bad-request $STANZAS/></failed>",
            "C <presence/>",
            &format!("A deliver <presence from='{ID}'/>"),
            "C <a $SM/>",
            "S $ERROR(invalid-xml)ERROR",
            "A failed",
        ],
    );
}

#[test]
fn an_earlier_session_takes_the_place_of_binding() {
    converse_after(
        LOGGED_IN,
        &[
            "C <resume $SM previd='abc' h='7'/><presence/>",
            "A resume abc 7",
            "D not-resumed",
            "S $ERROR(not-authorized)ERROR",
            "A failed",
        ],
    );
    converse_after(
        LOGGED_IN,
        &[
            "C <resume $SM previd='abc' h='7'/><presence/>",
            "A resume abc 7",
            "D resumed juliet@a.example/balcony",
            &format!("A deliver <presence from='{ID}'/>"),
        ],
    );
    converse_after(
        LOGGED_IN,
        &[
            "C <resume $SM previd='abc' h='7'/>",
            "A resume abc 7",
            "D not-resumed",
            "C $BIND_REQUEST",
            "A bind balcony",
            "D bound juliet@a.example/balcony",
            "S $BIND_RESULT",
        ],
    );
}

#[test]
fn what_comes_too_early_is_unexpected_and_the_stream_goes_on() {
    let unexpected = "S <failed $SM><unexpected-request $STANZAS/></failed>";
    for element in ["<enable $SM/>", "<r $SM/>", "<a $SM h='0'/>"] {
        let said = format!("C {element}");
        converse_after(
            LOGGED_IN,
            &[
                &said,
                unexpected,
                "C $BIND_REQUEST",
                "A bind balcony",
                "D bound juliet@a.example/balcony",
                "S $BIND_RESULT",
            ],
        );
    }
    let scene = Scene { settings: settings(), ..Scene::default() };
    for element in ["<enable $SM/>", "<resume $SM previd='x' h='1'/>"] {
        let said = format!("C {element}");
        converse_in(&scene, &["D tls", "C $OPEN", "S *</stream:features>", &said, unexpected]);
    }
}
