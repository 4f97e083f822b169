//! The way back from a migration: what a module's stores held before a newer build began to bring them forward.
//!
//! While a migration is under way, triggers note the first image of every row of the key spaces concerned, in tables that
//! exist only so long. All of it is in the database: a server that dies in the middle finds the notes when it opens the
//! file, and puts every row back. Ids and times of archive entries come back as they were.
//!
//! Three steps: [`begin`]; then either [`undo`], or [`decide`] and [`end`]. From `decide` on, a server that dies goes on with
//! the new schema; until `end` an undo is still possible.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::storage::{Space, StorageError};

/// Where the schema numbers of modules lie, see [`crate::storage::schemas`].
const NUMBERS: &str = "@store-schema";

const MAKE: &str = "
    CREATE TABLE undo_scope (vhost TEXT NOT NULL, owner TEXT NOT NULL, decided INTEGER NOT NULL DEFAULT 0,
        last_space INTEGER NOT NULL, UNIQUE (vhost, owner)) STRICT;
    CREATE TABLE undo_keyval (space INTEGER NOT NULL, key TEXT NOT NULL, value BLOB, UNIQUE (space, key)) STRICT;
    CREATE TABLE undo_map (space INTEGER NOT NULL, key TEXT NOT NULL, field TEXT NOT NULL, value BLOB,
        UNIQUE (space, key, field)) STRICT;
    CREATE TABLE undo_archive (id INTEGER PRIMARY KEY, nonce INTEGER, space INTEGER, owner TEXT, at INTEGER, peer TEXT,
        value BLOB) STRICT;
";

const DROP: &str = "
    DROP TABLE undo_scope; DROP TABLE undo_keyval; DROP TABLE undo_map; DROP TABLE undo_archive;
";

/// Every row that is noted: as it was, or as one that was not there. Names of key spaces that nobody uses go, too.
const PUT_BACK: &str = "
    DELETE FROM keyval WHERE (space, key) IN (SELECT space, key FROM undo_keyval);
    INSERT INTO keyval (space, key, value) SELECT space, key, value FROM undo_keyval WHERE value IS NOT NULL;
    DELETE FROM map WHERE (space, key, field) IN (SELECT space, key, field FROM undo_map);
    INSERT INTO map (space, key, field, value)
        SELECT space, key, field, value FROM undo_map WHERE value IS NOT NULL;
    DELETE FROM archive WHERE id IN (SELECT id FROM undo_archive);
    INSERT INTO archive (id, nonce, space, owner, at, peer, value)
        SELECT id, nonce, space, owner, at, peer, value FROM undo_archive WHERE nonce IS NOT NULL;
    DELETE FROM space WHERE id > (SELECT min(last_space) FROM undo_scope)
        AND NOT EXISTS (SELECT 1 FROM keyval k WHERE k.space = space.id)
        AND NOT EXISTS (SELECT 1 FROM map m WHERE m.space = space.id)
        AND NOT EXISTS (SELECT 1 FROM archive a WHERE a.space = space.id);
";

/// The triggers: table, how a row is told from others, what is noted of a row that was there, and of one that was not.
const NOTED: [(&str, &str, &[&str], &[&str]); 3] = [
    ("keyval", "key", &["space", "key", "value"], &["space", "key"]),
    ("map", "field", &["space", "key", "field", "value"], &["space", "key", "field"]),
    ("archive", "id", &["id", "nonce", "space", "owner", "at", "peer", "value"], &["id"]),
];

/// From now on what these modules' stores hold is noted before it is changed.
pub(super) fn begin(connection: &mut Connection, modules: &[Space]) -> Result<(), StorageError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if is_under_way(&transaction)? {
        return Err(under_way());
    }
    transaction.execute_batch(MAKE)?;
    for module in modules {
        let row = params![module.vhost(), module.owner()];
        transaction.execute(
            "INSERT INTO undo_scope (vhost, owner, last_space) SELECT ?1, ?2, coalesce(max(id), 0) FROM space",
            row,
        )?;
    }
    transaction.execute_batch(&triggers())?;
    Ok(transaction.commit()?)
}

/// The stores have these schemas now. An undo is still possible.
pub(super) fn decide(connection: &mut Connection, modules: &[(Space, u32)]) -> Result<(), StorageError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (module, schema) in modules {
        note_number(&transaction, module, *schema)?;
    }
    transaction.execute("UPDATE undo_scope SET decided = 1", [])?;
    Ok(transaction.commit()?)
}

