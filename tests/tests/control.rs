//! What the control program says and ends with: scripts depend on both.

use moult_tests::{Plugin, Server, eventually};

const MODULE: &str = "fixture_misbehaving";

#[tokio::test]
async fn a_command_name_has_one_owner_and_who_comes_late_is_refused_with_both_names() {
    let modules = ["mod_private", MODULE].map(Plugin::built);
    let server = Server::builder().plugin(&modules[0]).plugin(&modules[1]).start().await;
    for (name, owner) in [
        ("status", "the server"),
        ("help", "the server"),
        ("check_config", "moultctl"),
        ("private_get", "mod_private@localhost"),
    ] {
        server.write_config(&format!("[modules.{MODULE}]\ncommand = '{name}'"));
        let refused = server.try_ctl(&["reload_config"]).await;
        assert_eq!(refused.code, 1, "{name}: {refused:?}");
        let both = format!("{MODULE}@localhost wants the command '{name}', which belongs to {owner} already");
        assert!(refused.stderr.contains(&both), "{name}: {refused:?}");
        // What was there before serves on.
        server.ctl(&["misbehave", "nothing"]).await;
        server.ctl(&["status"]).await;
    }
    server.reconfigure(&format!("[modules.{MODULE}]\ncommand = 'one_more'")).await;
    server.ctl(&["one_more", "nothing"]).await;
    server.stop().await;
}

#[tokio::test]
async fn a_module_that_wants_a_command_of_the_server_is_not_loaded_at_the_start() {
    let config = format!("[modules.{MODULE}]\ncommand = 'status'");
    let server = Server::builder().plugin(&Plugin::built(MODULE)).config(&config).start().await;
    let said = ["fixture_misbehaving", "wants the command 'status'", "belongs to the server"];
    server.log().expect(&said).await;
    let info = server.ctl_json(&["module_info", MODULE]).await;
    assert_eq!(info["state"], "failed", "{info}");
    assert!(info["last_error"]["reason"].as_str().is_some_and(|why| why.contains("the server")), "{info}");
    server.stop().await;
}

#[tokio::test]
async fn log_lines_of_a_module_name_its_version() {
    let server = Server::with_modules(&["mod_http_upload"]).await;
    let info = server.ctl_json(&["module_info", "mod_http_upload"]).await;
    let version = info["version"].as_str().expect("a version");
    let named = format!("module=mod_http_upload@{version} ");
    server.log().expect(&[&named, "vhost=\"localhost\"", "no option `docroot`"]).await;
    server.stop().await;
}

#[tokio::test]
async fn exit_codes_tell_what_is_not_there() {
    let server = Server::with_modules(&["mod_echo"]).await;
    for (line, code, words) in [
        (&["help", "nope"][..], 1, "No command has that name"),
        (&["update_info", "nope"], 2, "there is no module nope"),
        (&["restart_module", "localhost", "nope"], 1, "1: nope is not running on localhost"),
        (&["set_loglevel", "info", "nope"], 1, "There is no module nope"),
        (&["set_loglevel", "info", "mod_echo@localhost"], 2, "leave the @ out"),
        (&["check_config", "/nowhere.toml"], 1, "/nowhere.toml"),
    ] {
        let answer = server.try_ctl(line).await;
        assert_eq!(answer.code, code, "{line:?}: {answer:?}");
        assert!(format!("{}{}", answer.stdout, answer.stderr).contains(words), "{line:?}: {answer:?}");
    }
    assert_eq!(server.try_ctl(&["restart_module", "localhost", "mod_echo"]).await.code, 0);
    assert_eq!(server.try_ctl(&["set_loglevel", "info", "mod_echo"]).await.code, 0);
    assert!(server.ctl(&["help", "plugin"]).await.contains("--api-path=API_PATH"));
    assert!(server.ctl(&["module_unload", "mod_echo"]).await.starts_with("unloaded: mod_echo\n"));
    server.stop().await;
}

#[tokio::test]
async fn programs_get_json_from_every_command() {
    let mut server = Server::start().await;
    let config = server.config_file();
    let config = config.to_str().expect("the folder's name is text");
    assert_eq!(server.ctl(&["started", "--json"]).await, "0\n");
    let said = server.ctl_json(&["check_config", config]).await;
    assert!(said.as_str().is_some_and(|text| text.contains("moult.toml")), "{said}");
    for line in [&["check_config", "/nowhere.toml", "--json"][..], &["help", "nope", "--json"]] {
        let answer = server.try_ctl(line).await;
        let error: serde_json::Value = serde_json::from_str(&answer.stdout).expect("JSON");
        assert_eq!((answer.code, &error["status"]), (1, &"error".into()), "{answer:?}");
    }
    server.kill().await;
    eventually("nobody answers", async || server.try_ctl(&["status", "--json"]).await.code == 3).await;
    assert_eq!(server.ctl(&["stopped", "--json"]).await, "0\n");
    let answer = server.try_ctl(&["status", "--json"]).await;
    let error: serde_json::Value = serde_json::from_str(&answer.stdout).expect("JSON");
    assert_eq!((error["code"].as_u64(), answer.code), (Some(3), 3), "{answer:?}");
}
