//! Accounts: register, unregister, change and check passwords.
//!
//! Names are normalised here (nodeprep for the localpart), so callers may pass what a user typed. Passwords go through
//! SASLprep, become SCRAM secrets and are wiped.
//!
//! # How expensive a password is
//!
//! The iteration count is what each guess costs somebody who stole the store. The client pays it too, at each SCRAM
//! login, and phones log in often; the server pays it for PLAIN and for new passwords only. RFC 5802 and RFC 7677
//! require 4,096 at least; OWASP's figures for web sites (600,000 for SHA-256) would cost a PLAIN login 65 ms here and
//! some clients seconds. The default of 10,000 costs this server about 1 ms per PLAIN login and 6 ms per new password
//! (one derivation per hash function), and can be raised to a million in the configuration. New counts hold for
//! passwords that are set afterwards.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::credentials::{Credentials, MIN_ITERATIONS};
use super::decoy::Decoys;
use super::hashing::Hashing;
use super::name::Name;
use super::{AuthError, Hash, ScramSecrets};
use crate::config;
use crate::storage::{AccountRow, KeyPage, Storage, StorageError, Timestamp};

/// The longest password, in bytes.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// Which secrets a password is checked against, the cheapest good one first.
const CHECKED_BY: [Hash; 3] = [Hash::Sha256, Hash::Sha1, Hash::Sha512];

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
        // Half of the processors at most: the other half goes on routing through a login storm.
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let hashing_threads = (processors / 2).max(1);
        AccountOptions { iterations: 10_000, hashes: Hash::ALL.to_vec(), hashing_threads, hashing_queue: 256 }
    }
}

impl From<&config::Auth> for AccountOptions {
    /// Keeps secrets for all hash functions, whatever is offered now: what is not kept cannot be offered later.
    fn from(auth: &config::Auth) -> AccountOptions {
        AccountOptions { iterations: auth.scram_iterations, ..AccountOptions::default() }
    }
}

/// The accounts of all vhosts. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    inner: Arc<Inner>,
}

struct Inner {
    storage: Storage,
    options: AccountOptions,
    hashing: Hashing,
    decoys: Decoys,
    /// Stored credentials of nobody, decoded in vain where a row is missing, so that both cases do the same work.
    filler: Vec<u8>,
}

impl Accounts {
    /// Opens the accounts of a store; makes the server's secret on first use.
    ///
    /// Fewer iterations than the RFCs allow are raised to what they ask for; no hash functions at all means all of them.
    pub async fn open(storage: Storage, mut options: AccountOptions) -> Result<Accounts, AuthError> {
        options.iterations = options.iterations.max(MIN_ITERATIONS);
        if options.hashes.is_empty() {
            options.hashes = Hash::ALL.to_vec();
        }
        let decoys = Decoys::open(&storage, options.iterations).await?;
        let hashing = Hashing::new(options.hashing_threads, options.hashing_queue);
        let filler = Credentials::derive("", &options.hashes, 1)?.encode();
        Ok(Accounts { inner: Arc::new(Inner { storage, options, hashing, decoys, filler }) })
    }

    /// Creates an account; [`AuthError::Exists`] if it is there.
    pub async fn register(&self, vhost: &str, localpart: &str, password: &str) -> Result<(), AuthError> {
        let name = Name::parse(vhost, localpart)?;
        // Hashing is dear: a name that is taken is said so before.
        if self.row(&name).await?.is_some() {
            return Err(name.exists());
        }
        let credentials = self.derive(password).await?;
        let row = AccountRow { created: Timestamp::now(), credentials };
        match self.inner.storage.accounts().insert(&name.vhost, &name.localpart, row).await {
            Err(StorageError::Exists { .. }) => Err(name.exists()),
            other => Ok(other?),
        }
    }

    /// Creates an account with secrets that another server has derived; [`AuthError::Exists`] if it is there.
    pub async fn adopt(
        &self,
        vhost: &str,
        localpart: &str,
        secrets: Vec<ScramSecrets>,
    ) -> Result<(), AuthError> {
        let name = Name::parse(vhost, localpart)?;
        if secrets.is_empty() || !secrets.iter().all(ScramSecrets::is_sound) {
            return Err(AuthError::BadPassword);
        }
        let credentials = Credentials::of_secrets(secrets).encode();
        let row = AccountRow { created: Timestamp::now(), credentials };
        match self.inner.storage.accounts().insert(&name.vhost, &name.localpart, row).await {
            Err(StorageError::Exists { .. }) => Err(name.exists()),
            other => Ok(other?),
        }
    }

    /// All secrets of an account, for another server. [`AuthError::NoSuchAccount`] if it is not there.
    pub async fn all_secrets(&self, vhost: &str, localpart: &str) -> Result<Vec<ScramSecrets>, AuthError> {
        let name = Name::parse(vhost, localpart)?;
        let Some(row) = self.row(&name).await? else { return Err(name.missing()) };
        let credentials = Credentials::decode(&row.credentials).unwrap_or_else(|reason| {
            tracing::error!(account = %name, reason, "the stored credentials of an account cannot be read");
            Credentials::of_secrets(Vec::new())
        });
        Ok(credentials.into_secrets())
    }

