//! The binaries and libraries under test.
//!
//! `cargo test` alone builds neither the host's binaries nor the plugins' libraries into the target folder, so the first test that
//! needs them runs `cargo build --workspace` with the profile and the target folder that the test itself was built
//! with. `MOULT_TESTS_BUILT=1` says that this has been done already.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The server.
pub fn moultd() -> PathBuf {
    built("moultd")
}

/// The control program.
pub fn moultctl() -> PathBuf {
    built("moultctl")
}

/// The library of a plugin or fixture, by the name of its crate.
pub fn library(crate_name: &str) -> PathBuf {
    built(&format!("lib{}.so", crate_name.replace('-', "_")))
}

fn built(file: &str) -> PathBuf {
    let path = folder().join(file);
    assert!(
        path.is_file(),
        "{} is missing: is there a crate in the workspace that builds it?",
        path.display()
    );
    path
}

/// `target/<profile>`, with everything in it up to date.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = profile_folder();
        if std::env::var_os("MOULT_TESTS_BUILT").is_none() {
            build_workspace(&folder);
        }
        folder
    })
}

/// The folder that this program was built into; tests lie one deeper, in `deps`.
pub fn profile_folder() -> PathBuf {
    let program = std::env::current_exe().expect("the running program has a path");
    let folder = program.parent().expect("a program lies in a folder");
    let is_deps = folder.file_name().is_some_and(|name| name == "deps");
    if is_deps {
        folder.parent().expect("deps lies in the profile's folder").to_owned()
    } else {
        folder.to_owned()
    }
}

fn build_workspace(folder: &Path) {
    let target = folder.parent().expect("the profile's folder lies in the target folder");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--workspace", "--lib", "--bins", "--profile", profile, "--target-dir"])
        .arg(target)
        .current_dir(workspace())
        .status()
        .expect("cargo can be started");
    assert!(status.success(), "cargo build --workspace failed: {status}");
}

/// The root of the source tree.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies in the workspace")
}
