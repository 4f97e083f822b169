//! What every engine must do, as tests through the front. Each runs on a file and in memory.

use proptest::prelude::*;

use super::*;

/// The stores under test; the folder of the first one lives as long as the value.
struct Stores {
    _folder: tempfile::TempDir,
    all: [Storage; 2],
}

fn stores() -> Stores {
    let folder = tempfile::tempdir().unwrap();
    let file = Storage::open(folder.path().join("store.sqlite")).unwrap();
    Stores { _folder: folder, all: [file, Storage::open_in_memory().unwrap()] }
}

fn space() -> Space {
    Space::module("example.org", "mod_test")
}

fn entry(at: i64, with: Option<&str>, value: &str) -> NewEntry {
    NewEntry { at: Some(Timestamp(at)), with: with.map(Into::into), value: value.into(), id: None }
}

fn values(page: &ArchivePage) -> Vec<&str> {
    page.entries.iter().map(|entry| std::str::from_utf8(&entry.value).unwrap()).collect()
}

#[tokio::test]
async fn keyval_sets_replaces_and_deletes() {
    for storage in stores().all {
        let keyval = storage.keyval(&space());
        assert_eq!(keyval.get("key").await.unwrap(), None);
        keyval.set("key", b"old").await.unwrap();
        keyval.set("key", b"\0new\xff").await.unwrap();
        assert_eq!(keyval.get("key").await.unwrap().as_deref(), Some(&b"\0new\xff"[..]));
        assert!(matches!(keyval.insert("key", b"x").await, Err(StorageError::Exists { .. })));
        assert!(keyval.delete("key").await.unwrap());
        assert!(!keyval.delete("key").await.unwrap());
        keyval.insert("key", b"").await.unwrap();
        assert_eq!(keyval.get("key").await.unwrap().as_deref(), Some(&b""[..]));
    }
}

#[tokio::test]
async fn spaces_do_not_see_each_other() {
    for storage in stores().all {
        let spaces = [
            Space::module("example.org", "mod_test"),
            Space::module("example.com", "mod_test"),
            Space::module("example.org", "mod_other"),
            Space::module("", "mod_test"),
            Space::core("example.org", "mod_test"),
            space().store("one"),
            space().store("two"),
        ];
        for space in &spaces {
            storage.keyval(space).insert("key", space.to_string().as_bytes()).await.unwrap();
            storage.archive(space).append("owner", entry(1, None, &space.to_string())).await.unwrap();
        }
        assert_eq!(space().store(""), space());
        for space in &spaces {
            let value = storage.keyval(space).get("key").await.unwrap().unwrap();
            let page = storage.archive(space).query(ArchiveQuery::of("owner", 10)).await.unwrap();
            assert_eq!((value, values(&page)), (space.to_string().into_bytes(), vec![&*space.to_string()]));
        }
    }
}

#[tokio::test]
async fn keys_come_in_pages_in_byte_order_and_prefixes_are_not_patterns() {
    let prefixes =
        [("a", 5), ("a%", 1), ("a_", 1), ("", 8), ("b", 1), ("zz", 0), ("a\u{10ffff}", 2), ("'; --", 1)];
    for storage in stores().all {
        let (keyval, map) = (storage.keyval(&space()), storage.map(&space()));
        for key in ["", "a", "a%", "a_", "a\u{10ffff}", "a\u{10ffff}b", "b", "'; --"] {
            keyval.set(key, b"x").await.unwrap();
            map.set(key, &[("one", Some(b"1")), ("two", Some(b"2"))]).await.unwrap();
        }
        for (prefix, expected) in prefixes {
            let all = keyval.keys(prefix, None, 100).await.unwrap();
            assert_eq!((all.keys.len(), all.more), (expected, false), "{prefix:?}");
            assert!(all.keys.is_sorted());
            let (mut paged, mut after) = (Vec::new(), None);
            loop {
                let page = map.keys(prefix, after.as_deref(), 2).await.unwrap();
                assert!(page.keys.len() <= 2);
                paged.extend(page.keys);
                after = paged.last().cloned();
                if !page.more {
                    break;
                }
            }
            assert_eq!(paged, all.keys, "{prefix:?}");
        }
    }
}

