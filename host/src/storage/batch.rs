//! Several writes that are committed together or not at all.

use super::{
    AccountRow, ArchiveDelete, ArchiveId, MAX_BATCH_BYTES, MAX_KEY_BYTES, MAX_PAGE_ROWS, MAX_VALUE_BYTES,
    NewEntry, Space, Storage, StorageError,
};

/// One write, as engines get it.
#[derive(Clone)]
pub enum Write {
    /// Set a key.
    #[allow(missing_docs)]
    KeyvalSet { space: Space, key: String, value: Vec<u8> },
    /// Set a key that must not exist.
    #[allow(missing_docs)]
    KeyvalInsert { space: Space, key: String, value: Vec<u8> },
    /// Delete a key.
    #[allow(missing_docs)]
    KeyvalDelete { space: Space, key: String },
    /// Set (`Some`) and delete (`None`) fields of a key.
    #[allow(missing_docs)]
    MapSet { space: Space, key: String, fields: Vec<(String, Option<Vec<u8>>)> },
    /// Delete a key with all its fields.
    #[allow(missing_docs)]
    MapDelete { space: Space, key: String },
    /// Append to an owner's archive.
    #[allow(missing_docs)]
    ArchiveAppend { space: Space, owner: String, entry: NewEntry },
    /// Delete from an archive.
    #[allow(missing_docs)]
    ArchiveDelete { space: Space, delete: ArchiveDelete },
    /// Delete one entry from an owner's archive.
    #[allow(missing_docs)]
    ArchiveRemove { space: Space, owner: String, id: ArchiveId },
    /// Put another value into one entry of an owner's archive.
    #[allow(missing_docs)]
    ArchiveReplace { space: Space, owner: String, id: ArchiveId, value: Vec<u8> },
    /// Add an account that must not exist.
    #[allow(missing_docs)]
    AccountInsert { vhost: String, localpart: String, row: AccountRow },
    /// Replace the credentials of an account that must exist.
    #[allow(missing_docs)]
    AccountUpdate { vhost: String, localpart: String, credentials: Vec<u8> },
    /// Remove an account.
    #[allow(missing_docs)]
    AccountRemove { vhost: String, localpart: String },
}

impl Write {
    /// The key space it belongs to; account rows have none.
    pub fn space(&self) -> Option<&Space> {
        match self {
            Write::KeyvalSet { space, .. }
            | Write::KeyvalInsert { space, .. }
            | Write::KeyvalDelete { space, .. }
            | Write::MapSet { space, .. }
            | Write::MapDelete { space, .. }
            | Write::ArchiveAppend { space, .. }
            | Write::ArchiveDelete { space, .. }
            | Write::ArchiveReplace { space, .. }
            | Write::ArchiveRemove { space, .. } => Some(space),
            Write::AccountInsert { .. } | Write::AccountUpdate { .. } | Write::AccountRemove { .. } => None,
        }
    }
}

/// Values and credentials never reach a log.
impl std::fmt::Debug for Write {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.space() {
            Some(space) => write!(formatter, "Write({space})"),
            None => formatter.write_str("Write(accounts)"),
        }
    }
}

/// What became of one write of a committed batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// So many rows were set or deleted.
    Changed(u64),
    /// The entry was appended under this id.
    Appended(ArchiveId),
}

impl Outcome {
    /// How many rows changed.
    pub fn changed(self) -> u64 {
        match self {
            Outcome::Changed(rows) => rows,
            Outcome::Appended(_) => 1,
        }
    }
}

/// Writes collected for one atomic commit. Sizes are checked as they are added and told by [`Batch::commit`].
#[derive(Debug)]
pub struct Batch {
    storage: Storage,
    writes: Vec<Write>,
    bytes: usize,
    refused: Option<StorageError>,
}

impl Batch {
    pub(super) fn new(storage: Storage) -> Batch {
        Batch { storage, writes: Vec::new(), bytes: 0, refused: None }
    }

    /// Sets `key`.
    pub fn keyval_set(&mut self, space: &Space, key: &str, value: &[u8]) -> &mut Batch {
        self.weigh(&[key], value.len());
        self.push(Write::KeyvalSet { space: space.clone(), key: key.into(), value: value.into() })
    }

    /// Sets `key`; the batch fails with [`StorageError::Exists`] if it is set already.
    pub fn keyval_insert(&mut self, space: &Space, key: &str, value: &[u8]) -> &mut Batch {
        self.weigh(&[key], value.len());
        self.push(Write::KeyvalInsert { space: space.clone(), key: key.into(), value: value.into() })
    }

    /// Deletes `key`.
    pub fn keyval_delete(&mut self, space: &Space, key: &str) -> &mut Batch {
        self.weigh(&[key], 0);
        self.push(Write::KeyvalDelete { space: space.clone(), key: key.into() })
    }

