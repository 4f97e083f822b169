//! Modules that do everything wrong: the server says so in one clear line, and nobody else notices.

use std::time::{Duration, Instant};

use moult_tests::server::ServerBuilder;
use moult_tests::{Client, Plugin, Server, eventually};

const MODULE: &str = "fixture_misbehaving";
const CPU_TIME: &str = "<query xmlns='ejabberd:cputime'/>";

/// With short deadlines, so that what hangs is noticed soon.
const CONFIG: &str = "
    [modules]
    start_deadline = '1s'
    stop_deadline = '1s'
    freeze_deadline = '1s'
    drain_deadline = '1s'
    call_deadline = '1s'
    state_limit = '1MiB'
";

fn server() -> ServerBuilder {
    let modules = [MODULE, "mod_cputime"].map(Plugin::built);
    Server::builder().config(CONFIG).plugin(&modules[0]).plugin(&modules[1])
}

async fn ask(client: &mut Client, what: &str) -> moult_tests::Element {
    client.get("localhost", &format!("<do xmlns='urn:moult:fixture:misbehave' what='{what}'/>")).await
}

async fn assert_serves(client: &mut Client) {
    let answer = ask(client, "nothing").await;
    assert_eq!(answer.attr("type"), Some("result"), "{answer}");
}

async fn generation(server: &Server) -> u64 {
    let list = server.ctl_json(&["module_list"]).await;
    let mut lines = list.as_array().into_iter().flatten();
    lines.find(|line| line["module"] == MODULE).and_then(|line| line["generation"].as_u64()).unwrap_or(0)
}

/// The option `fault` for the running and the next generation.
fn fault(fault: &str) -> String {
    format!("[modules.{MODULE}]\nfault = '{fault}'")
}

/// What a failed update says, on one line that names module and stage.
async fn failing_update(server: &Server, variant: u64) -> String {
    server.plugins().install(&Plugin::built(MODULE).variant(variant));
    let answer = server.try_ctl(&["update", MODULE]).await;
    assert_eq!(answer.code, 1, "{answer:?}");
    format!("{}{}", answer.stdout, answer.stderr)
}

#[tokio::test]
async fn a_new_generation_that_cannot_start_leaves_the_old_one_serving() {
    let server = server().start().await;
    let mut alice = server.client("alice").await;
    let before = generation(&server).await;
    for (number, (how, part)) in [
        ("start:error", "told to fail"),
        ("start:panic", "panic"),
        ("start:hang", "start"),
        ("import:error", "told to fail"),
        ("import:panic", "panic"),
    ]
    .into_iter()
    .enumerate()
    {
        server.reconfigure(&fault(how)).await;
        let said = failing_update(&server, number as u64 + 1).await;
        let stage = how.split(':').next().unwrap_or_default();
        assert!(said.contains(MODULE) && said.contains(stage) && said.contains(part), "{how}: {said}");
        assert_serves(&mut alice).await;
        assert_eq!(generation(&server).await, before, "{how}");
    }
    server.reconfigure(&fault("")).await;
    server.plugins().install(&Plugin::built(MODULE).variant(99));
    server.ctl(&["update", MODULE]).await;
    assert_serves(&mut alice).await;
    assert!(generation(&server).await > before);
    server.stop().await;
}

#[tokio::test]
async fn an_old_generation_that_cannot_hand_over_goes_on_serving() {
    let server = server().start().await;
    let mut alice = server.client("alice").await;
    for (number, (how, part)) in
        [("export:panic", "panic"), ("export:huge", "state"), ("export:hang", "export")]
            .into_iter()
            .enumerate()
    {
        server.reconfigure(&fault(how)).await;
        let said = failing_update(&server, number as u64 + 1).await;
        assert!(said.contains(MODULE) && said.contains("export") && said.contains(part), "{how}: {said}");
        // An export that never comes back holds its own instance; the server stays.
        assert_eq!(alice.get("localhost", CPU_TIME).await.attr("type"), Some("result"), "{how}");
        if how != "export:hang" {
            assert_serves(&mut alice).await;
        }
    }
    server.kill_is_fine().await;
}

