//! The DOAP file in the repository says what the server and the bundled modules implement today.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use moult_tests::Plugin;
use moult_tests::artifacts;

/// Set to write the file instead of comparing it.
const WRITE: &str = "MOULT_WRITE_DOAP";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is a folder of the repository").to_owned()
}

/// The file as the server writes it from the manifests of all bundled modules.
fn written() -> String {
    let folder = tempfile::tempdir().expect("a folder for libraries");
    for entry in fs::read_dir(root().join("plugins")).expect("the bundled modules") {
        let entry = entry.expect("an entry");
        if entry.path().join("Cargo.toml").exists() {
            let plugin = Plugin::built(&entry.file_name().to_string_lossy());
            fs::write(folder.path().join(plugin.file_name()), plugin.bytes()).expect("a copy");
        }
    }
    let output = Command::new(artifacts::moultd()).arg("--doap").arg(folder.path()).output();
    let output = output.expect("moultd runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it is UTF-8")
}

#[test]
fn the_file_is_current() {
    let (file, written) = (root().join("config/moult.doap"), written());
    if std::env::var_os(WRITE).is_some() {
        fs::write(&file, &written).expect("the file can be written");
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    let how = format!("{} is old: run this test with {WRITE}=1", file.display());
    for (number, (kept, written)) in kept.lines().zip(written.lines()).enumerate() {
        assert_eq!(kept, written, "line {}: {how}", number + 1);
    }
    assert_eq!(kept.lines().count(), written.lines().count(), "{how}");
}

#[test]
fn what_is_no_module_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("odd.so"), "no library").expect("a file");
    let output = Command::new(artifacts::moultd()).arg("--doap").arg(folder.path()).output();
    let output = output.expect("moultd runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("odd.so"));
}
