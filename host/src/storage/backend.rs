//! What an engine must do for [`Storage`](super::Storage).
//!
//! Calls take owned arguments and give boxed futures, so that an engine may live behind threads, a socket or a module.
//! The front has checked every size before an engine is called. All writes arrive as one kind of call, a list of
//! [`Write`]s that is applied as a whole or not at all.

use std::path::PathBuf;
use std::pin::Pin;

use super::{
    AccountRow, ArchiveId, ArchivePage, ArchiveQuery, Entry, Migration, Outcome, Space, StorageError, Write,
};

/// The answer of an engine, some time later. Dropping it never undoes a write that was already queued.
pub type Pending<T> = Pin<Box<dyn Future<Output = Result<T, StorageError>> + Send>>;

/// A page of keys in ascending byte order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<String>,
    /// True if more keys follow; go on after the last one.
    pub more: bool,
}

/// Facts about a database.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DbInfo {
    /// The engine and its version, such as `SQLite 3.50.4`.
    pub engine: String,
    /// The file, if there is one.
    pub path: Option<PathBuf>,
    /// The schema version of the file.
    pub schema: u32,
    /// Whether an answered write survives a loss of power.
    pub survives_power_loss: bool,
    /// Bytes of the database file, free pages included.
    pub bytes: u64,
    /// Bytes in it that later writes will use first.
    pub free_bytes: u64,
    /// Bytes of the write-ahead log.
    pub wal_bytes: u64,
    /// Commits since the start.
    pub commits: u64,
    /// Batches committed since the start; divided by `commits` it is what group commit saves.
    pub batches: u64,
    /// Batches that failed since the start.
    pub failed: u64,
    /// Calls refused because a queue was full, since the start.
    pub shed: u64,
    /// Batches waiting now.
    pub queued: usize,
}

/// How a file holds a whole store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The engine's own file.
    Backup,
    /// Text that people can read.
    Dump,
}

/// An engine.
pub trait Backend: Send + Sync + 'static {
    /// Applies all of `writes` in order and answers when they are committed, or applies none of them.
    fn write(&self, writes: Vec<Write>) -> Pending<Vec<Outcome>>;

    /// The value of `key`.
    fn keyval_get(&self, space: Space, key: String) -> Pending<Option<Vec<u8>>>;

    /// Keys that start with `prefix`, after `after`, at most `limit`.
    fn keyval_keys(
        &self,
        space: Space,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Pending<KeyPage>;

    /// One field of `key`.
    fn map_get(&self, space: Space, key: String, field: String) -> Pending<Option<Vec<u8>>>;

    /// All fields of `key` in ascending order; empty if there are none.
    fn map_all(&self, space: Space, key: String) -> Pending<Vec<(String, Vec<u8>)>>;

    /// Keys that have fields, as for [`Backend::keyval_keys`].
    fn map_keys(&self, space: Space, prefix: String, after: Option<String>, limit: u32) -> Pending<KeyPage>;

    /// One entry of `owner`.
    fn archive_get(&self, space: Space, owner: String, id: ArchiveId) -> Pending<Option<Entry>>;

    /// Owners that have entries, as for [`Backend::keyval_keys`].
    fn archive_owners(
        &self,
        space: Space,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Pending<KeyPage>;

    /// A page of entries.
    fn archive_query(&self, space: Space, query: ArchiveQuery) -> Pending<ArchivePage>;

    /// Whether a module has ever stored anything, in any of its stores.
    fn has_stores(&self, module: Space) -> Pending<bool>;

    /// One account.
    fn account_get(&self, vhost: String, localpart: String) -> Pending<Option<AccountRow>>;

    /// Localparts of `vhost` in ascending order, after `after`, at most `limit`.
    fn account_list(&self, vhost: String, after: Option<String>, limit: u32) -> Pending<KeyPage>;

    /// How many accounts `vhost` has.
    fn account_count(&self, vhost: String) -> Pending<u64>;

    /// Facts about the database.
    fn info(&self) -> Pending<DbInfo>;

    /// Writes everything, as of one moment, into the new file `to`.
    fn save(&self, to: PathBuf, form: Form) -> Pending<()>;

    /// Puts the content of the file `from` in place of everything, at once or not at all.
    fn replace(&self, from: PathBuf, form: Form) -> Pending<()>;

    /// A step of the one migration, after the writes that are queued.
    fn migration(&self, step: Migration) -> Pending<()>;

    /// Commits what is queued and stops writing.
    fn close(&self) -> Pending<()>;
}
