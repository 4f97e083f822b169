//! Commands for the day of an administrator: an end that is announced, the log, who is there and how.

use moult_tests::sasl::{Hash, Mechanism};
use moult_tests::{Server, eventually};
use serde_json::json;

#[tokio::test]
async fn an_announced_stop_is_told_to_everybody_and_can_be_put_off() {
    let mut server = Server::start().await;
    let mut alice = server.client("alice").await;
    let bob = server.client("bob").await;
    for (delay, why) in [("-1", "delay"), ("9999999", "delay"), ("soon", "delay")] {
        let refused = server.try_ctl(&["stop_kindly", "--", delay, "now"]).await;
        assert!(refused.code == 2 && refused.stderr.contains(why), "{refused:?}");
    }
    let said = server.ctl(&["restart_kindly", "3600", "Back < soon & well"]).await;
    assert_eq!(said.trim(), "The server restarts in 3600 s; 2 sessions were told.");
    let message = alice.expect_message().await;
    assert_eq!((message.attr("from"), message.attr("type")), (Some("localhost"), Some("headline")));
    assert_eq!(message.child_text("body"), Some("Back < soon & well"));
    // Another one takes its place.
    server.ctl(&["stop_kindly", "0", ""]).await;
    assert_eq!(alice.expect_stream_error().await.condition(), Some("system-shutdown"));
    drop(bob);
    assert_eq!(server.ended().await, Some(0));
}

#[tokio::test]
async fn a_server_that_would_not_come_back_is_not_sent_away() {
    let server = Server::start().await;
    let mut alice = server.client("alice").await;
    server.write_config("[limits]\nstanza_sise = '11KiB'");
    for line in [&["restart"][..], &["restart_kindly", "0", ""]] {
        let refused = server.try_ctl(line).await;
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains("goes on") && refused.stderr.contains("stanza_sise"), "{refused:?}");
    }
    alice.received().await;
    server.write_config("");
    server.stop().await;
}

#[tokio::test]
async fn the_log_file_is_moved_aside_and_begun_anew() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("moult.log");
    let config = format!("[log]\nfile = '{}'", file.display());
    let server = Server::builder().config(&config).start().await;
    let said = server.ctl(&["rotate_log"]).await;
    let old = said.trim().trim_end_matches('.').rsplit(' ').next().expect("a name").to_owned();
    assert!(old.starts_with(&format!("{}.2", file.display())), "{said}");
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    assert!(read(&old).contains("the server has entered another phase"), "{}", read(&old));
    server.ctl(&["send_message", "chat", "localhost", "alice@localhost", "", "x"]).await;
    let new = file.display().to_string();
    eventually("the new file is written", async || read(&new).contains("send_message")).await;
    assert!(!read(&old).contains("send_message"));
    server.stop().await;

    let server = Server::start().await;
    let refused = server.try_ctl(&["rotate_log"]).await;
    assert!(refused.code == 1 && refused.stderr.contains("standard error"), "{refused:?}");
    server.stop().await;
}

#[tokio::test]
async fn who_is_there_and_how_is_told_as_ejabberd_tells_it() {
    let server = Server::start().await;
    let mut alice = server.login("alice").resource("desk").connect().await;
    let mut phone = server.login("alice").resource("phone").connect().await;
    let _bob = server.login("bob").resource("desk").connect().await;
    alice.send("<presence><show>away</show><status>at lunch</status><priority>5</priority></presence>").await;
    phone.send("<presence><priority>1</priority></presence>").await;
    let status_num = async |status: &str| server.ctl_json(&["status_num", status]).await;
    eventually("both presences have arrived", async || {
        status_num("away").await == 1 && status_num("available").await == 1
    })
    .await;
    assert_eq!((status_num("unavailable").await, status_num("all").await), (json!(1), json!(3)));
    assert_eq!(
        server.ctl_json(&["get_presence", "alice", "localhost"]).await,
        json!({ "jid": "alice@localhost/desk", "show": "away", "status": "at lunch" })
    );
    let nobody = server.ctl_json(&["get_presence", "carol", "localhost"]).await;
    assert_eq!(nobody, json!({ "jid": "carol@localhost", "show": "unavailable", "status": "" }));
    let away = server.ctl_json(&["status_list_host", "localhost", "away"]).await;
    assert_eq!((&away[0]["user"], &away[0]["statustext"]), (&json!("alice"), &json!("at lunch")));
    assert_eq!(server.ctl_json(&["status_num_host", "localhost", "away"]).await, json!(1));
    let everybody = server.ctl_json(&["connected_users_info"]).await;
    let jids: Vec<_> = everybody.as_array().into_iter().flatten().map(|row| row["jid"].clone()).collect();
    assert_eq!(json!(jids), server.ctl_json(&["connected_users_vhost", "localhost"]).await);
    assert_eq!(jids, ["alice@localhost/desk", "alice@localhost/phone", "bob@localhost/desk"]);
    assert_eq!(server.ctl_json(&["incoming_s2s_number"]).await, json!(0));
    assert_eq!(server.try_ctl(&["connected_users_vhost", "nowhere.example"]).await.code, 1);
    assert_eq!(server.try_ctl(&["status_list", "asleep"]).await.code, 2);
    server.stop().await;
}

