//! One write at a time, as SQL inside the writer's transaction. Every value is a bound parameter.

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use crate::storage::{ArchiveDelete, ArchiveId, NewEntry, Outcome, Space, StorageError, Timestamp, Write};

/// Applies writes; remembers the newest archive id, so that ids ascend whatever the clock does.
pub(super) struct Applier {
    last_stamp: i64,
}

impl Applier {
    /// Reads the newest archive id of the file.
    pub(super) fn open(connection: &Connection) -> rusqlite::Result<Applier> {
        let newest = "SELECT coalesce(max(id), 0) FROM archive";
        Ok(Applier { last_stamp: connection.query_row(newest, [], |row| row.get(0))? })
    }

    /// Applies all of `writes` or stops at the first that fails; the caller's savepoint undoes the rest.
    pub(super) fn apply(
        &mut self,
        connection: &Connection,
        writes: &[Write],
    ) -> Result<Vec<Outcome>, StorageError> {
        writes.iter().map(|write| self.apply_one(connection, write)).collect()
    }

    fn apply_one(&mut self, connection: &Connection, write: &Write) -> Result<Outcome, StorageError> {
        let sql = Sql { connection };
        match write {
            Write::KeyvalSet { space, key, value } => sql.keyval_set(space, key, value),
            Write::KeyvalInsert { space, key, value } => sql.keyval_insert(space, key, value),
            Write::KeyvalDelete { space, key } => sql.keyval_delete(space, key),
            Write::MapSet { space, key, fields } => sql.map_set(space, key, fields),
            Write::MapDelete { space, key } => sql.map_delete(space, key),
            Write::ArchiveAppend { space, owner, entry } => {
                let id = match entry.id {
                    Some(id) if sql.is_free(id)? => self.known_id(id),
                    _ => self.new_id()?,
                };
                sql.archive_append(space, owner, entry, id)
            }
            Write::ArchiveDelete { space, delete } => sql.archive_delete(space, delete),
            Write::ArchiveRemove { space, owner, id } => sql.archive_remove(space, owner, *id),
            Write::ArchiveReplace { space, owner, id, value } => {
                sql.archive_replace(space, owner, *id, value)
            }
            Write::AccountInsert { vhost, localpart, row } => {
                sql.account_insert(vhost, localpart, row.created, &row.credentials)
            }
            Write::AccountUpdate { vhost, localpart, credentials } => {
                sql.account_update(vhost, localpart, credentials)
            }
            Write::AccountRemove { vhost, localpart } => sql.account_remove(vhost, localpart),
        }
    }

    /// An id of before: later ones ascend from it, too.
    fn known_id(&mut self, id: ArchiveId) -> ArchiveId {
        self.last_stamp = self.last_stamp.max(id.stamp);
        id
    }

    /// The clock in microseconds, or one more than the last id where the clock stands still or went back.
    fn new_id(&mut self) -> Result<ArchiveId, StorageError> {
        let mut nonce = [0; 4];
        aws_lc_rs::rand::fill(&mut nonce)
            .map_err(|_| StorageError::Failed { reason: "the system gave no random bytes".into() })?;
        self.last_stamp = Timestamp::now().0.max(self.last_stamp.saturating_add(1));
        Ok(ArchiveId { stamp: self.last_stamp, nonce: u32::from_ne_bytes(nonce) })
    }
}

/// Bytes that a write keeps in the queue, its own size included.
pub(super) fn weight(write: &Write) -> usize {
    let payload = match write {
        Write::KeyvalSet { key, value, .. } | Write::KeyvalInsert { key, value, .. } => {
            key.len() + value.len()
        }
        Write::KeyvalDelete { key, .. } | Write::MapDelete { key, .. } => key.len(),
        Write::MapSet { key, fields, .. } => {
            let field =
                |(name, value): &(String, Option<Vec<u8>>)| name.len() + value.as_ref().map_or(0, Vec::len);
            key.len() + fields.iter().map(field).sum::<usize>()
        }
        Write::ArchiveAppend { owner, entry, .. } => {
            owner.len() + entry.with.as_ref().map_or(0, String::len) + entry.value.len()
        }
        Write::ArchiveDelete { delete, .. } => delete.owner.as_ref().map_or(0, String::len),
        Write::ArchiveRemove { owner, .. } => owner.len(),
        Write::ArchiveReplace { owner, value, .. } => owner.len() + value.len(),
        Write::AccountInsert { vhost, localpart, row } => {
            vhost.len() + localpart.len() + row.credentials.len()
        }
        Write::AccountUpdate { vhost, localpart, credentials } => {
            vhost.len() + localpart.len() + credentials.len()
        }
        Write::AccountRemove { vhost, localpart } => vhost.len() + localpart.len(),
    };
    payload + size_of::<Write>()
}

