//! Everything that can go wrong with accounts, one variant per cause.

use crate::stanza::JidError;
use crate::storage::StorageError;

/// Why an account operation failed. A wrong password is not an error: checks answer `false`.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuthError {
    /// Caller: the name or the vhost cannot be part of an address.
    #[error("\"{name}@{vhost}\" cannot be an account: {source}.")]
    BadName {
        /// The user name as given.
        name: String,
        /// The vhost as given.
        vhost: String,
        /// What is wrong with them.
        source: JidError,
    },
    /// Caller: the password is empty, too long or holds characters that SASLprep (RFC 4013) forbids.
    #[error(
        "The password is empty, longer than {} bytes, or holds characters that SASLprep forbids.",
        super::accounts::MAX_PASSWORD_BYTES
    )]
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

impl AuthError {
    /// True if the server lacks something now (time, room, write access): stanza error `resource-constraint`.
    pub fn is_resource_constraint(&self) -> bool {
        match self {
            AuthError::Busy => true,
            AuthError::Storage(error) => error.is_resource_constraint(),
            _ => false,
        }
    }
}
