use super::*;
use crate::plugin::registration::CommandDecl;
use crate::plugin::testing::Room;
use std::time::Duration;

const A: &str = "a.example";
const B: &str = "b.example";

fn iq(ns: &str, target: IqTarget) -> What {
    What::Iq { ns: ns.into(), target, discipline: None }
}

fn hook(point: HookPoint, sequence: i32) -> What {
    What::Hook { point, sequence }
}

fn route(local: bool, domain: &str) -> What {
    What::Route { local, domain: domain.into() }
}

fn command(name: &str) -> What {
    What::Command { name: name.into(), decl: CommandDecl::default() }
}

fn http(prefix: &str) -> What {
    What::Http { prefix: prefix.into(), admin: true, max_body: None }
}

fn timer() -> What {
    What::Timer { interval: Duration::from_secs(3600), repeat: true }
}

fn slot(entry: Option<&IqEntry>) -> Option<String> {
    entry.map(|entry| entry.instance.key().to_string())
}

/// The places of a chain: `mod_x@a.example 10 0`.
fn places(chain: &[HookEntry]) -> Vec<String> {
    chain.iter().map(|entry| format!("{} {} {}", entry.key.slot, entry.key.sequence, entry.key.nth)).collect()
}

#[tokio::test]
async fn an_iq_handler_serves_its_vhost_and_target_and_that_of_a_global_instance_all_vhosts() {
    let room = Room::new(&[A, B]);
    let one = room.instance("mod_x@a.example", [iq("urn:x", IqTarget::Server)]).await;
    let all = room.instance("mod_y@global", [iq("urn:y", IqTarget::Bare)]).await;
    let tables = room.tables(&[&one, &all]).unwrap();
    assert_eq!(slot(tables.iq(A, IqTarget::Server, "urn:x")).as_deref(), Some("mod_x@a.example"));
    assert_eq!(slot(tables.iq(B, IqTarget::Bare, "urn:y")).as_deref(), Some("mod_y@global"));
    for (vhost, target, ns) in [
        (B, IqTarget::Server, "urn:x"),
        (A, IqTarget::Bare, "urn:x"),
        (A, IqTarget::Server, "urn:y"),
        ("c.example", IqTarget::Server, "urn:x"),
    ] {
        assert_eq!(slot(tables.iq(vhost, target, ns)), None, "{vhost} {target:?} {ns}");
    }
    room.close(&[&one, &all]).await;
}

#[tokio::test]
async fn hooks_run_by_sequence_then_module_then_registration_and_unused_ones_are_empty() {
    use HookPoint::{FilterPacket, UserSendPacket as Sent};
    let room = Room::new(&[A, B]);
    let z = room.instance("mod_z@a.example", [hook(Sent, 90), hook(Sent, 10), hook(Sent, 50)]).await;
    let a = room.instance("mod_a@a.example", [hook(Sent, 50), hook(Sent, 50), hook(Sent, -5)]).await;
    let g = room.instance("mod_g@global", [hook(Sent, 50)]).await;
    let tables = room.tables(&[&z, &g, &a]).unwrap();
    let expected = [
        "mod_a@a.example -5 0",
        "mod_z@a.example 10 0",
        "mod_a@a.example 50 0",
        "mod_a@a.example 50 1",
        "mod_g@global 50 0",
        "mod_z@a.example 50 0",
        "mod_z@a.example 90 0",
    ];
    assert_eq!(places(tables.hooks(Sent, A)), expected);
    assert_eq!(places(tables.hooks(Sent, B)), ["mod_g@global 50 0"]);
    assert!(tables.is_hooked(Sent) && tables.hooks(Sent, "c.example").is_empty());
    assert!(!tables.is_hooked(FilterPacket) && tables.hooks(FilterPacket, A).is_empty());
    // The place of a function does not depend on who else is there.
    let fewer = room.tables(&[&a, &z]).unwrap();
    assert_eq!(
        places(fewer.hooks(Sent, A)),
        expected.map(str::to_owned).into_iter().filter(|p| !p.contains("global")).collect::<Vec<_>>()
    );
    room.close(&[&z, &a, &g]).await;
}

