//! `scripts/install`: what lands where, that it works from there, and that it can be taken away again.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use moult_tests::{Server, artifacts};
use tempfile::TempDir;

/// A package's folder, as `DESTDIR`.
struct Package(TempDir);

impl Package {
    fn empty() -> Package {
        Package(tempfile::tempdir().expect("there is a temporary folder"))
    }

    fn installed() -> Package {
        let package = Package::empty();
        package.run(&["--no-build"]);
        package
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    fn try_run(&self, arguments: &[&str]) -> Output {
        let built = artifacts::moultd().parent().expect("the server lies in a folder").to_owned();
        let mut command = Command::new(artifacts::workspace().join("scripts/install"));
        command.args(arguments).env("DESTDIR", self.0.path()).env("PREFIX", "/usr").env("BUILT", built);
        command.output().expect("the script can be started")
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.0.path().join(inside)
    }

    fn text(&self, inside: &str) -> String {
        fs::read_to_string(self.path(inside)).unwrap_or_else(|error| panic!("{inside}: {error}"))
    }

    fn files(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.0.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("the folder is ours") {
                let path = entry.expect("the folder is ours").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let inside = path.strip_prefix(self.0.path()).expect("it is below");
                    found.insert(inside.display().to_string());
                }
            }
        }
        found
    }
}

const CONFIG: &str = "etc/moult/moult.toml";
const UNIT: &str = "usr/lib/systemd/system/moult.service";

#[test]
fn everything_is_put_in_its_place_and_taken_away_again_but_for_what_is_the_operators() {
    let package = Package::installed();
    let files = package.files();
    for file in [
        "usr/bin/moultd",
        "usr/bin/moultctl",
        "usr/lib/moult/plugins/libmod_ping.so",
        UNIT,
        CONFIG,
        "usr/share/man/man1/moultctl.1",
        "usr/share/man/man5/moult.toml.5",
        "usr/share/man/man8/moultd.8",
        "usr/share/bash-completion/completions/moultctl",
        "usr/share/zsh/site-functions/_moultctl",
        "usr/share/fish/vendor_completions.d/moultctl.fish",
        "usr/share/moult/plugin-api/Cargo.toml",
    ] {
        assert!(files.contains(file), "{file} is not among {files:?}");
    }
    assert!(!files.iter().any(|file| file.ends_with(".new")), "{files:?}");
    let listed = package.text("usr/share/moult/installed-files");
    let mut listed: BTreeSet<String> = listed.lines().map(|line| line[1..].to_owned()).collect();
    listed.extend([CONFIG.to_owned(), "usr/share/moult/installed-files".to_owned()]);
    assert_eq!(listed, files, "what is not listed is not taken away");

    let own = "usr/lib/moult/plugins/mod_mine.so";
    fs::write(package.path(own), "mine").expect("the folder is ours");
    package.run(&["--uninstall"]);
    assert_eq!(package.files(), BTreeSet::from([CONFIG.to_owned(), own.to_owned()]));
    assert!(!package.path("usr/share/moult").exists(), "no empty folder of ours stays");
    assert_eq!(package.try_run(&["--uninstall"]).status.code(), Some(1), "there is nothing to take away");
}

#[test]
fn the_configuration_is_valid_private_and_never_overwritten() {
    let package = Package::installed();
    let mode = fs::metadata(package.path(CONFIG)).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o027, 0, "it may hold a token: {mode:o}");
    assert!(package.text(CONFIG).contains("plugin_dir = \"/usr/lib/moult/plugins\""));
    let check = Command::new(package.path("usr/bin/moultd"))
        .arg("--check-config")
        .arg(package.path(CONFIG))
        .output()
        .expect("the server can be started");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));

    let mine = "[vhost.'example.org']\n";
    fs::write(package.path(CONFIG), mine).expect("the folder is ours");
    package.run(&["--no-build"]);
    assert_eq!(package.text(CONFIG), mine);
    assert!(package.text("etc/moult/moult.toml.new").contains("[limits]"), "what is new lies beside it");
}

/// One installation for all of these: it copies every library.
#[tokio::test]
async fn modules_serve_and_unit_pages_and_completions_are_sound() {
    let package = Package::installed();
    the_unit_is_complete_and_systemd_accepts_it(&package);
    manual_pages_render_and_completions_parse(&package);
    the_contract_is_found(&package);
    the_modules_serve(&package).await;
}

