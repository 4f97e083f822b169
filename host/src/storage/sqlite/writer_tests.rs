//! The writer thread against a second connection that holds the database's lock.

use super::super::schema::{Location, open_writer};
use super::*;
use crate::storage::Space;

/// A database file, a connection of another program to it, and our writer.
struct Bench {
    _folder: tempfile::TempDir,
    other: Connection,
    writer: Writer,
}

fn bench(options: &Options, prepare: impl FnOnce(&Connection)) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let connection = open_writer(&Location::File(path.clone()), options).unwrap();
    prepare(&connection);
    let other = Connection::open(path).unwrap();
    Bench { _folder: folder, other, writer: Writer::start(connection, None, options).unwrap() }
}

fn set(key: &str, value: &[u8]) -> Vec<Write> {
    vec![Write::KeyvalSet { space: Space::module("a", "m"), key: key.into(), value: value.into() }]
}

fn insert(key: &str) -> Vec<Write> {
    vec![Write::KeyvalInsert { space: Space::module("a", "m"), key: key.into(), value: vec![] }]
}

fn rows(connection: &Connection) -> i64 {
    connection.query_row("SELECT count(*) FROM keyval", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn batches_that_wait_together_are_committed_together() {
    let bench = bench(&Options::default(), |_| {});
    bench.other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiting: Vec<_> = (0..200).map(|number| bench.writer.write(set(&number.to_string(), b"x"))).collect();
    bench.other.execute_batch("COMMIT").unwrap();
    for write in waiting {
        assert_eq!(write.await.unwrap(), [Outcome::Changed(1)]);
    }
    // The first one or more were taken before the rest arrived; everything else went in one group.
    let counters = bench.writer.counters();
    assert_eq!((counters.batches(), rows(&bench.other)), (200, 200));
    assert!(counters.commits() <= 3, "{} commits", counters.commits());
}

#[tokio::test]
async fn a_full_queue_is_an_error_at_once_and_what_was_accepted_is_written() {
    let bench = bench(&Options { write_queue: 10, ..Options::default() }, |_| {});
    bench.other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let write = |number: i32| {
        let waiting = bench.writer.write(set(&number.to_string(), b"x"));
        // A module's share of the queue.
        assert!(bench.writer.queued() <= 8, "{} wait", bench.writer.queued());
        waiting
    };
    let waiting: Vec<_> = (0..100).map(write).collect();
    bench.other.execute_batch("COMMIT").unwrap();
    let (mut written, mut refused) = (0, 0);
    for write in waiting {
        match write.await {
            Ok(_) => written += 1,
            Err(StorageError::Overloaded { queue: "write" }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    // Those that waited, and the group that waited for the lock: the writer takes into it what comes while it gathers.
    assert!(written >= 8 && refused > 0, "{written} written, {refused} refused");
    assert_eq!((written, refused), (rows(&bench.other), 100 - written));
    assert_eq!(bench.writer.counters().shed() as i64, refused);
}

#[tokio::test]
async fn modules_leave_room_for_the_host() {
    let bench = bench(&Options { write_queue: 8, ..Options::default() }, |_| {});
    bench.other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let modules: Vec<_> = (0..40).map(|number| bench.writer.write(set(&number.to_string(), b"x"))).collect();
    let host =
        |key: &str| vec![Write::KeyvalSet { space: Space::core("", "auth"), key: key.into(), value: vec![] }];
    let host = [bench.writer.write(host("one")), bench.writer.write(host("two"))];
    bench.other.execute_batch("COMMIT").unwrap();
    for write in host {
        write.await.unwrap();
    }
    let mut refused = 0;
    for write in modules {
        refused += i32::from(write.await.is_err());
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn the_queue_is_bounded_in_bytes_too() {
    let bench = bench(&Options::default(), |_| {});
    bench.other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let megabytes = vec![0; 4 << 20];
    let waiting: Vec<_> =
        (0..40).map(|number| bench.writer.write(set(&number.to_string(), &megabytes))).collect();
    bench.other.execute_batch("COMMIT").unwrap();
    let mut written = 0;
    for write in waiting {
        written += i64::from(write.await.is_ok());
    }
    assert!(written < 40, "160 MB were queued");
    assert_eq!(written, rows(&bench.other));
    assert_eq!(bench.writer.counters.queued_bytes.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_batch_that_fails_by_its_own_fault_fails_alone_and_leaves_nothing() {
    let bench = bench(&Options::default(), |_| {});
    bench.other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let good = bench.writer.write(insert("one"));
    let double = bench.writer.write([set("two", b"x"), insert("one")].concat());
    let later = bench.writer.write(insert("three"));
    bench.other.execute_batch("COMMIT").unwrap();
    assert!(good.await.is_ok() && later.await.is_ok());
    let error = double.await.unwrap_err();
    assert_eq!(error.to_string(), "The key \"one\" of m on a exists already.");
    assert_eq!((rows(&bench.other), bench.writer.counters().failed()), (2, 1));
}

#[tokio::test]
async fn a_full_disk_fails_the_big_batch_and_not_its_small_neighbours() {
    let bench = bench(&Options { max_bytes: Some(1 << 20), ..Options::default() }, |_| {});
    bench.other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let small = bench.writer.write(set("small", b"x"));
    let big = bench.writer.write(set("big", &vec![0; 3 << 20]));
    let tiny = bench.writer.write(set("tiny", b"x"));
    bench.other.execute_batch("COMMIT").unwrap();
    let error = big.await.unwrap_err();
    assert!(matches!(error, StorageError::Full { .. }) && error.is_resource_constraint(), "{error}");
    assert!(small.await.is_ok() && tiny.await.is_ok());
    assert_eq!(rows(&bench.other), 2);
}

#[tokio::test]
async fn a_read_only_database_is_a_resource_constraint() {
    let bench = bench(&Options::default(), |writer| writer.pragma_update(None, "query_only", true).unwrap());
    let error = bench.writer.write(set("key", b"x")).await.unwrap_err();
    assert!(matches!(error, StorageError::ReadOnly { .. }) && error.is_resource_constraint(), "{error}");
    assert_eq!(rows(&bench.other), 0);
}

#[tokio::test]
async fn a_lock_held_too_long_fails_the_group_once_and_writing_goes_on_afterwards() {
    let bench = bench(&Options::default(), |writer| writer.busy_timeout(Duration::from_millis(20)).unwrap());
    bench.other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = bench.writer.write(set("key", b"x")).await.unwrap_err();
    assert!(matches!(error, StorageError::Locked { .. }) && error.is_transient(), "{error}");
    bench.other.execute_batch("COMMIT").unwrap();
    bench.writer.write(set("key", b"x")).await.unwrap();
}

#[tokio::test]
async fn a_caller_that_gives_up_has_its_write_all_the_same() {
    let bench = bench(&Options::default(), |_| {});
    drop(bench.writer.write(set("first", b"x")));
    bench.writer.write(set("second", b"x")).await.unwrap();
    assert_eq!(rows(&bench.other), 2);
}

#[tokio::test]
async fn closing_commits_the_queue_and_refuses_what_comes_later() {
    let bench = bench(&Options::default(), |_| {});
    let waiting: Vec<_> = (0..50).map(|number| bench.writer.write(set(&number.to_string(), b"x"))).collect();
    bench.writer.close().await.unwrap();
    for write in waiting {
        write.await.unwrap();
    }
    assert!(matches!(bench.writer.write(set("late", b"x")).await, Err(StorageError::Closed)));
    bench.writer.close().await.unwrap();
    assert_eq!(rows(&bench.other), 50);
}
