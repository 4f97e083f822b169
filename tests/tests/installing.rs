//! Modules tried, installed, upgraded and uninstalled by commands, from the one folder that the configuration names.

use std::path::Path;

use moult_tests::{Plugin, Server};

const COUNTER: &str = "fixture_counter";

fn counter(build: u32) -> Plugin {
    Plugin::built(&format!("fixture_counter_v{build}")).named("libfixture_counter.so")
}

/// A server that may install from the folder given back beside it.
async fn server(modules: &[&str]) -> (Server, tempfile::TempDir) {
    let source = tempfile::tempdir().expect("a temporary folder");
    let config = format!("[modules]\ninstall_from = '{}'", source.path().display());
    let builder =
        modules.iter().fold(Server::builder(), |builder, name| builder.plugin(&Plugin::built(name)));
    (builder.config(&config).start().await, source)
}

fn put(folder: &Path, plugin: &Plugin) {
    std::fs::write(folder.join(plugin.file_name()), plugin.bytes()).expect("the folder is ours");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder is ours");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_module_is_installed_upgraded_and_uninstalled() {
    let (server, source) = server(&["mod_cputime"]).await;
    let mut alice = server.client("alice").await;
    let state = async || {
        let rows = server.ctl_json(&["modules_available"]).await;
        rows[0]["state"].as_str().unwrap_or("nothing").to_owned()
    };
    put(source.path(), &counter(1));
    assert_eq!(state().await, "not installed");
    let checked = server.ctl_json(&["module_check", COUNTER]).await;
    assert_eq!((&checked["check"], &checked["module"]), (&"ok".into(), &COUNTER.into()), "{checked}");
    assert!(server.ctl(&["module_install", COUNTER]).await.contains("updated: fixture_counter"));
    assert_eq!(state().await, "installed");
    let counted = alice.get("localhost", "<query xmlns='urn:moult:fixture:count'/>").await;
    assert_eq!(counted.child("count").and_then(|count| count.attr("build")), Some("1"), "{counted}");

    assert_eq!(server.try_ctl(&["module_install", COUNTER]).await.code, 1, "it is there");
    put(source.path(), &counter(2));
    assert_eq!(state().await, "differs");
    server.ctl(&["module_upgrade", "libfixture_counter.so"]).await;
    let counted = alice.get("localhost", "<query xmlns='urn:moult:fixture:count'/>").await;
    let count = counted.child("count").expect("a count");
    assert_eq!((count.attr("build"), &*count.text), (Some("2"), "2"), "its state was handed over");

    let installed = server.ctl_json(&["modules_installed"]).await;
    assert_eq!((&installed[0]["name"], &installed[0]["state"]), (&COUNTER.into(), &"running".into()));
    server.ctl(&["module_uninstall", COUNTER]).await;
    let gone = alice.get("localhost", "<query xmlns='urn:moult:fixture:count'/>").await;
    assert_eq!(gone.error(), Some(("cancel", "service-unavailable")));
    assert_eq!(names(server.plugins().path()).len(), 1, "{:?}", names(server.plugins().path()));
    assert_eq!(server.try_ctl(&["module_uninstall", COUNTER]).await.code, 1);
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_used_is_not_installed_and_the_build_before_stays() {
    let (server, source) = server(&[]).await;
    put(source.path(), &counter(1));
    server.ctl(&["module_install", COUNTER]).await;
    let before = names(server.plugins().path());
    let half = counter(2).altered(|bytes| bytes.truncate(bytes.len() / 2));
    let text = Plugin::from_bytes("libfixture_counter.so", "no library");
    // A build that reads other state than the one that serves writes is refused by the update, after its probe.
    let foreign = Plugin::built("fixture_foreign_layout").named("libfixture_counter.so");
    for bad in [half, text, foreign] {
        put(source.path(), &bad);
        let refused = server.try_ctl(&["module_upgrade", COUNTER]).await;
        assert_eq!(refused.code, 1, "{refused:?}");
        assert_eq!(names(server.plugins().path()), before);
        let installed = std::fs::read(server.plugins().path().join(format!("{COUNTER}.so"))).expect("a file");
        assert!(installed == counter(1).bytes(), "the build before is there");
    }
    for line in [
        &["module_install", "../../etc/passwd"][..],
        &["module_install", "/etc/passwd"],
        &["module_check", "/etc/passwd"],
        &["module_check", "nothing"],
    ] {
        assert_eq!(server.try_ctl(line).await.code, 1, "{line:?}");
    }
    assert_eq!(names(server.plugins().path()), before);
    server.stop().await;
}

#[tokio::test]
async fn without_a_folder_to_install_from_nothing_is_written() {
    let server = Server::with_modules(&["mod_cputime"]).await;
    for line in [&["module_install", "x"][..], &["module_upgrade", "mod_cputime"], &["modules_available"]] {
        let refused = server.try_ctl(line).await;
        assert!(refused.code == 1 && refused.stderr.contains("install_from"), "{refused:?}");
    }
    assert_eq!(server.try_ctl(&["module_uninstall", "mod_cputime"]).await.code, 1);
    assert_eq!(server.ctl_json(&["modules_installed"]).await[0]["name"], "mod_cputime");
    // By HTTP no file can be named.
    let refused =
        server.http("POST", "/api/module_check", Some("token"), r#"{"module": "/etc/passwd"}"#).await;
    assert!(matches!(refused.status, 401 | 403), "{refused:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_reload_takes_what_lies_there_or_starts_the_same_anew() {
    let server = Server::builder().plugin(&counter(1)).config("[vhost.\"two.example\"]").start().await;
    let mut alice = server.client("alice").await;
    let count = async |client: &mut moult_tests::Client| {
        let counted = client.get("localhost", "<query xmlns='urn:moult:fixture:count'/>").await;
        let count = counted.child("count").expect("a count").clone();
        (count.attr("build").unwrap_or_default().to_owned(), count.text.clone())
    };
    assert_eq!(count(&mut alice).await, ("1".into(), "1".into()));
    let said = server.ctl(&["module_reload", COUNTER]).await;
    assert_eq!(said.trim(), "restarted: fixture_counter@localhost, fixture_counter@two.example");
    assert_eq!(count(&mut alice).await, ("1".into(), "1".into()), "it begins anew");
    server.plugins().install(&counter(2));
    assert!(server.ctl(&["module_reload", COUNTER]).await.starts_with("updated: fixture_counter"));
    assert_eq!(count(&mut alice).await, ("2".into(), "2".into()), "an update hands state over");
    assert_eq!(server.try_ctl(&["module_reload", "mod_nothing"]).await.code, 1);
    server.stop().await;
}
