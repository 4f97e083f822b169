//! Modules swapped under live sessions.

use std::time::Duration;

use moult_tests::server::ServerBuilder;
use moult_tests::{Client, Element, Plugin, Server, eventually};
use serde_json::Value;

const COUNTER: &str = "fixture_counter";
const COUNT: &str = "<query xmlns='urn:moult:fixture:count'/>";
const CPU_TIME: &str = "<query xmlns='ejabberd:cputime'/>";

/// The counter's two builds, under one file name as an operator would install them.
fn counter(build: u32) -> Plugin {
    Plugin::built(&format!("fixture_counter_v{build}")).named("libfixture_counter.so")
}

fn with_counter() -> ServerBuilder {
    Server::builder().plugin(&counter(1))
}

/// What the counter answers: its build and its count.
async fn count(client: &mut Client) -> (String, u64) {
    let answer = client.get("localhost", COUNT).await;
    let count = answer.child("count").unwrap_or_else(|| panic!("no count in {answer}"));
    (count.attr("build").unwrap_or_default().to_owned(), count.text.parse().expect("a count is a number"))
}

async fn generation(server: &Server, module: &str) -> u64 {
    line(server, module).await["generation"].as_u64().unwrap_or(0)
}

async fn line(server: &Server, module: &str) -> Value {
    let list = server.ctl_json(&["module_list"]).await;
    let lines = list.as_array().expect("module_list is a list");
    lines
        .iter()
        .find(|line| line["module"] == module)
        .unwrap_or_else(|| panic!("no {module} in {list}"))
        .clone()
}

#[tokio::test]
async fn new_code_answers_on_the_same_connection_with_the_state_of_the_old() {
    let server = with_counter().start().await;
    let mut alice = server.client("alice").await;
    assert_eq!(count(&mut alice).await, ("1".to_owned(), 1));
    server.plugins().install(&counter(2));
    assert_eq!(server.ctl(&["update_list"]).await.trim(), COUNTER);
    let report = server.ctl_json(&["update", "all"]).await;
    assert_eq!((&report["status"], &report["updated"][0]), (&"ok".into(), &COUNTER.into()), "{report}");
    assert_eq!(count(&mut alice).await, ("2".to_owned(), 2));
    assert_eq!(server.ctl(&["update_list"]).await.trim(), "");
    server.stop().await;
}

#[tokio::test]
async fn update_info_tells_the_six_facts_and_changes_nothing() {
    let server = with_counter().start().await;
    let mut alice = server.client("alice").await;
    server.plugins().install(&counter(2));
    let info = server.ctl_json(&["update_info"]).await;
    assert_eq!(info["directory"], server.plugins().path().display().to_string());
    assert_eq!(info["modules"], serde_json::json!([COUNTER]));
    assert_eq!(info["script"][0]["action"], "update", "the counter hands state over: {info}");
    let steps = info["low_level_script"].as_array().expect("steps");
    assert!(
        steps.iter().any(|step| step.as_str().is_some_and(|step| step.contains("point_of_no_return"))),
        "{info}"
    );
    assert_eq!((&info["purge"], &info["check"]), (&"drain".into(), &"ok".into()));
    assert_eq!(count(&mut alice).await, ("1".to_owned(), 1));
    server.stop().await;
}

#[tokio::test]
async fn a_rollback_puts_the_former_build_back_with_the_state_of_now() {
    let server = with_counter().start().await;
    let mut alice = server.client("alice").await;
    count(&mut alice).await;
    server.plugins().install(&counter(2));
    server.ctl(&["update", COUNTER]).await;
    assert_eq!(count(&mut alice).await, ("2".to_owned(), 2));
    server.ctl(&["rollback", COUNTER]).await;
    assert_eq!(count(&mut alice).await, ("1".to_owned(), 3));
    let history = server.ctl_json(&["update_history"]).await;
    assert!(history.as_array().is_some_and(|updates| updates.len() >= 3), "{history}");
    server.stop().await;
}

#[tokio::test]
async fn a_state_that_is_refused_leaves_the_old_build_serving() {
    let server = with_counter().start().await;
    let mut alice = server.client("alice").await;
    count(&mut alice).await;
    server.reconfigure("[modules.fixture_counter]\nrefuse = true").await;
    server.plugins().install(&counter(2));
    let answer = server.try_ctl(&["update", COUNTER]).await;
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("import") || answer.stdout.contains("import"), "{answer:?}");
    assert_eq!(count(&mut alice).await, ("1".to_owned(), 2));
    server.stop().await;
}

