//! The built-in commands on an assembled server without modules.

use serde_json::json;

use super::*;
use crate::command::{Caller, ErrorKind, FrontEnd, Input};
use crate::server::fixture::{CONFIG, received, server};
use crate::server::shared::Ending;
use crate::session::Delivery;
use crate::stanza::StreamErrorCondition;

const DOMAIN: &str = "example.org";

#[tokio::test]
async fn no_declared_command_lacks_a_handler() {
    let server = server().await;
    assert_eq!(handlers(&server.shared).without_handler(), [""; 0]);
}

#[tokio::test]
async fn an_account_is_made_checked_changed_and_removed() {
    let server = server().await;
    let made = server.value(&["register", "Ann", DOMAIN, "secret"]).await;
    assert_eq!(made, "The account ann@example.org was made.");
    assert_eq!(server.value(&["check_account", "ann", DOMAIN]).await, 0);
    assert_eq!(server.value(&["check_account", "bob", DOMAIN]).await, 1);
    assert_eq!(server.value(&["check_password", "ann", DOMAIN, "secret"]).await, 0);
    assert_eq!(server.value(&["change_password", "ann", DOMAIN, "other"]).await, 0);
    assert_eq!(server.value(&["check_password", "ann", DOMAIN, "secret"]).await, 1);
    assert_eq!(server.value(&["registered_users", DOMAIN]).await, json!(["ann"]));
    assert_eq!(server.value(&["registered_users", "other.example"]).await, json!([]));
    assert_eq!(server.value(&["registered_vhosts"]).await, json!([DOMAIN, "other.example"]));
    assert_eq!(server.value(&["stats", "registeredusers"]).await, 1);
    assert_eq!(server.value(&["stats_host", "registeredusers", "other.example"]).await, 0);
    server.value(&["unregister", "ann", DOMAIN]).await;
    assert_eq!(server.value(&["check_account", "ann", DOMAIN]).await, 1);
}

#[tokio::test]
async fn a_refusal_says_whose_fault_it_is() {
    let server = server().await;
    server.value(&["register", "ann", DOMAIN, "secret"]).await;
    let cases: [(&[&str], ErrorKind, &str); 14] = [
        (&["register", "ann", DOMAIN, "x"], ErrorKind::Conflict, "ann@example.org exists"),
        (&["register", "bob", "nowhere.example", "x"], ErrorKind::NotFound, "nowhere.example is no vhost"),
        (&["register", "bob", DOMAIN, ""], ErrorKind::BadArgument, "empty"),
        (&["unregister", "bob", DOMAIN], ErrorKind::NotFound, "bob@example.org does not exist"),
        (&["change_password", "bob", DOMAIN, "x"], ErrorKind::NotFound, "bob@example.org"),
        (&["registered_users", "nowhere.example"], ErrorKind::NotFound, "no vhost"),
        (&["kick_session", "ann", DOMAIN, "phone", "x"], ErrorKind::NotFound, "ann@example.org/phone"),
        (&["send_stanza", "a@b", "c@d", "<iq"], ErrorKind::BadArgument, "no stanza"),
        (&["set_loglevel", "loud"], ErrorKind::BadArgument, "\"loud\""),
        (&["set_loglevel", "info", "mod_x@example.org"], ErrorKind::BadArgument, "@"),
        (&["dump_config", "relative.toml"], ErrorKind::BadArgument, "absolute"),
        (&["module_info", "mod_nothing"], ErrorKind::NotFound, "mod_nothing"),
        (&["update", "all", "--soft", "--brutal"], ErrorKind::BadArgument, "exclude"),
        (&["module_unload", "mod_nothing@example.org"], ErrorKind::NotFound, "not running there"),
    ];
    for (line, kind, says) in cases {
        let error = server.run(line).await.unwrap_err();
        assert_eq!(error.kind, kind, "{line:?}: {error}");
        assert!(error.message.contains(says), "{line:?}: {error}");
    }
}

#[tokio::test]
async fn sessions_are_listed_counted_and_ended() {
    let server = server().await;
    let (ann, mut mailbox) = server.bind("ann@example.org/phone").await;
    let _bob = server.bind("bob@other.example/desk").await;
    let all = json!(["ann@example.org/phone", "bob@other.example/desk"]);
    assert_eq!(server.value(&["connected_users"]).await, all);
    assert_eq!(server.value(&["connected_users", DOMAIN]).await, json!(["ann@example.org/phone"]));
    assert_eq!(server.value(&["connected_users_number"]).await, 2);
    assert_eq!(server.value(&["stats_host", "onlineusers", DOMAIN]).await, 1);
    assert_eq!(server.value(&["user_resources", "ann", DOMAIN]).await, json!(["phone"]));
    assert_eq!(server.value(&["num_resources", "ann", DOMAIN]).await, 1);
    let info = server.value(&["user_sessions_info", "ann", DOMAIN]).await;
    assert_eq!((&info[0]["ip"], &info[0]["port"]), (&json!("192.0.2.7"), &json!(4321)));
    assert_eq!((&info[0]["status"], &info[0]["priority"]), (&json!("unavailable"), &json!(null)));

    assert_eq!(server.value(&["kick_session", "ann", DOMAIN, "phone", "Enough."]).await, 0);
    let deliveries = received(&mut mailbox).await;
    let [Delivery::Close(reason)] = &deliveries[..] else { panic!("{deliveries:?}") };
    assert_eq!(reason.condition, StreamErrorCondition::PolicyViolation);
    assert_eq!(reason.text.as_deref(), Some("Enough."));
    assert!(!ann.is_live());
}