#[tokio::test]
async fn map_fields_are_set_and_deleted_together() {
    for storage in stores().all {
        let map = storage.map(&space());
        map.set("alice", &[("b", Some(b"1")), ("a", Some(b"2")), ("c", Some(b"3"))]).await.unwrap();
        map.set("alice", &[("b", None), ("a", Some(b"4")), ("d", None)]).await.unwrap();
        map.set("bob", &[("a", Some(b"5"))]).await.unwrap();
        let all = map.all("alice").await.unwrap();
        assert_eq!(all, [("a".into(), b"4".to_vec()), ("c".into(), b"3".to_vec())]);
        assert_eq!(map.get("alice", "a").await.unwrap().as_deref(), Some(&b"4"[..]));
        assert_eq!(map.get("alice", "b").await.unwrap(), None);
        assert!(map.delete("alice").await.unwrap());
        assert!(!map.delete("alice").await.unwrap());
        assert_eq!((map.all("alice").await.unwrap().len(), map.all("bob").await.unwrap().len()), (0, 1));
    }
}

#[tokio::test]
async fn a_batch_is_all_or_nothing_across_stores() {
    for storage in stores().all {
        storage.keyval(&space()).set("taken", b"x").await.unwrap();
        let mut batch = storage.batch();
        batch.keyval_set(&space(), "key", b"x").map_set(&space(), "key", &[("field", Some(b"x"))]);
        batch.archive_append(&space(), "owner", entry(1, None, "x"));
        batch.account_insert(
            "example.org",
            "alice",
            AccountRow { created: Timestamp(1), credentials: vec![] },
        );
        batch.keyval_insert(&space(), "taken", b"y");
        assert!(matches!(batch.commit().await, Err(StorageError::Exists { .. })));
        assert_eq!(storage.keyval(&space()).get("key").await.unwrap(), None);
        assert_eq!(storage.map(&space()).get("key", "field").await.unwrap(), None);
        assert_eq!(storage.accounts().count("example.org").await.unwrap(), 0);
        let page = storage.archive(&space()).query(ArchiveQuery::of("owner", 10)).await.unwrap();
        assert!(page.entries.is_empty());
    }
}

