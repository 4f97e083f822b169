//! RFC 6121 section 4 without a roster.

use std::sync::{Arc, Mutex};

use super::super::testing::{Bench, condition, passed};
use crate::plugin::call::Dispatch;
use crate::plugin::hook::HookPoint;
use crate::session::SessionLimits;
use crate::stanza::{PresenceType, Stanza, StanzaErrorCondition, StanzaType};

/// Sender and whether it is available.
fn heard(stanzas: &[Stanza]) -> Vec<(String, bool)> {
    let one = |stanza: &Stanza| {
        let from = stanza.from().unwrap().to_string();
        (from, stanza.type_() == StanzaType::Presence(PresenceType::Available))
    };
    stanzas.iter().map(one).collect()
}

fn say(from: &str, available: bool) -> (String, bool) {
    (from.to_owned(), available)
}

const PHONE: &str = "romeo@a.example/phone";
const DESK: &str = "romeo@a.example/desk";

#[tokio::test]
async fn own_resources_hear_of_each_other_and_of_themselves() {
    let bench = Bench::new();
    let mut phone = bench.bind(PHONE).await;
    phone.send("<presence/>").await;
    assert_eq!(heard(&phone.got()), [say(PHONE, true)]);
    let mut desk = bench.bind(DESK).await;
    assert!(phone.got().is_empty(), "a bound resource is not available yet");
    desk.send("<presence><show>away</show></presence>").await;
    assert_eq!(heard(&phone.got()), [say(DESK, true)]);
    assert_eq!(heard(&desk.got()), [say(DESK, true), say(PHONE, true)]);
    desk.send("<presence><show>dnd</show></presence>").await;
    assert_eq!(heard(&desk.got()), [say(DESK, true)], "only initial presence is answered by the others'");
    assert_eq!(heard(&phone.got()), [say(DESK, true)]);
    desk.send("<presence type='unavailable'/>").await;
    assert_eq!(heard(&phone.got()), [say(DESK, false)]);
    assert_eq!(heard(&desk.got()), [say(DESK, false)]);
    desk.send("<presence type='unavailable'/>").await;
    assert!(phone.got().is_empty(), "unavailable already");
}

#[tokio::test]
async fn the_end_of_a_session_is_announced_once_however_it_ends() {
    let bench = Bench::new();
    let mut phone = bench.available(PHONE, 0).await;
    let desk = bench.available(DESK, 0).await;
    phone.got();
    desk.leave().await;
    assert_eq!(heard(&phone.got()), [say(DESK, false)]);

    let desk = bench.available(DESK, 0).await;
    phone.got();
    drop(desk);
    assert_eq!(heard(&phone.wait().await), [say(DESK, false)], "a crashed connection");

    let _first = bench.available(DESK, 0).await;
    phone.got();
    let _second = bench.bind(DESK).await;
    assert_eq!(heard(&phone.got()), [say(DESK, false)], "replaced");
}

#[tokio::test]
async fn directed_presence_is_remembered_until_it_ends() {
    let bench = Bench::new();
    let romeo = bench.bind(PHONE).await;
    let mut juliet = bench.bind("juliet@b.example/y").await;
    let mut nurse = bench.bind("nurse@b.example/z").await;
    romeo.send("<presence to='juliet@b.example/y'/>").await;
    romeo.send("<presence to='nurse@b.example/z'/>").await;
    assert_eq!(heard(&juliet.got()), [say(PHONE, true)]);
    romeo.send("<presence to='nurse@b.example/z' type='unavailable'/>").await;
    assert_eq!(heard(&nurse.got()), [say(PHONE, true), say(PHONE, false)]);
    romeo.leave().await;
    assert_eq!(heard(&juliet.got()), [say(PHONE, false)]);
    assert!(nurse.got().is_empty(), "told already");
}

#[tokio::test]
async fn an_entity_that_answers_with_an_error_is_not_told_of_the_end() {
    let bench = Bench::new();
    let romeo = bench.bind(PHONE).await;
    let mut juliet = bench.bind("juliet@b.example/y").await;
    romeo.send("<presence to='juliet@b.example/y'/>").await;
    juliet.send(&format!("<presence to='{PHONE}' type='error'/>")).await;
    juliet.got();
    romeo.leave().await;
    assert!(juliet.got().is_empty());
}

