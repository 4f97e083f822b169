//! The embedded engine: SQLite in one file, one writer thread with group commit, readers beside it.

use std::path::Path;

use super::{
    AccountRow, ArchiveId, ArchivePage, ArchiveQuery, Backend, DbInfo, Entry, KeyPage, Outcome, Pending,
    Space, StorageError, Write,
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
    /// Batches that may wait for the writer.
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
pub struct Sqlite {}

impl Sqlite {
    /// Opens the file.
    pub fn open(path: &Path, _options: Options) -> Result<Sqlite, StorageError> {
        Err(StorageError::Open { path: path.into(), reason: "the engine is not built yet".into() })
    }

    /// Opens a database without a file.
    pub fn open_in_memory(_options: Options) -> Result<Sqlite, StorageError> {
        Err(StorageError::Closed)
    }
}

impl Backend for Sqlite {
    fn write(&self, _writes: Vec<Write>) -> Pending<Vec<Outcome>> {
        Box::pin(async { Err(StorageError::Closed) })
    }

    fn keyval_get(&self, _space: Space, _key: String) -> Pending<Option<Vec<u8>>> {
        Box::pin(async { Err(StorageError::Closed) })
    }

    fn keyval_keys(
        &self,
        _space: Space,
        _prefix: String,
        _after: Option<String>,
        _limit: u32,
    ) -> Pending<KeyPage> {
        Box::pin(async { Err(StorageError::Closed) })
    }

    fn map_get(&self, _space: Space, _key: String, _field: String) -> Pending<Option<Vec<u8>>> {
        Box::pin(async { Err(StorageError::Closed) })
    }

    fn map_all(&self, _space: Space, _key: String) -> Pending<Vec<(String, Vec<u8>)>> {
        Box::pin(async { Err(StorageError::Closed) })
    }

    fn map_keys(
        &self,
        _space: Space,
        _prefix: String,
        _after: Option<String>,
        _limit: u32,
    ) -> Pending<KeyPage> {
        Box::pin(async { Err(StorageError::Closed) })
    }

    fn archive_get(&self, _space: Space, _owner: String, _id: ArchiveId) -> Pending<Option<Entry>> {
        Box::pin(async { Err(StorageError::Closed) })
    }

    fn archive_query(&self, _space: Space, _query: ArchiveQuery) -> Pending<ArchivePage> {
        Box::pin(async { Err(StorageError::Closed) })
    }

    fn account_get(&self, _vhost: String, _localpart: String) -> Pending<Option<AccountRow>> {
        Box::pin(async { Err(StorageError::Closed) })
    }

    fn account_list(&self, _vhost: String, _after: Option<String>, _limit: u32) -> Pending<KeyPage> {
        Box::pin(async { Err(StorageError::Closed) })
    }

    fn account_count(&self, _vhost: String) -> Pending<u64> {
        Box::pin(async { Err(StorageError::Closed) })
    }

    fn info(&self) -> Pending<DbInfo> {
        Box::pin(async { Err(StorageError::Closed) })
    }

    fn close(&self) -> Pending<()> {
        Box::pin(async { Err(StorageError::Closed) })
    }
}
