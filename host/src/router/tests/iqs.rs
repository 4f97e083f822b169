//! Every IQ request gets exactly one answer.

use std::sync::Arc;
use std::time::Duration;

use super::super::testing::{Bench, condition, stanza};
use crate::plugin::call::{Dispatch, IqOutcome, Queued, RouteTable};
use crate::plugin::registration::IqTarget;
use crate::stanza::{IqType, Stanza, StanzaErrorCondition, StanzaType};

fn pong(_: &Stanza) -> Dispatch<IqOutcome> {
    Dispatch::Ready(IqOutcome::Result(b"<pong xmlns='urn:x'/>".to_vec()))
}

fn slowly() -> crate::plugin::services::BoxFuture<IqOutcome> {
    Box::pin(async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        IqOutcome::Result(Vec::new())
    })
}

#[tokio::test]
async fn handlers_of_the_vhost_and_of_accounts_are_told_apart() {
    let bench = Bench::new();
    bench.modules.on_iq(IqTarget::Server, "urn:server", pong);
    bench.modules.on_iq(IqTarget::Bare, "urn:bare", pong);
    bench.has_account("tybalt@b.example");
    let mut client = bench.bind("romeo@a.example/x").await;
    use StanzaErrorCondition::ServiceUnavailable;
    let cases = [
        ("to='b.example'", "<q xmlns='urn:server'/>", None),
        ("to='b.example/any'", "<q xmlns='urn:server'/>", None),
        ("to='b.example'", "<q xmlns='urn:bare'/>", Some(ServiceUnavailable)),
        ("", "<q xmlns='urn:bare'/>", None),
        ("to='romeo@a.example'", "<q xmlns='urn:bare'/>", None),
        ("to='tybalt@b.example'", "<q xmlns='urn:bare'/>", None),
        ("to='tybalt@b.example'", "<q xmlns='urn:server'/>", Some(ServiceUnavailable)),
        ("to='nobody@b.example'", "<q xmlns='urn:bare'/>", Some(ServiceUnavailable)),
        ("to='tybalt@b.example/r'", "<q xmlns='urn:bare'/>", Some(ServiceUnavailable)),
    ];
    for (to, payload, expected) in cases {
        client.send(&format!("<iq type='get' id='7' {to}>{payload}</iq>")).await;
        let answer = client.got_one();
        assert_eq!(condition(&answer), expected, "{to} {payload}");
        assert_eq!(answer.id().as_deref(), Some("7"));
        let is_result = answer.type_() == StanzaType::Iq(IqType::Result);
        assert_eq!(is_result, expected.is_none());
    }
}

#[tokio::test]
async fn an_answer_without_a_request_is_dropped_and_counted() {
    let bench = Bench::new();
    let mut client = bench.bind("romeo@a.example/x").await;
    for to in ["", "to='a.example'", "to='nobody@b.example'", "to='nobody@b.example/r'"] {
        client.send(&format!("<iq type='result' id='1' {to}/>")).await;
        client.send(&format!("<iq type='error' id='1' {to}/>")).await;
    }
    assert!(client.got().is_empty());
    assert_eq!(bench.router.pending().counts().unmatched, 8);
}

#[tokio::test]
async fn requests_between_clients_are_relayed_and_a_missing_one_is_answered() {
    let bench = Bench::new();
    let mut romeo = bench.bind("romeo@a.example/x").await;
    let mut juliet = bench.bind("juliet@b.example/y").await;
    romeo.send("<iq to='juliet@b.example/y' type='get' id='1'><q xmlns='urn:x'/></iq>").await;
    let asked = juliet.got_one();
    juliet.send(&asked.iq_result(b"").unwrap().as_str().replace("from=", "x-from=")).await;
    assert_eq!(romeo.got_one().type_(), StanzaType::Iq(IqType::Result));
    juliet.leave().await;
    romeo.send("<iq to='juliet@b.example/y' type='get' id='2'><q xmlns='urn:x'/></iq>").await;
    assert_eq!(condition(&romeo.got_one()), Some(StanzaErrorCondition::ServiceUnavailable));
}

#[tokio::test]
async fn a_handler_in_the_callers_task_keeps_the_caller_and_a_queued_one_does_not() {
    let bench = Bench::new();
    tokio::time::pause();
    bench.modules.on_iq(IqTarget::Server, "urn:inline", |_| Dispatch::Later(slowly()));
    bench.modules.on_iq(IqTarget::Server, "urn:queued", |_| Dispatch::Queued(Queued::of(slowly())));
    let mut client = bench.bind("romeo@a.example/x").await;
    let started = tokio::time::Instant::now();
    client.send("<iq type='get' id='1' to='a.example'><q xmlns='urn:queued'/></iq>").await;
    assert!(client.got().is_empty());
    assert_eq!(started.elapsed(), Duration::ZERO);
    client.send("<iq type='get' id='2' to='a.example'><q xmlns='urn:inline'/></iq>").await;
    assert!(started.elapsed() >= Duration::from_secs(1));
    let mut ids: Vec<_> = client.got().iter().map(|stanza| stanza.id().unwrap().into_owned()).collect();
    while ids.len() < 2 {
        ids.extend(client.wait().await.iter().map(|stanza| stanza.id().unwrap().into_owned()));
    }
    ids.sort();
    assert_eq!(ids, ["1", "2"]);
}

