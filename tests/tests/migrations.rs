//! Stores of an older schema: brought forward by a newer build under traffic, or left as they were, byte for byte.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use moult_tests::{Client, Plugin, Server};

const MODULE: &str = "fixture_ledger";
/// More than two batches of the fixture.
const KEYS: usize = 25;

fn ledger(build: u32) -> Plugin {
    Plugin::built(&format!("fixture_ledger_v{build}")).named("libfixture_ledger.so")
}

async fn server(migration: &str) -> Server {
    let config = format!("[modules.fixture_ledger]\nmigration = '{migration}'");
    Server::builder().plugin(&ledger(1)).config(&config).start().await
}

/// Adds one under a key: the schema that answers, and the sum.
async fn add(client: &mut Client, key: usize) -> (String, u64) {
    let answer =
        client.set("localhost", &format!("<add xmlns='urn:moult:fixture:ledger' key='k{key:02}'/>")).await;
    let sum = answer.child("sum").unwrap_or_else(|| panic!("no sum in {answer}"));
    (sum.attr("schema").unwrap_or_default().to_owned(), sum.text.parse().expect("a sum is a number"))
}

async fn fill(server: &Server) {
    let mut alice = server.client("alice").await;
    for key in 0..KEYS {
        assert_eq!(add(&mut alice, key).await, ("1".to_owned(), 1));
    }
    alice.close().await;
}

/// Everything in the store, as text.
async fn content(server: &Server, name: &str) -> String {
    let file = server.folder().join(name);
    server.ctl(&["dump", &file.display().to_string()]).await;
    let mut lines: Vec<String> =
        fs::read_to_string(&file).expect("a dump is text").lines().map(str::to_owned).collect();
    // What was put back is written behind the others: an order of rows is nothing that is stored.
    lines.sort();
    lines.join("\n")
}

#[tokio::test]
async fn a_newer_build_brings_the_stores_forward_and_no_step_is_lost_under_traffic() {
    let mut server = server("well").await;
    fill(&server).await;
    let done = Arc::new(AtomicBool::new(false));
    let traffic: Vec<_> = (0..4)
        .map(|key| {
            let (done, login) = (Arc::clone(&done), server.login(["alice", "bob", "alice", "bob"][key]));
            tokio::spawn(async move {
                let mut client = login.connect().await;
                let (mut expected, mut after) = (1, 0);
                while after < 20 {
                    expected += 1;
                    let (schema, sum) = add(&mut client, key).await;
                    assert_eq!(sum, expected, "key {key}, schema {schema}");
                    after += usize::from(done.load(Ordering::SeqCst));
                }
                expected
            })
        })
        .collect();
    server.plugins().install(&ledger(2));
    server.ctl(&["update", MODULE]).await;
    done.store(true, Ordering::SeqCst);
    for client in traffic {
        client.await.expect("every step was counted");
    }
    let mut alice = server.client("alice").await;
    assert_eq!(add(&mut alice, KEYS - 1).await, ("2".to_owned(), 2));
    let told = server.log().expect(&["stores were brought forward", "from=1", "to=2", "batches=3"]).await;
    assert!(told.contains(MODULE), "{told}");
    let content = content(&server, "after").await;
    assert!(!content.contains("undo_"), "nothing is left of the way back");

    // Started anew, it is not brought forward again.
    server.kill().await;
    let server = server.restart().await;
    let mut alice = server.client("alice").await;
    assert_eq!(add(&mut alice, KEYS - 1).await, ("2".to_owned(), 3));
    server.stop().await;
}

#[tokio::test]
async fn a_build_that_fails_while_it_brings_the_stores_forward_leaves_them_as_they_were() {
    for (migration, why) in
        [("error", "told to fail"), ("panic", "told to panic"), ("hang", "no answer within")]
    {
        let server = server(migration).await;
        fill(&server).await;
        server
            .reconfigure(&format!(
                "[modules]\nmigration_deadline = '1s'\n[modules.fixture_ledger]\nmigration = '{migration}'"
            ))
            .await;
        let before = content(&server, "before").await;
        server.plugins().install(&ledger(2));
        let answer = server.try_ctl(&["update", MODULE]).await;
        assert_eq!(answer.code, 1, "{migration}: {answer:?}");
        let said = format!("{}{}", answer.stdout, answer.stderr);
        assert!(said.contains("migrate") && said.contains(why), "{migration}: {said}");
        assert!(content(&server, "after").await == before, "{migration}");
        let mut alice = server.client("alice").await;
        assert_eq!(add(&mut alice, 0).await, ("1".to_owned(), 2), "{migration}");
        server.stop_with_module_panics().await;
    }
}

#[tokio::test]
async fn a_server_that_is_killed_in_the_middle_finds_the_stores_as_they_were() {
    let mut server = server("hang").await;
    fill(&server).await;
    let before = content(&server, "before").await;
    server.plugins().install(&ledger(2));
    let log = server.log();
    tokio::join!(
        async {
            // The command ends with the server.
            let _ = server.try_ctl(&["update", MODULE]).await;
        },
        async {
            log.expect(&["hangs in its migration"]).await;
            server.signal(rustix::process::Signal::KILL);
        }
    );
    server.plugins().install(&ledger(1));
    server.kill().await;
    let server = server.restart().await;
    assert!(content(&server, "after").await == before);
    server.log().expect(&["they are put back as they were"]).await;
    let mut alice = server.client("alice").await;
    assert_eq!(add(&mut alice, KEYS - 1).await, ("1".to_owned(), 2));
    server.stop().await;
}

#[tokio::test]
async fn an_older_build_is_refused_over_the_stores_of_a_newer_one() {
    let mut server = server("well").await;
    fill(&server).await;
    server.plugins().install(&ledger(2));
    server.ctl(&["update", MODULE]).await;
    let before = content(&server, "before").await;
    for command in [["update", MODULE], ["rollback", MODULE]] {
        server.plugins().install(&ledger(1));
        let answer = server.try_ctl(&command).await;
        assert_eq!(answer.code, 1, "{answer:?}");
        let said = format!("{}{}", answer.stdout, answer.stderr);
        assert!(said.contains("its stores have schema 2") && said.contains("restore a backup"), "{said}");
        let mut alice = server.client("alice").await;
        add(&mut alice, 0).await;
    }
    assert!(content(&server, "meanwhile").await != before, "the newer build serves on");
    // At a start, too: the module is left out and told of, and its data stay.
    server.kill().await;
    let server = server.restart().await;
    let before = content(&server, "kept").await;
    server
        .log()
        .expect(&["module fixture_ledger@localhost failed at migrate", "its stores have schema 2"])
        .await;
    assert!(content(&server, "still").await == before);
    server.stop().await;
}