async fn the_modules_serve(package: &Package) {
    let plugins = package.path("usr/lib/moult/plugins");
    let server =
        Server::builder().config(&format!("[server]\nplugin_dir = '{}'", plugins.display())).start().await;
    let modules = server.ctl(&["module_list"]).await;
    for entry in fs::read_dir(&plugins).expect("it is there") {
        let name = entry.expect("it is there").file_name().into_string().expect("names are ASCII");
        let id = name.trim_start_matches("lib").trim_end_matches(".so");
        assert!(modules.contains(id), "{id} is not in {modules}");
    }
    server.stop().await;
}

fn the_contract_is_found(package: &Package) {
    let made = Command::new(package.path("usr/bin/moultctl"))
        .args(["plugin", "new", "mod_mine"])
        .arg(package.path("mod_mine"))
        .current_dir("/")
        .output()
        .expect("moultctl can be started");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let manifest = package.text("mod_mine/Cargo.toml");
    assert!(manifest.contains("usr/share/moult/plugin-api"), "{manifest}");
    let contract = package.text("usr/share/moult/plugin-api/Cargo.toml");
    assert!(!contract.contains("workspace"), "it stands without this workspace:\n{contract}");
}

fn the_unit_is_complete_and_systemd_accepts_it(package: &Package) {
    let unit = package.text(UNIT);
    assert!(!unit.contains('@') || !unit.contains("@BINDIR@"), "{unit}");
    assert!(unit.contains("ExecStart=/usr/bin/moultd --config /etc/moult/moult.toml\n"), "{unit}");
    if !exists("systemd-analyze") {
        return;
    }
    // The programs are looked for, so the copy names them where they are now.
    let here = unit.replace("/usr/bin/", &format!("{}/", package.path("usr/bin").display()));
    let copy = package.path("moult.service");
    fs::write(&copy, here).expect("the folder is ours");
    let verdict = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&copy)
        .output()
        .expect("it can be started");
    let said = String::from_utf8_lossy(&verdict.stderr);
    assert!(verdict.status.success() && !said.contains("moult.service"), "{said}");
}

fn manual_pages_render_and_completions_parse(package: &Package) {
    for (page, part) in [
        ("usr/share/man/man1/moultctl.1", "update_list"),
        ("usr/share/man/man5/moult.toml.5", "stanza_size_before_auth = \"16KiB\""),
        ("usr/share/man/man8/moultd.8", "SIGHUP"),
    ] {
        let Some(text) = rendered(&package.path(page)) else { continue };
        assert!(text.contains(part), "{part} is not in {page}:\n{text}");
    }
    let parsed = Command::new("bash")
        .arg("-n")
        .arg(package.path("usr/share/bash-completion/completions/moultctl"))
        .status()
        .expect("bash is there: the script ran");
    assert!(parsed.success());
}

#[test]
fn mistakes_of_the_caller_are_told() {
    let package = Package::empty();
    let unknown = package.try_run(&["--frobnicate"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("--uninstall"));
    let script = artifacts::workspace().join("scripts/install");
    for prefix in ["relative", "/with space", "/with|bar"] {
        let refused = Command::new(&script)
            .arg("--no-build")
            .env("PREFIX", prefix)
            .env("DESTDIR", package.0.path())
            .output()
            .expect("the script can be started");
        assert_eq!(refused.status.code(), Some(1), "{prefix}");
    }
    assert_eq!(package.files(), BTreeSet::new());
}

/// The page as a reader sees it; `None` where nothing can render it.
fn rendered(page: &Path) -> Option<String> {
    let mut command = if exists("mandoc") {
        Command::new("mandoc")
    } else if exists("groff") {
        let mut groff = Command::new("groff");
        groff.args(["-man", "-Tutf8", "-P-cbou"]);
        groff
    } else {
        return None;
    };
    let output = command.arg(page).output().expect("it can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", page.display());
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn exists(program: &str) -> bool {
    let probe = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .stdout(Stdio::null())
        .status()
        .expect("there is a shell");
    probe.success()
}
