//! The configuration of a running server: what can be changed, and how mistakes are told.

use moult_tests::{Plugin, Server, eventually};

#[tokio::test]
async fn a_dry_run_tells_what_a_reload_would_do_and_does_nothing() {
    let server = Server::start().await;
    server.write_config("[limits]\nstanza_size = '11KiB'\n\n[server]\nworkers = 1");
    let rows = server.ctl_json(&["reload_config", "--dry_run"]).await;
    let effect = |path: &str| {
        let rows = rows.as_array().into_iter().flatten();
        rows.clone()
            .find(|row| row["path"] == path)
            .map(|row| row["effect"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(effect("limits.stanza_size").as_deref(), Some("applied"), "{rows}");
    assert!(effect("server.workers").is_some_and(|effect| effect.contains("restart")), "{rows}");
    assert!(!server.ctl(&["dump_config"]).await.contains("11KiB"));
    server.stop().await;
}

#[tokio::test]
async fn a_dry_run_tells_which_modules_would_be_started_anew_and_the_reload_proves_it() {
    let modules = ["mod_echo", "mod_ping", "mod_vcard", "fixture_minor_0"].map(Plugin::built);
    let builder = modules.iter().fold(Server::builder(), |builder, module| builder.plugin(module));
    let server = builder.start().await;
    server.write_config(
        "[modules.mod_echo]\nhosts = ['mirror.@HOST@']\n[modules.mod_ping]\nping_interval = '90s'\nqueue_length = 77\n\
         [modules.mod_vcard]\npresence_hash = false\nmax_size = '32KiB'\n[modules.fixture_minor_0]\nword = 'other'",
    );
    let rows = server.ctl_json(&["reload_config", "--dry-run"]).await;
    let effect = |path: &str| {
        let row = rows.as_array().into_iter().flatten().find(|row| row["path"] == path);
        row.and_then(|row| row["effect"].as_str()).unwrap_or("nothing").to_owned()
    };
    for (option, expected) in [
        ("mod_echo.hosts", "applied"),
        ("mod_ping.ping_interval", "needs_module_restart"),
        ("mod_ping.queue_length", "applied"),
        ("mod_vcard.presence_hash", "needs_module_restart"),
        ("mod_vcard.max_size", "applied"),
        ("fixture_minor_0.word", "applied_or_module_restart"),
    ] {
        assert_eq!(effect(&format!("modules.{option}")), expected, "{option}: {rows}");
    }
    let done = server.ctl_json(&["reload_config"]).await;
    let became = |path: &str| {
        let row = done.as_array().into_iter().flatten().find(|row| row["path"] == path);
        row.and_then(|row| row["effect"].as_str()).unwrap_or("nothing").to_owned()
    };
    assert_eq!(became("mod_echo@localhost"), "applied", "{done}");
    assert_eq!(became("mod_ping@localhost"), "restarted", "{done}");
    assert_eq!(became("mod_vcard@localhost"), "restarted", "{done}");
    assert_eq!(became("fixture_minor_0@localhost"), "restarted", "{done}");
    assert_eq!(became("modules.fixture_minor_0.word"), "needs_module_restart", "{done}");
    server.stop().await;
}

#[tokio::test]
async fn a_reload_reaches_the_next_connection_and_spares_the_present_ones() {
    let server = Server::start().await;
    let mut alice = server.client("alice").await;
    server.reconfigure("[limits]\nstanza_size = '11KiB'").await;
    assert!(server.ctl(&["dump_config"]).await.contains("11KiB"));
    let mut bob = server.client("bob").await;
    let large = format!("<message to='localhost'><body>{}</body></message>", "x".repeat(12_000));
    bob.send(&large).await;
    assert_eq!(bob.expect_stream_error().await.condition(), Some("policy-violation"));
    alice.received().await;
    server.stop().await;
}

#[tokio::test]
async fn a_mistake_changes_nothing_and_is_told_with_file_line_and_the_nearest_key() {
    let server = Server::start().await;
    server.write_config("[limits]\nstanza_sise = '11KiB'\ndepth = 5");
    let answer = server.try_ctl(&["reload_config"]).await;
    assert_eq!(answer.code, 1, "{answer:?}");
    let said = format!("{}{}", answer.stdout, answer.stderr);
    assert!(said.contains("moult.toml:") && said.contains("stanza_size"), "{said}");
    assert!(!server.ctl(&["dump_config"]).await.contains("depth = 5\n"));
    server.client("alice").await.close().await;
    server.stop().await;
}

#[tokio::test]
async fn a_module_s_wrong_option_ends_the_start_and_a_module_that_is_not_there_is_told() {
    let wrong = "[modules.mod_echo]\nhosts = 3\nbogus = 3";
    let builder = || Server::builder().plugin(&Plugin::built("mod_echo"));
    let failure = builder().config(wrong).try_start().await.expect_err("the options are wrong");
    assert_eq!(failure.code, Some(2), "{failure:?}");
    for word in ["moult.toml:", "hosts", "bogus"] {
        assert!(failure.log.contains(word), "{failure:?}");
    }

    let server = builder().start().await;
    server.write_config(wrong);
    let file = server.config_file();
    let answer = server.try_ctl(&["check_config", file.to_str().expect("the folder's name is text")]).await;
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("moult.toml:") && answer.stderr.contains("bogus"), "{answer:?}");
    server.write_config("[modules.mod_eco]\nenabled = true");
    let answer = server.ctl(&["check_config", file.to_str().expect("the folder's name is text")]).await;
    assert!(answer.contains("warning: There is a section for mod_eco"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn virtual_hosts_come_and_go_while_the_server_runs() {
    let server = Server::with_modules(&["mod_echo"]).await;
    let mut alice = server.client("alice").await;
    server.reconfigure("[vhost.\"new.example\"]").await;
    server.ctl(&["register", "zoe", "new.example", "sesame"]).await;
    let mut login = server.login("zoe@new.example");
    // The certificate names localhost only; TLS is not the subject here.
    login.tls_name = "localhost".to_owned();
    let mut zoe = login.connect().await;
    zoe.message("echo.new.example", "hello").await;
    assert_eq!(zoe.expect_message().await.child_text("body"), Some("hello"));
    server.reconfigure("").await;
    assert_eq!(zoe.expect_stream_error().await.condition(), Some("host-gone"));
    alice.message("echo.localhost", "still here").await;
    assert_eq!(alice.expect_message().await.child_text("body"), Some("still here"));
    server.stop().await;
}

#[tokio::test]
async fn options_of_a_module_change_live() {
    let server = Server::with_modules(&["mod_echo"]).await;
    let mut alice = server.client("alice").await;
    server.reconfigure("[modules.mod_echo]\nhosts = ['mirror.@HOST@']").await;
    alice.message("mirror.localhost", "hello").await;
    assert_eq!(alice.expect_message().await.child_text("body"), Some("hello"));
    let answer = alice.get("echo.localhost", "<q xmlns='urn:x'/>").await;
    assert_eq!(answer.attr("type"), Some("error"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn an_option_that_a_module_does_not_know_is_refused_with_its_place() {
    let server = Server::with_modules(&["mod_echo"]).await;
    server.write_config("[modules.mod_echo]\nhostz = ['mirror.@HOST@']");
    let answer = server.try_ctl(&["reload_config"]).await;
    assert_eq!(answer.code, 1, "{answer:?}");
    let said = format!("{}{}", answer.stdout, answer.stderr);
    assert!(
        said.contains("moult.toml:") && said.contains("\"hostz\"") && said.contains("Did you mean \"host"),
        "{said}"
    );
    let mut alice = server.client("alice").await;
    alice.message("echo.localhost", "hello").await;
    assert_eq!(alice.expect_message().await.child_text("body"), Some("hello"));
    server.stop().await;
}

#[tokio::test]
async fn secrets_come_from_the_environment_and_are_never_shown() {
    let token = "from-the-environment";
    let without = "[http]\nadmin_token = { env = 'MOULT_TEST_TOKEN' }";
    let server = Server::builder().config(without).environment("MOULT_TEST_TOKEN", token).start().await;
    let answer = server.http("POST", "/api/status", Some(token), "{}").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!server.ctl(&["dump_config"]).await.contains(token));
    eventually("the log is written", async || !server.log().text().is_empty()).await;
    assert!(!server.log().text().contains(token));
    server.stop().await;
}

#[tokio::test]
async fn options_that_one_module_refuses_are_taken_by_none() {
    let modules = ["mod_echo", "fixture_misbehaving"].map(Plugin::built);
    let server = Server::builder().plugin(&modules[0]).plugin(&modules[1]).start().await;
    let mut alice = server.client("alice").await;
    let hosts = async || {
        let info = server.ctl_json(&["module_info", "mod_echo"]).await;
        info["instances"][0]["registrations"].to_string()
    };
    let before = hosts().await;
    // mod_echo takes its new name, and fixture_misbehaving refuses: in which order they are asked does not matter.
    for (echo, fault) in [("parrot.@HOST@", "reload:error"), ("b ad", ""), ("localhost", "")] {
        let wanted = format!(
            "[modules.mod_echo]\nhosts = ['{echo}']\n[modules.fixture_misbehaving]\nfault = '{fault}'"
        );
        server.write_config(&wanted);
        let answer = server.try_ctl(&["reload_config"]).await;
        assert!(answer.code == 1 && answer.stderr.contains("Nothing was changed"), "{echo}: {answer:?}");
        assert_eq!(hosts().await, before, "{echo}");
        let pending = server.ctl_json(&["reload_config", "--dry-run"]).await;
        assert!(pending.to_string().contains("mod_echo.hosts"), "{echo}: it is still to be done: {pending}");
        alice.send("<message to='echo.localhost' type='chat'><body>still there</body></message>").await;
        assert_eq!(alice.expect_message().await.child_text("body"), Some("still there"));
    }
    server.reconfigure("[modules.mod_echo]\nhosts = ['parrot.@HOST@']").await;
    assert!(hosts().await.contains("parrot.localhost"));
    server.stop().await;
}
