//! Accounts: register, unregister, change and check passwords.

use std::sync::Arc;

use super::{AuthError, Hash, ScramSecrets};
use crate::storage::{KeyPage, Storage};

/// How accounts keep passwords and how much work checking them may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountOptions {
    /// PBKDF2 rounds of new secrets.
    pub iterations: u32,
    /// The hash functions for which secrets are kept; each is one family of mechanisms.
    pub hashes: Vec<Hash>,
    /// Passwords hashed at the same time.
    pub hashing_threads: usize,
    /// Passwords that may wait for hashing.
    pub hashing_queue: usize,
}

impl Default for AccountOptions {
    fn default() -> AccountOptions {
        AccountOptions {
            iterations: 10_000,
            hashes: Hash::ALL.to_vec(),
            hashing_threads: 1,
            hashing_queue: 64,
        }
    }
}

/// The accounts of all vhosts. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    #[allow(dead_code)]
    storage: Arc<Storage>,
}

impl Accounts {
    /// Opens the accounts of a store; makes the server's secret on first use.
    pub async fn open(storage: Storage, _options: AccountOptions) -> Result<Accounts, AuthError> {
        Ok(Accounts { storage: Arc::new(storage) })
    }

    /// Creates an account; [`AuthError::Exists`] if it is there.
    pub async fn register(&self, _vhost: &str, _localpart: &str, _password: &str) -> Result<(), AuthError> {
        Err(AuthError::Busy)
    }

    /// Removes the account's row; [`AuthError::NoSuchAccount`] if it is not there.
    pub async fn unregister(&self, _vhost: &str, _localpart: &str) -> Result<(), AuthError> {
        Err(AuthError::Busy)
    }

    /// Replaces the password; [`AuthError::NoSuchAccount`] if the account is not there.
    pub async fn set_password(
        &self,
        _vhost: &str,
        _localpart: &str,
        _password: &str,
    ) -> Result<(), AuthError> {
        Err(AuthError::Busy)
    }

    /// True if the account exists and this is its password. Costs the same for unknown accounts.
    pub async fn check_password(
        &self,
        _vhost: &str,
        _localpart: &str,
        _password: &str,
    ) -> Result<bool, AuthError> {
        Err(AuthError::Busy)
    }

    /// True if the account exists.
    pub async fn exists(&self, _vhost: &str, _localpart: &str) -> Result<bool, AuthError> {
        Err(AuthError::Busy)
    }

    /// User names of `vhost` in byte order, after `after`, at most `limit`.
    pub async fn list(&self, _vhost: &str, _after: Option<&str>, _limit: u32) -> Result<KeyPage, AuthError> {
        Err(AuthError::Busy)
    }

    /// How many accounts `vhost` has.
    pub async fn count(&self, _vhost: &str) -> Result<u64, AuthError> {
        Err(AuthError::Busy)
    }

    /// The secrets of an account, or a decoy that looks the same for ever and that no password fits.
    pub async fn scram_secrets(
        &self,
        _vhost: &str,
        _localpart: &str,
        _hash: Hash,
    ) -> Result<ScramSecrets, AuthError> {
        Err(AuthError::Busy)
    }
}