#[tokio::test]
async fn a_payload_that_is_no_xml_is_the_modules_fault() {
    let bench = Bench::new();
    let broken = |_: &Stanza| Dispatch::Ready(IqOutcome::Result(b"<open>".to_vec()));
    bench.modules.on_iq(IqTarget::Server, "urn:x", broken);
    let mut client = bench.bind("romeo@a.example/x").await;
    client.send("<iq type='get' id='1' to='a.example'><q xmlns='urn:x'/></iq>").await;
    assert_eq!(condition(&client.got_one()), Some(StanzaErrorCondition::InternalServerError));
}

#[tokio::test]
async fn an_ignored_request_is_answered_by_the_module_once() {
    let bench = Bench::new();
    bench.modules.on_iq(IqTarget::Server, "urn:x", |_| Dispatch::Ready(IqOutcome::Ignore));
    let mut client = bench.bind("romeo@a.example/x").await;
    client.send("<iq type='get' id='1' to='a.example'><q xmlns='urn:x'/></iq>").await;
    assert!(client.got().is_empty());
    let answer = stanza("<iq type='result' id='1' from='a.example' to='romeo@a.example/x'/>");
    bench.router.inject(answer.clone()).unwrap();
    assert!(bench.router.inject(answer).is_err(), "a second answer is refused");
    assert_eq!(client.got().len(), 1);
}

#[tokio::test]
async fn a_handler_that_routes_its_answer_before_it_ends_is_not_answered_for() {
    let bench = Bench::new();
    for (ns, end) in [
        ("urn:ignore", IqOutcome::Ignore),
        ("urn:fail", IqOutcome::Error(StanzaErrorCondition::InternalServerError.into())),
    ] {
        let router = bench.router.clone();
        bench.modules.on_iq(IqTarget::Server, ns, move |request| {
            router.inject(request.iq_result(b"").unwrap()).unwrap();
            Dispatch::Ready(end.clone())
        });
        let mut client = bench.bind("romeo@a.example/x").await;
        client.send(&format!("<iq type='get' id='1' to='a.example'><q xmlns='{ns}'/></iq>")).await;
        assert_eq!(client.got_one().type_(), StanzaType::Iq(IqType::Result), "{ns}");
    }
}

#[tokio::test]
async fn a_request_to_a_service_that_never_answers_ends_with_a_timeout_and_a_late_answer_is_refused() {
    let bench = Bench::new();
    bench.modules.on_route(RouteTable::Global, "mute.a.example", |_| Ok(()));
    bench.router.dispatcher().set_deadline(Duration::ZERO);
    let mut client = bench.bind("romeo@a.example/x").await;
    client.send("<iq type='get' id='1' to='mute.a.example'><q xmlns='urn:x'/></iq>").await;
    bench.router.dispatcher().set_deadline(Duration::from_secs(60));
    bench.router.answer_overdue();
    assert_eq!(condition(&client.got_one()), Some(StanzaErrorCondition::RemoteServerTimeout));
    let late = stanza("<iq type='result' id='1' from='mute.a.example' to='romeo@a.example/x'/>");
    assert!(bench.router.inject(late).is_err());
    assert!(client.got().is_empty());
}

#[tokio::test]
async fn the_server_gets_answers_to_its_own_requests() {
    let bench = Bench::new();
    let mut client = bench.bind("romeo@a.example/x").await;
    let ask = || {
        stanza(
            "<iq type='get' id='p' from='a.example' to='romeo@a.example/x'><ping xmlns='urn:xmpp:ping'/></iq>",
        )
    };
    let pending = bench.router.request(ask(), Duration::from_secs(5)).unwrap();
    assert_eq!(client.got().len(), 1);
    let mut imposter = bench.bind("mallory@a.example/x").await;
    imposter.send("<iq type='result' id='p' to='a.example'/>").await;
    client.send("<iq type='result' id='p' to='a.example'/>").await;
    let answer = pending.answer().await.unwrap();
    assert_eq!(answer.from(), Some(&client.jid()));
    assert!(imposter.got().is_empty());
    assert_eq!(bench.router.pending().counts().unmatched, 1);
}

#[tokio::test]
async fn a_request_of_the_server_to_nobody_gets_the_error_as_its_answer() {
    let bench = Bench::new();
    let ask = stanza(
        "<iq type='get' id='p' from='a.example' to='romeo@a.example/x'><ping xmlns='urn:xmpp:ping'/></iq>",
    );
    let answer = bench.router.request(ask, Duration::from_secs(5)).unwrap().answer().await.unwrap();
    assert_eq!(condition(&answer), Some(StanzaErrorCondition::ServiceUnavailable));
}

#[tokio::test]
async fn an_old_clients_session_request_is_granted() {
    let bench = Bench::new();
    let mut client = bench.bind("romeo@a.example/x").await;
    let ask = "<iq type='set' id='1'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>";
    client.send(ask).await;
    assert_eq!(client.got_one().type_(), StanzaType::Iq(IqType::Result));
}

#[tokio::test]
async fn modules_that_send_each_other_the_same_thing_are_stopped() {
    let bench = Bench::new();
    let bounced = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for (here, there) in [("one.a.example", "two.a.example"), ("two.a.example", "one.a.example")] {
        let (router, bounced) = (bench.router.clone(), bounced.clone());
        bench.modules.on_route(RouteTable::Local, here, move |given| {
            let next = given.with_from(&super::super::testing::jid(here));
            let next = next.with_to(&super::super::testing::jid(there)).with_hops(given.hops() + 1);
            if router.inject(next).is_err() {
                bounced.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            Ok(())
        });
    }
    let client = bench.bind("romeo@a.example/x").await;
    client.send("<message to='one.a.example'/>").await;
    assert_eq!(bounced.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(bench.router.counts().loops, 1);
    assert!(bench.router.counts().to_modules <= u64::from(super::super::MAX_HOPS) + 2);
}
