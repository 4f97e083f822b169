//! Updates of several modules and by themselves: what is of no use stops nobody else, what does not want to serve is undone.

use moult_tests::chain::{self, chained};
use moult_tests::{Plugin, Server, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

const COUNTER: &str = "fixture_counter";
const MISBEHAVING: &str = "fixture_misbehaving";

fn junk() -> Plugin {
    Plugin::from_bytes("bad.so", "junk")
}

async fn version(server: &Server) -> Value {
    server.ctl_json(&["module_info", COUNTER]).await["version"].clone()
}

async fn line(server: &Server, module: &str) -> Value {
    let list = server.ctl_json(&["module_list"]).await;
    let mut lines = list.as_array().into_iter().flatten();
    lines.find(|line| line["module"] == module).cloned().unwrap_or_default()
}

/// The same module under one file name.
fn counter(number: u8) -> Plugin {
    Plugin::built(&format!("fixture_counter_v{number}")).named("fixture_counter.so")
}

#[tokio::test]
async fn a_file_of_no_use_is_left_out_and_told_of() {
    let server = Server::builder().plugin(&counter(1)).start().await;
    server.plugins().install(&junk());
    // Such a file is taken as it is when it has settled.
    let list = async || server.ctl(&["update_list"]).await;
    eventually("it is listed", async || list().await.contains("bad unusable (it is not an ELF file)")).await;
    let old = version(&server).await;
    server.plugins().install(&counter(2));
    let answer = server.try_ctl(&["update", "all"]).await;
    assert_eq!(answer.code, 1, "{answer:?}");
    for part in
        ["updated: fixture_counter", "left out:", "module bad failed at notice: it is not an ELF file"]
    {
        assert!(answer.stderr.contains(part), "{part}: {answer:?}");
    }
    let new = version(&server).await;
    assert_ne!(new, old);

    let answer = server.http_admin("POST", "/update-modules", r#"{"modules":["all"]}"#).await;
    let details = &answer.json()["details"];
    assert_eq!((&details["status"], &details["stage"]), (&json!("partly"), &json!("notice")), "{answer:?}");
    // Modules that are named are one transaction, all or nothing.
    server.plugins().install(&counter(1));
    let answer = server.try_ctl(&["update", "fixture_counter,bad"]).await;
    assert_eq!((answer.code, version(&server).await), (1, new), "{answer:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_file_of_no_use_stops_neither_the_signal_nor_the_watcher() {
    for (key, signal) in [("update_on_hup = true", Some(Signal::HUP)), ("watch = 'auto'", None)] {
        let config = format!("[modules]\n{key}");
        let server = Server::builder().config(&config).plugin(&counter(1)).plugin(&junk()).start().await;
        let old = version(&server).await;
        server.plugins().install(&counter(2));
        if let Some(signal) = signal {
            server.signal(signal);
        }
        eventually("the good one is taken", async || version(&server).await != old).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn a_file_that_comes_right_after_the_start_is_seen_by_the_watcher() {
    let builder = Server::builder().config("[modules]\nwatch = 'auto'").accounts(&[]).plugin(&counter(1));
    let server = builder.start().await;
    let old = version(&server).await;
    server.plugins().install(&counter(2));
    eventually("it is taken", async || version(&server).await != old).await;
    server.stop().await;
}

#[tokio::test]
async fn a_new_module_that_does_not_want_to_serve_is_a_failed_update_and_taken_out() {
    for (how, part) in [("error", "told to fail at started"), ("hang", "no answer within 1000 ms")] {
        let config =
            format!("[modules]\nstart_deadline = '1s'\n[modules.{MISBEHAVING}]\nfault = 'started:{how}'");
        let server = Server::builder().config(&config).start().await;
        server.plugins().install(&Plugin::built(MISBEHAVING));
        let answer = server.try_ctl(&["update", MISBEHAVING]).await;
        assert!(answer.code == 1 && answer.stderr.contains(part), "{answer:?}");
        let info = server.ctl_json(&["module_info", MISBEHAVING]).await;
        assert_eq!((&info["state"], &info["vhosts"]), (&json!("failed"), &json!([])), "{info}");
        assert_eq!(info["last_error"]["stage"], "started", "{info}");
        assert!(info["last_error"]["reason"].as_str().is_some_and(|why| why.contains(part)), "{info}");
        server.kill_is_fine().await;
    }
}

#[tokio::test]
async fn a_build_that_does_not_want_to_serve_gives_way_to_the_one_before_it() {
    let server = Server::builder().plugin(&Plugin::built(MISBEHAVING)).start().await;
    let before = line(&server, MISBEHAVING).await;
    server.reconfigure(&format!("[modules.{MISBEHAVING}]\nfault = 'started:error'")).await;
    server.plugins().install(&Plugin::built(MISBEHAVING).variant(1));
    let answer = server.try_ctl(&["update", MISBEHAVING]).await;
    let told = "failed at started: told to fail at started";
    assert!(answer.code == 1 && answer.stderr.contains(told), "{answer:?}");
    let info = server.ctl_json(&["module_info", MISBEHAVING]).await;
    assert_eq!(info["last_error"]["stage"], "started", "{info}");
    let reason = info["last_error"]["reason"].as_str().unwrap_or_default();
    // The former build has the same option, and does not want to serve either.
    assert!(reason.starts_with("told to fail at started"), "{info}");
    assert_eq!(info["hash"], before["hash"], "{info}");
    server.stop().await;
}

/// Two requests that wait, one in each generation, and two updates: the first lets its old calls run, the second cuts them.
#[tokio::test]
async fn a_soft_update_lets_old_calls_run_as_long_as_they_take() {
    let config = "[modules]\ndrain_deadline = '1s'\ncall_deadline = '5m'\n[modules.fixture_chain_a]\neverything = true";
    let server = Server::builder().config(config).plugin(&chained('a')).start().await;
    let (mut alice, mut bob) = (server.client("alice").await, server.client("bob").await);
    let (module, file) = (chain::id('a'), server.folder().join("now"));
    let ask = |id: &str| {
        let payload = format!("<ask xmlns='{}:{module}:later' until='{}'/>", chain::NS, file.display());
        format!("<iq type='get' to='localhost' id='{id}'>{payload}</iq>")
    };
    let old_generations =
        async || server.ctl_json(&["module_info", &module]).await["old_generations"].as_u64();

    alice.send(ask("soft")).await;
    alice.received().await;
    server.plugins().install(&chained('a').variant(1));
    let soft = server.ctl_json(&["update", &module, "--soft"]).await;
    assert_eq!(soft["unpurged"], json!([module]), "{soft}");
    bob.send(ask("drain")).await;
    bob.received().await;
    server.plugins().install(&chained('a').variant(2));
    server.ctl(&["update", &module]).await;
    let cut = bob.answer_to("drain").await;
    assert_eq!(cut.attr("type"), Some("error"), "{cut}");
    // The deadline has passed for one call, and for the older one of the soft update as well: it runs on.
    assert_eq!(old_generations().await, Some(1));
    std::fs::write(&file, "").expect("the folder is ours");
    assert_eq!(alice.answer_to("soft").await.attr("type"), Some("result"));
    eventually("both old generations are gone", async || old_generations().await == Some(0)).await;
    server.stop().await;
}

/// A module may ask for its own update or end, as mod_adhoc and mod_admin_http do: its old code waits for the answer to that
/// request, and the answer does not wait for the old code.
#[tokio::test]
async fn a_module_that_asks_for_its_own_change_is_answered_first() {
    let config = "[modules.fixture_chain_a]\neverything = true";
    let server = Server::builder().config(config).plugin(&chained('a')).start().await;
    let module = chain::id('a');
    server.plugins().install(&chained('a').variant(1));
    for (command, done) in [("update", "updated"), ("rollback", "updated"), ("module_unload", "updated")] {
        let report = server.ctl_json(&[&module, command]).await;
        assert_eq!(report[done], json!([module]), "{command}: {report}");
        assert_eq!(
            (&report["purged_after_answer"], &report["unpurged"]),
            (&json!([module]), &json!([])),
            "{report}"
        );
        eventually("its old code is gone", async || {
            server.ctl_json(&["update_info"]).await["old_generations"]["draining"] == json!([])
        })
        .await;
    }
    server.ctl(&["module_load", &module]).await;
    assert_eq!(server.ctl_json(&[&module, "restart_module"]).await, json!(0));
    assert_eq!(server.ctl_json(&[&module]).await, json!("done"));
    server.stop().await;
}
