//! A server that is killed again and again under traffic: what was acknowledged to a client is there when it comes back.
//!
//! Acknowledged is a stanza that the server has counted in `<a/>` (XEP-0198) and a request that was answered with a result.
//! A message must be in its sender's archive, and its receiver must get it: delivered now or before, or out of the archive
//! where the server died while it was on its way to a client.
//! `MOULT_KILLS` says how often the server is killed; `scripts/kills` runs a hundred.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use moult_tests::client::Incoming;
use moult_tests::{Client, Plugin, Server, eventually};
use tokio::time::Instant;

const SM: &str = "xmlns='urn:xmpp:sm:3'";
const KILLS: usize = 8;
/// When, after the first acknowledgements.
const KILL_AFTER_MS: std::ops::Range<u64> = 5..250;

/// What the clients know of what they have done.
#[derive(Default)]
struct Ledger {
    /// Messages to bob, who is away, that the server has acknowledged.
    to_bob: BTreeSet<String>,
    /// Messages to carol, who is there.
    to_carol: BTreeSet<String>,
    /// The last value that was set and answered, and the last one that was sent.
    set: (u64, u64),
    /// What bob has got so far, and how often.
    got: BTreeMap<String, usize>,
}

#[derive(Default)]
struct Losses {
    bobs: Vec<String>,
    archived: Vec<String>,
    settings: Vec<String>,
}

fn kills() -> usize {
    std::env::var("MOULT_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS)
}

/// No two runs are alike, and each can be told by its number.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, range: &std::ops::Range<u64>) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        range.start + self.0 % (range.end - range.start)
    }
}

async fn start() -> Server {
    let modules = ["mod_offline", "mod_mam", "mod_private", "mod_carbons", "mod_ping"].map(Plugin::built);
    let builder = Server::builder().config("[modules.mod_offline]\nmax_messages = 1000000");
    modules.iter().fold(builder, |builder, module| builder.plugin(module)).start().await
}

/// Logs in and switches acknowledgements on.
async fn managed(server: &Server, user: &str) -> Client {
    let mut client = server.login(user).resource("x").connect().await;
    client.send(format!("<enable {SM}/>")).await;
    client.expect("enabled", |element| element.name == "enabled").await;
    client
}

/// Sends until the server is gone, and notes what it has acknowledged.
async fn send_on(mut alice: Client, ledger: &mut Ledger, round: usize, done: &AtomicUsize) {
    let (mut sent, mut handled): (Vec<(bool, String)>, usize) = (Vec::new(), 0);
    for number in 0.. {
        let is_setting = number % 7 == 6;
        let to_bob = number % 2 == 0;
        let body = format!("{round}-{number}");
        let stanza = if is_setting {
            ledger.set.1 += 1;
            let value = ledger.set.1;
            format!(
                "<iq type='set' id='s{value}'><query xmlns='jabber:iq:private'><v xmlns='urn:v'>{value}</v></query></iq>"
            )
        } else {
            let to = if to_bob { "bob@localhost" } else { "carol@localhost" };
            format!("<message to='{to}' type='chat' id='m{body}'><body>{body}</body></message>")
        };
        if alice.try_send(&format!("{stanza}<r {SM}/>")).await.is_err() {
            break;
        }
        sent.push((to_bob, if is_setting { String::new() } else { body }));
        // No more than a few are on their way, as with a client on a good line.
        while sent.len() - handled > 20 || (number % 5 == 4 && handled < sent.len()) {
            if !heard(&mut alice, ledger, &sent, &mut handled).await {
                return;
            }
            done.store(handled, Ordering::SeqCst);
        }
    }
    while heard(&mut alice, ledger, &sent, &mut handled).await {}
}

/// The next word of the server; false when it is gone.
async fn heard(
    alice: &mut Client,
    ledger: &mut Ledger,
    sent: &[(bool, String)],
    handled: &mut usize,
) -> bool {
    let Ok(Incoming::Stanza(stanza)) = alice.incoming().await else { return false };
    if stanza.name == "a" {
        let count: usize = stanza.attr("h").and_then(|h| h.parse().ok()).expect("a number");
        for (to_bob, body) in &sent[*handled..count] {
            if !body.is_empty() {
                if *to_bob { &mut ledger.to_bob } else { &mut ledger.to_carol }.insert(body.clone());
            }
        }
        *handled = count;
    }
    if stanza.name == "iq" && stanza.attr("type") == Some("result") {
        let value = stanza.attr("id").and_then(|id| id.strip_prefix('s')?.parse().ok());
        ledger.set.0 = ledger.set.0.max(value.unwrap_or(0));
    }
    assert_ne!(stanza.attr("type"), Some("error"), "{stanza}");
    true
}

/// Reads and acknowledges what comes, until the server is gone.
async fn read_on(client: &mut Client, got: &mut BTreeMap<String, usize>) {
    let mut count = 0;
    while let Ok(Incoming::Stanza(stanza)) = client.incoming().await {
        if stanza.name == "message" || stanza.name == "presence" || stanza.name == "iq" {
            count += 1;
        }
        if let Some(body) = stanza.child_text("body") {
            *got.entry(body.to_owned()).or_default() += 1;
            if client.try_send(&format!("<a {SM} h='{count}'/>")).await.is_err() {
                return;
            }
        }
    }
}

