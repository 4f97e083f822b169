//! Modules that fail in a hook, a timer, a task, a command, over HTTP, in a request or in a callback: one line names
//! module, stage and reason, the rest of the server goes on, and so do all sessions.

use moult_tests::server::{CtlAnswer, ServerBuilder};
use moult_tests::{Client, Plugin, Server, eventually};
use rustix::process::Signal;

const MODULE: &str = "fixture_misbehaving";
const CPU_TIME: &str = "<query xmlns='ejabberd:cputime'/>";
const HOOK: &str = "urn:moult:fixture:misbehave";
const WAITING_HOOK: &str = "urn:moult:fixture:misbehave-waiting";

/// With short deadlines, so that what hangs is noticed soon, and with threads to spare for what never comes back.
const CONFIG: &str = "
    [server]
    workers = 4

    [modules]
    start_deadline = '1s'
    stop_deadline = '1s'
    freeze_deadline = '1s'
    drain_deadline = '1s'
    call_deadline = '1s'
";

fn server() -> ServerBuilder {
    let modules = [MODULE, "mod_cputime"].map(Plugin::built);
    Server::builder().config(CONFIG).plugin(&modules[0]).plugin(&modules[1])
}

/// The option `fault` for the running and the next generation.
fn fault(fault: &str) -> String {
    format!("[modules.{MODULE}]\nfault = '{fault}'")
}

/// Bob gets what alice sends, whatever the hook does on the way.
async fn assert_passes(alice: &mut Client, bob: &mut Client, ns: &str, what: &str) {
    let to = bob.jid().to_owned();
    alice
        .send(format!("<message to='{to}'><body>{what}</body><do xmlns='{ns}' what='{what}'/></message>"))
        .await;
    let message = bob.expect_message().await;
    assert_eq!(message.child_text("body"), Some(what));
}

async fn assert_serves(client: &mut Client, payload: &str) {
    let answer = client.get("localhost", payload).await;
    assert_eq!(answer.attr("type"), Some("result"), "{answer}");
}

async fn misbehaving_serves(client: &mut Client) {
    assert_serves(client, &format!("<do xmlns='{HOOK}' what='nothing'/>")).await;
}

async fn line(server: &Server) -> serde_json::Value {
    let list = server.ctl_json(&["module_list"]).await;
    let mut lines = list.as_array().into_iter().flatten();
    lines.find(|line| line["module"] == MODULE).cloned().unwrap_or_default()
}

async fn misbehave(server: &Server, how: &str, place: &str) -> CtlAnswer {
    server.try_ctl(&["misbehave", how, place]).await
}

#[tokio::test]
async fn a_hook_that_panics_or_is_slow_is_passed_by() {
    let server = server().start().await;
    let (mut alice, mut bob) = (server.client("alice").await, server.client("bob").await);
    for (ns, what, line) in [
        (HOOK, "panic", Some("told to panic at a hook")),
        (HOOK, "slow", None),
        (WAITING_HOOK, "panic", Some("told to panic at a waiting hook")),
        (WAITING_HOOK, "slow", None),
        (WAITING_HOOK, "hang", Some("no answer within 1000 ms")),
        (HOOK, "nothing", None),
    ] {
        assert_passes(&mut alice, &mut bob, ns, what).await;
        if let Some(reason) = line {
            server.log().expect(&[MODULE, "stage=\"hook\"", reason]).await;
        }
    }
    misbehaving_serves(&mut alice).await;
    server.stop_with_module_panics().await;
}

#[tokio::test]
async fn a_hook_that_never_returns_takes_one_thread_and_is_not_called_again() {
    let server = server().start().await;
    let mut victim = server.client("carol").await;
    let (mut alice, mut bob) = (server.client("alice").await, server.client("bob").await);
    victim.send(format!("<message to='localhost'><do xmlns='{HOOK}' what='loop'/></message>")).await;
    server.log().expect(&[MODULE, "stuck", "without returning"]).await;
    // The hook is asked no more, so what it would do now it does not.
    assert_passes(&mut alice, &mut bob, HOOK, "loop").await;
    assert_serves(&mut alice, CPU_TIME).await;
    assert_eq!(line(&server).await["state"], "quarantined");
    let mut dave = server.client("alice").await;
    assert_serves(&mut dave, CPU_TIME).await;
    // A new build gets a new chance.
    server.plugins().install(&Plugin::built(MODULE).variant(1));
    server.ctl(&["update", MODULE, "--brutal"]).await;
    misbehaving_serves(&mut alice).await;
    assert_passes(&mut alice, &mut bob, HOOK, "slow").await;
    server.kill_is_fine().await;
}

