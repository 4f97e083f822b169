//! The embedded engine: SQLite in one file, one writer thread with group commit, readers beside it.
//!
//! The journal is a write-ahead log, so readers never wait for the writer. Every write of the server goes through one
//! thread that takes all batches waiting for it into one transaction: a batch is answered after that transaction is
//! committed, and a slow disk makes the groups larger instead of the queue longer.
//!
//! What an answered write survives is [`Durability`]. Killing the process never loses an answered write: the log has
//! been handed to the kernel by then. With [`Durability::PowerLoss`] the log is flushed to the disk at each commit as
//! well; without it a loss of power can take the newest commits (never parts of one, never the file's consistency).
//!
//! A full or read-only disk fails the writes that meet it, each with a typed error; the next write tries again, and
//! reads are not touched.

mod apply;
mod archive;
mod copies;
#[cfg(test)]
mod copies_tests;
#[cfg(test)]
mod crash_tests;
mod fault;
mod readers;
mod rows;
mod schema;
mod undo;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

use self::readers::{Asker, Readers};
use self::schema::Location;
use self::writer::Writer;
use super::{
    AccountRow, ArchiveId, ArchivePage, ArchiveQuery, Backend, DbInfo, Entry, Form, KeyPage, Migration,
    Outcome, Pending, Space, StorageError, Write,
};

/// What an answered write survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The death of the process and of the machine: each commit is flushed to the disk (`synchronous = FULL`).
    #[default]
    PowerLoss,
    /// The death of the process. A loss of power may take the last commits, never a part of one, and never the
    /// consistency of the file (`synchronous = NORMAL`).
    ProcessDeath,
}

/// Bounds of the engine.
#[derive(Clone, Debug)]
pub struct Options {
    /// What an answered write survives.
    pub durability: Durability,
    /// Batches that may wait for the writer; together they may also hold no more than 64 MiB. The last quarter of either
    /// queue is for the host itself: modules that ask too much do not keep users from logging in.
    pub write_queue: usize,
    /// Reads that may wait for a reader.
    pub read_queue: usize,
    /// Reader threads, each with a connection of its own.
    pub readers: usize,
    /// The database file grows up to this size; `None` means up to the disk's.
    pub max_bytes: Option<u64>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            durability: Durability::default(),
            write_queue: 1024,
            read_queue: 1024,
            readers: 2,
            max_bytes: None,
        }
    }
}

/// The engine.
pub struct Sqlite {
    writer: Writer,
    readers: Readers,
    location: Location,
    durability: Durability,
}

impl Sqlite {
    /// Opens or creates the file, takes its lock and brings an older schema forward.
    pub fn open(path: &Path, options: Options) -> Result<Sqlite, StorageError> {
        Sqlite::open_at(Location::File(path.into()), options)
    }

    /// Opens a database that lives as long as this value and has no file.
    pub fn open_in_memory(options: Options) -> Result<Sqlite, StorageError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Sqlite::open_at(Location::Memory(format!("/moult-{number}")), options)
    }

    fn open_at(location: Location, options: Options) -> Result<Sqlite, StorageError> {
        let lock = location.lock()?;
        let mut connection = schema::open_writer(&location, &options)?;
        undo::recover(&mut connection)?;
        let writer = Writer::start(connection, lock, &options)?;
        let readers = Readers::start(&options, || schema::open_reader(&location))?;
        Ok(Sqlite { writer, readers, location, durability: options.durability })
    }

    /// On a thread and a connection of its own, because it may take long.
    fn aside<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, StorageError> + Send + 'static,
    ) -> Pending<T> {
        let connection = schema::open_reader(&self.location);
        Box::pin(async move {
            let connection = connection?;
            let running = tokio::task::spawn_blocking(move || job(&connection));
            running.await.unwrap_or_else(|error| Err(StorageError::Failed { reason: error.to_string() }))
        })
    }
}

impl Backend for Sqlite {
    fn write(&self, writes: Vec<Write>) -> Pending<Vec<Outcome>> {
        self.writer.write(writes)
    }

    fn keyval_get(&self, space: Space, key: String) -> Pending<Option<Vec<u8>>> {
        self.readers.read(Asker::of(&space), move |connection| rows::keyval_get(connection, &space, &key))
    }

