//! RFC 6121 sections 3 and 4 with contacts that a module keeps.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use moult_plugin_api::hooks::{Contact as Told, ContactsAnswer, Subscription};

use super::super::testing::{Bench, Client, Wire, jid, passed, stanza};
use crate::plugin::call::{Dispatch, HookVerdict};
use crate::plugin::hook::HookPoint;
use crate::router::Among;
use crate::session::{Contact, SessionLimits};
use crate::stanza::Stanza;

const ROMEO: &str = "romeo@a.example/phone";
const JULIET: &str = "juliet@b.example/balcony";
const NURSE: &str = "nurse@b.example/kitchen";

type Rosters = Arc<Mutex<HashMap<String, Vec<Told>>>>;

/// A bench with a module that keeps rosters; how often it was asked.
fn bench(rosters: &[(&str, &str, Subscription)]) -> (Bench, Arc<AtomicUsize>, Rosters) {
    let bench = Bench::with(SessionLimits::default(), Arc::new(Wire::default()));
    let asked: Arc<AtomicUsize> = Arc::default();
    let kept: Rosters = Arc::default();
    for (account, contact, subscription) in rosters {
        let contact = Told { jid: (*contact).to_owned(), subscription: *subscription };
        kept.lock().unwrap().entry((*account).to_owned()).or_default().push(contact);
    }
    let (count, rosters) = (asked.clone(), kept.clone());
    bench.modules.on_hook(HookPoint::Contacts, move |call| {
        count.fetch_add(1, Ordering::Relaxed);
        let account = call.from.unwrap().to_string();
        let contacts = rosters.lock().unwrap().get(&account).cloned().unwrap_or_default();
        let body = serde_json::to_vec(&ContactsAnswer { contacts }).unwrap();
        Dispatch::Later(Box::pin(async move {
            tokio::task::yield_now().await;
            HookVerdict { body, ..HookVerdict::default() }
        }))
    });
    (bench, asked, kept)
}

/// Sender and type of each stanza.
fn heard(client: &mut Client) -> Vec<String> {
    let one = |stanza: &Stanza| {
        format!("{} {}", stanza.from().unwrap(), stanza.raw_type().as_deref().unwrap_or("available"))
    };
    client.got().iter().map(one).collect()
}

fn both_ways(a: &'static str, b: &'static str) -> Vec<(&'static str, &'static str, Subscription)> {
    vec![(a, b, Subscription::Both), (b, a, Subscription::Both)]
}

#[tokio::test]
async fn contacts_hear_of_presence_and_are_probed_at_first() {
    let (bench, asked, _) = bench(&both_ways("romeo@a.example", "juliet@b.example"));
    let mut juliet = bench.available(JULIET, 0).await;
    let mut romeo = bench.bind(ROMEO).await;
    romeo.send("<presence><show>away</show></presence>").await;
    assert_eq!(heard(&mut juliet), [format!("{ROMEO} available")]);
    assert_eq!(heard(&mut romeo), [format!("{ROMEO} available"), format!("{JULIET} available")]);
    romeo.send("<presence/>").await;
    assert_eq!(heard(&mut juliet), [format!("{ROMEO} available")]);
    assert_eq!(heard(&mut romeo), [format!("{ROMEO} available")], "probes are for initial presence");
    romeo.leave().await;
    assert_eq!(heard(&mut juliet), [format!("{ROMEO} unavailable")]);
    assert_eq!(asked.load(Ordering::Relaxed), 2, "once per account with sessions");
    assert!(bench.router.inner.contacts.get(&jid("romeo@a.example")).is_none(), "nobody is there");
}