#[tokio::test]
async fn a_timer_or_a_task_of_its_own_that_fails_is_told_of() {
    let server = server().start().await;
    let mut alice = server.client("alice").await;
    for place in ["timer", "task"] {
        for how in ["panic", "slow", "error"] {
            assert_eq!(misbehave(&server, how, place).await.code, 0, "{place} {how}");
        }
        let (stage, reason) = (format!("stage=\"{place}\""), format!("told to panic at a {place}"));
        server.log().expect(&[MODULE, &stage, &reason]).await;
        misbehaving_serves(&mut alice).await;
    }
    server.stop_with_module_panics().await;
}

#[tokio::test]
async fn a_timer_that_never_returns_puts_its_module_into_quarantine() {
    let server = server().start().await;
    let mut alice = server.client("alice").await;
    assert_eq!(misbehave(&server, "loop", "timer").await.code, 0);
    server.log().expect(&[MODULE, "stuck", "without returning"]).await;
    let answer = alice.get("localhost", &format!("<do xmlns='{HOOK}' what='nothing'/>")).await;
    assert_eq!(answer.error(), Some(("wait", "resource-constraint")));
    assert_serves(&mut alice, CPU_TIME).await;
    server.kill_is_fine().await;
}

#[tokio::test]
async fn a_command_that_fails_says_so_to_its_caller() {
    let server = server().start().await;
    let mut alice = server.client("alice").await;
    for (how, place, part) in [
        ("panic", "", "told to panic at a command"),
        ("error", "", "told to fail at a command"),
        ("panic", "request", "told to panic at a request"),
        ("error", "request", "told to fail at a request"),
        ("hang", "request", "no answer within 1000 ms"),
    ] {
        let answer = misbehave(&server, how, place).await;
        let said = format!("{}{}", answer.stdout, answer.stderr);
        assert!(answer.code == 1 && said.contains(part), "{how} {place}: {answer:?}");
        if how == "panic" {
            let stage = format!("stage=\"{}\"", if place.is_empty() { "command" } else { place });
            server.log().expect(&[MODULE, &stage, part]).await;
        }
        assert_serves(&mut alice, CPU_TIME).await;
    }
    server.kill_is_fine().await;
}

#[tokio::test]
async fn a_command_that_never_returns_is_answered_at_its_deadline() {
    let server = server().start().await;
    let mut alice = server.client("alice").await;
    assert_eq!(misbehave(&server, "slow", "").await.code, 0);
    let answer = misbehave(&server, "loop", "").await;
    let said = format!("{}{}", answer.stdout, answer.stderr);
    assert!(answer.code == 1 && said.contains(MODULE) && said.contains("1000 ms"), "{answer:?}");
    server.log().expect(&[MODULE, "stuck", "without returning"]).await;
    let refused = misbehave(&server, "nothing", "").await;
    assert!(refused.stderr.contains("quarantined"), "{refused:?}");
    assert_serves(&mut alice, CPU_TIME).await;
    server.kill_is_fine().await;
}

#[tokio::test]
async fn an_http_handler_that_fails_is_an_error_of_the_server() {
    let server = server().start().await;
    let mut alice = server.client("alice").await;
    for (how, status) in [("panic", 500), ("error", 500), ("slow", 200), ("loop", 504), ("nothing", 503)] {
        assert_eq!(server.http_get(&format!("/misbehave/{how}")).await.status, status, "{how}");
        if how == "loop" {
            server.log().expect(&[MODULE, "stage=\"http\"", "no answer within 1000 ms"]).await;
            server.log().expect(&[MODULE, "stuck"]).await;
        }
        assert_serves(&mut alice, CPU_TIME).await;
    }
    server.log().expect(&[MODULE, "stage=\"http\"", "told to panic at HTTP"]).await;
    assert_eq!(server.http_get("/health").await.json()["status"], "error");
    server.kill_is_fine().await;
}