    fn keyval_keys(
        &self,
        space: Space,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Pending<KeyPage> {
        self.readers.read(Asker::of(&space), move |connection| {
            rows::keyval_keys(connection, &space, &prefix, after, limit)
        })
    }

    fn map_get(&self, space: Space, key: String, field: String) -> Pending<Option<Vec<u8>>> {
        self.readers
            .read(Asker::of(&space), move |connection| rows::map_get(connection, &space, &key, &field))
    }

    fn map_all(&self, space: Space, key: String) -> Pending<Vec<(String, Vec<u8>)>> {
        self.readers.read(Asker::of(&space), move |connection| rows::map_all(connection, &space, &key))
    }

    fn map_keys(&self, space: Space, prefix: String, after: Option<String>, limit: u32) -> Pending<KeyPage> {
        self.readers.read(Asker::of(&space), move |connection| {
            rows::map_keys(connection, &space, &prefix, after, limit)
        })
    }

    fn archive_get(&self, space: Space, owner: String, id: ArchiveId) -> Pending<Option<Entry>> {
        self.readers.read(Asker::of(&space), move |connection| archive::get(connection, &space, &owner, id))
    }

    fn archive_owners(
        &self,
        space: Space,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Pending<KeyPage> {
        self.readers.read(Asker::of(&space), move |connection| {
            rows::archive_owners(connection, &space, &prefix, after, limit)
        })
    }

    fn archive_query(&self, space: Space, query: ArchiveQuery) -> Pending<ArchivePage> {
        self.readers.read(Asker::of(&space), move |connection| archive::query(connection, &space, &query))
    }

    fn has_stores(&self, module: Space) -> Pending<bool> {
        self.readers.read(Asker::Host, move |connection| rows::has_stores(connection, &module))
    }

    fn account_get(&self, vhost: String, localpart: String) -> Pending<Option<AccountRow>> {
        self.readers.read(Asker::Host, move |connection| rows::account_get(connection, &vhost, &localpart))
    }

    fn account_list(&self, vhost: String, after: Option<String>, limit: u32) -> Pending<KeyPage> {
        self.readers.read(Asker::Host, move |connection| rows::account_list(connection, &vhost, after, limit))
    }

    fn account_count(&self, vhost: String) -> Pending<u64> {
        self.readers.read(Asker::Host, move |connection| rows::account_count(connection, &vhost))
    }

    fn info(&self) -> Pending<DbInfo> {
        let mut info = DbInfo {
            engine: format!("SQLite {}", rusqlite::version()),
            path: self.location.path().map(Into::into),
            schema: schema::VERSION,
            survives_power_loss: self.location.path().is_some() && self.durability == Durability::PowerLoss,
            bytes: 0,
            free_bytes: 0,
            wal_bytes: self.location.path().map_or(0, schema::wal_bytes),
            commits: self.writer.counters().commits(),
            batches: self.writer.counters().batches(),
            failed: self.writer.counters().failed(),
            shed: self.writer.counters().shed() + self.readers.shed(),
            queued: self.writer.queued(),
        };
        let sizes = self.readers.read(Asker::Host, |connection| Ok(schema::sizes(connection)?));
        Box::pin(async move {
            (info.bytes, info.free_bytes) = sizes.await?;
            Ok(info)
        })
    }

    fn save(&self, to: PathBuf, form: Form) -> Pending<()> {
        self.aside(move |connection| match form {
            Form::Backup => copies::backup(connection, &to),
            Form::Dump => copies::dump(connection, &to),
        })
    }

    fn replace(&self, from: PathBuf, form: Form) -> Pending<()> {
        if form == Form::Backup {
            return self.writer.replace(from);
        }
        let made = self.aside(move |_| copies::undump(&from));
        let writer = self.writer.clone();
        Box::pin(async move {
            let made = made.await?;
            let replaced = writer.replace(made.clone()).await;
            copies::remove(&made);
            replaced
        })
    }

    fn migration(&self, step: Migration) -> Pending<()> {
        self.writer.migration(step)
    }

    fn close(&self) -> Pending<()> {
        self.writer.close()
    }
}