#[tokio::test]
async fn an_old_generation_that_cannot_end_is_told_of_and_does_not_stop_the_new_one() {
    for how in ["stop:panic", "stop:hang", "drop:panic"] {
        let server = server().start().await;
        let mut alice = server.client("alice").await;
        let before = generation(&server).await;
        server.reconfigure(&fault(how)).await;
        server.plugins().install(&Plugin::built(MODULE).variant(1));
        let answer = server.try_ctl(&["update", MODULE]).await;
        assert!(generation(&server).await > before, "{how}: {answer:?}");
        assert_serves(&mut alice).await;
        server.log().expect(&[MODULE, how.split(':').next().unwrap_or_default()]).await;
        server.kill_is_fine().await;
    }
}

#[tokio::test]
async fn a_call_that_panics_is_an_error_for_its_caller_alone() {
    let server = server().start().await;
    let mut alice = server.client("alice").await;
    for namespace in ["misbehave", "misbehave-inline"] {
        let payload = format!("<do xmlns='urn:moult:fixture:{namespace}' what='panic'/>");
        let answer = alice.get("localhost", &payload).await;
        assert_eq!(answer.error().map(|(_, condition)| condition), Some("internal-server-error"), "{answer}");
        assert_serves(&mut alice).await;
    }
    let told = server.log().lines_with(&[MODULE, "told to panic at a call"]);
    assert!(!told.is_empty(), "the panic's message is in the log");
    server.stop_with_module_panics().await;
}

#[tokio::test]
async fn a_call_that_never_ends_is_answered_at_its_deadline() {
    let server = server().start().await;
    let mut alice = server.client("alice").await;
    for what in ["hang", "loop"] {
        let answer = ask(&mut alice, what).await;
        let condition = answer.error().map(|(_, condition)| condition);
        assert!(
            matches!(condition, Some("remote-server-timeout" | "resource-constraint")),
            "{what}: {answer}"
        );
        assert_eq!(alice.get("localhost", CPU_TIME).await.attr("type"), Some("result"), "{what}");
    }
    server.log().expect(&[MODULE, "stuck"]).await;
    // A new build gets a new chance; what its calls hold on to is given up only when the operator says so.
    server.plugins().install(&Plugin::built(MODULE).variant(1));
    server.ctl(&["update", MODULE, "--brutal"]).await;
    assert_serves(&mut alice).await;
    server.kill_is_fine().await;
}

#[tokio::test]
async fn a_queue_that_was_quick_until_a_call_never_ends_takes_no_thread_from_the_sockets() {
    let server = server().start().await;
    let mut alice = server.client("alice").await;
    let mut bob = server.client("bob").await;
    // Short work is drained by the threads that serve sockets, as soon as it is known to be short.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        assert_eq!(ask(&mut alice, "").await.attr("type"), Some("result"));
    }
    alice
        .send("<iq type='get' to='localhost' id='loop'><do xmlns='urn:moult:fixture:misbehave' what='loop'/></iq>")
        .await;
    let mut carol = server.client("carol").await;
    for client in [&mut alice, &mut bob, &mut carol] {
        assert_eq!(client.get("localhost", CPU_TIME).await.attr("type"), Some("result"));
    }
    let condition = alice.answer_to("loop").await.error().map(|(_, condition)| condition.to_owned());
    assert!(
        matches!(condition.as_deref(), Some("remote-server-timeout" | "resource-constraint")),
        "{condition:?}"
    );
    server.log().expect(&[MODULE, "stuck"]).await;
    assert_eq!(bob.get("localhost", CPU_TIME).await.attr("type"), Some("result"));
    server.plugins().install(&Plugin::built(MODULE).variant(1));
    server.ctl(&["update", MODULE, "--brutal"]).await;
    assert_eq!(ask(&mut bob, "").await.attr("type"), Some("result"));
    server.kill_is_fine().await;
}

#[tokio::test]
async fn a_slow_call_is_answered_by_the_generation_that_began_it() {
    let server = server().start().await;
    let mut alice = server.client("alice").await;
    let mut bob = server.client("bob").await;
    let before = generation(&server).await;
    alice.send("<iq type='get' to='localhost' id='slow'><do xmlns='urn:moult:fixture:misbehave' what='slow'/></iq>").await;
    assert_serves(&mut bob).await;
    server.plugins().install(&Plugin::built(MODULE).variant(1));
    server.ctl(&["update", MODULE]).await;
    assert_eq!(alice.answer_to("slow").await.attr("type"), Some("result"));
    assert!(generation(&server).await > before);
    server.stop().await;
}