#[tokio::test]
async fn the_sessions_of_a_removed_account_are_ended() {
    let server = server().await;
    server.value(&["register", "ann", DOMAIN, "secret"]).await;
    let (_ann, mut mailbox) = server.bind("ann@example.org/phone").await;
    server.value(&["unregister", "ann", DOMAIN]).await;
    let deliveries = received(&mut mailbox).await;
    assert!(matches!(&deliveries[..], [Delivery::Close(_)]), "{deliveries:?}");
}

#[tokio::test]
async fn messages_and_stanzas_arrive_as_they_were_meant() {
    let server = server().await;
    let (_ann, mut mailbox) = server.bind("ann@example.org/phone").await;
    let to = "ann@example.org/phone";
    server.value(&["send_message", "chat", "example.org", to, "", "5 < 6 & \"so\""]).await;
    server
        .value(&["send_stanza", "bot@example.org", to, "<message from='evil@a'><body>x</body></message>"])
        .await;
    let mut stanzas: Vec<String> = Vec::new();
    while stanzas.len() < 2 {
        for delivery in received(&mut mailbox).await {
            let Delivery::Stanza(stanza) = delivery else { panic!("{delivery:?}") };
            stanzas.push(stanza.as_str().to_owned());
        }
    }
    assert!(stanzas[0].contains("type='chat'") && stanzas[0].contains("5 &lt; 6 &amp;"), "{}", stanzas[0]);
    assert!(!stanzas[0].contains("subject"), "{}", stanzas[0]);
    assert!(stanzas[1].contains("from='bot@example.org'") && !stanzas[1].contains("evil"), "{}", stanzas[1]);
}

#[tokio::test]
async fn levels_of_the_log_are_set_and_shown() {
    let server = server().await;
    assert_eq!(server.value(&["get_loglevel"]).await, "info");
    assert_eq!(server.value(&["set_loglevel", "5"]).await, 0);
    assert_eq!(
        server.run(&["set_loglevel", "error", "mod_quiet"]).await.unwrap_err().kind,
        ErrorKind::NotFound
    );
    assert_eq!(server.value(&["get_loglevel"]).await, "debug");
    assert_eq!(server.value(&["get_loglevel", "mod_other"]).await, "debug");
    assert_eq!(server.value(&["reopen_log"]).await, 0);
}

#[tokio::test]
async fn a_reload_is_shown_before_it_is_done_and_is_all_or_nothing() {
    let server = server().await;
    let file = server.folder.path().join("moult.toml");
    assert_eq!(server.value(&["reload_config"]).await, json!([]));
    let changed = CONFIG.replace("port = 0", "port = 1") + "[vhost.\"new.example\"]\n[limits]\ndepth = 50\n";
    std::fs::write(&file, &changed).unwrap();

    let dry = server.value(&["reload_config", "--dry-run"]).await;
    let effect = |path: &str| {
        let row = dry.as_array().unwrap().iter().find(|row| row["path"] == path);
        row.unwrap_or_else(|| panic!("{path}: {dry}"))["effect"].clone()
    };
    assert_eq!(effect("limits.depth"), "applied");
    assert_eq!(effect("listener.\"http 127.0.0.1 1\""), "needs_server_restart");
    assert!(!server.shared.has_vhost("new.example"));

    assert_eq!(server.value(&["reload_config"]).await, dry);
    assert!(server.shared.has_vhost("new.example") && server.shared.router.is_vhost("new.example"));
    assert_eq!(server.shared.config().limits.depth, 50);

    std::fs::write(&file, changed.replace("depth = 50", "depth = \"deep\"\nwidth = 3")).unwrap();
    let error = server.run(&["reload_config"]).await.unwrap_err();
    assert!(error.message.contains("depth") && error.message.contains("width"), "{error}");
    assert_eq!(error.details.unwrap()["mistakes"].as_array().map(Vec::len), Some(2));
    assert_eq!(server.shared.config().limits.depth, 50);
}