    /// Removes the account's row; [`AuthError::NoSuchAccount`] if it is not there.
    pub async fn unregister(&self, vhost: &str, localpart: &str) -> Result<(), AuthError> {
        let name = Name::parse(vhost, localpart)?;
        match self.inner.storage.accounts().remove(&name.vhost, &name.localpart).await? {
            // Who has the name next has not deserved it.
            true => self.unban(vhost, localpart).await.map(drop),
            false => Err(name.missing()),
        }
    }

    /// Replaces the password; [`AuthError::NoSuchAccount`] if the account is not there.
    pub async fn set_password(&self, vhost: &str, localpart: &str, password: &str) -> Result<(), AuthError> {
        let name = Name::parse(vhost, localpart)?;
        if self.row(&name).await?.is_none() {
            return Err(name.missing());
        }
        let credentials = self.derive(password).await?;
        match self.inner.storage.accounts().set_credentials(&name.vhost, &name.localpart, credentials).await {
            Err(StorageError::Missing { .. }) => Err(name.missing()),
            other => Ok(other?),
        }
    }

    /// True if the account exists and this is its password. Costs the same for unknown accounts.
    pub async fn check_password(
        &self,
        vhost: &str,
        localpart: &str,
        password: &str,
    ) -> Result<bool, AuthError> {
        let Ok(name) = Name::parse(vhost, localpart) else { return Ok(false) };
        let Ok(password) = prepared(password) else { return Ok(false) };
        let (secrets, is_real) = self.secrets(&name, &CHECKED_BY).await?;
        let fits = self.inner.hashing.run(move || secrets.fits(&password)).await?;
        Ok(fits && is_real)
    }

    /// True if the account exists.
    pub async fn exists(&self, vhost: &str, localpart: &str) -> Result<bool, AuthError> {
        match Name::parse(vhost, localpart) {
            Ok(name) => Ok(self.row(&name).await?.is_some()),
            Err(_) => Ok(false),
        }
    }

    /// User names of `vhost` in byte order, after `after`, at most `limit`.
    pub async fn list(&self, vhost: &str, after: Option<&str>, limit: u32) -> Result<KeyPage, AuthError> {
        Ok(self.inner.storage.accounts().list(vhost, after, limit).await?)
    }

    /// How many accounts `vhost` has.
    pub async fn count(&self, vhost: &str) -> Result<u64, AuthError> {
        Ok(self.inner.storage.accounts().count(vhost).await?)
    }

    /// The secrets of an account, or a decoy that looks the same for ever and that no password fits.
    pub async fn scram_secrets(
        &self,
        vhost: &str,
        localpart: &str,
        hash: Hash,
    ) -> Result<ScramSecrets, AuthError> {
        let name = Name::parse(vhost, localpart)?;
        Ok(self.secrets(&name, &[hash]).await?.0)
    }

    pub(super) fn storage(&self) -> &Storage {
        &self.inner.storage
    }

    async fn row(&self, name: &Name) -> Result<Option<AccountRow>, AuthError> {
        Ok(self.inner.storage.accounts().get(&name.vhost, &name.localpart).await?)
    }

    async fn derive(&self, password: &str) -> Result<Vec<u8>, AuthError> {
        let password = prepared(password)?;
        let (hashes, iterations) = (self.inner.options.hashes.clone(), self.inner.options.iterations);
        let derived = self.inner.hashing.run(move || Credentials::derive(&password, &hashes, iterations));
        Ok(derived.await??.encode())
    }

    /// The first of `wanted` that the account has, and true; or a decoy, and false. Both cases take the same steps.
    async fn secrets(&self, name: &Name, wanted: &[Hash]) -> Result<(ScramSecrets, bool), AuthError> {
        let row = self.row(name).await?;
        let stored = row.as_ref().map_or(&*self.inner.filler, |row| &*row.credentials);
        let credentials = Credentials::decode(stored);
        if let Err(reason) = &credentials {
            // A damaged row must not tell its name to a peer: it gets the answer of a wrong password.
            tracing::error!(account = %name, reason, "the stored credentials of an account cannot be read");
        }
        let kept = &self.inner.options.hashes;
        let decoy_hash = wanted.iter().find(|hash| kept.contains(hash)).or(wanted.first());
        let decoy = self.inner.decoys.of(&name.vhost, &name.localpart, *decoy_hash.unwrap_or(&Hash::Sha256));
        let real = credentials
            .ok()
            .and_then(|credentials| wanted.iter().find_map(|hash| credentials.of(*hash).cloned()));
        match real {
            Some(secrets) if row.is_some() => Ok((secrets, true)),
            _ => Ok((decoy, false)),
        }
    }
}

/// The password after SASLprep (RFC 4013), in memory that is wiped.
fn prepared(password: &str) -> Result<Zeroizing<String>, AuthError> {
    if password.len() > MAX_PASSWORD_BYTES {
        return Err(AuthError::BadPassword);
    }
    let prepared = stringprep::saslprep(password).map_err(|_| AuthError::BadPassword)?;
    let prepared = Zeroizing::new(prepared.into_owned());
    if prepared.is_empty() { Err(AuthError::BadPassword) } else { Ok(prepared) }
}
