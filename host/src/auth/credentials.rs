//! What is kept of a password: SCRAM secrets (RFC 5802 section 3, RFC 7677).
//!
//! An account's row holds one JSON object with the secrets of each hash function. From them the password cannot be
//! computed, only guessed at the price of the iteration count per guess. Whoever steals a row can pose as the *server*
//! to that user, and, having also overheard a login, as the user: the rows are to be guarded all the same.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::AuthError;

/// Bytes of a new salt.
pub(super) const SALT_BYTES: usize = 16;
/// The fewest iterations that RFC 5802 and RFC 7677 allow.
pub(super) const MIN_ITERATIONS: u32 = 4096;
/// More iterations than this in a stored row are taken for damage: checking one password would take minutes.
const MAX_ITERATIONS: u32 = 10_000_000;

/// A hash function of the SCRAM family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Hash {
    /// SHA-1, for old clients.
    #[serde(rename = "SCRAM-SHA-1")]
    Sha1,
    /// SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    Sha256,
    /// SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    Sha512,
}

impl Hash {
    /// All of them, the weakest first.
    pub const ALL: [Hash; 3] = [Hash::Sha1, Hash::Sha256, Hash::Sha512];

    /// The mechanism of this hash function, without channel binding.
    pub fn mechanism(self) -> &'static str {
        match self {
            Hash::Sha1 => "SCRAM-SHA-1",
            Hash::Sha256 => "SCRAM-SHA-256",
            Hash::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// Bytes of its output.
    pub fn output_len(self) -> usize {
        self.digest().output_len()
    }

    /// `H(data)`.
    pub(super) fn of(self, data: &[u8]) -> digest::Digest {
        digest::digest(self.digest(), data)
    }

    /// `HMAC(key, data)`.
    pub(super) fn hmac(self, key: &[u8], data: &[u8]) -> hmac::Tag {
        let algorithm = match self {
            Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), data)
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Hash::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha512 => &digest::SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Hash::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Hash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Hash::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

/// What a server keeps of a password for one hash function.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramSecrets {
    /// The hash function.
    pub hash: Hash,
    /// The salt.
    pub salt: Vec<u8>,
    /// How often the hash was applied.
    pub iterations: u32,
    /// Checks the client's proof.
    pub stored_key: Vec<u8>,
    /// Proves the server to the client.
    pub server_key: Vec<u8>,
}

impl ScramSecrets {
    /// Computes the secrets of a password that went through SASLprep. Takes milliseconds.
    pub(super) fn derive(hash: Hash, password: &str, salt: Vec<u8>, iterations: u32) -> ScramSecrets {
        let mut salted = Zeroizing::new([0; digest::MAX_OUTPUT_LEN]);
        let salted = &mut salted[..hash.output_len()];
        let rounds = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        pbkdf2::derive(hash.pbkdf2(), rounds, &salt, password.as_bytes(), salted);
        let client_key = hash.hmac(salted, b"Client Key");
        ScramSecrets {
            hash,
            stored_key: hash.of(client_key.as_ref()).as_ref().to_vec(),
            server_key: hash.hmac(salted, b"Server Key").as_ref().to_vec(),
            salt,
            iterations,
        }
    }

    /// True if these are the secrets of that password. Takes milliseconds, whatever the answer.
    pub(super) fn fits(&self, password: &str) -> bool {
        let derived = ScramSecrets::derive(self.hash, password, self.salt.clone(), self.iterations);
        constant_time::verify_slices_are_equal(&derived.stored_key, &self.stored_key).is_ok()
    }

    /// Whether keys, salt and iterations can be what they say.
    pub fn is_sound(&self) -> bool {
        let keys = [&self.stored_key, &self.server_key];
        keys.iter().all(|key| key.len() == self.hash.output_len())
            && !self.salt.is_empty()
            && (1..=MAX_ITERATIONS).contains(&self.iterations)
    }
}

impl Drop for ScramSecrets {
    fn drop(&mut self) {
        self.stored_key.zeroize();
        self.server_key.zeroize();
    }
}

/// Secrets never reach a log.
impl std::fmt::Debug for ScramSecrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ScramSecrets").field("hash", &self.hash).finish_non_exhaustive()
    }
}

/// The secrets of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    secrets: Vec<ScramSecrets>,
}

/// One hash function's secrets as they are stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    salt: String,
    iterations: u32,
    stored_key: String,
    server_key: String,
}

impl Credentials {
    /// Secrets with fresh salts. Takes milliseconds per hash function.
    pub(super) fn derive(password: &str, hashes: &[Hash], iterations: u32) -> Result<Credentials, AuthError> {
        let one = |hash: &Hash| Ok(ScramSecrets::derive(*hash, password, new_salt()?, iterations));
        Ok(Credentials { secrets: hashes.iter().map(one).collect::<Result<_, AuthError>>()? })
    }

    /// The secrets of one hash function, if the account has them.
    pub(super) fn of(&self, hash: Hash) -> Option<&ScramSecrets> {
        self.secrets.iter().find(|secrets| secrets.hash == hash)
    }

    /// Those that another server has derived.
    pub(super) fn of_secrets(secrets: Vec<ScramSecrets>) -> Credentials {
        Credentials { secrets }
    }

    /// All of them, the weakest hash function first.
    pub(super) fn into_secrets(self) -> Vec<ScramSecrets> {
        self.secrets
    }