#[tokio::test]
async fn presence_goes_only_where_the_subscription_says() {
    let (bench, ..) = bench(&[
        ("romeo@a.example", "juliet@b.example", Subscription::To),
        ("juliet@b.example", "romeo@a.example", Subscription::From),
        ("romeo@a.example", "nurse@b.example", Subscription::To),
        ("nurse@b.example", "romeo@a.example", Subscription::None),
    ]);
    let mut juliet = bench.available(JULIET, 0).await;
    let mut nurse = bench.available(NURSE, 0).await;
    let mut romeo = bench.bind(ROMEO).await;
    romeo.send("<presence/>").await;
    assert!(heard(&mut juliet).is_empty() && heard(&mut nurse).is_empty(), "they do not see him");
    let seen = heard(&mut romeo);
    assert_eq!(seen, [format!("{ROMEO} available"), format!("{JULIET} available")], "the nurse never agreed");
    juliet.send("<presence type='unavailable'/>").await;
    assert_eq!(heard(&mut romeo), [format!("{JULIET} unavailable")]);
}

#[tokio::test]
async fn a_remote_contact_is_told_and_probed_over_the_wire() {
    let wire = Arc::new(Wire::default());
    let bench = Bench::with(SessionLimits::default(), wire.clone());
    bench.modules.on_hook(HookPoint::Contacts, |_| {
        let contacts = vec![Told { jid: "tybalt@far.example".into(), subscription: Subscription::Both }];
        let body = serde_json::to_vec(&ContactsAnswer { contacts }).unwrap();
        Dispatch::Ready(HookVerdict { body, ..HookVerdict::default() })
    });
    let romeo = bench.bind(ROMEO).await;
    romeo.send("<presence/>").await;
    romeo.leave().await;
    let sent = wire.0.lock().unwrap().clone();
    let expected = [
        format!("<presence from=\"{ROMEO}\" to=\"tybalt@far.example\"/>"),
        format!("<presence from=\"{ROMEO}\" to=\"tybalt@far.example\" type='probe'/>"),
        format!("<presence from=\"{ROMEO}\" to=\"tybalt@far.example\" type='unavailable'/>"),
    ];
    let plain = |text: &str| text.replace('"', "'");
    assert_eq!(
        sent.iter().map(|s| plain(s)).collect::<Vec<_>>(),
        expected.iter().map(|s| plain(s)).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_probe_is_answered_by_what_the_asked_one_allows() {
    let (bench, ..) = bench(&[("romeo@a.example", "juliet@b.example", Subscription::From)]);
    let mut juliet = bench.available(JULIET, 0).await;
    let mut nurse = bench.available(NURSE, 0).await;
    juliet.send("<presence to='romeo@a.example' type='probe'/>").await;
    assert_eq!(heard(&mut juliet), ["romeo@a.example unavailable"], "allowed, but nobody is there");
    let mut romeo = bench.available(ROMEO, 0).await;
    juliet.got();
    juliet.send("<presence to='romeo@a.example' type='probe'/>").await;
    juliet.send(&format!("<presence to='{ROMEO}' type='probe'/>")).await;
    juliet.send("<presence to='romeo@a.example/gone' type='probe'/>").await;
    let told = [
        format!("{ROMEO} available"),
        format!("{ROMEO} available"),
        "romeo@a.example/gone unavailable".into(),
    ];
    assert_eq!(heard(&mut juliet), told);
    let denied: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = denied.clone();
    bench.has_account("nurse@b.example");
    bench.modules.on_hook(HookPoint::SubscriptionPacket, move |call| {
        log.lock().unwrap().push(call.stanza.as_ref().unwrap().as_str().replace('"', "'"));
        Dispatch::Ready(passed(call))
    });
    nurse.send("<presence to='romeo@a.example' type='probe'/>").await;
    nurse.send("<presence to='nobody@a.example' type='probe'/>").await;
    assert!(heard(&mut nurse).is_empty() && heard(&mut romeo).is_empty());
    let denial = |from: &str| format!("<presence from='{from}' to='nurse@b.example' type='unsubscribed'/>");
    assert_eq!(*denied.lock().unwrap(), [denial("romeo@a.example"), denial("nobody@a.example")]);
}

#[tokio::test]
async fn a_change_shows_or_hides_the_presence_at_once() {
    let (bench, _, rosters) = bench(&[]);
    let romeo = bench.available(ROMEO, 0).await;
    let mut juliet = bench.available(JULIET, 0).await;
    let contact = |from| Contact { jid: jid("juliet@b.example"), to: false, from };
    let now = vec![Told { jid: "juliet@b.example".into(), subscription: Subscription::From }];
    rosters.lock().unwrap().insert("romeo@a.example".into(), now);
    bench.router.contact_changed(&jid("romeo@a.example"), contact(true)).await;
    assert_eq!(heard(&mut juliet), [format!("{ROMEO} available")]);
    bench.router.contact_changed(&jid("romeo@a.example"), contact(true)).await;
    assert!(heard(&mut juliet).is_empty(), "nothing new");
    romeo.send("<presence/>").await;
    assert_eq!(heard(&mut juliet), [format!("{ROMEO} available")]);
    bench.router.contact_changed(&jid("romeo@a.example"), contact(false)).await;
    assert_eq!(heard(&mut juliet), [format!("{ROMEO} unavailable")]);
    romeo.send("<presence/>").await;
    assert!(heard(&mut juliet).is_empty());
}

#[tokio::test]
async fn who_is_contact_and_was_told_directly_hears_of_the_end_once() {
    let (bench, ..) = bench(&[("romeo@a.example", "juliet@b.example", Subscription::From)]);
    let mut juliet = bench.available(JULIET, 0).await;
    let mut nurse = bench.available(NURSE, 0).await;
    let romeo = bench.available(ROMEO, 0).await;
    romeo.send(&format!("<presence to='{JULIET}'/>")).await;
    romeo.send(&format!("<presence to='{NURSE}'/>")).await;
    juliet.got();
    nurse.got();
    romeo.leave().await;
    assert_eq!(heard(&mut juliet), [format!("{ROMEO} unavailable")]);
    assert_eq!(heard(&mut nurse), [format!("{ROMEO} unavailable")]);
}

#[tokio::test]
async fn a_module_that_cannot_tell_is_asked_again() {
    let bench = Bench::new();
    let asked: Arc<AtomicUsize> = Arc::default();
    let count = asked.clone();
    bench.modules.on_hook(HookPoint::Contacts, move |_| {
        let first = count.fetch_add(1, Ordering::Relaxed) == 0;
        let body = if first { Vec::new() } else { b"{\"contacts\":[]}".to_vec() };
        Dispatch::Ready(HookVerdict { body, ..HookVerdict::default() })
    });
    let romeo = bench.bind(ROMEO).await;
    for _ in 0..3 {
        romeo.send("<presence/>").await;
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2, "a failure is not remembered, an answer is");
}

#[tokio::test]
async fn modules_deliver_to_the_sessions_they_mean() {
    let (bench, ..) = bench(&[]);
    let mut phone = bench.available(ROMEO, 0).await;
    let mut desk = bench.bind("romeo@a.example/desk").await;
    desk.send("<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>").await;
    desk.got();
    let account = jid("romeo@a.example");
    let push = stanza("<iq type='set' id='p' from='romeo@a.example'><query xmlns='jabber:iq:roster'/></iq>");
    assert_eq!(bench.router.deliver_to(&account, Among::Interested, &push).await, 1);
    assert_eq!(desk.got_one().to().unwrap().as_str(), "romeo@a.example/desk");
    let request = stanza("<presence from='juliet@b.example' to='romeo@a.example' type='subscribe'/>");
    assert_eq!(bench.router.deliver_to(&account, Among::Available, &request).await, 1);
    assert_eq!(phone.got_one().to().unwrap().as_str(), "romeo@a.example");
    assert_eq!(bench.router.deliver_to(&account, Among::Connected, &request).await, 2);
    assert_eq!(
        bench.router.deliver_to(&jid(ROMEO), Among::Interested, &request).await,
        1,
        "named by full JID"
    );
    assert_eq!(bench.router.deliver_to(&jid("romeo@a.example/no"), Among::Connected, &request).await, 0);
}