/// Every body in an archive, page after page.
async fn archived(client: &mut Client) -> BTreeSet<String> {
    let (mut bodies, mut after, mut retries) = (BTreeSet::new(), String::new(), 0);
    let jid = client.bare_jid().to_owned();
    loop {
        let page = format!(
            "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>200</max>{after}</set></query>"
        );
        let fin = client.set(&jid, &page).await;
        if fin.attr("type") == Some("error") {
            // A machine that is busy with other things answers late; what is there stays there.
            retries += 1;
            assert!(retries < 10, "{fin}");
            continue;
        }
        for message in client.received().await {
            let found = message.child("result").and_then(|result| result.child("forwarded"));
            let body = found
                .and_then(|forwarded| forwarded.child("message"))
                .and_then(|inner| inner.child_text("body"));
            bodies.extend(body.map(str::to_owned));
        }
        let fin = fin.child("fin").expect("the end of a page").clone();
        let last = fin.child("set").and_then(|set| set.child_text("last")).map(str::to_owned);
        match last.filter(|_| fin.attr("complete") != Some("true")) {
            Some(last) => after = format!("<after>{last}</after>"),
            None => return bodies,
        }
    }
}

async fn check(server: &Server, ledger: &mut Ledger, losses: &mut Losses) {
    let mut alice = server.client("alice").await;
    let there = archived(&mut alice).await;
    let acknowledged = ledger.to_bob.union(&ledger.to_carol);
    losses.archived.extend(acknowledged.filter(|body| !there.contains(*body)).cloned());
    let payload = "<query xmlns='jabber:iq:private'><v xmlns='urn:v'/></query>";
    let answer = alice.get("alice@localhost", payload).await;
    let value =
        answer.child("query").and_then(|query| query.child_text("v")).and_then(|text| text.parse().ok());
    if !(ledger.set.0..=ledger.set.1).contains(&value.unwrap_or(0)) {
        losses.settings.push(format!("{value:?} where {:?} was acknowledged", ledger.set));
    }
    alice.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let seed =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |since| since.subsec_nanos());
    println!("seed {seed}");
    let mut dice = Dice(u64::from(seed) | 1);
    let mut server = start().await;
    let (mut ledger, mut losses) = (Ledger::default(), Losses::default());
    let began = Instant::now();
    let mut last_coming: Option<usize> = None;
    for round in 0..kills() {
        let mut carol = server.client("carol").await;
        carol.available().await;
        let alice = managed(&server, "alice").await;
        let wait = Duration::from_millis(dice.throw(&KILL_AFTER_MS));
        // Every third time bob comes back in the middle of it, and the server dies while he is given what waited.
        let bob_comes = round % 3 == 2;
        if bob_comes {
            last_coming = Some(round);
        }
        let mut got = std::mem::take(&mut ledger.got);
        let done = AtomicUsize::new(0);
        tokio::join!(
            send_on(alice, &mut ledger, round, &done),
            async {
                if bob_comes && let Some(mut bob) = server.login("bob").resource("x").try_connect().await.ok()
                {
                    let _ = bob.try_send(&format!("<enable {SM}/><presence/>")).await;
                    read_on(&mut bob, &mut got).await;
                }
            },
            async { while let Ok(Incoming::Stanza(_)) = carol.incoming().await {} },
            async {
                eventually("something is acknowledged", async || done.load(Ordering::SeqCst) > 7).await;
                // The moment is the subject: any will do.
                tokio::time::sleep(wait).await;
                server.signal(rustix::process::Signal::KILL);
            },
        );
        ledger.got = got;
        server.kill().await;
        server = server.restart().await;
        check(&server, &mut ledger, &mut losses).await;
    }
    // At last bob comes for good.
    let mut bob = server.client("bob").await;
    bob.available().await;
    let acknowledged = ledger.to_bob.clone();
    let waits = async || server.ctl_json(&["get_offline_count", "bob", "localhost"]).await != 0;
    loop {
        let has_more = waits().await;
        for message in bob.received().await {
            if let Some(body) = message.child_text("body") {
                *ledger.got.entry(body.to_owned()).or_default() += 1;
            }
        }
        if !has_more {
            break;
        }
    }
    bob.close().await;
    let there = archived(&mut server.client("bob").await).await;
    let missed: BTreeSet<&String> =
        acknowledged.iter().filter(|body| !ledger.got.contains_key(*body)).collect();
    // On its way to a client is what was sent, or what waited, when bob was there at the moment of a kill.
    let was_on_its_way =
        |body: &str| body.split('-').next().and_then(|round| round.parse().ok()) <= last_coming;
    losses.bobs.extend(
        missed
            .iter()
            .filter(|body| !there.contains(**body) || !was_on_its_way(body))
            .map(|body| (*body).clone()),
    );
    let doubled = ledger.got.values().filter(|count| **count > 1).count();
    println!(
        "{} kills in {:.0} s: {} messages to a receiver who was away and {} to one who was there were acknowledged, and {} \
         settings; lost: {} for the receiver, {} of the archive, {} settings; in the archive alone, because they were on \
         their way to a client: {}; delivered twice after a kill in the middle of a \
         delivery: {doubled}",
        kills(),
        began.elapsed().as_secs_f64(),
        ledger.to_bob.len(),
        ledger.to_carol.len(),
        ledger.set.0,
        losses.bobs.len(),
        losses.archived.len(),
        losses.settings.len(),
        missed.len(),
    );
    assert!(losses.bobs.is_empty(), "seed {seed}: lost for bob: {:?}", losses.bobs);
    assert!(losses.archived.is_empty(), "seed {seed}: lost of the archive: {:?}", losses.archived);
    assert!(losses.settings.is_empty(), "seed {seed}: {:?}", losses.settings);
    assert!(!ledger.to_bob.is_empty() && ledger.set.0 > 0, "nothing was acknowledged at all");
    server.stop().await;
}