#[tokio::test]
async fn a_library_that_cannot_be_used_changes_nothing_and_says_why() {
    let server = Server::with_modules(&["mod_cputime"]).await;
    let mut alice = server.client("alice").await;
    let good = Plugin::built("mod_cputime");
    let half = good.clone().altered(|bytes| bytes.truncate(bytes.len() / 2));
    let wrong_machine = good.clone().altered(|bytes| bytes[18] = 0x28);
    let text = Plugin::from_bytes(good.file_name(), "this is not a library");
    let empty = Plugin::from_bytes(good.file_name(), "");
    let before = generation(&server, "mod_cputime").await;
    for (name, bad) in [("half", half), ("wrong machine", wrong_machine), ("text", text), ("empty", empty)] {
        server.plugins().install(&bad);
        let answer = server.try_ctl(&["update", "mod_cputime"]).await;
        assert_ne!(answer.code, 0, "{name}: {answer:?}");
        let said = format!("{}{}", answer.stdout, answer.stderr);
        assert!(said.contains("mod_cputime") || said.contains(bad.file_name()), "{name}: {said}");
        assert_eq!(alice.get("localhost", CPU_TIME).await.attr("type"), Some("result"), "{name}");
        assert_eq!(generation(&server, "mod_cputime").await, before, "{name}");
    }
    server.plugins().install(&good.variant(1));
    server.ctl(&["update", "mod_cputime"]).await;
    assert!(generation(&server, "mod_cputime").await > before);
    server.stop().await;
}

#[tokio::test]
async fn files_that_change_under_a_running_module_do_not_touch_it() {
    let server = Server::with_modules(&["mod_cputime"]).await;
    let mut alice = server.client("alice").await;
    let plugin = Plugin::built("mod_cputime");
    server.plugins().truncate(&plugin, 100);
    assert_eq!(alice.get("localhost", CPU_TIME).await.attr("type"), Some("result"));
    server.plugins().overwrite(&Plugin::from_bytes(plugin.file_name(), vec![0xcc; plugin.bytes().len()]));
    assert_eq!(alice.get("localhost", CPU_TIME).await.attr("type"), Some("result"));
    server.plugins().remove(&plugin);
    assert_eq!(alice.get("localhost", CPU_TIME).await.attr("type"), Some("result"));
    server.stop().await;
}

#[tokio::test]
async fn a_touched_file_is_no_update_and_another_content_is() {
    let server = Server::with_modules(&["mod_cputime"]).await;
    let plugin = Plugin::built("mod_cputime");
    server.plugins().touch(&plugin);
    assert_eq!(server.ctl(&["update_list"]).await.trim(), "");
    server.plugins().install(&plugin.clone().variant(1));
    assert_eq!(server.ctl(&["update_list"]).await.trim(), "mod_cputime");
    server.plugins().install(&plugin);
    assert_eq!(server.ctl(&["update_list"]).await.trim(), "", "the loaded content lies there again");
    server.stop().await;
}

#[tokio::test]
async fn a_link_out_of_the_folder_is_refused() {
    let server = Server::start().await;
    let plugin = Plugin::built("mod_cputime");
    let elsewhere = server.folder().join("elsewhere.so");
    std::fs::write(&elsewhere, plugin.bytes()).expect("the test folder is writable");
    server.plugins().symlink(&plugin, &elsewhere);
    let answer = server.try_ctl(&["update", "all"]).await;
    let list = server.ctl(&["module_list"]).await;
    assert!(!list.contains("running"), "{answer:?} {list}");
    server.stop().await;
}

#[tokio::test]
async fn the_watcher_swaps_by_itself_after_a_rename_and_after_a_slow_copy() {
    let server = Server::builder().plugin(&counter(1)).config("[modules]\nwatch = 'auto'").start().await;
    let mut alice = server.client("alice").await;
    count(&mut alice).await;
    server.plugins().install(&counter(2));
    eventually("the second build answers", async || count(&mut alice).await.0 == "2").await;
    let second = generation(&server, COUNTER).await;
    server.plugins().copy_slowly(&counter(1), 20, Duration::from_millis(30)).await;
    eventually("the first build answers again", async || count(&mut alice).await.0 == "1").await;
    assert!(generation(&server, COUNTER).await > second);
    let history = server.ctl_json(&["update_history"]).await;
    let results: Vec<_> = history.as_array().into_iter().flatten().map(|update| &update["result"]).collect();
    assert_eq!(results, ["updated", "updated", "loaded"], "a half-written file was never tried: {history}");
    server.stop().await;
}