    /// Sets and deletes fields of `key`.
    pub fn map_set(&mut self, space: &Space, key: &str, fields: &[(&str, Option<&[u8]>)]) -> &mut Batch {
        for (field, value) in fields {
            self.weigh(&[key, field], value.map_or(0, <[u8]>::len));
        }
        let fields = fields.iter().map(|(field, value)| ((*field).into(), value.map(Into::into))).collect();
        self.push(Write::MapSet { space: space.clone(), key: key.into(), fields })
    }

    /// Deletes `key` with all its fields.
    pub fn map_delete(&mut self, space: &Space, key: &str) -> &mut Batch {
        self.weigh(&[key], 0);
        self.push(Write::MapDelete { space: space.clone(), key: key.into() })
    }

    /// Appends an entry to the archive of `owner`.
    pub fn archive_append(&mut self, space: &Space, owner: &str, entry: NewEntry) -> &mut Batch {
        self.weigh(&[owner, entry.with.as_deref().unwrap_or_default()], entry.value.len());
        self.push(Write::ArchiveAppend { space: space.clone(), owner: owner.into(), entry })
    }

    /// Deletes at most `delete.limit` (and [`MAX_PAGE_ROWS`]) entries.
    pub fn archive_delete(&mut self, space: &Space, mut delete: ArchiveDelete) -> &mut Batch {
        delete.limit = delete.limit.min(MAX_PAGE_ROWS);
        self.weigh(&[delete.owner.as_deref().unwrap_or_default()], 0);
        self.push(Write::ArchiveDelete { space: space.clone(), delete })
    }

    /// Deletes one entry, if this owner has it.
    pub fn archive_remove(&mut self, space: &Space, owner: &str, id: ArchiveId) -> &mut Batch {
        self.weigh(&[owner], 0);
        self.push(Write::ArchiveRemove { space: space.clone(), owner: owner.into(), id })
    }

    /// Puts another value into one entry, if this owner has it.
    pub fn archive_replace(&mut self, space: &Space, owner: &str, id: ArchiveId, value: &[u8]) -> &mut Batch {
        self.weigh(&[owner], value.len());
        let (space, owner, value) = (space.clone(), owner.into(), value.into());
        self.push(Write::ArchiveReplace { space, owner, id, value })
    }

    /// Adds an account; the batch fails with [`StorageError::Exists`] if it is there.
    pub fn account_insert(&mut self, vhost: &str, localpart: &str, row: AccountRow) -> &mut Batch {
        self.weigh(&[vhost, localpart], row.credentials.len());
        self.push(Write::AccountInsert { vhost: vhost.into(), localpart: localpart.into(), row })
    }

    /// Replaces credentials; the batch fails with [`StorageError::Missing`] if the account is not there.
    pub fn account_update(&mut self, vhost: &str, localpart: &str, credentials: Vec<u8>) -> &mut Batch {
        self.weigh(&[vhost, localpart], credentials.len());
        self.push(Write::AccountUpdate { vhost: vhost.into(), localpart: localpart.into(), credentials })
    }

    /// Removes an account.
    pub fn account_remove(&mut self, vhost: &str, localpart: &str) -> &mut Batch {
        self.weigh(&[vhost, localpart], 0);
        self.push(Write::AccountRemove { vhost: vhost.into(), localpart: localpart.into() })
    }

    /// Commits; the outcomes stand in the order in which the writes were added.
    pub async fn commit(self) -> Result<Vec<Outcome>, StorageError> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        if self.writes.is_empty() {
            return Ok(Vec::new());
        }
        self.storage.backend().write(self.writes).await
    }

    /// Commits a batch of one write.
    pub(super) async fn commit_one(self) -> Result<Outcome, StorageError> {
        let outcomes = self.commit().await?;
        outcomes.first().copied().ok_or(StorageError::Failed { reason: "a write had no outcome".into() })
    }

    /// Nothing more is kept of a batch that is refused anyway. A write costs its own size too, so that a batch of many
    /// empty writes ends as well.
    fn push(&mut self, write: Write) -> &mut Batch {
        self.bytes += size_of::<Write>();
        self.refuse_above("A batch", self.bytes, MAX_BATCH_BYTES);
        match self.refused {
            None => self.writes.push(write),
            Some(_) => self.writes.clear(),
        }
        self
    }

    fn weigh(&mut self, keys: &[&str], value: usize) {
        for key in keys {
            self.bytes += key.len();
            self.refuse_above("A key", key.len(), MAX_KEY_BYTES);
        }
        self.bytes += value;
        self.refuse_above("A value", value, MAX_VALUE_BYTES);
        self.refuse_above("A batch", self.bytes, MAX_BATCH_BYTES);
    }

    fn refuse_above(&mut self, what: &'static str, bytes: usize, limit: usize) {
        if bytes > limit && self.refused.is_none() {
            self.refused = Some(StorageError::TooLarge { what, bytes, limit });
        }
    }
}
