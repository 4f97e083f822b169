//! Opening connections, and the schema with its history.
//!
//! `PRAGMA user_version` holds the schema version, `PRAGMA application_id` says that the file is ours. A step of
//! [`STEPS`] is never changed once it was released; a new version appends a step. Each step runs in a transaction of
//! its own, so a failed one leaves the file at the version before it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{Durability, Options};
use crate::storage::StorageError;

/// "Molt" in ASCII: marks the file as ours (`PRAGMA application_id`, shown by file(1)).
const APPLICATION_ID: i32 = 0x4d6f_6c74;
/// How long a connection waits for a lock that another program, such as a backup, holds for a moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The write-ahead log is cut back to this size when it was checkpointed.
const WAL_BYTES: i64 = 64 << 20;
/// Statements kept compiled per connection; more than the room has.
const STATEMENTS: usize = 64;

/// One step per schema version, the first one making an empty file version 1.
const STEPS: &[&str] = &["
    CREATE TABLE space (
        id INTEGER PRIMARY KEY,
        vhost TEXT NOT NULL,
        owner TEXT NOT NULL,
        UNIQUE (vhost, owner)
    ) STRICT;
    CREATE TABLE keyval (
        space INTEGER NOT NULL,
        key TEXT NOT NULL,
        value BLOB NOT NULL,
        UNIQUE (space, key)
    ) STRICT;
    CREATE TABLE map (
        space INTEGER NOT NULL,
        key TEXT NOT NULL,
        field TEXT NOT NULL,
        value BLOB NOT NULL,
        UNIQUE (space, key, field)
    ) STRICT;
    CREATE TABLE archive (
        id INTEGER PRIMARY KEY,
        nonce INTEGER NOT NULL,
        space INTEGER NOT NULL,
        owner TEXT NOT NULL,
        at INTEGER NOT NULL,
        peer TEXT,
        value BLOB NOT NULL
    ) STRICT;
    CREATE INDEX archive_by_owner ON archive (space, owner, at, id);
    CREATE INDEX archive_by_peer ON archive (space, owner, peer, at, id) WHERE peer IS NOT NULL;
    CREATE INDEX archive_by_time ON archive (space, at);
    CREATE TABLE account (
        vhost TEXT NOT NULL,
        localpart TEXT NOT NULL,
        created INTEGER NOT NULL,
        credentials BLOB NOT NULL,
        UNIQUE (vhost, localpart)
    ) STRICT;
"];

/// The schema version that this server writes.
pub(super) const VERSION: u32 = STEPS.len() as u32;

/// Where a database lives.
pub(super) enum Location {
    /// In a file.
    File(PathBuf),
    /// In this process, under a name that its connections share.
    Memory(String),
}

impl Location {
    /// The file, if there is one.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Location::File(path) => Some(path),
            Location::Memory(_) => None,
        }
    }

    /// Takes the lock that keeps a second server away; the kernel lets go of it when the process dies.
    pub(super) fn lock(&self) -> Result<Option<File>, StorageError> {
        let Some(path) = self.path() else { return Ok(None) };
        let failed =
            |error: std::io::Error| StorageError::Open { path: path.into(), reason: error.to_string() };
        let file = create_private(&beside(path, ".lock")).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Err(StorageError::InUse { path: path.into() }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    fn connect(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = match self {
            Location::File(path) => Connection::open_with_flags(path, flags)?,
            Location::Memory(name) => Connection::open_with_flags_and_vfs(name, flags, c"memdb")?,
        };
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(connection)
    }

    fn display(&self) -> PathBuf {
        self.path().map_or_else(|| PathBuf::from("(in memory)"), Into::into)
    }
}

/// Opens the one connection that writes, with the schema brought to [`VERSION`].
pub(super) fn open_writer(location: &Location, options: &Options) -> Result<Connection, StorageError> {
    let failed = |error: &dyn std::fmt::Display| StorageError::Open {
        path: location.display(),
        reason: error.to_string(),
    };
    if let Some(path) = location.path() {
        create_durably(path).map_err(|error| failed(&error))?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut connection = location.connect(flags).map_err(|error| failed(&error))?;
    // Ownership is checked before anything is written: the journal mode is a write too.
    migrate(&mut connection, &location.display(), STEPS, |connection| {
        configure(connection, location, options)
    })?;
    Ok(connection)
}

/// Opens a connection that only reads.
pub(super) fn open_reader(location: &Location) -> Result<Connection, StorageError> {
    location
        .connect(OpenFlags::SQLITE_OPEN_READ_ONLY)
        .map_err(|error| StorageError::Open { path: location.display(), reason: error.to_string() })
}

/// Whether the file is a store of the version that this server writes.
pub(super) fn check(path: &Path) -> Result<(), StorageError> {
    let connection = open_reader(&Location::File(path.into()))?;
    match version(&connection, path)? {
        VERSION => Ok(()),
        found if found > VERSION => {
            Err(StorageError::NewerSchema { path: path.into(), found, known: VERSION })
        }
        found => Err(StorageError::Copy {
            path: path.into(),
            reason: format!("it has schema version {found}; a server started on it brings it to {VERSION}"),
        }),
    }
}

/// Bytes of the file and bytes free in it.
pub(super) fn sizes(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let pragma =
        |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map(i64::unsigned_abs);
    let page = pragma("page_size")?;
    Ok((page * pragma("page_count")?, page * pragma("freelist_count")?))
}

/// Bytes of the write-ahead log of `path`.
pub(super) fn wal_bytes(path: &Path) -> u64 {
    std::fs::metadata(beside(path, "-wal")).map_or(0, |facts| facts.len())
}

/// Checks that the file is ours and not newer, lets `configure` set the connection up, and applies missing steps.
fn migrate(
    connection: &mut Connection,
    path: &Path,
    steps: &[&str],
    configure: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> Result<(), StorageError> {
    let unreadable =
        |error: rusqlite::Error| StorageError::Open { path: path.into(), reason: error.to_string() };
    let found = version(connection, path)?;
    let known = steps.len() as u32;
    if found > known {
        return Err(StorageError::NewerSchema { path: path.into(), found, known });
    }
    configure(connection).map_err(unreadable)?;
    for (from, step) in (found..known).zip(&steps[found as usize..]) {
        let to = from + 1;
        let failed = |error: rusqlite::Error| {
            let reason = error.to_string();
            StorageError::Migration { path: path.into(), from, to, reason }
        };
        apply_step(connection, step, to).map_err(failed)?;
        tracing::info!(path = %path.display(), from, to, "store schema brought forward");
    }
    Ok(())
}

/// The schema version of the file, 0 for an empty one.
fn version(connection: &Connection, path: &Path) -> Result<u32, StorageError> {
    let unreadable = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => StorageError::Foreign { path: path.into() },
        _ => StorageError::Open { path: path.into(), reason: error.to_string() },
    };
    let pragma =
        |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(unreadable);
    let count = "SELECT count(*) FROM sqlite_schema";
    let tables: i64 = connection.query_row(count, [], |row| row.get(0)).map_err(unreadable)?;
    match (pragma("application_id")?, tables) {
        (APPLICATION_ID, _) => {}
        (0, 0) => return Ok(0),
        _ => return Err(StorageError::Foreign { path: path.into() }),
    }
    u32::try_from(pragma("user_version")?).map_err(|_| StorageError::Foreign { path: path.into() })
}

fn configure(connection: &Connection, location: &Location, options: &Options) -> rusqlite::Result<()> {
    if location.path().is_some() {
        let mode: String =
            connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        if mode != "wal" {
            tracing::warn!(
                mode,
                "the store's file system allows no write-ahead log: readers will wait for writers"
            );
        }
        connection.pragma_update(None, "journal_size_limit", WAL_BYTES)?;
    }
    let synchronous = match options.durability {
        Durability::PowerLoss => "FULL",
        Durability::ProcessDeath => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    if let Some(bytes) = options.max_bytes {
        let page: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = i64::try_from(bytes).unwrap_or(i64::MAX) / page;
        connection.pragma_update_and_check(None, "max_page_count", pages.max(1), |_| Ok(()))?;
    }
    Ok(())
}

fn apply_step(connection: &mut Connection, step: &str, to: u32) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(step)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", to)?;
    transaction.commit()
}

/// Makes the file readable for its owner only; it holds credentials. SQLite gives its log the same mode.
fn create_private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Makes the database file, and flushes its folder, so that its name survives a loss of power like its first commit.
fn create_durably(path: &Path) -> std::io::Result<()> {
    let is_new = !path.exists();
    let file = create_private(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let mode = format!("{mode:o}");
        tracing::warn!(path = %path.display(), mode, "the store holds credentials and can be opened by others: chmod 600");
    }
    match path.parent().filter(|_| is_new) {
        Some(folder) if folder.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(connection: &Connection) -> (i32, i32) {
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get(0)).unwrap();
        (pragma("application_id"), pragma("user_version"))
    }

    fn with_steps(connection: &mut Connection, steps: &[&str]) -> Result<(), StorageError> {
        migrate(connection, Path::new("store.sqlite"), steps, |_| Ok(()))
    }

    #[test]
    fn an_empty_file_becomes_the_newest_version() {
        let mut connection = Connection::open_in_memory().unwrap();
        with_steps(&mut connection, STEPS).unwrap();
        assert_eq!(file(&connection), (APPLICATION_ID, VERSION as i32));
        with_steps(&mut connection, STEPS).unwrap();
    }

    #[test]
    fn an_older_file_keeps_its_rows_and_gets_the_missing_steps_only() {
        let mut connection = Connection::open_in_memory().unwrap();
        with_steps(&mut connection, &["CREATE TABLE t (a); INSERT INTO t VALUES (7)"]).unwrap();
        let steps = ["not even SQL: must not run again", "ALTER TABLE t ADD COLUMN b DEFAULT 8"];
        with_steps(&mut connection, &steps).unwrap();
        let row: (i64, i64) = connection.query_row("SELECT a, b FROM t", [], |row| row.try_into()).unwrap();
        assert_eq!((row, file(&connection).1), ((7, 8), 2));
    }

    #[test]
    fn a_failed_step_leaves_the_version_before_it() {
        let mut connection = Connection::open_in_memory().unwrap();
        let steps = ["CREATE TABLE t (a)", "CREATE TABLE u (a)", "CREATE TABLE v (a); CREATE TABLE t (a)"];
        let error = with_steps(&mut connection, &steps).unwrap_err();
        assert!(matches!(error, StorageError::Migration { from: 2, to: 3, .. }), "{error}");
        assert_eq!(file(&connection).1, 2);
        let left: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'v'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(left, 0);
    }

    #[test]
    fn a_newer_file_is_refused_and_the_message_says_what_to_do() {
        let mut connection = Connection::open_in_memory().unwrap();
        with_steps(&mut connection, &["CREATE TABLE t (a)", "CREATE TABLE u (a)"]).unwrap();
        let error = with_steps(&mut connection, &["CREATE TABLE t (a)"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "The store store.sqlite has schema version 2, and this server knows versions up to 1 only; \
             run the newer server again or restore a backup."
        );
    }

    #[test]
    fn a_database_of_another_program_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.sqlite");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE mine (a)").unwrap();
        let before = std::fs::read(&path).unwrap();
        let error = open_writer(&Location::File(path.clone()), &Options::default()).unwrap_err();
        assert!(matches!(error, StorageError::Foreign { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_file_that_is_no_database_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        let text = "a shopping list ".repeat(1000);
        std::fs::write(&path, &text).unwrap();
        let error = open_writer(&Location::File(path.clone()), &Options::default()).unwrap_err();
        assert!(matches!(error, StorageError::Foreign { .. }), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn the_file_and_its_log_are_readable_for_the_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.sqlite");
        let _open = open_writer(&Location::File(path.clone()), &Options::default()).unwrap();
        for name in [path.clone(), beside(&path, "-wal")] {
            let mode = std::fs::metadata(&name).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", name.display());
        }
    }
}
