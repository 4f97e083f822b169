//! RFC 6121 section 8.5: who gets a message, seen from outside.

use super::super::testing::{Bench, Client, condition};
use crate::stanza::StanzaErrorCondition;

/// What the account of the recipient has: resources by name with their priority; `None` is bound without presence.
type Resources = &'static [(&'static str, Option<i8>)];

const UNKNOWN: Option<Resources> = None;
const NO_RESOURCE: Option<Resources> = Some(&[]);
const UNAVAILABLE: Option<Resources> = Some(&[("bound", None)]);
const NEGATIVE: Option<Resources> = Some(&[("minus", Some(-1))]);
const ONE: Option<Resources> = Some(&[("one", Some(0)), ("minus", Some(-5))]);
const SEVERAL: Option<Resources> =
    Some(&[("low", Some(1)), ("high", Some(7)), ("also", Some(7)), ("minus", Some(-1)), ("bound", None)]);

/// Names of resources that got the message, or what the sender got.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    By(Vec<&'static str>),
    Bounced,
    Nothing,
}

async fn send(bench: &Bench, to: &str, kind: &str, account: Option<Resources>) -> Seen {
    let mut sender = bench.available("romeo@a.example/orchard", 0).await;
    let mut resources: Vec<(&str, Client)> = Vec::new();
    for (resource, priority) in account.unwrap_or_default() {
        let full = format!("juliet@b.example/{resource}");
        resources.push((
            resource,
            match priority {
                Some(priority) => bench.available(&full, *priority).await,
                None => bench.bind(&full).await,
            },
        ));
    }
    if account.is_some() {
        bench.has_account("juliet@b.example");
    }
    resources.iter_mut().for_each(|(_, client)| drop(client.got()));
    sender.send(&format!("<message to='{to}' type='{kind}' id='m'><body>hi</body></message>")).await;
    let by: Vec<_> = resources
        .iter_mut()
        .filter_map(|(name, client)| (!client.got().is_empty()).then_some(*name))
        .collect();
    let back = sender.got();
    let bounced = back.first().and_then(condition) == Some(StanzaErrorCondition::ServiceUnavailable);
    for (_, client) in resources {
        client.leave().await;
    }
    sender.leave().await;
    match (by.is_empty(), bounced, back.len()) {
        (false, false, 0) => Seen::By(by),
        (true, true, 1) => Seen::Bounced,
        (true, false, 0) => Seen::Nothing,
        _ => panic!("delivered to {by:?} and sent back {back:?}"),
    }
}