#[tokio::test]
async fn the_outcomes_of_a_batch_stand_in_the_order_of_its_writes() {
    for storage in stores().all {
        let mut batch = storage.batch();
        batch.keyval_delete(&space(), "none").archive_append(&space(), "owner", entry(1, None, "x"));
        batch.map_set(&space(), "key", &[("a", Some(b"1")), ("b", Some(b"2")), ("c", None)]);
        let outcomes = batch.commit().await.unwrap();
        let [Outcome::Changed(0), Outcome::Appended(id), Outcome::Changed(2)] = outcomes[..] else {
            panic!("{outcomes:?}")
        };
        assert!(storage.archive(&space()).get("owner", id).await.unwrap().is_some());
        assert_eq!(storage.batch().commit().await.unwrap(), []);
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_queued() {
    for storage in stores().all {
        let keyval = storage.keyval(&space());
        let key = "k".repeat(MAX_KEY_BYTES + 1);
        let error = keyval.set(&key, b"x").await.unwrap_err();
        assert!(matches!(error, StorageError::TooLarge { what: "A key", .. }), "{error}");
        let error = keyval.set("key", &vec![0; MAX_VALUE_BYTES + 1]).await.unwrap_err();
        assert!(matches!(error, StorageError::TooLarge { what: "A value", .. }), "{error}");
        let mut batch = storage.batch();
        for number in 0..5 {
            batch.keyval_set(&space(), &number.to_string(), &vec![0; MAX_VALUE_BYTES]);
        }
        let error = batch.commit().await.unwrap_err();
        assert!(matches!(error, StorageError::TooLarge { what: "A batch", .. }), "{error}");
        let mut batch = storage.batch();
        for _ in 0..1_000_000 {
            batch.keyval_delete(&space(), "");
        }
        let error = batch.commit().await.unwrap_err();
        assert!(matches!(error, StorageError::TooLarge { what: "A batch", .. }), "{error}");
        assert_eq!(keyval.keys("", None, 10).await.unwrap().keys.len(), 0);
    }
}

#[tokio::test]
async fn accounts_are_inserted_once_changed_listed_and_removed() {
    for storage in stores().all {
        let accounts = storage.accounts();
        let row = |credentials: &[u8]| AccountRow { created: Timestamp(5), credentials: credentials.into() };
        for name in ["carol", "alice", "bob"] {
            accounts.insert("example.org", name, row(b"one")).await.unwrap();
        }
        accounts.insert("example.com", "alice", row(b"other")).await.unwrap();
        assert!(matches!(
            accounts.insert("example.org", "bob", row(b"two")).await,
            Err(StorageError::Exists { what }) if what == "The account bob@example.org"
        ));
        accounts.set_credentials("example.org", "bob", b"two".to_vec()).await.unwrap();
        assert!(accounts.get("example.org", "bob").await.unwrap() == Some(row(b"two")));
        assert!(accounts.get("example.com", "alice").await.unwrap() == Some(row(b"other")));
        assert!(matches!(
            accounts.set_credentials("example.com", "bob", vec![]).await,
            Err(StorageError::Missing { .. })
        ));
        let page = accounts.list("example.org", None, 2).await.unwrap();
        assert_eq!(page, KeyPage { keys: vec!["alice".into(), "bob".into()], more: true });
        let page = accounts.list("example.org", Some("bob"), 2).await.unwrap();
        assert_eq!(page, KeyPage { keys: vec!["carol".into()], more: false });
        assert!(accounts.remove("example.org", "bob").await.unwrap());
        assert!(!accounts.remove("example.org", "bob").await.unwrap());
        assert_eq!(accounts.count("example.org").await.unwrap(), 2);
    }
}

#[tokio::test]
async fn an_archive_is_ordered_by_time_then_by_appending() {
    for storage in stores().all {
        let archive = storage.archive(&space());
        for (at, value) in [(5, "c"), (1, "a"), (5, "d"), (3, "b")] {
            archive.append("owner", entry(at, None, value)).await.unwrap();
        }
        let mut query = ArchiveQuery::of("owner", 10);
        assert_eq!(values(&archive.query(query.clone()).await.unwrap()), ["a", "b", "c", "d"]);
        query.reverse = true;
        query.limit = 3;
        let page = archive.query(query).await.unwrap();
        assert_eq!((values(&page), page.complete), (vec!["d", "c", "b"], false));
    }
}

#[tokio::test]
async fn paging_from_an_id_that_is_not_there_is_said_so() {
    for storage in stores().all {
        let archive = storage.archive(&space());
        let id = archive.append("owner", entry(1, None, "x")).await.unwrap();
        let guessed = ArchiveId { nonce: id.nonce ^ 1, ..id };
        for (owner, id) in [("other", id), ("owner", guessed)] {
            let query = ArchiveQuery { after: Some(id), ..ArchiveQuery::of(owner, 10) };
            let error = archive.query(query).await.unwrap_err();
            assert!(matches!(error, StorageError::NoSuchEntry { .. }), "{error}");
            assert_eq!(archive.get(owner, id).await.unwrap(), None);
        }
    }
}

#[tokio::test]
async fn a_page_ends_early_when_its_values_are_large() {
    for storage in stores().all {
        let archive = storage.archive(&space());
        let large = "x".repeat(3 << 20);
        for _ in 0..3 {
            archive.append("owner", entry(1, None, &large)).await.unwrap();
        }
        let page = archive.query(ArchiveQuery::of("owner", 10)).await.unwrap();
        assert_eq!((page.entries.len(), page.complete), (1, false));
    }
}

#[tokio::test]
async fn entries_are_purged_by_age_and_by_owner_only() {
    for storage in stores().all {
        let archive = storage.archive(&space());
        for at in 0..1200 {
            archive_batch(&storage, at).await;
        }
        let step = ArchiveDelete { owner: None, older_than: Some(Timestamp(600)), limit: 10 };
        assert_eq!(archive.delete(step).await.unwrap(), 10);
        let oldest = archive.query(ArchiveQuery::of("alice", 1)).await.unwrap();
        assert_eq!(oldest.entries[0].at, Timestamp(5));
        assert_eq!(archive.purge(Some("alice"), Some(Timestamp(600))).await.unwrap(), 595);
        assert_eq!(archive.purge(Some("alice"), None).await.unwrap(), 600);
        assert_eq!(archive.purge(None, Some(Timestamp(600))).await.unwrap(), 595);
        let left = ArchiveQuery { count: true, ..ArchiveQuery::of("bob", 0) };
        let page = archive.query(left).await.unwrap();
        assert_eq!((page.total, page.complete), (Some(Total { rows: 600, more: false }), false));
        assert_eq!(archive.purge(None, None).await.unwrap(), 600);
    }
}

#[tokio::test]
async fn single_entries_are_removed_from_their_owners_archive_only() {
    for storage in stores().all {
        let archive = storage.archive(&space());
        let mut ids = Vec::new();
        for text in ["a", "b", "c"] {
            ids.push(archive.append("alice", entry(1, None, text)).await.unwrap());
        }
        assert_eq!(archive.remove("bob", &ids).await.unwrap(), 0, "not his");
        assert_eq!(archive.remove("alice", &[]).await.unwrap(), 0);
        assert_eq!(archive.remove("alice", &[ids[2], ids[0], ids[0]]).await.unwrap(), 2);
        let left = archive.query(ArchiveQuery::of("alice", 10)).await.unwrap().entries;
        assert_eq!(left.iter().map(|entry| entry.value.as_slice()).collect::<Vec<_>>(), [b"b"]);
    }
}

async fn archive_batch(storage: &Storage, at: i64) {
    let mut batch = storage.batch();
    batch.archive_append(&space(), "alice", entry(at, None, "x"));
    batch.archive_append(&space(), "bob", entry(at, None, "x"));
    batch.commit().await.unwrap();
}

#[test]
fn archive_ids_are_text_that_sorts_like_the_ids() {
    let ids = [(1, 7), (2, 0), (2, 1), (i64::MAX, u32::MAX)].map(|(stamp, nonce)| ArchiveId { stamp, nonce });
    let texts = ids.map(|id| id.to_string());
    assert!(texts.is_sorted());
    assert_eq!(texts.map(|text| text.parse::<ArchiveId>().unwrap()), ids);
    for text in ["", "0", "+00000000000000100000001", "00000000000000010000000G", "0000000000000001000000AB"]
    {
        assert_eq!(text.parse::<ArchiveId>(), Err(NotAnArchiveId), "{text}");
    }
    assert_eq!("ffffffffffffffff00000000".parse::<ArchiveId>(), Err(NotAnArchiveId));
}

#[tokio::test]
async fn a_second_server_on_the_same_file_is_refused_until_the_first_has_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let first = Storage::open(&path).unwrap();
    let error = Storage::open(&path).unwrap_err();
    assert!(matches!(error, StorageError::InUse { .. }), "{error}");
    first.keyval(&space()).set("key", b"value").await.unwrap();
    first.close().await.unwrap();
    let second = Storage::open(&path).unwrap();
    assert_eq!(second.keyval(&space()).get("key").await.unwrap().as_deref(), Some(&b"value"[..]));
}

#[tokio::test]
async fn reads_go_on_when_the_store_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { max_bytes: Some(256 << 10), ..Options::default() };
    let storage = Storage::open_with(folder.path().join("store.sqlite"), options).unwrap();
    let keyval = storage.keyval(&space());
    let mut written = 0;
    let error = loop {
        match keyval.set(&written.to_string(), &[1; 4096]).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_resource_constraint() && !error.is_transient(), "{error}");
    assert!(written > 10);
    for number in 0..written {
        assert!(keyval.get(&number.to_string()).await.unwrap().is_some());
    }
    keyval.delete("0").await.unwrap();
    keyval.set("again", b"there is room").await.unwrap();
}

