//! Calls that pass their deadline and do return in the end: until then nothing that they use is freed, it is told what is
//! waited for and what it costs, and afterwards the old generation goes.

use moult_tests::server::ServerBuilder;
use moult_tests::{Client, Plugin, Server, eventually};
use serde_json::Value;

const MODULE: &str = "fixture_misbehaving";
const NS: &str = "urn:moult:fixture:misbehave";

const CONFIG: &str = "
    [modules]
    start_deadline = '500ms'
    stop_deadline = '500ms'
    freeze_deadline = '500ms'
    drain_deadline = '500ms'
    call_deadline = '10s'
    max_retained = 1
";

fn server() -> ServerBuilder {
    Server::builder().config(CONFIG).plugin(&Plugin::built(MODULE))
}

/// The option `fault` for the running and the next generation: at this place it waits until [`let_go`].
fn late(server: &Server, place: &str) -> String {
    format!("[modules.{MODULE}]\nfault = '{place}:until={}'", gate(server).display())
}

fn gate(server: &Server) -> std::path::PathBuf {
    server.plugins().path().with_file_name("go")
}

fn let_go(server: &Server) {
    std::fs::write(gate(server), "").expect("the test folder is writable");
}

async fn serves(client: &mut Client) {
    let answer = client.get("localhost", &format!("<do xmlns='{NS}' what='nothing'/>")).await;
    assert_eq!(answer.attr("type"), Some("result"), "{answer}");
}

async fn info(server: &Server) -> Value {
    server.ctl_json(&["module_info", MODULE]).await
}

/// What is still in a call is told with its reason and its cost, and refuses another update where the cap is reached.
async fn assert_is_held(server: &Server, reason: &str) {
    let info = info(server).await;
    let held = &info["retained"][0];
    assert!(held["reasons"][0].as_str().is_some_and(|waits| waits.contains(reason)), "{info}");
    assert_eq!(info["draining"], serde_json::json!([]), "it is told of once");
    assert!(held["bytes"]["resident"].as_u64().is_some_and(|bytes| bytes > 0), "{info}");
    server.plugins().install(&Plugin::built(MODULE).variant(77));
    let refused = server.try_ctl(&["update", MODULE]).await;
    assert!(refused.code == 1 && refused.stderr.contains("which is the limit"), "{refused:?}");
}

/// The late call comes back: nothing of the generation is left, and the module can be updated as ever.
async fn assert_goes(server: &Server, client: &mut Client) {
    let_go(server);
    eventually("the late generation is gone", async || {
        server.ctl(&["gc"]).await;
        let info = info(server).await;
        info["old_generations"] == 0
    })
    .await;
    serves(client).await;
    server.plugins().install(&Plugin::built(MODULE).variant(78));
    server.ctl(&["update", MODULE]).await;
    serves(client).await;
}

#[tokio::test]
async fn a_start_or_an_import_that_returns_after_its_deadline_hurts_nobody() {
    for place in ["start", "import"] {
        let server = server().start().await;
        let mut alice = server.client("alice").await;
        server.reconfigure(&late(&server, place)).await;
        server.plugins().install(&Plugin::built(MODULE).variant(1));
        let refused = server.try_ctl(&["update", MODULE]).await;
        assert!(refused.code == 1 && refused.stderr.contains("no answer within 500 ms"), "{refused:?}");
        serves(&mut alice).await;
        assert_is_held(&server, "calls that do not return").await;
        assert_goes(&server, &mut alice).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn a_stop_that_returns_late_keeps_its_library_until_then() {
    let server = server().start().await;
    let mut alice = server.client("alice").await;
    server.reconfigure(&late(&server, "stop")).await;
    server.plugins().install(&Plugin::built(MODULE).variant(1));
    let updated = server.ctl_json(&["update", MODULE]).await;
    assert_eq!(updated["unpurged"], serde_json::json!([MODULE]), "{updated}");
    serves(&mut alice).await;
    assert_is_held(&server, "its stop does not return").await;
    assert_goes(&server, &mut alice).await;
    server.stop().await;
}

#[tokio::test]
async fn a_call_or_a_reload_that_returns_late_keeps_its_library_until_then() {
    for place in ["a call", "reload"] {
        let server = server().start().await;
        let (mut alice, mut bob) = (server.client("alice").await, server.client("bob").await);
        if place == "reload" {
            server.write_config(&late(&server, place));
            let reloaded = server.try_ctl(&["reload_config"]).await;
            assert!(
                reloaded.code == 1 && reloaded.stderr.contains("no answer within 500 ms"),
                "{reloaded:?}"
            );
        } else {
            let what = format!("until={}", gate(&server).display());
            bob.send(format!(
                "<iq type='get' to='localhost' id='late'><do xmlns='{NS}' what='{what}'/></iq>"
            ))
            .await;
            eventually("the call is inside", async || info(&server).await["instances"][0]["in_flight"] == 1)
                .await;
        }
        server.plugins().install(&Plugin::built(MODULE).variant(1));
        server.ctl(&["update", MODULE, "--brutal"]).await;
        serves(&mut alice).await;
        assert_is_held(&server, "calls that do not return").await;
        assert_goes(&server, &mut alice).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn an_export_that_returns_late_has_only_refused_the_update() {
    let server = server().start().await;
    let mut alice = server.client("alice").await;
    server.reconfigure(&late(&server, "export")).await;
    server.plugins().install(&Plugin::built(MODULE).variant(1));
    let refused = server.try_ctl(&["update", MODULE]).await;
    assert!(refused.code == 1 && refused.stderr.contains("export"), "{refused:?}");
    serves(&mut alice).await;
    assert_goes(&server, &mut alice).await;
    server.stop().await;
}

#[tokio::test]
async fn an_end_that_a_module_does_not_take_notice_of_ends_the_server_all_the_same() {
    for place in ["terminated", "stop"] {
        let server = server().start().await;
        server.reconfigure(&late(&server, place)).await;
        server.stop().await;
    }
}
