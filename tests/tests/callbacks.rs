//! `on_started`, `on_terminated` and `stop` of modules on the real server: how often, in what order, and what they are told.

use moult_tests::chain::{chained, chained_after, id};
use moult_tests::server::ServerBuilder;
use moult_tests::{Client, Server};
use rustix::process::Signal;

/// Each of them needs the one behind it in the alphabet, so they start in the order c, b, a.
fn modules() -> ServerBuilder {
    Server::builder().plugin(&chained_after('a', 'b')).plugin(&chained_after('b', 'c')).plugin(&chained('c'))
}

/// Which modules were told this, in the order of the log: `cba`.
fn told(log: &str, callback: &str) -> String {
    let end = format!("callback {callback}");
    let lines = log.lines().filter(|line| line.contains(&end));
    lines.map(|line| ('a'..='c').find(|letter| line.contains(&id(*letter))).unwrap_or('?')).collect()
}

#[tokio::test]
async fn each_is_called_once_and_the_end_goes_backwards() {
    let mut server = modules().start().await;
    let alice: Client = server.client("alice").await;
    let log = server.log();
    assert_eq!(told(&log.text(), "started"), "cba");
    server.plugins().install(&chained_after('b', 'c').variant(1));
    server.ctl(&["update", &id('b')]).await;
    assert_eq!(told(&log.text(), "started"), "cbab", "a new build is told as well");
    assert_eq!(told(&log.text(), "stop Swap"), "b");
    assert_eq!(told(&log.text(), "terminated"), "", "an update is not the end");
    alice.close().await;
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await, Some(0));
    let log = log.text();
    assert_eq!(told(&log, "started"), "cbab");
    assert_eq!(told(&log, "terminated"), "abc");
    assert_eq!(told(&log, "terminated error=false"), "abc");
    assert_eq!(told(&log, "stop Shutdown"), "abc");
    let last_word = log.rfind("callback terminated");
    let first_stop = log.find("callback stop Shutdown");
    assert!(last_word < first_stop, "all hear of the end before the first one is stopped: {log}");
}

#[tokio::test]
async fn a_server_that_cannot_go_on_says_so_to_the_modules_that_had_started() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port();
    let listener = format!("[[listener]]\nkind = 'c2s'\naddress = '127.0.0.1'\nport = {port}");
    let failure = modules().config(&listener).try_start().await.expect_err("the port is taken");
    assert_eq!(failure.code, Some(1), "{}", failure.log);
    assert_eq!(told(&failure.log, "started"), "", "it never served: {}", failure.log);
    assert_eq!(told(&failure.log, "terminated error=true"), "abc", "{}", failure.log);
    assert_eq!(told(&failure.log, "stop Shutdown"), "abc", "{}", failure.log);
}
