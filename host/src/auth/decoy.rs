//! Secrets for users that do not exist, so that SCRAM's first answer does not tell who does.
//!
//! SCRAM sends salt and iteration count before the client has proved anything. For an unknown user both are computed
//! from the name and a secret of this server, so they stay the same for ever, also over restarts, and no password fits.
//!
//! The iteration count an operator configures holds for passwords set later, so the accounts of one server can have
//! different counts. A decoy has one of all the counts that were ever configured, chosen by the name; after a change
//! some unknown names show the new count, as accounts do whose password was changed.

use aws_lc_rs::{hmac, rand};

use super::credentials::SALT_BYTES;
use super::{AuthError, Hash, ScramSecrets};
use crate::storage::{KeyVal, Space, Storage, StorageError};

const SECRET_KEY: &str = "decoy-secret";
const SECRET_BYTES: usize = 32;
const COUNTS_KEY: &str = "iteration-counts";
/// Counts remembered at most; the oldest are forgotten first.
const MAX_COUNTS: usize = 8;

/// Makes decoys.
pub(super) struct Decoys {
    key: hmac::Key,
    counts: Vec<u32>,
}

impl Decoys {
    /// Reads the server's secret, making it on first use, and notes that `iterations` is configured now.
    pub(super) async fn open(storage: &Storage, iterations: u32) -> Result<Decoys, AuthError> {
        let store = storage.keyval(&Space::core("", "auth"));
        let secret = secret(&store).await?;
        let counts = counts(&store, iterations).await?;
        Ok(Decoys { key: hmac::Key::new(hmac::HMAC_SHA512, &secret), counts })
    }

    /// The decoy of this name: always the same.
    pub(super) fn of(&self, vhost: &str, localpart: &str, hash: Hash) -> ScramSecrets {
        let part = |what: &str| self.tag(&[what, hash_name(hash), vhost, localpart]);
        let key = |what: &str| part(what).as_ref()[..hash.output_len()].to_vec();
        ScramSecrets {
            hash,
            salt: part("salt").as_ref()[..SALT_BYTES].to_vec(),
            iterations: self.iterations(vhost, localpart),
            stored_key: key("stored key"),
            server_key: key("server key"),
        }
    }

    /// The count with the highest tag: adding a count moves only those names that it wins.
    fn iterations(&self, vhost: &str, localpart: &str) -> u32 {
        let rank = |count: &u32| self.tag(&["count", &count.to_string(), vhost, localpart]).as_ref().to_vec();
        self.counts.iter().copied().max_by_key(rank).unwrap_or(super::credentials::MIN_ITERATIONS)
    }

    fn tag(&self, parts: &[&str]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            // The length keeps ("ab", "c") and ("a", "bc") apart.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        context.sign()
    }
}

fn hash_name(hash: Hash) -> &'static str {
    match hash {
        Hash::Sha1 => "sha-1",
        Hash::Sha256 => "sha-256",
        Hash::Sha512 => "sha-512",
    }
}

async fn secret(store: &KeyVal) -> Result<Vec<u8>, AuthError> {
    if let Some(secret) = store.get(SECRET_KEY).await? {
        return Ok(secret);
    }
    let mut secret = vec![0; SECRET_BYTES];
    rand::fill(&mut secret).map_err(|_| AuthError::Crypto { doing: "making the server's secret" })?;
    match store.insert(SECRET_KEY, &secret).await {
        Ok(()) => Ok(secret),
        // Somebody else was faster: theirs holds.
        Err(StorageError::Exists { .. }) => Ok(store.get(SECRET_KEY).await?.unwrap_or(secret)),
        Err(error) => Err(error.into()),
    }
}

/// The counts configured so far, `iterations` included. What cannot be read counts as none.
async fn counts(store: &KeyVal, iterations: u32) -> Result<Vec<u32>, AuthError> {
    let stored = store.get(COUNTS_KEY).await?.unwrap_or_default();
    let mut counts: Vec<u32> = serde_json::from_slice(&stored).unwrap_or_default();
    if !counts.contains(&iterations) {
        counts.push(iterations);
        let surplus = counts.len().saturating_sub(MAX_COUNTS);
        counts.drain(..surplus);
        let text = serde_json::to_vec(&counts).expect("numbers are always JSON");
        store.set(COUNTS_KEY, &text).await?;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_decoy_is_the_same_after_a_restart_and_differs_between_names_and_servers() {
        let storage = Storage::open_in_memory().unwrap();
        let first = Decoys::open(&storage, 10_000).await.unwrap();
        let second = Decoys::open(&storage, 10_000).await.unwrap();
        let other = Decoys::open(&Storage::open_in_memory().unwrap(), 10_000).await.unwrap();
        for hash in Hash::ALL {
            let decoy = first.of("example.org", "nobody", hash);
            assert!(decoy == second.of("example.org", "nobody", hash));
            assert_eq!((decoy.salt.len(), decoy.iterations), (SALT_BYTES, 10_000));
            assert_eq!(
                (decoy.stored_key.len(), decoy.server_key.len()),
                (hash.output_len(), hash.output_len())
            );
            let others = [
                first.of("example.org", "nobody2", hash),
                first.of("example.orgn", "obody", hash),
                other.of("example.org", "nobody", hash),
            ];
            for other in others {
                assert!(other.salt != decoy.salt && other.stored_key != decoy.stored_key);
            }
        }
        let salts = Hash::ALL.map(|hash| first.of("example.org", "nobody", hash).salt.clone());
        assert!(salts[0] != salts[1] && salts[1] != salts[2], "accounts have a salt per hash function too");
    }

    #[tokio::test]
    async fn a_changed_iteration_count_moves_some_names_and_leaves_the_others() {
        let storage = Storage::open_in_memory().unwrap();
        let names: Vec<_> = (0..100).map(|number| format!("user{number}")).collect();
        let before = Decoys::open(&storage, 10_000).await.unwrap();
        assert!(names.iter().all(|name| before.iterations("example.org", name) == 10_000));
        let after = Decoys::open(&storage, 20_000).await.unwrap();
        let moved = names.iter().filter(|name| after.iterations("example.org", name) == 20_000).count();
        assert!((20..80).contains(&moved), "{moved} of 100");
        let again = Decoys::open(&storage, 20_000).await.unwrap();
        for name in &names {
            assert_eq!(after.iterations("example.org", name), again.iterations("example.org", name));
        }
        for count in 30_000..30_020 {
            Decoys::open(&storage, count).await.unwrap();
        }
        assert_eq!(Decoys::open(&storage, 10_000).await.unwrap().counts.len(), MAX_COUNTS);
    }
}
