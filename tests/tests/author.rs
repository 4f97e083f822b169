//! A module's author: from `plugin new` to an answer of the new module, with what the README says.

use std::path::{Path, PathBuf};
use std::process::Command;

use moult_tests::{Client, Plugin, Server, artifacts};

/// Shared by the runs of this test, so that only the new crate is compiled again.
fn cargo(folder: &Path, command: &str) {
    let status = Command::new(env!("CARGO"))
        .args([command, "--offline", "--quiet"])
        .env("CARGO_TARGET_DIR", artifacts::profile_folder().join("author"))
        .current_dir(folder)
        .status()
        .expect("cargo runs");
    assert!(status.success(), "cargo {command} in {}", folder.display());
}

/// What the author does: `plugin new`, `cargo test`, `cargo build`. Gives the library and its source.
async fn made(server: &Server, name: &str, options: &[&str]) -> (Plugin, PathBuf) {
    let workspace = artifacts::workspace();
    let folder = server.folder().join(name);
    let (api, crate_folder) = (workspace.join("plugin-api"), folder.to_string_lossy().into_owned());
    let new = ["plugin", "new", name, &crate_folder, "--api_path", &api.to_string_lossy()];
    server.ctl(&[&new, options].concat()).await;
    // The versions that are on this machine already: nothing is to be fetched.
    std::fs::copy(workspace.join("Cargo.lock"), folder.join("Cargo.lock")).expect("the lock file is there");
    cargo(&folder, "test");
    (built(&folder, name), folder.join("src/lib.rs"))
}

fn built(folder: &Path, name: &str) -> Plugin {
    cargo(folder, "build");
    let library = artifacts::profile_folder().join(format!("author/debug/lib{name}.so"));
    Plugin::from_bytes(&format!("{name}.so"), std::fs::read(library).expect("it was built"))
}

async fn answer(client: &mut Client, to: &str) -> String {
    client.message(to, "good morning").await;
    let answer = client.expect_message().await;
    assert_eq!(answer.attr("from"), Some(to), "{answer}");
    answer.child_text("body").unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_new_module_builds_passes_its_test_is_loaded_and_answers() {
    let server = Server::start().await;
    let mut alice = server.client("alice").await;
    let (plugin, source) = made(&server, "mod_hello", &[]).await;
    let source = std::fs::read_to_string(source).expect("it was written");
    assert!(source.lines().count() <= 40, "{source}");
    server.plugins().install(&plugin);
    assert!(server.ctl(&["update_list"]).await.contains("mod_hello"));
    server.ctl(&["update", "mod_hello"]).await;
    assert_eq!(answer(&mut alice, "hello.localhost").await, "Hello");
    server.stop().await;
}

#[tokio::test]
async fn a_new_module_with_state_goes_on_where_the_build_before_stood_on_each_vhost() {
    let server = Server::builder().vhosts(&["localhost", "example.org"]).start().await;
    let mut alice = server.client("alice").await;
    let (plugin, source) = made(&server, "mod_tally", &["--stateful"]).await;
    server.plugins().install(&plugin);
    server.ctl(&["update", "mod_tally"]).await;
    for (to, expected) in [
        ("tally.localhost", "message 1"),
        ("tally.localhost", "message 2"),
        ("tally.example.org", "message 1"),
    ] {
        assert_eq!(answer(&mut alice, to).await, expected, "{to}");
    }
    // The author's next build says it in other words.
    let text = std::fs::read_to_string(&source).expect("it was written");
    std::fs::write(&source, text.replace("message {count}", "number {count}")).expect("it is ours");
    let folder = source.parent().and_then(Path::parent).expect("it lies in a crate");
    server.plugins().install(&built(folder, "mod_tally"));
    server.ctl(&["update", "mod_tally"]).await;
    assert_eq!(answer(&mut alice, "tally.localhost").await, "number 3");
    assert_eq!(answer(&mut alice, "tally.example.org").await, "number 2");
    server.stop().await;
}