#[tokio::test]
async fn the_configuration_is_shown_or_written_to_a_new_file() {
    let server = server().await;
    let dump = server.value(&["dump_config"]).await;
    assert!(dump.as_str().unwrap().contains("stanza_size_before_auth"), "{dump}");
    let out = server.folder.path().join("dump.toml");
    server.value(&["dump_config", out.to_str().unwrap()]).await;
    assert_eq!(std::fs::read_to_string(&out).unwrap(), dump.as_str().unwrap());
    let again = server.run(&["dump_config", out.to_str().unwrap()]).await.unwrap_err();
    assert_eq!(again.kind, ErrorKind::Failed, "a file that is there is not overwritten");

    let caller = Caller { from: FrontEnd::Http, ..Caller::local("test") };
    let input = Input::Positional(vec!["/tmp/x".into()]);
    let denied = server.table.run("dump_config", input, caller).await.unwrap_err();
    assert_eq!(denied.kind, ErrorKind::DeniedArgument);
}

#[tokio::test]
async fn status_tells_of_the_four_parts_and_stop_begins_the_end() {
    let server = server().await;
    let status = server.value(&["status"]).await;
    assert_eq!(status["phase"], "starting");
    for part in ["router", "local_router", "session_manager", "s2s_manager"] {
        assert!(status["parts"][part].is_object(), "{part}: {status}");
    }
    assert_eq!(status["modules"]["loaded"], 0);
    assert!(status["storage"]["engine"].as_str().is_some_and(|engine| engine.starts_with("SQLite")));
    server.value(&["stop"]).await;
    assert_eq!(*server.shared.ending.borrow(), Some(Ending::Asked));
}

#[tokio::test]
async fn without_modules_there_is_nothing_to_update() {
    let server = server().await;
    assert_eq!(server.value(&["update_list"]).await, json!([]));
    assert_eq!(server.value(&["module_list"]).await, json!([]));
    assert_eq!(server.value(&["module_metrics"]).await, json!([]));
    let report = server.value(&["update", "all"]).await;
    assert_eq!(
        (&report["status"], &report["updated"], &report["unpurged"]),
        (&json!("ok"), &json!([]), &json!([]))
    );
    let info = server.value(&["update_info"]).await;
    for fact in ["directory", "modules", "script", "low_level_script", "purge", "check", "old_generations"] {
        assert!(!info[fact].is_null(), "{fact}: {info}");
    }
    assert_eq!(server.value(&["restart_module", DOMAIN, "mod_echo"]).await, 1);
}

#[tokio::test]
async fn a_failed_update_tells_stage_and_reason_and_stands_in_the_history() {
    let server = server().await;
    let file = server.folder.path().join("plugins/mod_broken.so");
    std::fs::write(&file, "no library at all").unwrap();
    let error = server.run(&["update", "mod_broken", "mod_absent"]).await.unwrap_err();
    let details = error.details.clone().unwrap();
    assert_eq!(details["stage"], "notice", "{details}");
    assert!(details["reason"].is_string() && details["transaction"].is_number(), "{details}");
    assert_eq!(details["errors"].as_array().map(Vec::len), Some(2), "{details}");
    assert!(error.message.contains("mod_broken") && error.message.contains("mod_absent"), "{error}");
    assert!(error.kind.status() >= 400);

    let all = server.run(&["update_list", "--all"]).await.unwrap();
    assert!(all.text.unwrap().starts_with("mod_broken unusable"));
    let history = server.value(&["update_history"]).await;
    assert_eq!((&history[0]["result"], &history[0]["trigger"]), (&json!("failed"), &json!("ctl")));
    assert_eq!(server.value(&["update_history", "1"]).await.as_array().map(Vec::len), Some(1));
    let rollback = server.run(&["rollback", "mod_broken", "1.0"]).await.unwrap_err();
    assert_eq!(rollback.kind, ErrorKind::NotFound, "{rollback}");
}

#[tokio::test]
async fn help_knows_every_command() {
    let server = server().await;
    let names = server.value(&["help"]).await;
    for spec in crate::command::builtin::server() {
        assert!(names.as_array().unwrap().contains(&json!(spec.name)), "{}", spec.name);
    }
}

#[tokio::test]
async fn the_store_is_saved_and_comes_back() {
    let server = server().await;
    let file = |name: &str| server.folder.path().join(name).to_str().unwrap().to_owned();
    for (save, replace) in [("backup", "restore"), ("dump", "load")] {
        server.value(&["register", "saved", DOMAIN, "a password"]).await;
        server.value(&[save, &file(save)]).await;
        server.value(&["unregister", "saved", DOMAIN]).await;
        server.value(&[replace, &file(save)]).await;
        let users = server.value(&["registered_users", DOMAIN]).await;
        assert!(users.as_array().unwrap().contains(&json!("saved")), "{users}");
        server.value(&["unregister", "saved", DOMAIN]).await;
        let error = server.run(&[save, &file(save)]).await.unwrap_err();
        assert!(error.message.contains("exists"), "{error}");
        assert_eq!(server.run(&[save, "relative"]).await.unwrap_err().kind, ErrorKind::BadArgument);
        assert!(server.run(&[replace, &file("nowhere")]).await.unwrap_err().message.contains("nowhere"));
    }
    assert!(server.value(&["db_info"]).await["bytes"].as_u64() > Some(0));
}
