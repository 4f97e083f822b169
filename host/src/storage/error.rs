//! Everything that can go wrong with the store, one variant per cause.
//!
//! The questions a caller asks are methods: does a retry help ([`StorageError::is_transient`]), is it the server that
//! lacks something ([`StorageError::is_resource_constraint`], the stanza error of that name). The variants are
//! cloneable because one failed commit answers every write that was in it.

use std::path::PathBuf;

use super::{ArchiveId, Space};

/// Why the store refused or failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// Operator: the file cannot be opened or created.
    #[error("The store {} cannot be opened: {reason}.", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// The cause, in the operating system's or the engine's words.
        reason: String,
    },
    /// Operator: another process holds the store.
    #[error("The store {} is in use by another process; stop that server first.", path.display())]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// Operator: the file is a database, but not one of ours.
    #[error("The file {} is a database of another program; name a file of its own for the store.", path.display())]
    Foreign {
        /// The database file.
        path: PathBuf,
    },
    /// Operator: the store was written by a newer server.
    #[error(
        "The store {} has schema version {found}, and this server knows versions up to {known} only; \
         run the newer server again or restore a backup.",
        path.display()
    )]
    NewerSchema {
        /// The database file.
        path: PathBuf,
        /// The version found in it.
        found: u32,
        /// The newest version this server knows.
        known: u32,
    },
    /// Our bug, or a damaged file: a step to a newer schema failed; the file is as it was before that step.
    #[error("The store {} could not be brought from schema version {from} to {to}: {reason}.", path.display())]
    Migration {
        /// The database file.
        path: PathBuf,
        /// The version before the step.
        from: u32,
        /// The version after the step.
        to: u32,
        /// The engine's words.
        reason: String,
    },
    /// The operator asked for a copy at the wrong moment.
    #[error("A module is bringing its stores forward; try again when that update is over.")]
    Migrating,
    /// The server is asked for more than it can write or read now.
    #[error("The store is overloaded: its {queue} queue is full.")]
    Overloaded {
        /// `write` or `read`.
        queue: &'static str,
    },
    /// The engine did not answer in time. A write may still be committed later.
    #[error("The store did not answer a {queue} within {seconds} s; the disk may be stuck.")]
    TimedOut {
        /// `write` or `read`.
        queue: &'static str,
        /// How long the caller waited.
        seconds: u64,
    },
    /// Operator: the disk, the quota or the configured size of the store is used up.
    #[error("The store is full: {reason}. Reads go on, writes fail until there is room.")]
    Full {
        /// The engine's words.
        reason: String,
    },
    /// Operator: the file or its file system cannot be written.
    #[error("The store cannot be written: {reason}. Reads go on.")]
    ReadOnly {
        /// The engine's words.
        reason: String,
    },
    /// Operator: another program holds the database's lock.
    #[error("The store is locked by another program: {reason}.")]
    Locked {
        /// The engine's words.
        reason: String,
    },
    /// The disk failed or the file is damaged.
    #[error("The store failed: {reason}.")]
    Failed {
        /// The engine's words.
        reason: String,
    },
    /// The row to be inserted is there already; nothing of the batch was written.
    #[error("{what} exists already.")]
    Exists {
        /// What was to be inserted.
        what: String,
    },
    /// The row to be changed is not there; nothing of the batch was written.
    #[error("{what} does not exist.")]
    Missing {
        /// What was to be changed.
        what: String,
    },
    /// The id that paging starts from is not in this owner's archive (XEP-0059: `item-not-found`).
    #[error("The archive of {space} has no entry {id} for this owner.")]
    NoSuchEntry {
        /// The archive.
        space: Space,
        /// The id asked for.
        id: ArchiveId,
    },
    /// Caller: a key, value or batch is larger than the store accepts.
    #[error("{what} of {bytes} bytes is larger than the store accepts ({limit}).")]
    TooLarge {
        /// `A key`, `A value`, `A batch` or `A map`.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Operator: a backup or dump cannot be written or read; the store is as it was.
    #[error("The file {} cannot be used: {reason}.", path.display())]
    Copy {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The store is being shut down.
    #[error("The store is closed.")]
    Closed,
}

impl StorageError {
    /// True if the server lacks something (room, time, write access): stanza error `resource-constraint`.
    pub fn is_resource_constraint(&self) -> bool {
        use StorageError::*;
        matches!(
            self,
            Overloaded { .. } | TimedOut { .. } | Full { .. } | ReadOnly { .. } | Locked { .. } | Closed
        )
    }

    /// True if the same call may succeed later without anybody's help.
    pub fn is_transient(&self) -> bool {
        use StorageError::*;
        matches!(self, Overloaded { .. } | TimedOut { .. } | Locked { .. })
    }
}
