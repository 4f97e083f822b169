//! `moultctl`, command by command, as an operator uses it.

use std::os::unix::fs::PermissionsExt as _;

use moult_tests::{Server, eventually};
use serde_json::json;

#[tokio::test]
async fn the_control_socket_is_the_owners_alone() {
    let server = Server::start().await;
    let mode = std::fs::metadata(server.folder().join("ctl.sock"))
        .expect("the socket is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    server.stop().await;
}

#[tokio::test]
async fn exit_codes_tell_error_usage_and_no_connection_apart() {
    let mut server = Server::start().await;
    assert_eq!(server.try_ctl(&["status"]).await.code, 0);
    assert_eq!(server.try_ctl(&["register", "alice", "localhost", "x"]).await.code, 1, "the account exists");
    assert_eq!(server.try_ctl(&["register", "alice"]).await.code, 2, "arguments are missing");
    assert_eq!(server.try_ctl(&["no_such_command"]).await.code, 2);
    server.kill().await;
    assert_eq!(server.try_ctl(&["status"]).await.code, 3);
}

#[tokio::test]
async fn an_account_is_made_used_changed_and_removed() {
    let server = Server::builder().accounts(&[]).start().await;
    server.ctl(&["register", "dave", "localhost", "first"]).await;
    assert_eq!(server.ctl(&["registered_users", "localhost"]).await.trim(), "dave");
    server.login("dave").password("first").connect().await.close().await;
    server.ctl(&["change_password", "dave", "localhost", "second"]).await;
    assert!(server.login("dave").password("first").try_connect().await.is_err());
    let mut dave = server.login("dave").password("second").connect().await;
    assert_eq!(server.try_ctl(&["check_account", "dave", "localhost"]).await.code, 0);
    assert_eq!(server.try_ctl(&["check_password", "dave", "localhost", "second"]).await.code, 0);
    assert_eq!(server.try_ctl(&["check_password", "dave", "localhost", "first"]).await.code, 1);
    server.ctl(&["unregister", "dave", "localhost"]).await;
    dave.expect_stream_error().await;
    assert_eq!(server.try_ctl(&["check_account", "dave", "localhost"]).await.code, 1);
    server.stop().await;
}

#[tokio::test]
async fn sessions_are_listed_counted_and_kicked() {
    let server = Server::start().await;
    let mut alice = server.login("alice").resource("desk").connect().await;
    let bob = server.login("bob").resource("phone").connect().await;
    let listed = server.ctl(&["connected_users"]).await;
    assert_eq!(sorted(&listed), ["alice@localhost/desk", "bob@localhost/phone"]);
    assert_eq!(server.ctl(&["connected_users_number"]).await.trim(), "2");
    let sessions = server.ctl_json(&["user_sessions_info", "alice", "localhost"]).await;
    assert_eq!(sessions[0]["resource"], "desk", "{sessions}");
    server.ctl(&["kick_session", "alice", "localhost", "desk", "enough for today"]).await;
    let error = alice.expect_stream_error().await;
    assert_eq!(error.child_text("text"), Some("enough for today"), "{error}");
    eventually("only bob is there", async || server.ctl(&["connected_users"]).await.trim() == bob.jid())
        .await;
    server.stop().await;
}

#[tokio::test]
async fn the_operator_can_say_something_to_a_user() {
    let server = Server::start().await;
    let mut alice = server.client("alice").await;
    alice.available().await;
    server.ctl(&["send_message", "chat", "localhost", "alice@localhost", "Subject", "a < b & c"]).await;
    let message = alice.expect_message().await;
    assert_eq!(message.attr("from"), Some("localhost"));
    assert_eq!(
        (message.child_text("subject"), message.child_text("body")),
        (Some("Subject"), Some("a < b & c"))
    );
    let stanza = "<message id='s'><x xmlns='urn:x'/></message>";
    server.ctl(&["send_stanza", "localhost", alice.jid(), stanza]).await;
    let message = alice.expect_message().await;
    assert_eq!(message.attr("id"), Some("s"));
    assert!(message.child_ns("x", "urn:x").is_some());
    server.stop().await;
}

#[tokio::test]
async fn levels_of_the_log_change_and_change_back() {
    let server = Server::with_modules(&["mod_echo"]).await;
    assert!(server.ctl(&["get_loglevel"]).await.contains("debug"));
    server.ctl(&["set_loglevel", "warning"]).await;
    assert!(server.ctl(&["get_loglevel"]).await.contains("warning"));
    server.ctl(&["set_loglevel", "5"]).await;
    assert!(server.ctl(&["get_loglevel"]).await.contains("debug"));
    server.ctl(&["set_loglevel", "error", "mod_echo"]).await;
    assert!(server.ctl(&["get_loglevel", "mod_echo"]).await.contains("error"));
    assert_ne!(server.try_ctl(&["set_loglevel", "loud"]).await.code, 0);
    server.stop().await;
}

#[tokio::test]
async fn numbers_of_the_server_are_right() {
    let server = Server::start().await;
    let _alice = server.client("alice").await;
    assert_eq!(server.ctl_json(&["stats", "registeredusers"]).await, json!(3));
    assert_eq!(server.ctl_json(&["stats", "onlineusers"]).await, json!(1));
    assert_eq!(server.ctl_json(&["stats_host", "onlineusers", "localhost"]).await, json!(1));
    server.stop().await;
}

#[tokio::test]
async fn help_knows_every_command_and_completion_and_man_page_are_made() {
    let server = Server::start().await;
    let help = server.ctl(&["help"]).await;
    for command in [
        "update_list",
        "update",
        "update_info",
        "update_history",
        "rollback",
        "module_list",
        "module_info",
        "module_load",
        "module_unload",
        "module_quarantine",
        "gc",
        "restart_module",
        "status",
        "stop",
        "reload_config",
        "dump_config",
        "register",
        "unregister",
        "change_password",
        "check_account",
        "registered_users",
        "connected_users",
        "connected_users_number",
        "user_sessions_info",
        "kick_session",
        "send_message",
        "send_stanza",
        "stats",
        "get_loglevel",
        "set_loglevel",
        "restart",
        "stop_kindly",
        "restart_kindly",
        "rotate_log",
        "reopen_log",
        "module_check",
        "module_install",
        "module_upgrade",
        "module_uninstall",
        "module_reload",
        "module_metrics",
        "modules_available",
        "modules_installed",
        "connected_users_info",
        "connected_users_vhost",
        "status_list",
        "get_presence",
        "registered_vhosts",
        "ban_account",
        "unban_account",
        "stats_host",
        "incoming_s2s_number",
        "outgoing_s2s_number",
        "clear_cache",
        "can",
    ] {
        assert!(help.contains(command), "{command} is not in {help}");
        let own = server.ctl(&["help", command]).await;
        assert!(own.contains(command), "{own}");
    }
    server.stop().await;
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.split_whitespace().collect();
    lines.sort_unstable();
    lines
}

#[tokio::test]
async fn a_session_is_ended_with_the_stream_error_that_the_operator_names() {
    let server = Server::start().await;
    for condition in [
        "policy-violation",
        "reset",
        "conflict",
        "not-authorized",
        "resource-constraint",
        "undefined-condition",
    ] {
        let mut alice = server.login("alice").resource("desk").connect().await;
        let kick = ["kick_session", "alice", "localhost", "desk", "enough", "--condition", condition];
        server.ctl(&kick).await;
        let error = alice.expect_stream_error().await;
        assert_eq!((error.condition(), error.child_text("text")), (Some(condition), Some("enough")));
    }
    let unknown = ["kick_session", "alice", "localhost", "desk", "x", "--condition", "see-other-host"];
    assert_eq!(server.try_ctl(&unknown).await.code, 2);
    server.stop().await;
}