#[tokio::test]
async fn facts_about_the_database_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let storage = Storage::open(&path).unwrap();
    storage.keyval(&space()).set("key", &[0; 100_000]).await.unwrap();
    let info = storage.db_info().await.unwrap();
    assert_eq!((info.commits, info.batches, info.failed, info.shed, info.queued), (1, 1, 0, 0, 0));
    assert_eq!((info.path.as_deref(), info.schema, info.survives_power_loss), (Some(&*path), 1, true));
    assert!(info.engine.starts_with("SQLite 3.") && info.bytes > 0 && info.wal_bytes > 100_000, "{info:?}");
}

/// An archive of one owner, as the model sees it: (time, peer), in the order of appending.
type Model = Vec<(i64, Option<&'static str>)>;

fn model() -> impl Strategy<Value = Model> {
    let peer = prop_oneof![Just(None), Just(Some("bob")), Just(Some("carol"))];
    prop::collection::vec((-5..15_i64, peer), 0..40)
}

/// Filters: peer, start, end.
fn filters() -> impl Strategy<Value = (Option<&'static str>, Option<i64>, Option<i64>)> {
    (prop_oneof![Just(None), Just(Some("bob"))], prop::option::of(-5..15_i64), prop::option::of(-5..15_i64))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// However an archive is paged, forwards or backwards, with whatever filter and page size, each matching entry comes
    /// exactly once and in order; `complete` is told at the end and nowhere else.
    #[test]
    fn paging_shows_each_matching_entry_once(
        model in model(), (with, start, end) in filters(), limit in 1..7_u32, reverse: bool, count: bool
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let storage = Storage::open_in_memory().unwrap();
            let ids = append_all(&storage, &model).await;
            let mut expected = matching(&model, &ids, with, start, end);
            if reverse {
                expected.reverse();
            }
            let mut query = ArchiveQuery { with: with.map(Into::into), reverse, count, ..ArchiveQuery::of("alice", limit) };
            (query.start, query.end) = (start.map(Timestamp), end.map(Timestamp));
            let (mut seen, archive) = (Vec::new(), storage.archive(&space()));
            loop {
                let page = archive.query(query.clone()).await.unwrap();
                let total = count.then_some(Total { rows: expected.len() as u64, more: false });
                assert_eq!(page.total, total);
                seen.extend(page.entries.iter().map(|entry| entry.id));
                assert_eq!(page.complete, seen.len() == expected.len());
                if page.complete {
                    break;
                }
                assert_eq!(page.entries.len(), limit as usize);
                let last = seen.last().copied();
                if reverse { query.before = last } else { query.after = last }
            }
            assert_eq!(seen, expected);
        });
    }

    /// `after` and `before` together cut exactly the entries between two known ones, in either direction.
    #[test]
    fn two_ids_enclose_what_stands_between_them(model in model(), low: prop::sample::Index, high: prop::sample::Index) {
        prop_assume!(!model.is_empty());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let storage = Storage::open_in_memory().unwrap();
            let ids = append_all(&storage, &model).await;
            let order = matching(&model, &ids, None, None, None);
            let (low, high) = (low.index(order.len()), high.index(order.len()));
            let between = order.get(low + 1..high).unwrap_or_default();
            let mut query = ArchiveQuery::of("alice", 100);
            (query.after, query.before) = (Some(order[low]), Some(order[high]));
            let page = storage.archive(&space()).query(query).await.unwrap();
            let seen: Vec<_> = page.entries.iter().map(|entry| entry.id).collect();
            assert_eq!(seen, between);
        });
    }
}

async fn append_all(storage: &Storage, model: &Model) -> Vec<ArchiveId> {
    let mut batch = storage.batch();
    for (at, with) in model {
        batch.archive_append(&space(), "alice", entry(*at, *with, "x"));
        batch.archive_append(&space(), "somebody else", entry(*at, *with, "x"));
    }
    let outcomes = batch.commit().await.unwrap();
    let id = |outcome: &Outcome| match outcome {
        Outcome::Appended(id) => *id,
        Outcome::Changed(_) => panic!("no id"),
    };
    outcomes.iter().step_by(2).map(id).collect()
}

fn matching(
    model: &Model,
    ids: &[ArchiveId],
    with: Option<&str>,
    start: Option<i64>,
    end: Option<i64>,
) -> Vec<ArchiveId> {
    let fits = |(at, peer): &(i64, Option<&str>)| {
        with.is_none_or(|with| *peer == Some(with))
            && start.is_none_or(|start| *at >= start)
            && end.is_none_or(|end| *at <= end)
    };
    let mut found: Vec<_> = model.iter().zip(ids).filter(|(row, _)| fits(row)).collect();
    found.sort_by_key(|((at, _), id)| (*at, **id));
    found.into_iter().map(|(_, id)| *id).collect()
}
