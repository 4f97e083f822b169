//! Everything that can go wrong with accounts, one variant per cause.

use crate::storage::StorageError;

/// Why an account operation failed. A wrong password is not an error: checks answer `false`.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuthError {
    /// Caller: the name cannot be a localpart (RFC 6122, nodeprep).
    #[error("\"{name}\" is not a valid user name.")]
    BadLocalpart {
        /// The name as given.
        name: String,
    },
    /// Caller: the password is empty, too long or holds characters that SASLprep (RFC 4013) forbids.
    #[error("The password is empty, too long or holds forbidden characters.")]
    BadPassword,
    /// Caller: the account is there already.
    #[error("The account {localpart}@{vhost} exists already.")]
    Exists {
        /// The user name.
        localpart: String,
        /// The vhost.
        vhost: String,
    },
    /// Caller: there is no such account.
    #[error("The account {localpart}@{vhost} does not exist.")]
    NoSuchAccount {
        /// The user name.
        localpart: String,
        /// The vhost.
        vhost: String,
    },
    /// The server is asked to hash more passwords than it can now.
    #[error("Too many passwords are being checked now; try again later.")]
    Busy,
    /// The stored credentials of an account cannot be read: a damaged row, or one written by a newer server.
    #[error("The stored credentials of {localpart}@{vhost} cannot be read: {reason}.")]
    BadCredentials {
        /// The user name.
        localpart: String,
        /// The vhost.
        vhost: String,
        /// What is wrong with them.
        reason: String,
    },
    /// The cryptographic library failed, for instance because the system gave no random bytes.
    #[error("The cryptographic library failed while {doing}.")]
    Crypto {
        /// What was being done.
        doing: &'static str,
    },
    /// The store refused or failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