#[tokio::test]
async fn can_explains_which_rule_lets_somebody_do_something() {
    let config = "[server]\nadmins = ['alice@localhost']\n\
                  [permissions.bots]\nfrom = ['xmpp']\nwho = ['bob@localhost']\nwhat = ['stats']";
    let server = Server::builder().config(config).start().await;
    assert!(server.ctl(&["can", "stop"]).await.contains("the local control socket may do everything"));
    let said = server.ctl(&["can", "stats", "bob@localhost"]).await;
    assert_eq!(said.trim(), "stats is allowed to bob@localhost: the group [permissions.bots].");
    let said = server.ctl(&["can", "status", "alice@localhost/desk"]).await;
    assert!(said.contains("admins may call it"), "{said}");
    let refused = server.try_ctl(&["can", "status", "bob@localhost"]).await;
    assert_eq!(refused.code, 1);
    for part in
        ["it is for admins", "who = \"bob@localhost\"", "[permissions.bots] fails at its \"what\" only"]
    {
        assert!(refused.stderr.contains(part), "{refused:?}");
    }
    assert!(
        server.try_ctl(&["can", "stop", "alice@localhost"]).await.stderr.contains("local control socket")
    );
    assert_eq!(server.try_ctl(&["can", "nothing"]).await.code, 2);
    server.stop().await;
}

#[tokio::test]
async fn a_banned_account_is_out_at_once_and_gets_everything_back_afterwards() {
    let server = Server::start().await;
    let mut alice = server.client("alice").await;
    assert_eq!(server.ctl_json(&["get_ban_details", "alice", "localhost"]).await, json!({}));
    server.ctl(&["ban_account", "alice", "localhost", "sent spam"]).await;
    let told = alice.expect_stream_error().await;
    assert_eq!((told.condition(), told.child_text("text")), (Some("policy-violation"), Some("sent spam")));
    for mechanism in [Mechanism::Plain, Mechanism::Scram(Hash::Sha256)] {
        let refused = server.login("alice").mechanism(mechanism).try_connect().await;
        let refused = refused.expect_err("a banned account cannot log in").to_string();
        assert!(refused.contains("account-disabled"), "{refused}");
        // Whoever does not know the password is told nothing of a ban.
        let refused = server.login("alice").mechanism(mechanism).password("wrong").try_connect().await;
        assert!(refused.expect_err("a wrong password").to_string().contains("not-authorized"));
    }
    let details = server.ctl_json(&["get_ban_details", "alice", "localhost"]).await;
    assert_eq!(details["reason"], "sent spam");
    assert!(details["since"].as_str().is_some_and(|since| since.starts_with("20")), "{details}");
    assert_eq!(server.try_ctl(&["check_password", "alice", "localhost", "sesame"]).await.code, 1);
    server.ctl(&["unban_account", "alice", "localhost"]).await;
    server.client("alice").await.close().await;
    assert_eq!(server.try_ctl(&["unban_account", "alice", "localhost"]).await.code, 1);
    assert_eq!(server.try_ctl(&["ban_account", "nobody", "localhost", "x"]).await.code, 1);
    assert_eq!(server.try_ctl(&["ban_account", "alice", "nowhere.example", "x"]).await.code, 1);
    server.stop().await;
}
