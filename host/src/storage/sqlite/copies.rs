//! Whole databases: backup and restore as database files, dump and load as text.
//!
//! A text dump has one JSON object per line: first `{"moult":"store","schema":1}`, then `{"table":{"column":value,…}}` for each
//! row; a blob is `{"base64":"…"}`. It can be read, compared and edited; a backup is smaller and faster.
//!
//! Whatever comes in replaces everything, in one transaction: readers see the old content or the new, and a file that
//! cannot be taken changes nothing.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rusqlite::types::{Value as Sql, ValueRef};
use rusqlite::{Connection, TransactionBehavior, params_from_iter};
use serde_json::{Map, Value, json};

use super::schema::{self, Location};
use super::undo;
use super::{Durability, Options};
use crate::storage::{MAX_VALUE_BYTES, StorageError};

/// Longest line of a dump: the largest value in base64, its key, and the names.
const MAX_LINE: u64 = (MAX_VALUE_BYTES as u64) * 2;

/// Writes the whole database into a new file.
pub(super) fn backup(connection: &Connection, to: &Path) -> Result<(), StorageError> {
    undo::refuse_while_under_way(connection)?;
    // Made first, so that nobody else can open it, and a file that is there is not overwritten.
    create(to)?;
    let name = to.to_string_lossy();
    connection.execute("VACUUM INTO ?1", [&*name])?;
    File::open(to).and_then(|file| file.sync_all()).map_err(|error| unusable(to, &error))
}

/// Writes the whole database as text into a new file.
pub(super) fn dump(connection: &Connection, to: &Path) -> Result<(), StorageError> {
    let file = create(to)?;
    let mut out = BufWriter::new(file);
    // One transaction, so that all lines are of the same moment.
    let reading = connection.unchecked_transaction()?;
    undo::refuse_while_under_way(&reading)?;
    let head = json!({ "moult": "store", "schema": schema::VERSION });
    writeln!(out, "{head}").map_err(|error| unusable(to, &error))?;
    for table in tables(&reading)? {
        dump_table(&reading, &table, |line| writeln!(out, "{line}").map_err(|error| unusable(to, &error)))?;
    }
    let file = out.into_inner().map_err(|error| unusable(to, error.error()))?;
    file.sync_all().map_err(|error| unusable(to, &error))
}

/// Makes a database file beside a dump out of it; the caller removes it.
pub(super) fn undump(from: &Path) -> Result<PathBuf, StorageError> {
    let file = File::open(from).map_err(|error| unusable(from, &error))?;
    let mut name = from.as_os_str().to_owned();
    name.push(format!(".{}.loading", std::process::id()));
    let made = PathBuf::from(name);
    create(&made)?;
    let filled = fill(&made, from, BufReader::new(file));
    if filled.is_err() {
        remove(&made);
    }
    filled.map(|()| made)
}

/// Removes a database that [`undump`] made, with its log.
pub(super) fn remove(made: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = made.as_os_str().to_owned();
        name.push(suffix);
        // What is not there need not be removed.
        let _ = std::fs::remove_file(PathBuf::from(name));
    }
}

/// Puts the content of the database file `from` in place of everything.
pub(super) fn replace(connection: &mut Connection, from: &Path) -> Result<(), StorageError> {
    schema::check(from)?;
    undo::refuse_while_under_way(connection)?;
    connection.execute("ATTACH DATABASE ?1 AS source", [&*from.to_string_lossy()])?;
    let replaced = replace_attached(connection, from);
    let detached = connection.execute("DETACH DATABASE source", []);
    replaced?;
    detached?;
    Ok(())
}