#[tokio::test]
async fn a_generation_whose_call_does_not_return_is_retained_counted_and_gone_when_it_has_returned() {
    let server = server().config("[modules]\nmax_retained = 1").start().await;
    let mut alice = server.client("alice").await;
    let old = generation(&server).await;
    let answer = ask(&mut alice, "long").await;
    assert_eq!(answer.error().map(|(_, condition)| condition), Some("remote-server-timeout"), "{answer}");
    server.plugins().install(&Plugin::built(MODULE).variant(1));
    server.ctl(&["update", MODULE, "--brutal"]).await;
    assert_serves(&mut alice).await;
    let info = async || server.ctl_json(&["module_info", MODULE]).await;
    eventually("the old generation is retained", async || info().await["retained"][0]["generation"] == old)
        .await;
    let retained = info().await;
    assert!(retained["retained"][0]["reasons"][0].as_str().is_some_and(|why| why.contains("do not return")));
    assert_eq!(retained["draining"], serde_json::json!([]), "it is told of once");
    let metric = format!("moult_module_retained{{module=\"{MODULE}\"}} 1");
    eventually("the metrics count it", async || server.http_get("/metrics").await.body.contains(&metric))
        .await;
    // It counts against the limit, which is one.
    server.plugins().install(&Plugin::built(MODULE).variant(2));
    let refused = server.try_ctl(&["update", MODULE]).await;
    assert!(refused.code == 1 && refused.stderr.contains("which is the limit"), "{refused:?}");
    assert_serves(&mut alice).await;
    // The call returns after some seconds; then nothing holds it.
    eventually("the old generation is unmapped", async || {
        server.ctl(&["gc"]).await;
        info().await["old_generations"] == 0
    })
    .await;
    server.log().expect(&["unloaded, late", MODULE]).await;
    server.ctl(&["update", MODULE, "--brutal"]).await;
    assert_serves(&mut alice).await;
    // The threads on which the other modules were started were replaced meanwhile: those modules end all the same.
    server.plugins().install(&Plugin::built("mod_cputime").variant(1));
    server.ctl(&["update", "mod_cputime"]).await;
    let other = server.ctl_json(&["module_info", "mod_cputime"]).await;
    assert_eq!(other["retained"], serde_json::json!([]), "{other}");
    assert_eq!(alice.get("localhost", CPU_TIME).await.attr("type"), Some("result"));
    server.stop().await;
}

#[tokio::test]
async fn threads_and_thread_locals_left_behind_do_not_keep_a_library_for_ever() {
    let server = server().start().await;
    let mut alice = server.client("alice").await;
    for what in ["thread", "thread-locals"] {
        for inline in ["", "-inline"] {
            let payload = format!("<do xmlns='urn:moult:fixture:misbehave{inline}' what='{what}'/>");
            assert_eq!(alice.get("localhost", &payload).await.attr("type"), Some("result"));
        }
    }
    server.plugins().install(&Plugin::built(MODULE).variant(1));
    server.ctl(&["update", MODULE]).await;
    assert_serves(&mut alice).await;
    // The threads end after two seconds; then the old library goes.
    eventually("the old generation is unmapped", async || {
        server.ctl_json(&["module_info", MODULE]).await["old_generations"] == 0
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_module_that_the_operator_quarantines_answers_no_more_until_it_is_let_in_again() {
    let server = server().start().await;
    let mut alice = server.client("alice").await;
    server.ctl(&["module_quarantine", "mod_cputime@localhost"]).await;
    let refused = alice.get("localhost", CPU_TIME).await;
    assert_eq!(refused.attr("type"), Some("error"), "{refused}");
    let info = server.ctl_json(&["module_info", "mod_cputime"]).await;
    assert_eq!(
        (&info["state"], &info["instances"][0]["quarantine"]),
        (&"quarantined".into(), &"the operator wanted it".into())
    );
    assert_serves(&mut alice).await;

    server.ctl(&["module_quarantine", "mod_cputime", "--lift"]).await;
    assert_eq!(alice.get("localhost", CPU_TIME).await.attr("type"), Some("result"));
    for (module, code) in [("mod_nobody", 1), ("mod_cputime@example.org", 1), ("../x", 2)] {
        assert_eq!(server.try_ctl(&["module_quarantine", module]).await.code, code, "{module}");
    }
    let swept = server.ctl_json(&["gc"]).await;
    assert_eq!((&swept["unmapped"], &swept["retained"]), (&0.into(), &serde_json::json!([])));
    alice.close().await;
    server.stop().await;
}