#[tokio::test]
async fn the_watcher_also_takes_what_arrives_while_it_updates() {
    const SLOW: &str = "fixture_misbehaving";
    let config = format!("[modules]\nwatch = 'auto'\n[modules.{SLOW}]\nfault = 'start:slow'");
    let server = Server::builder()
        .plugin(&Plugin::built(SLOW))
        .plugin(&Plugin::built("mod_cputime"))
        .config(&config)
        .start()
        .await;
    let before = generation(&server, "mod_cputime").await;
    server.plugins().install(&Plugin::built(SLOW).variant(1));
    server.log().expect(&["update begins", "trigger=\"watch\"", SLOW]).await;
    server.plugins().install(&Plugin::built("mod_cputime").variant(1));
    eventually("the second file is taken as well", async || {
        generation(&server, "mod_cputime").await > before
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_plugin_that_appears_is_loaded_by_the_next_update_and_one_that_disappears_is_unloaded() {
    let server = Server::start().await;
    let mut alice = server.client("alice").await;
    let plugin = Plugin::built("mod_echo");
    server.plugins().install(&plugin);
    assert!(server.ctl(&["update_list", "--all"]).await.contains("mod_echo"));
    server.ctl(&["update", "all"]).await;
    assert_eq!(alice.get("echo.localhost", CPU_TIME).await.attr("type"), Some("result"));
    server.plugins().remove(&plugin);
    server.ctl(&["update", "all"]).await;
    let answer = alice.get("echo.localhost", CPU_TIME).await;
    assert_eq!(answer.attr("type"), Some("error"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_module_is_unloaded_and_loaded_again_by_hand() {
    let server = Server::with_modules(&["mod_cputime"]).await;
    let mut alice = server.client("alice").await;
    server.ctl(&["module_unload", "mod_cputime"]).await;
    assert_eq!(alice.get("localhost", CPU_TIME).await.error(), Some(("cancel", "service-unavailable")));
    server.ctl(&["module_load", "mod_cputime"]).await;
    assert_eq!(alice.get("localhost", CPU_TIME).await.attr("type"), Some("result"));
    server.ctl(&["restart_module", "localhost", "mod_cputime"]).await;
    assert_eq!(alice.get("localhost", CPU_TIME).await.attr("type"), Some("result"));
    server.stop().await;
}

/// Ten clients ask without pause; every answer comes exactly once, and the module has counted each request once.
#[tokio::test]
async fn a_hundred_swaps_under_load_lose_and_double_nothing() {
    const CLIENTS: usize = 10;
    const SWAPS: u64 = 100;
    let users: Vec<String> = (0..CLIENTS).map(|number| format!("user{number}")).collect();
    let accounts: Vec<&str> = users.iter().map(String::as_str).collect();
    let server = with_counter().accounts(&accounts).start().await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut asking = Vec::new();
    for user in &users {
        let client = server.client(user).await;
        asking.push(tokio::spawn(ask_until(client, stopped.clone())));
    }
    for swap in 0..SWAPS {
        server.plugins().install(&counter(if swap % 2 == 0 { 2 } else { 1 }));
        let report = server.ctl_json(&["update", COUNTER]).await;
        assert_eq!(report["status"], "ok", "swap {swap}: {report}");
    }
    stop.send_replace(true);
    let mut requests = 0;
    for client in asking {
        requests += client.await.expect("the client does not panic");
    }
    let mut last = server.client(&users[0]).await;
    assert_eq!(count(&mut last).await.1, requests + 1, "the module has counted what the clients have asked");
    assert_eq!(
        line(&server, COUNTER).await["old_generations"].as_u64().unwrap_or(0),
        0,
        "old libraries are unmapped"
    );
    println!("{requests} requests during {SWAPS} swaps");
    let metrics = server.http_get("/metrics").await.body;
    assert!(metrics.contains("\nmoult_leaked_registrations_total 0\n"), "{metrics}");
    server.stop().await;
}

async fn ask_until(mut client: Client, stopped: tokio::sync::watch::Receiver<bool>) -> u64 {
    let mut requests = 0;
    while !*stopped.borrow() {
        count(&mut client).await;
        requests += 1;
    }
    let unasked: Vec<Element> = client.received().await;
    assert_eq!(unasked, [], "every answer came once");
    requests
}