#[tokio::test]
async fn routes_lie_in_two_tables_and_are_items_of_their_vhost() {
    let room = Room::new(&[A]);
    let one = room.instance("mod_x@a.example", [route(false, "x.example"), route(true, "l.example")]).await;
    let tables = room.tables(&[&one]).unwrap();
    assert!(tables.local_route("l.example").is_some() && tables.local_route("x.example").is_none());
    assert_eq!(tables.global_routes("x.example").len(), 1);
    assert!(tables.global_routes("l.example").is_empty());
    let mut all: Vec<_> = tables.routes().map(|(table, entry)| format!("{table} {}", entry.domain)).collect();
    all.sort();
    assert_eq!(all, ["global x.example", "local l.example"]);
    let items: Vec<_> =
        tables.disco(A, IqTarget::Server).unwrap().items.iter().map(|item| item.jid.clone()).collect();
    assert_eq!(items, ["l.example", "x.example"]);
    room.close(&[&one]).await;
}

#[tokio::test]
async fn the_longest_http_prefix_that_ends_at_a_segment_serves() {
    let room = Room::new(&[A]);
    let one = room.instance("mod_x@a.example", [http("/api"), http("/api/files/"), http("/")]).await;
    let tables = room.tables(&[&one]).unwrap();
    for (path, prefix) in [
        ("/api", "/api"),
        ("/api/other", "/api"),
        ("/api/files/1", "/api/files/"),
        ("/api/files", "/api/files/"),
        ("/apiary", "/"),
        ("/", "/"),
    ] {
        assert_eq!(tables.http(path).map(|entry| &*entry.prefix), Some(prefix), "{path}");
    }
    room.close(&[&one]).await;
}

#[tokio::test]
async fn a_command_is_found_on_each_vhost_that_offers_it() {
    let room = Room::new(&[A, B]);
    let a = room.instance("mod_x@a.example", [command("greet")]).await;
    let b = room.instance("mod_x@b.example", [command("greet")]).await;
    let tables = room.tables(&[&b, &a]).unwrap();
    let on = |vhost| tables.command_on("greet", vhost).map(|entry| entry.instance.key().to_string());
    assert_eq!(on(A).as_deref(), Some("mod_x@a.example"));
    assert_eq!(on(B).as_deref(), Some("mod_x@b.example"));
    assert_eq!(on("c.example"), None);
    assert_eq!(tables.commands().count(), 1, "it is one command");
    assert!(tables.command("other").is_none());
    room.close(&[&a, &b]).await;
}

#[tokio::test]
async fn what_another_module_has_is_refused_and_the_refusal_names_both() {
    let room = Room::new(&[A, B]);
    let had = [route(false, "x.example"), iq("urn:x", IqTarget::Server), command("greet"), http("/x")];
    let owner = room.instance("mod_owner@a.example", had.clone()).await;
    let words =
        ["the domain 'x.example'", "the IQ namespace 'urn:x'", "the command 'greet'", "the HTTP path '/x'"];
    for (what, words) in had.into_iter().zip(words) {
        let other = room.instance("mod_other@a.example", [what]).await;
        let conflict = room.tables(&[&owner, &other]).err().expect("it is taken");
        // Who comes first in the tables has it.
        assert_eq!((&*conflict.asker, &*conflict.owner), ("mod_owner@a.example", "mod_other@a.example"));
        assert_eq!(conflict.what, words);
        other.end(crate::plugin::instance::StopReason::Failed, Duration::from_secs(30)).await.unwrap();
    }
    let tables = room.tables(&[&owner]).unwrap();
    let own = owner.key().clone();
    let elsewhere = SlotKey { module: "mod_other".into(), vhost: B.into() };
    assert_eq!(tables.conflict(&own, &iq("urn:x", IqTarget::Server)), None, "its own");
    assert_eq!(tables.conflict(&elsewhere, &iq("urn:x", IqTarget::Server)), None, "on another vhost");
    assert_eq!(tables.conflict(&elsewhere, &iq("urn:x", IqTarget::Bare)), None);
    assert!(tables.conflict(&elsewhere, &route(true, "x.example")).is_some(), "domains are the server's");
    assert_eq!(tables.conflict(&elsewhere, &hook(HookPoint::FilterPacket, 1)), None);
    room.close(&[&owner]).await;
}

