//! A module's author: from `plugin new` to an answer of the new module, with what the README says.

use std::path::Path;
use std::process::Command;

use moult_tests::{Plugin, Server, artifacts};

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

#[tokio::test]
async fn a_new_module_builds_passes_its_test_is_loaded_and_answers() {
    let server = Server::start().await;
    let mut alice = server.client("alice").await;
    let workspace = artifacts::workspace();
    let folder = server.folder().join("mod_hello");
    let (api, crate_folder) = (workspace.join("plugin-api"), folder.to_string_lossy().into_owned());
    server.ctl(&["plugin", "new", "mod_hello", &crate_folder, "--api_path", &api.to_string_lossy()]).await;
    let source = std::fs::read_to_string(folder.join("src/lib.rs")).expect("it was written");
    assert!(source.lines().count() <= 40, "{source}");
    // The versions that are on this machine already: nothing is to be fetched.
    std::fs::copy(workspace.join("Cargo.lock"), folder.join("Cargo.lock")).expect("the lock file is there");
    cargo(&folder, "test");
    cargo(&folder, "build");

    let library = artifacts::profile_folder().join("author/debug/libmod_hello.so");
    let bytes = std::fs::read(library).expect("it was built");
    server.plugins().install(&Plugin::from_bytes("mod_hello.so", bytes));
    assert!(server.ctl(&["update_list"]).await.contains("mod_hello"));
    server.ctl(&["update", "mod_hello"]).await;
    alice.message("hello.localhost", "good morning").await;
    let answer = alice.expect_message().await;
    assert_eq!(answer.attr("from"), Some("hello.localhost"), "{answer}");
    server.stop().await;
}
