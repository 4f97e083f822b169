//! A process that writes is killed with SIGKILL; what it had announced as acknowledged must be there afterwards.
//!
//! The writer is this test binary itself, started once more with [`STORE`] set.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::{Durability, Options};
use crate::storage::{Archive, ArchiveQuery, NewEntry, Space, Storage, StorageError, Timestamp};

const STORE: &str = "MOULT_TEST_CRASH_STORE";
const DURABLE: &str = "MOULT_TEST_CRASH_DURABLE";
/// Writers working at once in the child, so that groups of several batches are cut too.
const WRITERS: usize = 8;

fn space() -> Space {
    Space::module("example.org", "mod_crash")
}

fn options(durable: bool) -> Options {
    let durability = if durable { Durability::PowerLoss } else { Durability::ProcessDeath };
    Options { durability, ..Options::default() }
}

/// Each batch sets two keys and appends an entry: after the crash a batch is there as a whole or not at all.
async fn write_one(storage: &Storage, name: &str) -> Result<(), StorageError> {
    let mut batch = storage.batch();
    batch.keyval_set(&space(), &format!("left/{name}"), b"left");
    batch.archive_append(&space(), "owner", NewEntry { at: None, with: None, value: name.into(), id: None });
    batch.keyval_set(&space(), &format!("right/{name}"), &[7; 5000]);
    batch.commit().await.map(drop)
}

/// Not a test of its own: the child's part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_writes_until_it_is_killed() {
    let Ok(path) = std::env::var(STORE) else { return };
    let storage = Storage::open_with(path, options(std::env::var_os(DURABLE).is_some())).unwrap();
    let printer = Arc::new(std::sync::Mutex::new(std::fs::File::from(
        std::os::fd::AsFd::as_fd(&std::io::stdout()).try_clone_to_owned().unwrap(),
    )));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (storage, printer) = (storage.clone(), printer.clone());
        writers.spawn(async move {
            for number in 0.. {
                let name = format!("{}-{writer}-{number}", std::process::id());
                write_one(&storage, &name).await.unwrap();
                // One write call, so that the kill cannot cut a line.
                let line = format!("acknowledged {name}\n");
                printer.lock().unwrap().write_all(line.as_bytes()).unwrap();
            }
        });
    }
    writers.join_all().await;
}

/// Lets a child write to `path`, kills it after `enough` acknowledgements, answers all that it announced.
fn acknowledged_before_the_kill(path: &std::path::Path, durable: bool, enough: usize) -> Vec<String> {
    let test = "storage::sqlite::crash_tests::child_writes_until_it_is_killed";
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(STORE, path).stdout(Stdio::piped());
    if durable {
        command.env(DURABLE, "1");
    }
    let mut child = command.spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (mut lines, mut acknowledged) = (String::new(), 0);
    while acknowledged < enough {
        assert_ne!(output.read_line(&mut lines).unwrap(), 0, "the child ended by itself: {lines}");
        acknowledged = lines.lines().filter(|line| line.starts_with("acknowledged ")).count();
    }
    // SIGKILL: no destructor runs, no buffer of the child is flushed.
    child.kill().unwrap();
    child.wait().unwrap();
    output.read_to_string(&mut lines).unwrap();
    lines.lines().filter_map(|line| line.strip_prefix("acknowledged ")).map(Into::into).collect()
}

async fn all_entries(archive: &Archive) -> Vec<String> {
    let (mut query, mut found) = (ArchiveQuery::of("owner", 1000), Vec::new());
    loop {
        let page = archive.query(query.clone()).await.unwrap();
        query.after = page.entries.last().map(|entry| entry.id);
        found.extend(page.entries.into_iter().map(|entry| String::from_utf8(entry.value).unwrap()));
        if page.complete {
            return found;
        }
    }
}

async fn check(storage: &Storage, acknowledged: &[String]) {
    let (keyval, archive) = (storage.keyval(&space()), storage.archive(&space()));
    let entries = all_entries(&archive).await;
    for name in acknowledged {
        assert!(entries.contains(name), "{name} was acknowledged and is lost");
    }
    for name in &entries {
        let left = keyval.get(&format!("left/{name}")).await.unwrap();
        let right = keyval.get(&format!("right/{name}")).await.unwrap();
        assert_eq!(
            (left, right),
            (Some(b"left".to_vec()), Some(vec![7; 5000])),
            "{name} is there in part only"
        );
    }
    for name in keyval.keys("left/", None, 1000).await.unwrap().keys {
        assert!(
            entries.iter().any(|entry| name.ends_with(entry)),
            "{name} is there without its archive entry"
        );
    }
}

async fn nothing_acknowledged_is_lost(durable: bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let mut acknowledged = Vec::new();
    // Three crashes in a row: the second and third child start from the log that their predecessor left.
    for round in 0..3 {
        acknowledged.extend(acknowledged_before_the_kill(&path, durable, 40 + 30 * round));
    }
    let storage = Storage::open(&path).unwrap();
    check(&storage, &acknowledged).await;
    storage.keyval(&space()).set("after", b"the crash").await.unwrap();
    storage.close().await.unwrap();
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kill_9_with_flushed_commits() {
    nothing_acknowledged_is_lost(true).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kill_9_without_flushed_commits() {
    nothing_acknowledged_is_lost(false).await;
}

#[tokio::test]
async fn an_old_time_does_not_disturb_new_ids() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let entry = |at| NewEntry { at: Some(Timestamp(at)), with: None, value: vec![], id: None };
    let storage = Storage::open(&path).unwrap();
    let first = storage.archive(&space()).append("owner", entry(i64::MAX)).await.unwrap();
    storage.close().await.unwrap();
    let storage = Storage::open(&path).unwrap();
    let second = storage.archive(&space()).append("owner", entry(i64::MIN)).await.unwrap();
    assert!(first < second);
}
