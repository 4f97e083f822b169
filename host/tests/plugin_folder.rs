//! What the scanner takes from the plugin folder, what it refuses and why, and when the watcher tells of a change.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use moult_host::plugin::error::Fault;
use moult_host::plugin::folder::{FolderRules, FolderScanner, Scan};
use moult_host::plugin::loader::ContentHash;
use moult_host::plugin::watch::{FolderWatch, WatchSettings};
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;
use support::{Declared, LONG, Place, eventually};

/// A whole library of this id; nothing of it is ever run here.
fn library(id: &'static str, version: u32) -> Vec<u8> {
    static BASE: OnceLock<Vec<u8>> = OnceLock::new();
    let base = BASE.get_or_init(|| {
        let manifest = r#"{"id":"mod_aaaa","version":"1.0.0","build":"000000"}"#;
        Declared { manifest, note: manifest, ..Declared::default() }.library()
    });
    assert_eq!(id.len(), 8);
    let mut bytes = base.clone();
    replace(&mut bytes, b"mod_aaaa", id.as_bytes());
    replace(&mut bytes, b"000000", format!("{version:06}").as_bytes());
    bytes
}

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let places: Vec<usize> =
        (0..bytes.len() - from.len()).filter(|i| bytes[*i..].starts_with(from)).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|i| bytes[i..i + to.len()].copy_from_slice(to));
}

fn rules() -> FolderRules {
    FolderRules { settle: Duration::from_millis(100), ..FolderRules::default() }
}

fn scan(dir: &Path) -> Scan {
    FolderScanner::new(dir, rules()).scan()
}

fn settled(dir: &Path) -> Scan {
    FolderScanner::new(dir, rules()).scan_settled(LONG)
}

/// The only problem's sentence.
fn problem(scan: &Scan) -> &str {
    assert_eq!(scan.problems.len(), 1, "{scan:?}");
    assert_eq!(scan.problems[0].fault, Fault::Operator);
    &scan.problems[0].reason
}

#[test]
fn whole_libraries_are_found_at_once_by_content() {
    let place = Place::new();
    let bytes = library("mod_aaaa", 1);
    place.put("libmod_aaaa.so", &bytes);
    place.put("mod_bbbb.so", &library("mod_bbbb", 1));
    for other in ["mod_cccc.so.new", ".mod_dddd.so", "README", "mod_eeee.dll"] {
        place.put(other, &bytes);
    }
    let scan = settled(&place.plugins());
    let found: Vec<_> = scan.found.iter().map(|f| (f.file_stem.as_str(), f.id())).collect();
    assert_eq!(found, [("libmod_aaaa", "mod_aaaa"), ("mod_bbbb", "mod_bbbb")]);
    assert_eq!(scan.found[0].hash, ContentHash::of(&bytes));
    assert_eq!(scan.found[0].size, bytes.len() as u64);
    assert!(scan.problems.is_empty() && scan.unsettled.is_empty() && scan.complete);
}

#[test]
fn a_file_that_is_being_written_waits() {
    let place = Place::new();
    let bytes = library("mod_aaaa", 1);
    let path = place.plugins().join("mod_aaaa.so");
    let mut scanner = FolderScanner::new(&place.plugins(), rules());
    let mut file = File::create(&path).unwrap();
    file.write_all(&bytes[..bytes.len() / 2]).unwrap();
    let half = scanner.scan();
    assert!(half.found.is_empty(), "{half:?}");
    assert_eq!(
        (half.unsettled[0].module.as_str(), half.unsettled[0].path.as_path()),
        ("mod_aaaa", path.as_path())
    );
    file.write_all(&bytes[bytes.len() / 2..]).unwrap();
    drop(file);
    assert_eq!(scanner.scan_settled(LONG).found[0].hash, ContentHash::of(&bytes));

    // Overwritten in place, which empties it first: the module keeps its name while its file is not whole.
    let mut file = File::create(&path).unwrap();
    file.write_all(&bytes[..100]).unwrap();
    let again = scanner.scan();
    assert!(again.found.is_empty());
    assert_eq!(again.unsettled[0].module, "mod_aaaa");
}