#[tokio::test]
async fn directed_presence_is_bounded() {
    let limits = SessionLimits { directed_presences: 1, ..SessionLimits::default() };
    let bench = Bench::with(limits, Arc::new(super::super::NoFederation));
    let mut romeo = bench.bind(PHONE).await;
    let mut juliet = bench.bind("juliet@b.example/y").await;
    romeo.send("<presence to='juliet@b.example/y'/>").await;
    romeo.send("<presence to='juliet@b.example/y'/>").await;
    romeo.send("<presence to='nurse@b.example/z'/>").await;
    assert_eq!(juliet.got().len(), 2);
    assert_eq!(condition(&romeo.got_one()), Some(StanzaErrorCondition::ResourceConstraint));
}

#[tokio::test]
async fn probes_are_answered_to_those_who_may_see() {
    let bench = Bench::new();
    let _phone = bench.available(PHONE, 3).await;
    let mut desk = bench.bind(DESK).await;
    let mut juliet = bench.bind("juliet@b.example/y").await;
    desk.send("<presence to='romeo@a.example' type='probe'/>").await;
    assert_eq!(heard(&desk.got()), [say(PHONE, true)], "the own account");
    juliet.send("<presence to='romeo@a.example' type='probe'/>").await;
    juliet.send(&format!("<presence to='{PHONE}' type='probe'/>")).await;
    juliet.send("<presence to='nobody@a.example' type='probe'/>").await;
    assert!(juliet.got().is_empty(), "a stranger");
    let phone = bench.router.sessions().find(&super::super::testing::jid(PHONE)).unwrap();
    phone.keep_directed(&juliet.jid());
    juliet.send("<presence to='romeo@a.example' type='probe'/>").await;
    assert_eq!(heard(&juliet.got()), [say(PHONE, true)], "told directly before");
}

#[tokio::test]
async fn presence_to_an_account_reaches_its_available_resources_whatever_their_priority() {
    let bench = Bench::new();
    let romeo = bench.bind(PHONE).await;
    let mut minus = bench.available("juliet@b.example/minus", -1).await;
    let mut bound = bench.bind("juliet@b.example/bound").await;
    romeo.send("<presence to='juliet@b.example'/>").await;
    assert_eq!(minus.got().len(), 1);
    assert!(bound.got().is_empty());
    romeo.send("<presence to='juliet@b.example/bound'/>").await;
    assert_eq!(bound.got().len(), 1);
}

#[tokio::test]
async fn a_priority_that_is_no_priority_is_refused() {
    let bench = Bench::new();
    let mut romeo = bench.bind(PHONE).await;
    for priority in ["128", "-129", "high", ""] {
        romeo.send(&format!("<presence><priority>{priority}</priority></presence>")).await;
        assert_eq!(condition(&romeo.got_one()), Some(StanzaErrorCondition::BadRequest), "{priority}");
    }
    romeo.send("<presence><priority> 5 </priority></presence>").await;
    assert_eq!(bench.router.sessions().find(&romeo.jid()).unwrap().priority(), Some(5));
}

#[tokio::test]
async fn modules_hear_of_sessions_and_presence() {
    let bench = Bench::new();
    let log: Arc<Mutex<Vec<(HookPoint, serde_json::Value)>>> = Arc::default();
    for point in [HookPoint::SessionOpened, HookPoint::SessionClosed, HookPoint::PresenceChanged] {
        let log = log.clone();
        bench.modules.on_hook(point, move |call| {
            assert_eq!(call.from.as_ref().unwrap().as_str(), PHONE);
            log.lock().unwrap().push((point, serde_json::from_str(&call.args).unwrap()));
            Dispatch::Ready(passed(call))
        });
    }
    let romeo = bench.bind(PHONE).await;
    romeo.send("<presence/>").await;
    romeo.send("<presence><priority>2</priority></presence>").await;
    romeo.leave().await;
    let log = log.lock().unwrap();
    let points: Vec<_> = log.iter().map(|(point, _)| *point).collect();
    use HookPoint::{PresenceChanged, SessionClosed, SessionOpened};
    assert_eq!(points, [SessionOpened, PresenceChanged, PresenceChanged, PresenceChanged, SessionClosed]);
    assert_eq!((&log[1].1["was_available"], &log[2].1["was_available"]), (&false.into(), &true.into()));
    assert_eq!(log[2].1["priority"], 2);
    assert_eq!(log[3].1["available"], false);
    assert_eq!(log[4].1["reason"], "closed");
}
