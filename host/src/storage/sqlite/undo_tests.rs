use super::super::schema::{Location, open_writer};
use super::super::{Options, apply::Applier};
use super::*;
use crate::storage::{ArchiveDelete, ArchiveId, NewEntry, Outcome, Timestamp, Write};

fn opened(name: &str) -> (Connection, Applier) {
    let connection = open_writer(&Location::Memory(name.into()), &Options::default()).unwrap();
    let applier = Applier::open(&connection).unwrap();
    (connection, applier)
}

fn mine() -> Space {
    Space::module("v", "mod_a")
}

fn apply((connection, applier): &mut (Connection, Applier), write: Write) -> Outcome {
    applier.apply(connection, &[write]).unwrap()[0]
}

fn set(store: &mut (Connection, Applier), space: &Space, key: &str, value: &str) {
    apply(store, Write::KeyvalSet { space: space.clone(), key: key.into(), value: value.into() });
}

fn field(store: &mut (Connection, Applier), field: &str, value: Option<&str>) {
    let fields = vec![(field.to_owned(), value.map(Into::into))];
    apply(store, Write::MapSet { space: mine().store("m"), key: "k".into(), fields });
}

fn append(store: &mut (Connection, Applier), value: &str) -> ArchiveId {
    let entry = NewEntry { at: Some(Timestamp(5)), with: Some("w".into()), value: value.into(), id: None };
    let write = Write::ArchiveAppend { space: mine().store("log"), owner: "o".into(), entry };
    let Outcome::Appended(id) = apply(store, write) else { panic!("an append gives an id") };
    id
}

/// Everything, as text.
fn content(connection: &Connection) -> Vec<String> {
    let all = "SELECT 'k' || space || key || hex(value) FROM keyval
        UNION ALL SELECT 'm' || space || key || field || hex(value) FROM map
        UNION ALL SELECT 'a' || id || nonce || space || owner || at || peer || hex(value) FROM archive
        UNION ALL SELECT 's' || id || vhost || owner FROM space ORDER BY 1";
    let mut statement = connection.prepare(all).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// A store with some of everything, and what a migration does to it, in every kind of change.
fn filled(name: &str) -> ((Connection, Applier), ArchiveId, Vec<String>) {
    let mut store = opened(name);
    set(&mut store, &mine(), "one", "1");
    set(&mut store, &mine().store("s"), "two", "2");
    field(&mut store, "a", Some("x"));
    field(&mut store, "b", Some("y"));
    let id = append(&mut store, "first");
    append(&mut store, "second");
    let before = content(&store.0);
    (store, id, before)
}

fn change(store: &mut (Connection, Applier), id: ArchiveId) {
    set(store, &mine(), "one", "I");
    set(store, &mine(), "one", "again");
    set(store, &mine(), "new", "n");
    apply(store, Write::KeyvalDelete { space: mine().store("s"), key: "two".into() });
    set(store, &mine().store("s"), "two", "back");
    field(store, "a", None);
    field(store, "b", Some("Y"));
    field(store, "c", Some("Z"));
    let (space, owner) = (mine().store("log"), "o".to_owned());
    apply(store, Write::ArchiveReplace { space: space.clone(), owner, id, value: b"other".into() });
    append(store, "third");
    set(store, &mine().store("made by the migration"), "x", "y");
    apply(
        store,
        Write::ArchiveDelete { space, delete: ArchiveDelete { owner: None, older_than: None, limit: 9 } },
    );
}

#[test]
fn an_undo_puts_every_row_back_and_touches_no_other() {
    let (mut store, id, _) = filled("/undo-rows");
    let other = Space::module("v", "mod_ab");
    set(&mut store, &other, "k", "old");
    let before = content(&store.0);
    begin(&mut store.0, &[mine()]).unwrap();
    change(&mut store, id);
    assert_ne!(content(&store.0), before);
    undo(&mut store.0).unwrap();
    assert_eq!(content(&store.0), before);

    begin(&mut store.0, &[mine()]).unwrap();
    set(&mut store, &other, "k", "new");
    set(&mut store, &Space::module("w", "mod_a"), "k", "elsewhere");
    undo(&mut store.0).unwrap();
    assert_eq!(
        content(&store.0).len(),
        before.len() + 2,
        "what others wrote meanwhile stays, in a space of its own"
    );
}

#[test]
fn what_is_decided_stands_with_its_number_and_can_be_undone_until_the_end() {
    let (mut store, id, before) = filled("/undo-decided");
    begin(&mut store.0, &[mine()]).unwrap();
    change(&mut store, id);
    let changed = content(&store.0).len();
    decide(&mut store.0, &[(mine(), 2)]).unwrap();
    assert_eq!(content(&store.0).len(), changed + 2, "the number is there, in a space of its own");
    undo(&mut store.0).unwrap();
    assert_eq!(content(&store.0), before, "and gone again");

    begin(&mut store.0, &[mine()]).unwrap();
    decide(&mut store.0, &[(mine(), 2)]).unwrap();
    end(&mut store.0).unwrap();
    let after = content(&store.0);
    undo(&mut store.0).unwrap();
    assert_eq!(content(&store.0), after, "at the end there is no way back");
}

#[test]
fn a_server_that_died_in_between_finds_the_way_it_had_taken() {
    let (mut store, id, before) = filled("/undo-recover");
    begin(&mut store.0, &[mine()]).unwrap();
    change(&mut store, id);
    recover(&mut store.0).unwrap();
    assert_eq!(content(&store.0), before);

    begin(&mut store.0, &[mine()]).unwrap();
    change(&mut store, id);
    decide(&mut store.0, &[(mine(), 2)]).unwrap();
    let decided = content(&store.0);
    recover(&mut store.0).unwrap();
    assert_eq!(content(&store.0), decided);
    recover(&mut store.0).unwrap();
}

#[test]
fn nothing_is_copied_and_no_second_one_begins_meanwhile() {
    let (mut store, ..) = filled("/undo-copies");
    refuse_while_under_way(&store.0).unwrap();
    begin(&mut store.0, &[mine()]).unwrap();
    assert!(matches!(refuse_while_under_way(&store.0), Err(StorageError::Migrating)));
    assert!(matches!(begin(&mut store.0, &[mine()]), Err(StorageError::Migrating)));
    end(&mut store.0).unwrap();
    refuse_while_under_way(&store.0).unwrap();
    end(&mut store.0).unwrap();
}