#[test]
fn other_content_of_the_same_length_and_time_is_seen() {
    let place = Place::new();
    let path = place.put("mod_aaaa.so", &library("mod_aaaa", 1));
    let time = || fs::metadata(&path).unwrap().modified().unwrap();
    let mut scanner = FolderScanner::new(&place.plugins(), rules());
    // From then on an unchanged file is not read again.
    eventually("the file is old", || time().elapsed().is_ok_and(|age| age > Duration::from_secs(4)));
    let first = scanner.scan_settled(LONG).found;
    assert_eq!(scanner.scan().found, first);
    let old = time();
    let other = library("mod_aaaa", 2);
    fs::write(&path, &other).unwrap();
    File::options().append(true).open(&path).unwrap().set_modified(old).unwrap();
    assert_eq!((time(), fs::metadata(&path).unwrap().len()), (old, first[0].size));
    assert_eq!(scanner.scan_settled(LONG).found[0].hash, ContentHash::of(&other));
}

#[test]
fn a_file_that_stays_unfit_is_found_as_it_is() {
    let place = Place::new();
    place.put("mod_text.so", b"hello");
    place.put("mod_half.so", &library("mod_aaaa", 1)[..1000]);
    let mut scanner = FolderScanner::new(&place.plugins(), rules());
    assert_eq!(scanner.scan().unsettled.len(), 2);
    let scan = scanner.scan_settled(LONG);
    let reasons: Vec<_> = scan.found.iter().map(|f| f.manifest.clone().unwrap_err()).collect();
    assert!(reasons[0].contains("cut off") && reasons[1].contains("not an ELF file"), "{reasons:?}");
}

#[test]
fn rights_that_would_let_others_change_code_are_refused() {
    let place = Place::new();
    let path = place.put("mod_aaaa.so", &library("mod_aaaa", 1));
    fs::set_permissions(&path, Permissions::from_mode(0o757)).unwrap();
    let scan = settled(&place.plugins());
    assert!(problem(&scan).contains("mod_aaaa.so is writable by everybody"), "{scan:?}");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(place.plugins(), Permissions::from_mode(0o777)).unwrap();
    let scan = settled(&place.plugins());
    assert!(problem(&scan).contains("plugins is writable by everybody"));
    assert!(scan.found.is_empty() && !scan.complete);
    fs::set_permissions(place.plugins(), Permissions::from_mode(0o755)).unwrap();
    assert_eq!(settled(&place.plugins()).found.len(), 1);
}

#[test]
fn a_file_of_another_user_is_refused() {
    let place = Place::new();
    let path = place.put("mod_aaaa.so", &library("mod_aaaa", 1));
    if std::os::unix::fs::chown(&path, Some(65534), None).is_err() {
        // Only root can give files away; as another user there is nothing to try.
        return;
    }
    assert!(problem(&settled(&place.plugins())).contains("belongs to user 65534"));
    std::os::unix::fs::chown(&path, Some(0), Some(65534)).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o775)).unwrap();
    assert!(problem(&settled(&place.plugins())).contains("writable by group 65534"));
}

#[test]
fn links_are_followed_inside_the_folder_only() {
    let place = Place::new();
    let real = place.put("mod_aaaa.so.1", &library("mod_aaaa", 1));
    let link = place.plugins().join("mod_aaaa.so");
    symlink(&real, &link).unwrap();
    assert_eq!(settled(&place.plugins()).found[0].path, link);

    fs::remove_file(&link).unwrap();
    fs::write(place.path("outside.so"), library("mod_aaaa", 1)).unwrap();
    symlink("../outside.so", &link).unwrap();
    assert!(problem(&settled(&place.plugins())).contains("leads out of the folder"));

    fs::remove_file(&link).unwrap();
    symlink("gone.so", &link).unwrap();
    assert!(problem(&settled(&place.plugins())).contains("leads nowhere"));

    fs::remove_file(&link).unwrap();
    fs::create_dir(place.plugins().join("open")).unwrap();
    fs::set_permissions(place.plugins().join("open"), Permissions::from_mode(0o777)).unwrap();
    fs::write(place.plugins().join("open/m.so"), library("mod_aaaa", 1)).unwrap();
    symlink("open/m.so", &link).unwrap();
    assert!(problem(&settled(&place.plugins())).contains("open, which is writable by everybody"));
}

