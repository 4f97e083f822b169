//! Key spaces per vhost and module (keyval, map, archive) and account rows, on an embedded database.
//!
//! Promises:
//!
//! * A write that was answered with `Ok` is committed: it survives the death of the process at any later moment,
//!   and, with [`Durability::PowerLoss`] (the default), the loss of power too.
//! * A [`Batch`] is all or nothing, also when it touches several key spaces.
//! * Nothing waits without bound: a full queue, a stuck disk and a full disk are typed errors, and reads go on
//!   while writes fail.
//!
//! What the room deliberately does not do: it knows no passwords (account rows carry opaque credentials), it runs no
//! hooks, it interprets no value, and it never deletes rows that nobody named.
//!
//! [`Storage`] is the front; an engine implements [`Backend`]. The engine that is always there is [`sqlite`].

mod accounts;
mod archive;
mod backend;
mod batch;
mod error;
mod keyval;
mod map;
mod schemas;
mod space;
pub mod sqlite;
#[cfg(test)]
mod suite;

use std::path::Path;
use std::sync::Arc;

pub use accounts::{AccountRow, AccountRows};
pub use archive::{
    Archive, ArchiveDelete, ArchiveId, ArchivePage, ArchiveQuery, Entry, NewEntry, NotAnArchiveId, Timestamp,
    Total,
};
pub use backend::{Backend, DbInfo, Form, KeyPage, Pending};
pub use batch::{Batch, Outcome, Write};
pub use error::StorageError;
pub use keyval::KeyVal;
pub use map::Map;
pub use schemas::{FIRST, Migration};
pub use space::Space;
pub use sqlite::{Durability, Options};

/// The longest key, field name, archive owner or archive peer, in bytes (a full JID fits: 3071).
pub const MAX_KEY_BYTES: usize = 4096;
/// The largest single value, in bytes.
pub const MAX_VALUE_BYTES: usize = 4 << 20;
/// The largest batch, in bytes of keys and values together.
pub const MAX_BATCH_BYTES: usize = 16 << 20;
/// The most rows that one read answers; longer lists come in pages.
pub const MAX_PAGE_ROWS: u32 = 1000;

/// The store of a server: a cheap handle, cloned wherever it is needed.
#[derive(Clone)]
pub struct Storage {
    backend: Arc<dyn Backend>,
}

impl Storage {
    /// Opens or creates the embedded database at `path`, bringing an older schema forward. Blocks on file I/O.
    pub fn open(path: impl AsRef<Path>) -> Result<Storage, StorageError> {
        Storage::open_with(path, Options::default())
    }

    /// Like [`Storage::open`] with bounds and durability chosen by the caller.
    pub fn open_with(path: impl AsRef<Path>, options: Options) -> Result<Storage, StorageError> {
        Ok(Storage::with_backend(Arc::new(sqlite::Sqlite::open(path.as_ref(), options)?)))
    }

    /// A database that lives in this process only, for tests and throw-away servers.
    pub fn open_in_memory() -> Result<Storage, StorageError> {
        Ok(Storage::with_backend(Arc::new(sqlite::Sqlite::open_in_memory(Options::default())?)))
    }

    /// A store over another engine.
    pub fn with_backend(backend: Arc<dyn Backend>) -> Storage {
        Storage { backend }
    }

    /// The keyval store of `space`.
    pub fn keyval(&self, space: &Space) -> KeyVal {
        KeyVal::new(self.clone(), space.clone())
    }

    /// The map store of `space`.
    pub fn map(&self, space: &Space) -> Map {
        Map::new(self.clone(), space.clone())
    }

    /// The archive of `space`.
    pub fn archive(&self, space: &Space) -> Archive {
        Archive::new(self.clone(), space.clone())
    }

    /// The account rows of all vhosts.
    pub fn accounts(&self) -> AccountRows {
        AccountRows::new(self.clone())
    }

    /// An empty batch: several writes that are committed together or not at all.
    pub fn batch(&self) -> Batch {
        Batch::new(self.clone())
    }

    /// Facts about the database for `status`, metrics and support requests.
    pub async fn db_info(&self) -> Result<DbInfo, StorageError> {
        self.backend.info().await
    }

    /// Writes everything, as of one moment, into the new file `to`.
    pub async fn save(&self, to: &Path, form: Form) -> Result<(), StorageError> {
        self.backend.save(to.into(), form).await
    }

    /// Puts the content of the file `from` in place of everything, at once or not at all.
    pub async fn replace(&self, from: &Path, form: Form) -> Result<(), StorageError> {
        self.backend.replace(from.into(), form).await
    }

    /// Commits what is queued, tidies the files and refuses later writes with [`StorageError::Closed`].
    pub async fn close(&self) -> Result<(), StorageError> {
        self.backend.close().await
    }

    pub(in crate::storage) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Storage")
    }
}
