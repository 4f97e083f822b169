use std::path::{Path, PathBuf};

use crate::storage::{AccountRow, ArchiveQuery, Form, NewEntry, Space, Storage, StorageError, Timestamp};

async fn filled(folder: &Path) -> Storage {
    let storage = Storage::open(folder.join("store.sqlite")).unwrap();
    let space = Space::module("example.org", "mod_a");
    storage.keyval(&space).set("key \"1\"", b"\0binary\xff").await.unwrap();
    storage.map(&space).set("key", &[("field", Some(&b"value"[..]))]).await.unwrap();
    let entry = NewEntry { at: None, with: None, value: b"<message/>".to_vec(), id: None };
    storage.archive(&space).append("ann", entry).await.unwrap();
    storage
        .accounts()
        .insert("example.org", "ann", AccountRow { created: Timestamp::now(), credentials: vec![1] })
        .await
        .unwrap();
    storage
}

async fn content(storage: &Storage) -> (Option<Vec<u8>>, Option<Vec<u8>>, usize, u64) {
    let space = Space::module("example.org", "mod_a");
    (
        storage.keyval(&space).get("key \"1\"").await.unwrap(),
        storage.map(&space).get("key", "field").await.unwrap(),
        storage.archive(&space).query(ArchiveQuery::of("ann", 10)).await.unwrap().entries.len(),
        storage.accounts().count("example.org").await.unwrap(),
    )
}

#[tokio::test]
async fn what_was_saved_takes_the_place_of_everything() {
    for form in [Form::Backup, Form::Dump] {
        let folder = tempfile::tempdir().unwrap();
        let storage = filled(folder.path()).await;
        let (before, file) = (content(&storage).await, folder.path().join("saved"));
        storage.save(&file, form).await.unwrap();
        assert!(matches!(storage.save(&file, form).await, Err(StorageError::Copy { .. })), "not overwritten");

        let other = Space::module("example.org", "mod_b");
        storage.keyval(&other).set("later", b"gone").await.unwrap();
        storage.accounts().remove("example.org", "ann").await.unwrap();
        storage.replace(&file, form).await.unwrap();
        assert_eq!(content(&storage).await, before, "{form:?}");
        assert_eq!(storage.keyval(&other).get("later").await.unwrap(), None);
        // Spaces that came with the file are found, those that went with it are made anew.
        storage.keyval(&other).set("again", b"here").await.unwrap();
        assert_eq!(storage.keyval(&other).get("again").await.unwrap().as_deref(), Some(&b"here"[..]));
        assert_eq!(content(&storage).await, before, "{form:?}");
        let left = std::fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.path());
        assert!(!left.into_iter().any(|path: PathBuf| path.to_string_lossy().contains("loading")));
        storage.close().await.unwrap();
    }
}

#[tokio::test]
async fn two_dumps_of_one_content_are_the_same_text() {
    let folder = tempfile::tempdir().unwrap();
    let storage = filled(folder.path()).await;
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    storage.save(&one, Form::Dump).await.unwrap();
    storage.replace(&one, Form::Dump).await.unwrap();
    storage.save(&two, Form::Dump).await.unwrap();
    assert_eq!(std::fs::read_to_string(one).unwrap(), std::fs::read_to_string(two).unwrap());
}

#[tokio::test]
async fn a_file_that_cannot_be_taken_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let storage = filled(folder.path()).await;
    let before = content(&storage).await;
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let head = "{\"moult\":\"store\",\"schema\":1}\n";
    let cases = [
        (folder.path().join("nowhere"), Form::Backup),
        (folder.path().join("nowhere"), Form::Dump),
        (file("text", "no database"), Form::Backup),
        (file("empty", ""), Form::Dump),
        (file("other", "{\"moult\":\"store\",\"schema\":99}\n"), Form::Dump),
        (file("table", &format!("{head}{{\"nothing\":{{}}}}\n")), Form::Dump),
        (file("columns", &format!("{head}{{\"space\":{{\"id\":1}}}}\n")), Form::Dump),
        (file("cut", &format!("{head}{{\"space\":{{\"id\":1,")), Form::Dump),
    ];
    for (path, form) in cases {
        let error = storage.replace(&path, form).await.unwrap_err();
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
        assert_eq!(content(&storage).await, before, "{}", path.display());
    }
}
