//! Reading keyval and map stores and account rows.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::storage::{AccountRow, KeyPage, MAX_BATCH_BYTES, Space, StorageError, Timestamp};

type Found<T> = Result<T, StorageError>;

/// The value of a key.
pub(super) fn keyval_get(connection: &Connection, space: &Space, key: &str) -> Found<Option<Vec<u8>>> {
    const SQL: &str = "SELECT value FROM keyval WHERE key = ?3
        AND space = (SELECT id FROM space WHERE vhost = ?1 AND owner = ?2)";
    let names = params![space.vhost(), space.owner(), key];
    Ok(connection.prepare_cached(SQL)?.query_row(names, |row| row.get(0)).optional()?)
}

/// A page of keys.
pub(super) fn keyval_keys(
    connection: &Connection,
    space: &Space,
    prefix: &str,
    after: Option<String>,
    limit: u32,
) -> Found<KeyPage> {
    const SQL: &str = "SELECT key FROM keyval WHERE key >= ?3
        AND space = (SELECT id FROM space WHERE vhost = ?1 AND owner = ?2) ORDER BY key LIMIT ?4";
    keys(connection, SQL, space, prefix, after, limit)
}

/// One field of a key.
pub(super) fn map_get(
    connection: &Connection,
    space: &Space,
    key: &str,
    field: &str,
) -> Found<Option<Vec<u8>>> {
    const SQL: &str = "SELECT value FROM map WHERE key = ?3 AND field = ?4
        AND space = (SELECT id FROM space WHERE vhost = ?1 AND owner = ?2)";
    let names = params![space.vhost(), space.owner(), key, field];
    Ok(connection.prepare_cached(SQL)?.query_row(names, |row| row.get(0)).optional()?)
}

/// All fields of a key; refused rather than read into memory when they are more than a batch can hold.
pub(super) fn map_all(connection: &Connection, space: &Space, key: &str) -> Found<Vec<(String, Vec<u8>)>> {
    const SQL: &str = "SELECT field, value FROM map WHERE key = ?3
        AND space = (SELECT id FROM space WHERE vhost = ?1 AND owner = ?2) ORDER BY field";
    let mut statement = connection.prepare_cached(SQL)?;
    let mut rows = statement.query(params![space.vhost(), space.owner(), key])?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let (field, value): (String, Vec<u8>) = row.try_into()?;
        bytes += field.len() + value.len();
        if bytes > MAX_BATCH_BYTES {
            return Err(StorageError::TooLarge { what: "A map", bytes, limit: MAX_BATCH_BYTES });
        }
        found.push((field, value));
    }
    Ok(found)
}

/// A page of keys that have fields.
pub(super) fn map_keys(
    connection: &Connection,
    space: &Space,
    prefix: &str,
    after: Option<String>,
    limit: u32,
) -> Found<KeyPage> {
    const SQL: &str = "SELECT DISTINCT key FROM map WHERE key >= ?3
        AND space = (SELECT id FROM space WHERE vhost = ?1 AND owner = ?2) ORDER BY key LIMIT ?4";
    keys(connection, SQL, space, prefix, after, limit)
}

/// A page of owners that have archive entries.
pub(super) fn archive_owners(
    connection: &Connection,
    space: &Space,
    prefix: &str,
    after: Option<String>,
    limit: u32,
) -> Found<KeyPage> {
    const SQL: &str = "SELECT DISTINCT owner FROM archive WHERE owner >= ?3
        AND space = (SELECT id FROM space WHERE vhost = ?1 AND owner = ?2) ORDER BY owner LIMIT ?4";
    keys(connection, SQL, space, prefix, after, limit)
}

/// Whether a module has a key space, be it of a named store.
pub(super) fn has_stores(connection: &Connection, module: &Space) -> Found<bool> {
    const SQL: &str = "SELECT 1 FROM space WHERE vhost = ?1
        AND (owner = ?2 OR substr(owner, 1, length(?2) + 1) = ?2 || '/')";
    Ok(connection.prepare_cached(SQL)?.exists([module.vhost(), module.owner()])?)
}

/// One account.
pub(super) fn account_get(
    connection: &Connection,
    vhost: &str,
    localpart: &str,
) -> Found<Option<AccountRow>> {
    const SQL: &str = "SELECT created, credentials FROM account WHERE vhost = ?1 AND localpart = ?2";
    let row = |row: &Row<'_>| Ok(AccountRow { created: Timestamp(row.get(0)?), credentials: row.get(1)? });
    Ok(connection.prepare_cached(SQL)?.query_row([vhost, localpart], row).optional()?)
}

/// A page of localparts.
pub(super) fn account_list(
    connection: &Connection,
    vhost: &str,
    after: Option<String>,
    limit: u32,
) -> Found<KeyPage> {
    const SQL: &str =
        "SELECT localpart FROM account WHERE vhost = ?1 AND localpart >= ?2 ORDER BY localpart LIMIT ?3";
    let mut statement = connection.prepare_cached(SQL)?;
    let rows = statement.query_map(params![vhost, first("", after), limit + 1], |row| row.get(0))?;
    Ok(page(rows.collect::<Result<_, _>>()?, limit))
}

/// How many accounts a vhost has.
pub(super) fn account_count(connection: &Connection, vhost: &str) -> Found<u64> {
    const SQL: &str = "SELECT count(*) FROM account WHERE vhost = ?1";
    let rows: i64 = connection.prepare_cached(SQL)?.query_row([vhost], |row| row.get(0))?;
    Ok(rows.unsigned_abs())
}

/// Keys of one space. The page ends where the prefix ends, which needs no pattern and no escaping.
fn keys(
    connection: &Connection,
    sql: &str,
    space: &Space,
    prefix: &str,
    after: Option<String>,
    limit: u32,
) -> Found<KeyPage> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![space.vhost(), space.owner(), first(prefix, after), limit + 1])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        if !key.starts_with(prefix) {
            break;
        }
        found.push(key);
    }
    Ok(page(found, limit))
}

/// The first key that may be on the page, so that one comparison seeks to it. In byte order nothing stands between a
/// key and the same key with a zero byte behind it.
fn first(prefix: &str, after: Option<String>) -> String {
    let behind = after.map(|after| after + "\0").unwrap_or_default();
    behind.max(prefix.into())
}

/// Cuts the one key off that was read to see whether more follow.
fn page(mut keys: Vec<String>, limit: u32) -> KeyPage {
    let limit = limit as usize;
    let more = keys.len() > limit;
    keys.truncate(limit);
    KeyPage { keys, more }
}
