//! S2-42: local table, global table, other servers.

use std::sync::{Arc, Mutex};

use super::super::testing::{Bench, Wire, condition};
use crate::plugin::call::RouteTable;
use crate::router::Place;
use crate::session::SessionLimits;
use crate::stanza::{Jid, StanzaError, StanzaErrorCondition};

fn note(
    log: &Arc<Mutex<Vec<&'static str>>>,
    name: &'static str,
) -> impl Fn(&crate::stanza::Stanza) -> Result<(), StanzaError> + use<> {
    let log = log.clone();
    move |_| {
        log.lock().unwrap().push(name);
        Ok(())
    }
}

#[tokio::test]
async fn the_local_table_wins_over_the_global_one_and_both_over_other_servers() {
    let wire = Arc::new(Wire::default());
    let bench = Bench::with(SessionLimits::default(), wire.clone());
    let log = Arc::default();
    bench.modules.on_route(RouteTable::Local, "both.a.example", note(&log, "local"));
    bench.modules.on_route(RouteTable::Global, "both.a.example", note(&log, "global"));
    bench.modules.on_route(RouteTable::Global, "only.a.example", note(&log, "global only"));
    let client = bench.bind("romeo@a.example/x").await;
    for to in ["both.a.example", "only.a.example", "user@both.a.example/r", "elsewhere.example"] {
        client.send(&format!("<message to='{to}'/>")).await;
    }
    assert_eq!(*log.lock().unwrap(), ["local", "global only", "local"]);
    let sent = wire.0.lock().unwrap();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].contains("elsewhere.example"));
}

#[tokio::test]
async fn the_look_up_names_the_place() {
    let bench = Bench::new();
    for (table, domain) in [
        (RouteTable::Local, "both.a.example"),
        (RouteTable::Global, "both.a.example"),
        (RouteTable::Global, "only.a.example"),
        // A module cannot take a vhost away, whatever stands in its tables.
        (RouteTable::Local, "a.example"),
    ] {
        bench.modules.on_route(table, domain, |_| Ok(()));
    }
    for (to, place) in [
        ("romeo@a.example/x", Place::Account),
        ("nobody@a.example", Place::Account),
        ("a.example", Place::Vhost),
        ("a.example/resource", Place::Vhost),
        ("user@both.a.example/r", Place::Module(RouteTable::Local)),
        ("only.a.example", Place::Module(RouteTable::Global)),
        ("elsewhere.example", Place::Elsewhere),
    ] {
        assert_eq!(bench.router.look_up(&Jid::parse(to).unwrap()), place, "{to}");
    }
}

#[tokio::test]
async fn without_federation_a_foreign_domain_is_not_found() {
    let bench = Bench::new();
    let mut client = bench.bind("romeo@a.example/x").await;
    client.send("<message to='user@elsewhere.example' id='1'><body/></message>").await;
    client.send("<iq to='elsewhere.example' type='get' id='2'><query xmlns='urn:x'/></iq>").await;
    client.send("<iq to='elsewhere.example' type='result' id='3'/>").await;
    let got = client.got();
    assert_eq!(got.len(), 2);
    for stanza in got {
        assert_eq!(condition(&stanza), Some(StanzaErrorCondition::RemoteServerNotFound));
        assert_eq!(stanza.to(), Some(&client.jid()));
    }
}

#[tokio::test]
async fn a_full_service_gives_its_error_to_the_sender() {
    let bench = Bench::new();
    bench.modules.on_route(RouteTable::Global, "echo.a.example", |_| {
        Err(StanzaErrorCondition::ResourceConstraint.into())
    });
    let mut client = bench.bind("romeo@a.example/x").await;
    client.send("<message to='echo.a.example'><body/></message>").await;
    client.send("<iq to='echo.a.example' type='get' id='1'><q xmlns='urn:x'/></iq>").await;
    let conditions: Vec<_> = client.got().iter().map(condition).collect();
    assert_eq!(conditions, [Some(StanzaErrorCondition::ResourceConstraint); 2]);
}

#[tokio::test]
async fn vhosts_come_and_go_while_the_router_runs() {
    let bench = Bench::new();
    let mut client = bench.bind("romeo@a.example/x").await;
    let ask = "<message to='user@c.example'><body/></message>";
    client.send(ask).await;
    assert_eq!(condition(&client.got_one()), Some(StanzaErrorCondition::RemoteServerNotFound));
    bench.router.set_vhosts(["a.example".into(), "c.example".into()]);
    client.send(ask).await;
    assert_eq!(condition(&client.got_one()), Some(StanzaErrorCondition::ServiceUnavailable));
}
