//! Hooks on the way of a stanza.

use super::super::testing::{Bench, condition, passed, stopped};
use crate::plugin::call::{Dispatch, HookVerdict};
use crate::plugin::hook::HookPoint;
use crate::stanza::{Stanza, StanzaErrorCondition, Urgency};

const ASK: &str = "<iq to='juliet@b.example/y' type='get' id='1'><q xmlns='urn:x'/></iq>";
const SAY: &str = "<message to='juliet@b.example/y' type='chat'><body>hi</body></message>";
const ON_THE_WAY: [HookPoint; 3] =
    [HookPoint::UserSendPacket, HookPoint::FilterPacket, HookPoint::UserReceivePacket];

fn renamed(stanza: Option<Stanza>) -> HookVerdict {
    let xml = stanza.unwrap().as_str().replace(">hi<", ">replaced<");
    HookVerdict { stanza: Some(Stanza::parse(xml.as_bytes()).unwrap()), body: Vec::new(), stopped: None }
}

#[tokio::test]
async fn a_hook_may_replace_a_stanza_now_or_later() {
    for point in ON_THE_WAY {
        for later in [false, true] {
            let bench = Bench::new();
            bench.modules.on_hook(point, move |call| {
                if !later {
                    return Dispatch::Ready(renamed(call.stanza));
                }
                Dispatch::Later(Box::pin(async move {
                    tokio::task::yield_now().await;
                    renamed(call.stanza)
                }))
            });
            let romeo = bench.bind("romeo@a.example/x").await;
            let mut juliet = bench.bind("juliet@b.example/y").await;
            romeo.send(SAY).await;
            assert!(juliet.got_one().as_str().contains("replaced"), "{point} later={later}");
        }
    }
}

#[tokio::test]
async fn a_dropped_message_is_gone_and_a_dropped_request_is_answered() {
    for point in ON_THE_WAY {
        let bench = Bench::new();
        bench.modules.on_hook(point, |call| {
            let to_juliet =
                call.stanza.as_ref().and_then(Stanza::to).is_some_and(|to| to.domain() == "b.example");
            Dispatch::Ready(if to_juliet { stopped("not-acceptable") } else { passed(call) })
        });
        let mut romeo = bench.bind("romeo@a.example/x").await;
        let mut juliet = bench.bind("juliet@b.example/y").await;
        romeo.send(SAY).await;
        romeo.send(ASK).await;
        assert!(juliet.got().is_empty(), "{point}");
        assert_eq!(condition(&romeo.got_one()), Some(StanzaErrorCondition::NotAcceptable), "{point}");
    }
}

#[tokio::test]
async fn a_hook_that_has_answered_says_so() {
    let bench = Bench::new();
    let router = bench.router.clone();
    bench.modules.on_hook(HookPoint::UserSendPacket, move |call| {
        router.inject(call.stanza.unwrap().iq_result(b"").unwrap()).unwrap();
        Dispatch::Ready(stopped("answered"))
    });
    let mut romeo = bench.bind("romeo@a.example/x").await;
    romeo.send(ASK).await;
    assert_eq!(condition(&romeo.got_one()), None);
}

#[tokio::test]
async fn offline_messages_are_offered_for_known_accounts_only() {
    let bench = Bench::new();
    bench.has_account("juliet@b.example");
    bench.modules.on_hook(HookPoint::OfflineMessage, |_| Dispatch::Ready(stopped("kept")));
    let mut romeo = bench.bind("romeo@a.example/x").await;
    romeo.send("<message to='juliet@b.example' type='chat'><body/></message>").await;
    assert!(romeo.got().is_empty(), "kept");
    romeo.send("<message to='nobody@b.example' type='chat'><body/></message>").await;
    assert_eq!(condition(&romeo.got_one()), Some(StanzaErrorCondition::ServiceUnavailable));
}

#[tokio::test]
async fn a_module_may_take_what_is_sent_to_a_vhost() {
    let bench = Bench::new();
    bench.modules.on_hook(HookPoint::LocalPacket, |call| {
        let is_chat = call.stanza.as_ref().and_then(Stanza::raw_type).as_deref() == Some("chat");
        Dispatch::Ready(if is_chat { stopped("taken") } else { passed(call) })
    });
    let mut romeo = bench.bind("romeo@a.example/x").await;
    romeo.send("<message to='a.example' type='chat'/>").await;
    assert!(romeo.got().is_empty());
    romeo.send("<message to='a.example'/>").await;
    assert_eq!(condition(&romeo.got_one()), Some(StanzaErrorCondition::ServiceUnavailable));
}

#[tokio::test]
async fn subscriptions_are_a_modules_business() {
    let bench = Bench::new();
    let mut romeo = bench.bind("romeo@a.example/x").await;
    romeo.send("<presence to='juliet@b.example' type='subscribe'/>").await;
    assert_eq!(condition(&romeo.got_one()), Some(StanzaErrorCondition::ServiceUnavailable));

    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = seen.clone();
    bench.has_account("juliet@b.example");
    bench.modules.on_hook(HookPoint::SubscriptionPacket, move |call| {
        let stanza = call.stanza.clone().unwrap();
        let addresses = (stanza.from().unwrap().to_string(), stanza.to().unwrap().to_string());
        log.lock().unwrap().push((call.args.clone(), addresses));
        Dispatch::Ready(passed(call))
    });
    romeo.send("<presence to='juliet@b.example/balcony' type='subscribe'/>").await;
    assert!(romeo.got().is_empty());
    let between = ("romeo@a.example".to_owned(), "juliet@b.example".to_owned());
    let expected = ["out", "in"]
        .map(|direction| (format!(r#"{{"direction":"{direction}","kind":"subscribe"}}"#), between.clone()));
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_module_decides_what_can_wait_for_an_inactive_client_and_for_no_other() {
    for later in [false, true] {
        let bench = Bench::new();
        bench.modules.on_hook(HookPoint::InactivePacket, move |call| {
            let text = call.stanza.as_ref().map(|stanza| stanza.as_str().to_owned()).unwrap_or_default();
            let word = ["now", "later", "never"].into_iter().find(|word| text.contains(&format!(">{word}<")));
            let verdict = word.map_or_else(|| passed(call), stopped);
            match later {
                true => Dispatch::Later(Box::pin(async move {
                    tokio::task::yield_now().await;
                    verdict
                })),
                false => Dispatch::Ready(verdict),
            }
        });
        let romeo = bench.bind("romeo@a.example/x").await;
        let mut juliet = bench.available("juliet@b.example/y", 1).await;
        let mut other = bench.available("juliet@b.example/z", 1).await;
        juliet.got();
        juliet.session.as_ref().unwrap().set_inactive(true);
        for to in ["juliet@b.example", "juliet@b.example/y"] {
            for word in ["now", "later", "never", "anything"] {
                romeo.send(&format!("<message to='{to}' type='chat'><body>{word}</body></message>")).await;
            }
            let urgencies: Vec<_> = juliet.got().iter().map(Stanza::urgency).collect();
            assert_eq!(urgencies, [Some(Urgency::Now), Some(Urgency::Later), None], "{to} later={later}");
        }
        let untouched = other.got();
        assert_eq!(untouched.len(), 4);
        assert!(untouched.iter().all(|stanza| stanza.urgency().is_none()));
        romeo.send("<iq to='juliet@b.example/y' type='get' id='1'><q xmlns='urn:x'>never</q></iq>").await;
        assert_eq!(juliet.got().len(), 1, "a request is never dropped");
    }
}
