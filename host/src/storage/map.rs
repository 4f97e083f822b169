//! The map store: several named fields per key, such as the contacts of an account's roster.

use super::{KeyPage, MAX_PAGE_ROWS, Space, Storage, StorageError};

/// The map store of one key space.
#[derive(Clone, Debug)]
pub struct Map {
    storage: Storage,
    space: Space,
}

impl Map {
    pub(super) fn new(storage: Storage, space: Space) -> Map {
        Map { storage, space }
    }

    /// One field of `key`.
    pub async fn get(&self, key: &str, field: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.storage.backend().map_get(self.space.clone(), key.into(), field.into()).await
    }

    /// All fields of `key` in byte order. A key whose values exceed [`super::MAX_BATCH_BYTES`] together is refused.
    pub async fn all(&self, key: &str) -> Result<Vec<(String, Vec<u8>)>, StorageError> {
        self.storage.backend().map_all(self.space.clone(), key.into()).await
    }

    /// Sets (`Some`) and deletes (`None`) several fields of `key` at once; fields that are not named stay.
    pub async fn set(&self, key: &str, fields: &[(&str, Option<&[u8]>)]) -> Result<(), StorageError> {
        let mut batch = self.storage.batch();
        batch.map_set(&self.space, key, fields);
        batch.commit().await.map(drop)
    }

    /// Deletes `key` with all its fields; true if there were any.
    pub async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        let mut batch = self.storage.batch();
        batch.map_delete(&self.space, key);
        Ok(batch.commit_one().await?.changed() > 0)
    }

    /// Keys that have fields and start with `prefix`, after `after`, at most `limit` (and [`MAX_PAGE_ROWS`]).
    pub async fn keys(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<KeyPage, StorageError> {
        let limit = limit.min(MAX_PAGE_ROWS);
        self.storage.backend().map_keys(self.space.clone(), prefix.into(), after.map(Into::into), limit).await
    }
}