    /// The form in which an account's row holds them.
    pub(super) fn encode(&self) -> Vec<u8> {
        let stored = |secrets: &ScramSecrets| Stored {
            salt: STANDARD.encode(&secrets.salt),
            iterations: secrets.iterations,
            stored_key: STANDARD.encode(&secrets.stored_key),
            server_key: STANDARD.encode(&secrets.server_key),
        };
        let all: BTreeMap<_, _> =
            self.secrets.iter().map(|secrets| (secrets.hash, stored(secrets))).collect();
        serde_json::to_vec(&all).expect("texts and numbers under textual keys are always JSON")
    }

    /// Reads an account's row; the error says what is wrong with it, and nothing of what is in it.
    pub(super) fn decode(row: &[u8]) -> Result<Credentials, &'static str> {
        let all: BTreeMap<Hash, Stored> =
            serde_json::from_slice(row).map_err(|_| "they are not the expected JSON")?;
        let secrets = all.into_iter().map(|(hash, stored)| stored.decode(hash)).collect::<Result<_, _>>()?;
        Ok(Credentials { secrets })
    }
}

impl Stored {
    fn decode(self, hash: Hash) -> Result<ScramSecrets, &'static str> {
        let bytes = |text: &str| STANDARD.decode(text).map_err(|_| "they hold wrong base64");
        let secrets = ScramSecrets {
            hash,
            salt: bytes(&self.salt)?,
            iterations: self.iterations,
            stored_key: bytes(&self.stored_key)?,
            server_key: bytes(&self.server_key)?,
        };
        if secrets.is_sound() { Ok(secrets) } else { Err("a key, salt or iteration count is out of range") }
    }
}

fn new_salt() -> Result<Vec<u8>, AuthError> {
    let mut salt = vec![0; SALT_BYTES];
    rand::fill(&mut salt).map_err(|_| AuthError::Crypto { doing: "making a salt" })?;
    Ok(salt)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reference values computed with Python's `hashlib` and `hmac`; the first two belong to the RFCs' own examples.
    #[test]
    fn secrets_are_those_of_another_implementation() {
        let cases = [
            (Hash::Sha1, "QSXCR+Q6sek8bf92", "6dlGYMOdZcOPutkcNY8U2g7vK9Y=", "D+CSWLOshSulAsxiupA+qs2/fTE="),
            (
                Hash::Sha256,
                "W22ZaJ0SNY7soEsUEjb6gQ==",
                "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=",
                "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
            ),
            (Hash::Sha512, "W22ZaJ0SNY7soEsUEjb6gQ==", SHA512_STORED, SHA512_SERVER),
        ];
        for (hash, salt, stored_key, server_key) in cases {
            let secrets = ScramSecrets::derive(hash, "pencil", STANDARD.decode(salt).unwrap(), 4096);
            assert_eq!(STANDARD.encode(&secrets.stored_key), stored_key, "{hash:?}");
            assert_eq!(STANDARD.encode(&secrets.server_key), server_key, "{hash:?}");
            assert!(secrets.fits("pencil") && !secrets.fits("Pencil") && !secrets.fits(""));
        }
    }

    const SHA512_STORED: &str =
        "6AAub3065EYRmyFpM2RNwqK+eGnrkYuEWbXn19LsEmBqzu8QaCXNc1FwpnX9NhH2hK/60dzj9DoO5DvVkOHbvg==";
    const SHA512_SERVER: &str =
        "jZHbYjC1aHh0/hKbxyBuGFjDrgjgKTT1esA7awWiKcRZ0o/0b1yWEebBeSVkkCFewf91nLDfKF24mvD5nmE6rA==";

    #[test]
    fn rows_are_read_back_and_name_no_password() {
        let credentials = Credentials::derive("correct horse", &Hash::ALL, MIN_ITERATIONS).unwrap();
        let row = credentials.encode();
        assert!(Credentials::decode(&row).unwrap() == credentials);
        let text = String::from_utf8(row).unwrap();
        assert!(text.starts_with("{\"SCRAM-SHA-1\":{\"salt\":\"") && !text.contains("horse"), "{text}");
    }

    #[test]
    fn equal_passwords_have_different_secrets() {
        let [one, two] = [(); 2].map(|()| Credentials::derive("same", &Hash::ALL, MIN_ITERATIONS).unwrap());
        for hash in Hash::ALL {
            let (one, two) = (one.of(hash).unwrap(), two.of(hash).unwrap());
            assert!(
                one.salt != two.salt && one.stored_key != two.stored_key && one.server_key != two.server_key
            );
        }
    }

    #[test]
    fn damaged_rows_are_refused_in_words() {
        let good =
            r#"{"SCRAM-SHA-1":{"salt":"AAAA","iterations":4096,"stored_key":"KEY","server_key":"KEY"}}"#;
        let good = good.replace("KEY", &STANDARD.encode([1; 20]));
        assert!(Credentials::decode(good.as_bytes()).is_ok());
        for (from, to, reason) in [
            ("{", "[", "JSON"),
            ("SHA-1", "SHA-3", "JSON"),
            ("AAAA", "AAA", "base64"),
            ("AAAA", "", "range"),
            ("4096", "0", "range"),
            ("4096", "4294967295", "range"),
            ("\"stored_key\":\"", "\"stored_key\":\"AAAA", "range"),
        ] {
            let error = Credentials::decode(good.replace(from, to).as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{from} -> {to}: {error}");
        }
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let secrets = ScramSecrets::derive(Hash::Sha1, "pencil", vec![1; 16], 4096);
        assert_eq!(format!("{secrets:?}"), "ScramSecrets { hash: Sha1, .. }");
    }
}
