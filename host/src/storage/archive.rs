//! The archive: entries of an owner in order of time, read in pages (what XEP-0059 and XEP-0313 need).
//!
//! Entries are ordered by (time, id). Ids are made by the store: unique, ascending in the order of appending, and not
//! to be guessed. They say nothing about how much others write.

use std::time::{Duration, SystemTime};

use super::{KeyPage, MAX_PAGE_ROWS, Outcome, Space, Storage, StorageError};

/// How many rows one step of [`Archive::purge`] deletes before other writes get their turn.
const PURGE_STEP: u32 = 500;

/// A moment: microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This moment by the system's clock.
    pub fn now() -> Timestamp {
        SystemTime::now().into()
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Timestamp {
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Timestamp(micros(after)),
            Err(before) => Timestamp(-micros(before.duration())),
        }
    }
}

/// The id of an archive entry. Its text is 24 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArchiveId {
    pub(super) stamp: i64,
    pub(super) nonce: u32,
}

impl std::fmt::Display for ArchiveId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:016x}{:08x}", self.stamp, self.nonce)
    }
}

impl std::str::FromStr for ArchiveId {
    type Err = NotAnArchiveId;

    fn from_str(text: &str) -> Result<ArchiveId, NotAnArchiveId> {
        let canonical = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 24 || !text.bytes().all(canonical) {
            return Err(NotAnArchiveId);
        }
        let (stamp, nonce) = text.split_at(16);
        Ok(ArchiveId {
            stamp: i64::from_str_radix(stamp, 16).map_err(|_| NotAnArchiveId)?,
            nonce: u32::from_str_radix(nonce, 16).map_err(|_| NotAnArchiveId)?,
        })
    }
}

/// The text is not an id that this store ever made; XEP-0059 asks for `item-not-found`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("This is not an archive id.")]
pub struct NotAnArchiveId;

/// An entry to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// Its time; `None` means the moment of appending.
    pub at: Option<Timestamp>,
    /// The peer, by which queries may filter.
    pub with: Option<String>,
    /// The payload.
    pub value: Vec<u8>,
    /// The id it had before; kept where it is free, or another one is made.
    pub id: Option<ArchiveId>,
}

/// An entry of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: ArchiveId,
    /// Its time.
    pub at: Timestamp,
    /// The peer.
    pub with: Option<String>,
    /// The payload.
    pub value: Vec<u8>,
}

/// What to read. All filters hold together; `after` and `before` exclude the entry they name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveQuery {
    /// Whose entries.
    pub owner: String,
    /// Only entries with this peer.
    pub with: Option<String>,
    /// Only entries of this time or later.
    pub start: Option<Timestamp>,
    /// Only entries of this time or earlier.
    pub end: Option<Timestamp>,
    /// Only entries behind this one in order of time.
    pub after: Option<ArchiveId>,
    /// Only entries before this one in order of time.
    pub before: Option<ArchiveId>,
    /// Newest first: the page is then the last one that the filters leave.
    pub reverse: bool,
    /// At most so many entries (and [`MAX_PAGE_ROWS`]); 0 asks for the total alone.
    pub limit: u32,
    /// Also count what matches owner, peer and times, whatever the page.
    pub count: bool,
}

impl ArchiveQuery {
    /// The oldest entries of `owner`, at most `limit`.
    pub fn of(owner: &str, limit: u32) -> ArchiveQuery {
        ArchiveQuery {
            owner: owner.into(),
            with: None,
            start: None,
            end: None,
            after: None,
            before: None,
            reverse: false,
            limit,
            count: false,
        }
    }
}

/// A page of entries, in the order asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivePage {
    /// The entries.
    pub entries: Vec<Entry>,
    /// True if nothing follows in the direction of reading. A page may end early when its values are large.
    pub complete: bool,
    /// The number of matching entries, if asked for.
    pub total: Option<Total>,
}

/// How many entries match a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// The number.
    pub rows: u64,
    /// True if counting stopped there and there are more (XEP-0059 allows an estimate).
    pub more: bool,
}

/// What to delete. At most `limit` entries per call, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveDelete {
    /// Only this owner's entries; `None` means everybody's.
    pub owner: Option<String>,
    /// Only entries older than this.
    pub older_than: Option<Timestamp>,
    /// At most so many.
    pub limit: u32,
}

/// The archive of one key space.
#[derive(Clone, Debug)]
pub struct Archive {
    storage: Storage,
    space: Space,
}

impl Archive {
    pub(super) fn new(storage: Storage, space: Space) -> Archive {
        Archive { storage, space }
    }

    /// Appends one entry and answers its id once it is committed.
    pub async fn append(&self, owner: &str, entry: NewEntry) -> Result<ArchiveId, StorageError> {
        let mut batch = self.storage.batch();
        batch.archive_append(&self.space, owner, entry);
        match batch.commit_one().await? {
            Outcome::Appended(id) => Ok(id),
            Outcome::Changed(_) => Err(StorageError::Failed { reason: "an append gave no id".into() }),
        }
    }

    /// One entry.
    pub async fn get(&self, owner: &str, id: ArchiveId) -> Result<Option<Entry>, StorageError> {
        self.storage.backend().archive_get(self.space.clone(), owner.into(), id).await
    }

    /// A page of entries. Unknown `after` or `before` ids are [`StorageError::NoSuchEntry`].
    pub async fn query(&self, mut query: ArchiveQuery) -> Result<ArchivePage, StorageError> {
        query.limit = query.limit.min(MAX_PAGE_ROWS);
        self.storage.backend().archive_query(self.space.clone(), query).await
    }

    /// Deletes at most `delete.limit` (and [`MAX_PAGE_ROWS`]) entries; answers how many.
    pub async fn delete(&self, delete: ArchiveDelete) -> Result<u64, StorageError> {
        let mut batch = self.storage.batch();
        batch.archive_delete(&self.space, delete);
        Ok(batch.commit_one().await?.changed())
    }

    /// Owners that have entries and start with `prefix`, after `after`, at most `limit` (and [`MAX_PAGE_ROWS`]).
    pub async fn owners(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<KeyPage, StorageError> {
        let (limit, after) = (limit.min(MAX_PAGE_ROWS), after.map(Into::into));
        self.storage.backend().archive_owners(self.space.clone(), prefix.into(), after, limit).await
    }

    /// Puts another value into an entry; whether `owner` has it.
    pub async fn replace(&self, owner: &str, id: ArchiveId, value: &[u8]) -> Result<bool, StorageError> {
        let mut batch = self.storage.batch();
        batch.archive_replace(&self.space, owner, id, value);
        Ok(batch.commit_one().await?.changed() > 0)
    }

    /// Deletes these entries of `owner`, together; answers how many there were.
    pub async fn remove(&self, owner: &str, ids: &[ArchiveId]) -> Result<u64, StorageError> {
        let mut batch = self.storage.batch();
        for id in ids {
            batch.archive_remove(&self.space, owner, *id);
        }
        Ok(batch.commit().await?.into_iter().map(Outcome::changed).sum())
    }

    /// Deletes everything that `owner` and `older_than` name, in small steps between which other writes go on.
    pub async fn purge(
        &self,
        owner: Option<&str>,
        older_than: Option<Timestamp>,
    ) -> Result<u64, StorageError> {
        let mut deleted = 0;
        loop {
            let owner = owner.map(Into::into);
            let step = self.delete(ArchiveDelete { owner, older_than, limit: PURGE_STEP }).await?;
            deleted += step;
            if step < u64::from(PURGE_STEP) {
                return Ok(deleted);
            }
        }
    }
}