#[tokio::test]
async fn a_new_generation_that_fails_when_it_serves_is_rolled_back() {
    for (number, (how, part)) in
        [("error", "told to fail"), ("panic", "told to panic"), ("hang", "no answer within 1000 ms")]
            .into_iter()
            .enumerate()
    {
        let server = server().start().await;
        let mut alice = server.client("alice").await;
        let before = line(&server).await["hash"].clone();
        server.reconfigure(&fault(&format!("started:{how}"))).await;
        server.plugins().install(&Plugin::built(MODULE).variant(number as u64 + 1));
        server.try_ctl(&["update", MODULE]).await;
        server.log().expect(&["fixture_misbehaving@localhost failed at started", part]).await;
        eventually("the former build is back", async || line(&server).await["hash"] == before).await;
        // The former build has the same option: where it holds its thread as well, it is called no more.
        if how != "hang" {
            misbehaving_serves(&mut alice).await;
        }
        server.kill_is_fine().await;
    }
}

#[tokio::test]
async fn a_module_that_fails_when_the_server_is_up_is_out_of_service() {
    for (how, part) in
        [("error", "told to fail"), ("panic", "told to panic"), ("hang", "no answer within 1000 ms")]
    {
        let server = server().config(&fault(&format!("started:{how}"))).start().await;
        let mut alice = server.client("alice").await;
        server.log().expect(&["fixture_misbehaving@localhost failed at started", part]).await;
        eventually("it has failed", async || line(&server).await["state"] == "failed").await;
        let answer = alice.get("localhost", &format!("<do xmlns='{HOOK}' what='nothing'/>")).await;
        assert_eq!(answer.error(), Some(("cancel", "service-unavailable")));
        assert_serves(&mut alice, CPU_TIME).await;
        server.kill_is_fine().await;
    }
}

#[tokio::test]
async fn a_restart_whose_new_instance_fails_when_it_serves_leaves_the_old_one() {
    let server = server().start().await;
    let mut alice = server.client("alice").await;
    server.reconfigure(&fault("started:error")).await;
    let answer = server.try_ctl(&["restart_module", "localhost", MODULE]).await;
    let said = format!("{}{}", answer.stdout, answer.stderr);
    assert!(
        answer.code == 1 && said.contains("failed at started") && said.contains("told to fail"),
        "{said}"
    );
    misbehaving_serves(&mut alice).await;
    server.stop().await;
}

#[tokio::test]
async fn a_reload_that_fails_in_one_module_is_told_and_changes_nothing() {
    let server = server().start().await;
    let mut alice = server.client("alice").await;
    for (how, part) in [
        ("error", "told to fail"),
        ("panic", "told to panic"),
        ("slow", ""),
        ("hang", "no answer within 1000 ms"),
    ] {
        server.write_config(&fault(&format!("reload:{how}")));
        let answer = server.try_ctl(&["reload_config"]).await;
        let said = format!("{}{}", answer.stdout, answer.stderr);
        if !part.is_empty() {
            assert!(said.contains(MODULE) && said.contains("failed"), "{how}: {answer:?}");
            server.log().expect(&["fixture_misbehaving@localhost failed at reload", part]).await;
        }
        if how == "hang" {
            // What holds a thread is called no more.
            server.log().expect(&[MODULE, "stuck", "without returning"]).await;
        } else {
            misbehaving_serves(&mut alice).await;
        }
        assert_serves(&mut alice, CPU_TIME).await;
    }
    server.kill_is_fine().await;
}

#[tokio::test]
async fn a_module_that_cannot_end_does_not_hold_the_server_up() {
    for (how, part) in [("panic", "told to panic"), ("hang", "no answer within 1000 ms")] {
        let mut server = server().config(&fault(&format!("terminated:{how}"))).start().await;
        let mut alice = server.client("alice").await;
        assert_serves(&mut alice, CPU_TIME).await;
        server.signal(Signal::TERM);
        assert_eq!(server.ended().await, Some(0), "{how}");
        let log = server.log();
        let told = log.lines_with(&["fixture_misbehaving@localhost failed at terminated", part]);
        assert_eq!(told.len(), 1, "{how}: {}", log.text());
    }
}

#[tokio::test]
async fn an_import_that_never_returns_leaves_the_old_generation_serving() {
    let server = server().start().await;
    let mut alice = server.client("alice").await;
    for (number, how) in ["hang", "loop"].into_iter().enumerate() {
        server.reconfigure(&fault(&format!("import:{how}"))).await;
        server.plugins().install(&Plugin::built(MODULE).variant(number as u64 + 1));
        let answer = server.try_ctl(&["update", MODULE]).await;
        let said = format!("{}{}", answer.stdout, answer.stderr);
        assert!(
            answer.code == 1 && said.contains("failed at import") && said.contains("no answer"),
            "{said}"
        );
        misbehaving_serves(&mut alice).await;
    }
    server.kill_is_fine().await;
}