fn replace_attached(connection: &mut Connection, from: &Path) -> Result<(), StorageError> {
    let sound: String = connection.query_row("PRAGMA source.integrity_check(1)", [], |row| row.get(0))?;
    if sound != "ok" {
        return Err(unusable(from, &sound));
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for table in tables(&transaction)? {
        let columns = columns(&transaction, &table)?.join(", ");
        transaction.execute(&format!("DELETE FROM main.{table}"), [])?;
        let copy = format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM source.{table}");
        transaction.execute(&copy, [])?;
    }
    Ok(transaction.commit()?)
}

fn fill(made: &Path, from: &Path, mut lines: BufReader<File>) -> Result<(), StorageError> {
    let options = Options { durability: Durability::ProcessDeath, ..Options::default() };
    let mut connection = schema::open_writer(&Location::File(made.into()), &options)?;
    let transaction = connection.transaction()?;
    let mut number = 0;
    while let Some(line) = next_line(&mut lines).map_err(|error| unusable(from, &error))? {
        number += 1;
        let wrong = |why: &str| unusable(from, &format!("line {number}: {why}"));
        let object: Map<String, Value> = serde_json::from_str(&line).map_err(|e| wrong(&e.to_string()))?;
        if number == 1 {
            let schema = object.get("schema").and_then(Value::as_u64);
            if object.get("moult") != Some(&json!("store")) || schema != Some(schema::VERSION.into()) {
                return Err(wrong("this is no dump of a store of this version"));
            }
            continue;
        }
        insert(&transaction, object).map_err(|why| wrong(&why))?;
    }
    if number == 0 {
        return Err(unusable(from, &"it is empty"));
    }
    Ok(transaction.commit()?)
}

/// A line of bounded length, without its end; `None` at the end of the file.
fn next_line(lines: &mut BufReader<File>) -> std::io::Result<Option<String>> {
    let mut line = String::new();
    let mut bounded = std::io::Read::take(&mut *lines, MAX_LINE);
    match bounded.read_line(&mut line)? {
        0 => Ok(None),
        read if read as u64 == MAX_LINE => Err(std::io::Error::other("a line is too long")),
        _ => Ok(Some(line.trim_end().to_owned())),
    }
}

fn insert(connection: &Connection, object: Map<String, Value>) -> Result<(), String> {
    let (Some((table, Value::Object(row))), 1) = (object.iter().next(), object.len()) else {
        return Err("it is no row".into());
    };
    let known = tables(connection).map_err(|error| error.to_string())?;
    if !known.contains(table) {
        return Err(format!("there is no table {table}"));
    }
    let columns = columns(connection, table).map_err(|error| error.to_string())?;
    if row.len() != columns.len() || !columns.iter().all(|column| row.contains_key(column)) {
        return Err(format!("a row of {table} has the columns {}", columns.join(", ")));
    }
    let values: Result<Vec<Sql>, String> = columns.iter().map(|column| value(&row[column])).collect();
    let marks = vec!["?"; columns.len()].join(", ");
    let statement = format!("INSERT INTO {table} ({}) VALUES ({marks})", columns.join(", "));
    let mut statement = connection.prepare_cached(&statement).map_err(|error| error.to_string())?;
    statement.execute(params_from_iter(values?)).map_err(|error| error.to_string()).map(drop)
}

fn dump_table(
    connection: &Connection,
    table: &str,
    mut write: impl FnMut(Value) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let columns = columns(connection, table)?;
    let mut statement =
        connection.prepare(&format!("SELECT {} FROM {table} ORDER BY rowid", columns.join(", ")))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut object = Map::new();
        for (index, column) in columns.iter().enumerate() {
            object.insert(column.clone(), text(row.get_ref(index)?));
        }
        write(json!({ table: object }))?;
    }
    Ok(())
}

fn text(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
        ValueRef::Blob(bytes) => json!({ "base64": BASE64.encode(bytes) }),
    }
}

fn value(text: &Value) -> Result<Sql, String> {
    match text {
        Value::Null => Ok(Sql::Null),
        Value::Number(number) => {
            number.as_i64().map(Sql::Integer).ok_or_else(|| "a number is too large".into())
        }
        Value::String(text) => Ok(Sql::Text(text.clone())),
        Value::Object(object) => {
            let bytes =
                object.get("base64").and_then(Value::as_str).and_then(|text| BASE64.decode(text).ok());
            bytes.map(Sql::Blob).ok_or_else(|| "a blob is no base64".into())
        }
        _ => Err("a value is of no known kind".into()),
    }
}

/// Our tables, by name.
fn tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let wanted =
        "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name";
    let mut statement = connection.prepare_cached(wanted)?;
    statement.query_map([], |row| row.get(0))?.collect()
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare_cached("SELECT name FROM pragma_table_info(?1, 'main')")?;
    statement.query_map([table], |row| row.get(0))?.collect()
}

/// A new file for its owner alone: a store holds credentials.
fn create(path: &Path) -> Result<File, StorageError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path).map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> StorageError {
    StorageError::Copy { path: path.into(), reason: why.to_string() }
}
