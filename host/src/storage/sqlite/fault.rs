//! The engine's error codes in the room's words.

use rusqlite::ErrorCode;

use crate::storage::StorageError;

/// A failure of a running database.
impl From<rusqlite::Error> for StorageError {
    fn from(error: rusqlite::Error) -> StorageError {
        let reason = error.to_string();
        // The disk takes nothing, for another reason than that it is full: a limit of file sizes, a device that fails.
        if error.sqlite_extended_error_code() == Some(rusqlite::ffi::SQLITE_IOERR_WRITE) {
            return StorageError::ReadOnly { reason };
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StorageError::Full { reason },
            Some(ErrorCode::ReadOnly) => StorageError::ReadOnly { reason },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StorageError::Locked { reason },
            _ => StorageError::Failed { reason },
        }
    }
}
