//! The closing handshake, in both directions and at every stage.

use super::dialogue::{LOGGED_IN, Scene, converse, converse_bound, converse_in};

#[test]
fn the_peers_closing_tag_is_answered_when_the_driver_is_ready() {
    converse_bound(&["C </stream:stream>", "A peer-closed", "D close", "S </stream:stream>"]);
    converse(&["C $OPEN", "S *", "C </stream:stream>", "A peer-closed", "D close", "S </stream:stream>"]);
    let scene = Scene { prologue: LOGGED_IN, ..Scene::default() };
    converse_in(&scene, &["C </stream:stream>", "A peer-closed", "D close", "S </stream:stream>"]);
}

#[test]
fn our_closing_tag_is_answered_by_the_peers() {
    converse_bound(&["D close", "S </stream:stream>", "C </stream:stream>", "A closed"]);
    converse_bound(&[
        "D close system-shutdown",
        "S $ERROR(system-shutdown)ERROR",
        "C <message/><presence/>",
        "C </stream:stream>",
        "A closed",
        "C <message/>",
    ]);
}

#[test]
fn nothing_is_taken_after_the_peers_closing_tag() {
    converse_bound(&["C </stream:stream> <message/>", "A peer-closed", "D close", "S </stream:stream>"]);
}

#[test]
fn an_error_of_the_drivers_finds_a_stream_that_was_never_opened() {
    converse(&["D close connection-timeout", "S $HEADER$ERROR(connection-timeout)ERROR"]);
    converse(&["C <stream:str", "D close connection-timeout", "S $HEADER$ERROR(connection-timeout)ERROR"]);
}

#[test]
fn an_error_between_two_streams_opens_the_second_one() {
    let scene = Scene { prologue: &LOGGED_IN[..7], ..Scene::default() };
    converse_in(&scene, &["D close system-shutdown", "S $HEADER$ERROR(system-shutdown)ERROR"]);
}

#[test]
fn a_stream_is_closed_once() {
    converse_bound(&[
        "D close reset",
        "S $ERROR(reset)ERROR",
        "D close system-shutdown",
        "C </stream:stream>",
        "A closed",
        "D close",
    ]);
}

#[test]
fn nonsense_after_our_closing_tag_is_not_looked_at() {
    converse_bound(&["D close", "S </stream:stream>", "C <<<", "C </stream:stream>"]);
}

#[test]
fn a_resource_that_is_bound_too_late_is_not_announced() {
    let scene = Scene { prologue: LOGGED_IN, ..Scene::default() };
    converse_in(
        &scene,
        &[
            "C $BIND_REQUEST",
            "A bind balcony",
            "D close system-shutdown",
            "S $ERROR(system-shutdown)ERROR",
            "D bound juliet@a.example/balcony",
            "C <message/></stream:stream>",
            "A closed",
        ],
    );
}