#[tokio::test]
async fn service_discovery_tells_each_thing_once_and_prefers_items_with_names() {
    let room = Room::new(&[A]);
    let feature = |var: &str| What::Feature { var: var.into(), target: IqTarget::Server };
    let item =
        |name: &str| What::Item(Item { jid: "x.example".into(), name: name.into(), node: String::new() });
    let identity = |domain: &str| What::Identity {
        domain: domain.into(),
        identity: Identity { category: "c".into(), kind: "k".into(), name: domain.into() },
    };
    let what = [
        feature("b"),
        feature("a"),
        feature("b"),
        route(false, "x.example"),
        item("Named"),
        identity(""),
        identity("x.example"),
    ];
    let one = room.instance("mod_x@a.example", what).await;
    let tables = room.tables(&[&one]).unwrap();
    let disco = tables.disco(A, IqTarget::Server).unwrap();
    assert_eq!(disco.features.iter().map(|var| &**var).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(disco.items.iter().map(|item| &*item.name).collect::<Vec<_>>(), ["Named"]);
    assert_eq!(disco.identities.iter().map(|identity| &*identity.name).collect::<Vec<_>>(), [""]);
    assert_eq!(tables.disco(A, IqTarget::Bare), Some(&Disco::default()));
    assert_eq!(tables.disco("c.example", IqTarget::Server), None);
    room.close(&[&one]).await;
}

fn one_of_everything() -> Vec<What> {
    vec![
        route(false, "x.example"),
        iq("urn:x", IqTarget::Server),
        iq("urn:x", IqTarget::Bare),
        hook(HookPoint::FilterPacket, 1),
        command("greet"),
        http("/x"),
    ]
}

#[tokio::test]
async fn after_the_end_of_an_instance_nothing_of_it_is_held() {
    let room = Room::new(&[A]);
    let one = room.instance("mod_x@a.example", one_of_everything()).await;
    room.publish(&one);
    one.context().register(timer(), 9).unwrap();
    let held = Held::of(&one, &room.core.snapshot());
    let expected = Held {
        routes: 1,
        iq_handlers: 2,
        hooks: 1,
        commands: 1,
        http_paths: 1,
        timers: 1,
        tasks: 0,
        places: 1,
    };
    assert_eq!(held, expected);
    room.withdraw(&one);
    room.end(&one).await;
    assert_eq!(Held::of(&one, &room.core.snapshot()).to_string(), "nothing");
    assert_eq!(room.core.leaked(), 0);
    room.close(&[]).await;
}

#[tokio::test]
async fn what_is_left_of_an_instance_that_has_ended_is_found_and_counted() {
    let room = Room::new(&[A]);
    let one = room.instance("mod_x@a.example", one_of_everything()).await;
    room.publish(&one);
    // The mistake that is planted: it is ended while the tables still have it.
    room.end(&one).await;
    let held = Held::of(&one, &room.core.snapshot());
    assert_eq!(
        held.to_string(),
        "1 routes, 2 IQ handlers, 1 hooks, 1 commands, 1 HTTP paths, 1 places among those that serve"
    );
    assert_eq!(room.core.leaked(), 7);
    room.withdraw(&one);
    room.close(&[]).await;
}

#[tokio::test]
async fn a_timer_is_in_no_table_ends_with_its_registration_and_is_forgotten_when_it_has_fired() {
    let room = Room::new(&[A]);
    let one = room.instance("mod_x@a.example", []).await;
    room.publish(&one);
    let version = room.core.snapshot().version;
    let kept = one.context().register(timer(), 1).unwrap();
    assert_eq!(one.running().0, 1);
    one.context().unregister(kept).unwrap();
    assert_eq!(one.running().0, 0);
    assert!(one.context().unregister(kept).is_err());
    // More than an instance may have at a time, one after the other.
    for number in 0..5_000 {
        let once = What::Timer { interval: Duration::from_millis(1), repeat: false };
        let registered = one.context().register(once, number);
        assert!(registered.is_ok(), "{registered:?}");
        if number % 100 == 0 {
            while !one.context().registered().is_empty() {
                tokio::task::yield_now().await;
            }
        }
    }
    assert_eq!(room.core.snapshot().version, version, "no table is built for a timer");
    room.withdraw(&one);
    room.end(&one).await;
    assert_eq!(room.core.leaked(), 0);
    room.close(&[]).await;
}
