//! The keyval store: one value per key.

use super::{KeyPage, MAX_PAGE_ROWS, Space, Storage, StorageError};

/// The keyval store of one key space. Values are bytes that only their owner understands.
#[derive(Clone, Debug)]
pub struct KeyVal {
    storage: Storage,
    space: Space,
}

impl KeyVal {
    pub(super) fn new(storage: Storage, space: Space) -> KeyVal {
        KeyVal { storage, space }
    }

    /// The value of `key`.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.storage.backend().keyval_get(self.space.clone(), key.into()).await
    }

    /// Sets `key`, replacing an older value.
    pub async fn set(&self, key: &str, value: &[u8]) -> Result<(), StorageError> {
        let mut batch = self.storage.batch();
        batch.keyval_set(&self.space, key, value);
        batch.commit().await.map(drop)
    }

    /// Sets `key` if it is not set yet; otherwise [`StorageError::Exists`].
    pub async fn insert(&self, key: &str, value: &[u8]) -> Result<(), StorageError> {
        let mut batch = self.storage.batch();
        batch.keyval_insert(&self.space, key, value);
        batch.commit().await.map(drop)
    }

    /// Deletes `key`; true if it was there.
    pub async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        let mut batch = self.storage.batch();
        batch.keyval_delete(&self.space, key);
        Ok(batch.commit_one().await?.changed() > 0)
    }

    /// Keys that start with `prefix`, in byte order, after `after`, at most `limit` (and [`MAX_PAGE_ROWS`]).
    pub async fn keys(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<KeyPage, StorageError> {
        let limit = limit.min(MAX_PAGE_ROWS);
        self.storage
            .backend()
            .keyval_keys(self.space.clone(), prefix.into(), after.map(Into::into), limit)
            .await
    }
}
