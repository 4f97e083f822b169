//! Account rows: who exists on a vhost, with credentials that only the `auth` room understands.

use super::{KeyPage, MAX_PAGE_ROWS, Storage, StorageError, Timestamp};

/// One account.
#[derive(Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// When it was registered.
    pub created: Timestamp,
    /// What `auth` needs to check a login; opaque here.
    pub credentials: Vec<u8>,
}

/// Credentials never reach a log.
impl std::fmt::Debug for AccountRow {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AccountRow").field("created", &self.created).finish_non_exhaustive()
    }
}

/// The account rows of all vhosts. Localparts are compared byte by byte: callers normalise them.
#[derive(Clone, Debug)]
pub struct AccountRows {
    storage: Storage,
}

impl AccountRows {
    pub(super) fn new(storage: Storage) -> AccountRows {
        AccountRows { storage }
    }

    /// One account.
    pub async fn get(&self, vhost: &str, localpart: &str) -> Result<Option<AccountRow>, StorageError> {
        self.storage.backend().account_get(vhost.into(), localpart.into()).await
    }

    /// Adds an account; [`StorageError::Exists`] if it is there.
    pub async fn insert(&self, vhost: &str, localpart: &str, row: AccountRow) -> Result<(), StorageError> {
        let mut batch = self.storage.batch();
        batch.account_insert(vhost, localpart, row);
        batch.commit().await.map(drop)
    }

    /// Replaces the credentials; [`StorageError::Missing`] if the account is not there.
    pub async fn set_credentials(
        &self,
        vhost: &str,
        localpart: &str,
        credentials: Vec<u8>,
    ) -> Result<(), StorageError> {
        let mut batch = self.storage.batch();
        batch.account_update(vhost, localpart, credentials);
        batch.commit().await.map(drop)
    }

    /// Removes an account; true if it was there.
    pub async fn remove(&self, vhost: &str, localpart: &str) -> Result<bool, StorageError> {
        let mut batch = self.storage.batch();
        batch.account_remove(vhost, localpart);
        Ok(batch.commit_one().await?.changed() > 0)
    }

    /// Localparts in byte order, after `after`, at most `limit` (and [`MAX_PAGE_ROWS`]).
    pub async fn list(&self, vhost: &str, after: Option<&str>, limit: u32) -> Result<KeyPage, StorageError> {
        let limit = limit.min(MAX_PAGE_ROWS);
        self.storage.backend().account_list(vhost.into(), after.map(Into::into), limit).await
    }

    /// How many accounts `vhost` has.
    pub async fn count(&self, vhost: &str) -> Result<u64, StorageError> {
        self.storage.backend().account_count(vhost.into()).await
    }
}