/// There is no way back any more.
pub(super) fn end(connection: &mut Connection) -> Result<(), StorageError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if is_under_way(&transaction)? {
        drop_triggers(&transaction)?;
        transaction.execute_batch(DROP)?;
    }
    Ok(transaction.commit()?)
}

/// Puts everything back, in one transaction.
pub(super) fn undo(connection: &mut Connection) -> Result<(), StorageError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if is_under_way(&transaction)? {
        drop_triggers(&transaction)?;
        transaction.execute_batch(PUT_BACK)?;
        transaction.execute_batch(DROP)?;
    }
    Ok(transaction.commit()?)
}

/// What a server that died left behind: a migration that was decided stands, any other is undone.
pub(super) fn recover(connection: &mut Connection) -> Result<(), StorageError> {
    if !is_under_way(connection)? {
        return Ok(());
    }
    let sql = "SELECT 1 FROM undo_scope WHERE decided = 1";
    let is_decided = connection.query_row(sql, [], |_| Ok(())).optional()?.is_some();
    if is_decided {
        return end(connection);
    }
    tracing::warn!(
        "the server ended while a module brought its stores forward: they are put back as they were"
    );
    undo(connection)
}

/// Refused while a migration is under way: half of it would be copied.
pub(super) fn refuse_while_under_way(connection: &Connection) -> Result<(), StorageError> {
    if is_under_way(connection)? { Err(under_way()) } else { Ok(()) }
}

fn is_under_way(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM main.sqlite_schema WHERE name = 'undo_scope'";
    Ok(connection.query_row(sql, [], |_| Ok(())).optional()?.is_some())
}

fn under_way() -> StorageError {
    StorageError::Migrating
}

/// The schema number, noted like the module's own rows.
fn note_number(connection: &Connection, module: &Space, schema: u32) -> rusqlite::Result<()> {
    let names = params![module.vhost(), NUMBERS];
    connection.execute("INSERT OR IGNORE INTO space (vhost, owner) VALUES (?1, ?2)", names)?;
    let find = "SELECT id FROM space WHERE vhost = ?1 AND owner = ?2";
    let space: i64 = connection.query_row(find, names, |row| row.get(0))?;
    let before = "INSERT OR IGNORE INTO undo_keyval (space, key, value)
        SELECT ?1, ?2, (SELECT value FROM keyval WHERE space = ?1 AND key = ?2)";
    connection.execute(before, params![space, module.owner()])?;
    let set = "INSERT INTO keyval (space, key, value) VALUES (?1, ?2, ?3)
        ON CONFLICT (space, key) DO UPDATE SET value = excluded.value";
    connection.execute(set, params![space, module.owner(), schema.to_string().as_bytes()]).map(drop)
}

/// One trigger per table and kind of change.
fn triggers() -> String {
    let mut all = String::new();
    for (table, told_by, there, absent) in NOTED {
        all += &trigger(table, told_by, "INSERT", "NEW", absent);
        all += &trigger(table, told_by, "UPDATE", "OLD", there);
        all += &trigger(table, told_by, "DELETE", "OLD", there);
    }
    all
}

fn trigger(table: &str, told_by: &str, change: &str, row: &str, noted: &[&str]) -> String {
    let same = match told_by {
        "id" => format!("id = {row}.id"),
        "key" => format!("space = {row}.space AND key = {row}.key"),
        _ => format!("space = {row}.space AND key = {row}.key AND field = {row}.field"),
    };
    let (columns, values) = (noted.join(", "), noted.iter().map(|column| format!("{row}.{column}")));
    let values = values.collect::<Vec<_>>().join(", ");
    // A conflict clause here would give way to that of the statement that fires it: hence the question instead.
    format!(
        "CREATE TRIGGER undo_{table}_{change} AFTER {change} ON {table} WHEN EXISTS (SELECT 1 FROM space s, undo_scope u
            WHERE s.id = {row}.space AND s.vhost = u.vhost
            AND (s.owner = u.owner OR substr(s.owner, 1, length(u.owner) + 1) = u.owner || '/'))
        BEGIN
            INSERT INTO undo_{table} ({columns}) SELECT {values}
                WHERE NOT EXISTS (SELECT 1 FROM undo_{table} WHERE {same});
        END;\n"
    )
}

fn drop_triggers(connection: &Connection) -> rusqlite::Result<()> {
    for (table, ..) in NOTED {
        for change in ["INSERT", "UPDATE", "DELETE"] {
            connection.execute_batch(&format!("DROP TRIGGER undo_{table}_{change}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "undo_tests.rs"]
mod tests;