struct Sql<'a> {
    connection: &'a Connection,
}

type Applied = Result<Outcome, StorageError>;

impl Sql<'_> {
    fn keyval_set(&self, space: &Space, key: &str, value: &[u8]) -> Applied {
        const SQL: &str = "INSERT INTO keyval (space, key, value) VALUES (?1, ?2, ?3)
            ON CONFLICT (space, key) DO UPDATE SET value = excluded.value";
        self.execute(SQL, params![self.space(space)?, key, value])
    }

    fn keyval_insert(&self, space: &Space, key: &str, value: &[u8]) -> Applied {
        const SQL: &str = "INSERT INTO keyval (space, key, value) VALUES (?1, ?2, ?3)";
        self.insert(SQL, params![self.space(space)?, key, value], || format!("The key \"{key}\" of {space}"))
    }

    fn keyval_delete(&self, space: &Space, key: &str) -> Applied {
        const SQL: &str = "DELETE FROM keyval WHERE key = ?3
            AND space = (SELECT id FROM space WHERE vhost = ?1 AND owner = ?2)";
        self.execute(SQL, params![space.vhost(), space.owner(), key])
    }

    fn map_set(&self, space: &Space, key: &str, fields: &[(String, Option<Vec<u8>>)]) -> Applied {
        const SET: &str = "INSERT INTO map (space, key, field, value) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (space, key, field) DO UPDATE SET value = excluded.value";
        const DELETE: &str = "DELETE FROM map WHERE space = ?1 AND key = ?2 AND field = ?3";
        let space = self.space(space)?;
        let mut changed = 0;
        for (field, value) in fields {
            let outcome = match value {
                Some(value) => self.execute(SET, params![space, key, field, value])?,
                None => self.execute(DELETE, params![space, key, field])?,
            };
            changed += outcome.changed();
        }
        Ok(Outcome::Changed(changed))
    }

    fn map_delete(&self, space: &Space, key: &str) -> Applied {
        const SQL: &str = "DELETE FROM map WHERE key = ?3
            AND space = (SELECT id FROM space WHERE vhost = ?1 AND owner = ?2)";
        self.execute(SQL, params![space.vhost(), space.owner(), key])
    }

    fn archive_append(&self, space: &Space, owner: &str, entry: &NewEntry, id: ArchiveId) -> Applied {
        const SQL: &str = "INSERT INTO archive (id, nonce, space, owner, at, peer, value)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let at = entry.at.map_or(id.stamp, |at| at.0);
        self.execute(
            SQL,
            params![id.stamp, id.nonce, self.space(space)?, owner, at, entry.with, entry.value],
        )?;
        Ok(Outcome::Appended(id))
    }

    /// Ids of the future are not given: the clock would have to catch up with them.
    fn is_free(&self, id: ArchiveId) -> Result<bool, StorageError> {
        const SQL: &str = "SELECT 1 FROM archive WHERE id = ?1";
        if id.stamp <= 0 || id.stamp > Timestamp::now().0 {
            return Ok(false);
        }
        Ok(!self.connection.prepare_cached(SQL)?.exists([id.stamp])?)
    }

    fn archive_replace(&self, space: &Space, owner: &str, id: ArchiveId, value: &[u8]) -> Applied {
        const SQL: &str = "UPDATE archive SET value = ?6 WHERE id = ?3 AND nonce = ?4 AND owner = ?5
            AND space = (SELECT id FROM space WHERE vhost = ?1 AND owner = ?2)";
        self.execute(SQL, params![space.vhost(), space.owner(), id.stamp, id.nonce, owner, value])
    }

    fn archive_delete(&self, space: &Space, delete: &ArchiveDelete) -> Applied {
        const OF_OWNER: &str = "DELETE FROM archive WHERE id IN (SELECT id FROM archive
            WHERE space = (SELECT id FROM space WHERE vhost = ?1 AND owner = ?2)
            AND at < ?3 AND owner = ?5 ORDER BY at, id LIMIT ?4)";
        const OF_ALL: &str = "DELETE FROM archive WHERE id IN (SELECT id FROM archive
            WHERE space = (SELECT id FROM space WHERE vhost = ?1 AND owner = ?2)
            AND at < ?3 ORDER BY at, id LIMIT ?4)";
        let before = delete.older_than.map_or(i64::MAX, |at| at.0);
        match &delete.owner {
            Some(owner) => {
                self.execute(OF_OWNER, params![space.vhost(), space.owner(), before, delete.limit, owner])
            }
            None => self.execute(OF_ALL, params![space.vhost(), space.owner(), before, delete.limit]),
        }
    }

    fn archive_remove(&self, space: &Space, owner: &str, id: ArchiveId) -> Applied {
        const SQL: &str = "DELETE FROM archive WHERE id = ?3 AND nonce = ?4 AND owner = ?5
            AND space = (SELECT id FROM space WHERE vhost = ?1 AND owner = ?2)";
        self.execute(SQL, params![space.vhost(), space.owner(), id.stamp, id.nonce, owner])
    }

    fn account_insert(
        &self,
        vhost: &str,
        localpart: &str,
        created: Timestamp,
        credentials: &[u8],
    ) -> Applied {
        const SQL: &str =
            "INSERT INTO account (vhost, localpart, created, credentials) VALUES (?1, ?2, ?3, ?4)";
        let name = || format!("The account {localpart}@{vhost}");
        self.insert(SQL, params![vhost, localpart, created.0, credentials], name)
    }

    fn account_update(&self, vhost: &str, localpart: &str, credentials: &[u8]) -> Applied {
        const SQL: &str = "UPDATE account SET credentials = ?3 WHERE vhost = ?1 AND localpart = ?2";
        match self.execute(SQL, params![vhost, localpart, credentials])? {
            Outcome::Changed(0) => {
                Err(StorageError::Missing { what: format!("The account {localpart}@{vhost}") })
            }
            outcome => Ok(outcome),
        }
    }

    fn account_remove(&self, vhost: &str, localpart: &str) -> Applied {
        self.execute("DELETE FROM account WHERE vhost = ?1 AND localpart = ?2", params![vhost, localpart])
    }

    /// The number of a key space, made on first use.
    fn space(&self, space: &Space) -> Result<i64, StorageError> {
        const FIND: &str = "SELECT id FROM space WHERE vhost = ?1 AND owner = ?2";
        const MAKE: &str = "INSERT INTO space (vhost, owner) VALUES (?1, ?2)";
        let names = params![space.vhost(), space.owner()];
        let find = || self.connection.prepare_cached(FIND)?.query_row(names, |row| row.get(0)).optional();
        if let Some(id) = find()? {
            return Ok(id);
        }
        self.execute(MAKE, names)?;
        Ok(self.connection.last_insert_rowid())
    }

    fn execute(&self, sql: &str, values: &[&dyn rusqlite::ToSql]) -> Applied {
        Ok(Outcome::Changed(self.connection.prepare_cached(sql)?.execute(values)? as u64))
    }

    /// Like `execute`, where a row that is there already is the caller's mistake, named by `what`.
    fn insert(&self, sql: &str, values: &[&dyn rusqlite::ToSql], what: impl FnOnce() -> String) -> Applied {
        let run = || self.connection.prepare_cached(sql)?.execute(values);
        match run() {
            Ok(rows) => Ok(Outcome::Changed(rows as u64)),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                Err(StorageError::Exists { what: what() })
            }
            Err(error) => Err(error.into()),
        }
    }
}