#[test]
fn what_is_no_regular_file_is_refused_without_being_opened() {
    let place = Place::new();
    fs::create_dir(place.plugins().join("mod_dir.so")).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(place.plugins().join("mod_sock.so")).unwrap();
    let made =
        std::process::Command::new("mkfifo").arg(place.plugins().join("mod_pipe.so")).status().unwrap();
    assert!(made.success());
    let scan = settled(&place.plugins());
    assert_eq!(scan.problems.len(), 3);
    assert!(scan.problems.iter().all(|p| p.reason.contains("not a regular file")), "{scan:?}");
}

#[test]
fn size_and_number_are_bounded() {
    let place = Place::new();
    place.put("mod_aaaa.so", &library("mod_aaaa", 1));
    place.put("mod_bbbb.so", &library("mod_bbbb", 1));
    let few = FolderRules { max_files: 1, ..rules() };
    let scan = FolderScanner::new(&place.plugins(), few).scan();
    assert_eq!(scan.found.len(), 1);
    assert!(!scan.complete && problem(&scan).contains("holds 2 libraries; only the first 1"));
    let small = FolderRules { max_bytes: 1000, ..rules() };
    let scan = FolderScanner::new(&place.plugins(), small).scan();
    assert!(
        scan.problems.iter().all(|p| p.reason.contains("1000 are the limit")) && scan.problems.len() == 2
    );
}

#[test]
fn two_files_with_one_id_are_refused_with_both_paths() {
    let place = Place::new();
    place.put("mod_aaaa.so", &library("mod_aaaa", 1));
    place.put("renamed.so", &library("mod_aaaa", 2));
    let scan = settled(&place.plugins());
    assert!(scan.found.is_empty());
    assert_eq!(scan.problems.len(), 1, "told of once");
    for problem in &scan.problems {
        assert!(
            problem.reason.contains("mod_aaaa.so") && problem.reason.contains("renamed.so"),
            "{problem:?}"
        );
        assert_eq!(problem.module.as_deref(), Some("mod_aaaa"));
    }
    // The same content under two names is one library.
    place.put("renamed.so", &library("mod_aaaa", 1));
    assert_eq!(settled(&place.plugins()).found.len(), 1);
}

#[test]
fn a_folder_that_is_not_there_takes_nothing_away() {
    let place = Place::new();
    fs::remove_dir(place.plugins()).unwrap();
    let scan = scan(&place.plugins());
    assert!(problem(&scan).contains("does not exist") && !scan.complete);
}

#[test]
fn content_that_changed_after_the_look_is_not_copied() {
    let place = Place::new();
    let path = place.put("mod_aaaa.so", &library("mod_aaaa", 1));
    let found = place.found(&path);
    place.put("mod_aaaa.so", &library("mod_aaaa", 2));
    let error = place.copies.copy(&found, 1).unwrap_err();
    assert!(error.reason.contains("changed after it was looked at"), "{error}");
    assert_eq!(fs::read_dir(place.copies.dir()).unwrap().count(), 1, "only the lock is left");
}

#[test]
fn private_copies_are_private_named_apart_and_wiped() {
    let place = Place::new();
    let path = place.put("mod_aaaa.so", &library("mod_aaaa", 1));
    let found = place.found(&path);
    let (first, second) = (place.copies.copy(&found, 3).unwrap(), place.copies.copy(&found, 3).unwrap());
    let name = first.path().file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(name, format!("mod_aaaa-3-{}.so", found.hash.short()));
    assert_ne!(first.path(), second.path());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(first.path()), mode(place.copies.dir())), (0o500, 0o700));
    let stray = place.copies.dir().join("mod_old-1-0123456789ab.so");
    let foreign = place.copies.dir().join("mod_other.so");
    fs::write(&stray, b"x").unwrap();
    fs::write(&foreign, b"x").unwrap();

    // A second server keeps off; a later one begins with an empty folder.
    let dir = place.copies.dir().to_owned();
    let error = moult_host::plugin::loader::Generations::open(&dir).unwrap_err();
    assert!(error.to_string().contains("in use by another running server"), "{error}");
    let kept = first.path().to_owned();
    drop(first);
    assert!(!kept.exists());
    drop(place.copies);
    moult_host::plugin::loader::Generations::open(&dir).unwrap();
    assert!(!stray.exists() && !second.path().exists());
    assert!(foreign.exists(), "only copies are wiped");
}

