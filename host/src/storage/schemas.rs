//! The schemas of what modules keep: a number per vhost and module, and the transaction in which it rises.
//!
//! A number that was never noted is [`FIRST`]. It rises only by a migration: the newer build changes rows as it likes, and
//! either all of that stands together with the new number, or every row is as it was, also when the server dies in between.

use super::{Space, Storage, StorageError};

/// The number of stores that were never brought forward.
pub const FIRST: u32 = 1;

/// What is done to a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Migration {
    /// The stores of these modules are about to be changed.
    Begin(Vec<Space>),
    /// They have these schemas now; a server that dies from here on goes on with them.
    Decide(Vec<(Space, u32)>),
    /// The new builds serve: the way back is given up.
    End,
    /// Every row is put back.
    Undo,
}

impl Storage {
    /// The schema of a module's stores on a vhost, `None` where it has never stored anything; `module` is made by
    /// [`Space::module`].
    pub async fn schema_of(&self, module: &Space) -> Result<Option<u32>, StorageError> {
        let numbers = self.keyval(&Space::core(module.vhost(), "store-schema"));
        let Some(noted) = numbers.get(module.owner()).await? else {
            let is_there = self.backend().has_stores(module.clone()).await?;
            return Ok(is_there.then_some(FIRST));
        };
        let number = std::str::from_utf8(&noted).ok().and_then(|text| text.parse().ok());
        let odd = || StorageError::Failed { reason: format!("the schema number of {module} is none") };
        number.map(Some).ok_or_else(odd)
    }

    /// One step of the migration under way. At most one is at a time.
    pub async fn migration(&self, step: Migration) -> Result<(), StorageError> {
        self.backend().migration(step).await
    }
}