#[tokio::test]
async fn messages_go_where_the_rfc_says() {
    use Seen::{Bounced, By, Nothing};
    const BARE: &str = "juliet@b.example";
    const HIGH: &str = "juliet@b.example/high";
    const GONE: &str = "juliet@b.example/gone";
    const MINUS: &str = "juliet@b.example/minus";
    const BOUND: &str = "juliet@b.example/bound";
    let cases: Vec<(Option<Resources>, &str, &str, Seen)> = vec![
        (UNKNOWN, BARE, "normal", Bounced),
        (UNKNOWN, BARE, "chat", Bounced),
        (UNKNOWN, BARE, "groupchat", Bounced),
        (UNKNOWN, BARE, "headline", Nothing),
        (UNKNOWN, BARE, "error", Nothing),
        (UNKNOWN, GONE, "chat", Bounced),
        (UNKNOWN, GONE, "error", Nothing),
        (NO_RESOURCE, BARE, "normal", Bounced),
        (NO_RESOURCE, BARE, "chat", Bounced),
        (NO_RESOURCE, BARE, "groupchat", Bounced),
        (NO_RESOURCE, BARE, "headline", Nothing),
        (NO_RESOURCE, BARE, "error", Nothing),
        (NO_RESOURCE, GONE, "chat", Bounced),
        (NO_RESOURCE, GONE, "normal", Bounced),
        (NO_RESOURCE, GONE, "headline", Nothing),
        (UNAVAILABLE, BARE, "chat", Bounced),
        (UNAVAILABLE, BARE, "headline", Nothing),
        (UNAVAILABLE, BOUND, "chat", By(vec!["bound"])),
        (UNAVAILABLE, BOUND, "error", By(vec!["bound"])),
        (NEGATIVE, BARE, "chat", Bounced),
        (NEGATIVE, BARE, "normal", Bounced),
        (NEGATIVE, BARE, "headline", Nothing),
        (NEGATIVE, MINUS, "chat", By(vec!["minus"])),
        (NEGATIVE, MINUS, "groupchat", By(vec!["minus"])),
        (NEGATIVE, GONE, "chat", Bounced),
        (ONE, BARE, "chat", By(vec!["one"])),
        (ONE, BARE, "normal", By(vec!["one"])),
        (ONE, BARE, "groupchat", Bounced),
        (ONE, BARE, "headline", By(vec!["one"])),
        (ONE, BARE, "error", Nothing),
        (ONE, GONE, "chat", By(vec!["one"])),
        (ONE, GONE, "normal", Bounced),
        (ONE, GONE, "groupchat", Bounced),
        (ONE, GONE, "headline", Nothing),
        (ONE, GONE, "error", Nothing),
        (ONE, MINUS, "headline", By(vec!["minus"])),
        (SEVERAL, BARE, "chat", By(vec!["high", "also"])),
        (SEVERAL, BARE, "normal", By(vec!["high", "also"])),
        (SEVERAL, BARE, "an-unknown-type", By(vec!["high", "also"])),
        (SEVERAL, BARE, "headline", By(vec!["low", "high", "also"])),
        (SEVERAL, BARE, "groupchat", Bounced),
        (SEVERAL, HIGH, "chat", By(vec!["high"])),
        (SEVERAL, HIGH, "groupchat", By(vec!["high"])),
        (SEVERAL, HIGH, "error", By(vec!["high"])),
        (SEVERAL, BOUND, "normal", By(vec!["bound"])),
        (SEVERAL, GONE, "chat", By(vec!["high", "also"])),
        (SEVERAL, GONE, "normal", Bounced),
    ];
    for (account, to, kind, expected) in cases {
        // A fresh router each: an account of one case must not exist in the next.
        let bench = Bench::new();
        assert_eq!(send(&bench, to, kind, account).await, expected, "{kind} to {to} with {account:?}");
    }
}

#[tokio::test]
async fn a_message_without_to_is_for_the_own_account() {
    let bench = Bench::new();
    let phone = bench.available("romeo@a.example/phone", 1).await;
    let mut desk = bench.available("romeo@a.example/desk", 5).await;
    phone.send("<message type='chat'><body>note</body></message>").await;
    let got = desk.got();
    assert_eq!(got.last().unwrap().to().unwrap().as_str(), "romeo@a.example");
    assert_eq!(got.last().unwrap().from(), Some(&phone.jid()));
}

#[tokio::test]
async fn a_message_to_a_vhost_that_nobody_handles_comes_back() {
    let bench = Bench::new();
    let mut client = bench.bind("romeo@a.example/x").await;
    client.send("<message to='b.example' type='chat'><body/></message>").await;
    assert_eq!(condition(&client.got_one()), Some(StanzaErrorCondition::ServiceUnavailable));
    client.send("<message to='b.example' type='error'><body/></message>").await;
    client.send("<presence to='b.example'/>").await;
    assert!(client.got().is_empty());
}

#[tokio::test]
async fn stanzas_cross_between_vhosts_and_stay_in_order() {
    let bench = Bench::new();
    let romeo = bench.bind("romeo@a.example/x").await;
    let mut juliet = bench.bind("juliet@b.example/y").await;
    for number in 0..50 {
        romeo.send(&format!("<message to='juliet@b.example/y' id='{number}'/>")).await;
    }
    let ids: Vec<_> = juliet.got().iter().map(|stanza| stanza.id().unwrap().into_owned()).collect();
    assert_eq!(ids, (0..50).map(|number| number.to_string()).collect::<Vec<_>>());
}