struct Watched {
    place: Place,
    watch: FolderWatch,
    seen: u64,
}

impl Watched {
    fn start(place: Place, poll_only: bool) -> Watched {
        let pace = if poll_only { 20 } else { 3_600_000 };
        let settings = WatchSettings {
            debounce: Duration::from_millis(20),
            poll: Duration::from_millis(pace),
            poll_only,
        };
        let watch = FolderWatch::start(&place.plugins(), rules(), settings);
        assert_eq!(watch.polling().is_some(), poll_only);
        Watched { place, watch, seen: 0 }
    }

    fn count(&self) -> u64 {
        *self.watch.changes().borrow()
    }

    fn expect_change(&mut self, what: &str) {
        let seen = self.seen;
        eventually(what, || self.count() > seen);
        self.seen = self.count();
    }

    /// Does something that is no change, then something that is: exactly one change must be told of.
    fn expect_silence(&mut self, what: &str, id: &'static str) {
        let path = self.place.path("next");
        fs::write(&path, library(id, 1)).unwrap();
        fs::rename(&path, self.place.plugins().join(format!("{id}.so"))).unwrap();
        let seen = self.seen;
        self.expect_change(what);
        assert_eq!(self.seen, seen + 1, "{what} was told of");
    }
}

fn watch_everything(poll_only: bool) {
    let place = Place::new();
    let target = place.plugins().join("mod_aaaa.so");
    fs::write(&target, library("mod_aaaa", 1)).unwrap();
    let mut w = Watched::start(place, poll_only);

    fs::write(w.place.path("staged"), library("mod_aaaa", 2)).unwrap();
    fs::rename(w.place.path("staged"), &target).unwrap();
    w.expect_change("an atomic rename");

    File::options().append(true).open(&target).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    w.expect_silence("touching a file", "mod_bbbb");
    fs::write(&target, library("mod_aaaa", 2)).unwrap();
    w.expect_silence("the same content again", "mod_cccc");
    fs::write(w.place.plugins().join("notes.txt"), b"unrelated").unwrap();
    w.expect_silence("an unrelated file", "mod_dddd");

    let bytes = library("mod_aaaa", 3);
    let mut slow = File::create(&target).unwrap();
    for chunk in bytes.chunks(bytes.len() / 8 + 1) {
        slow.write_all(chunk).unwrap();
        slow.flush().unwrap();
        std::thread::sleep(Duration::from_millis(30));
    }
    assert_eq!(w.count(), w.seen, "a copy under way was told of");
    drop(slow);
    w.expect_change("a slow copy that has ended");

    fs::remove_file(&target).unwrap();
    w.expect_change("a removed file");
    fs::write(w.place.plugins().join("mod_aaaa.so.2"), library("mod_aaaa", 2)).unwrap();
    symlink("mod_aaaa.so.2", &target).unwrap();
    w.expect_change("a link");

    let folder = w.place.plugins();
    fs::remove_dir_all(&folder).unwrap();
    w.expect_change("the folder's end");
    fs::create_dir(&folder).unwrap();
    fs::write(&target, library("mod_aaaa", 4)).unwrap();
    w.expect_change("the folder's return");
    fs::write(w.place.path("staged"), library("mod_aaaa", 5)).unwrap();
    fs::rename(w.place.path("staged"), &target).unwrap();
    w.expect_change("a change in the new folder");

    fs::rename(&folder, w.place.path("aside")).unwrap();
    w.expect_change("the folder moved aside");
    symlink("aside", &folder).unwrap();
    w.expect_change("a link in the folder's place");
}

#[test]
fn changes_are_told_of_by_notification() {
    watch_everything(false);
}

#[test]
fn changes_are_told_of_by_polling() {
    watch_everything(true);
}
