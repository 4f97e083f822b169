//! The client's half of SASL: PLAIN (RFC 4616) and SCRAM (RFC 5802, 7677) with and without channel binding.
//!
//! It checks what a client must check: the nonce is ours, the server's signature is right. Passwords and user
//! names are taken as they are: tests use ASCII.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Mutex;

use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use thiserror::Error;

/// The hash of a SCRAM mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hash {
    /// SCRAM-SHA-1.
    Sha1,
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

/// What the client says about channel binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// `n`: the client does not support it.
    Unsupported,
    /// `y`: the client would, but thinks that the server does not.
    NotOffered,
    /// `p=`: bound to this data, by this type (RFC 9266 `tls-exporter`, RFC 5929 `tls-server-end-point`).
    Bound {
        /// The type's registered name.
        kind: &'static str,
        /// The binding data.
        data: Vec<u8>,
    },
}

/// A mechanism to log in with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// RFC 5802 and 7677.
    Scram(Hash),
    /// The same with channel binding.
    ScramPlus(Hash),
}

impl Mechanism {
    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Scram(Hash::Sha1) => "SCRAM-SHA-1",
            Mechanism::Scram(Hash::Sha256) => "SCRAM-SHA-256",
            Mechanism::Scram(Hash::Sha512) => "SCRAM-SHA-512",
            Mechanism::ScramPlus(Hash::Sha1) => "SCRAM-SHA-1-PLUS",
            Mechanism::ScramPlus(Hash::Sha256) => "SCRAM-SHA-256-PLUS",
            Mechanism::ScramPlus(Hash::Sha512) => "SCRAM-SHA-512-PLUS",
        }
    }
}

/// The server did not keep to SCRAM, or does not know the password.
#[derive(Debug, Error)]
pub enum SaslError {
    /// The message is not what RFC 5802 section 7 allows.
    #[error("The server's SCRAM message {0:?} cannot be read.")]
    Malformed(String),
    /// The nonce does not begin with ours.
    #[error("The server's SCRAM nonce does not extend the client's.")]
    ForeignNonce,
    /// The final signature is not that of a server that knows the password.
    #[error("The server's SCRAM signature is wrong.")]
    WrongSignature,
}

/// The initial response of PLAIN, before base64.
pub fn plain(user: &str, password: &str) -> Vec<u8> {
    format!("\0{user}\0{password}").into_bytes()
}

/// One SCRAM exchange.
#[derive(Debug)]
pub struct Scram {
    hash: Hash,
    password: String,
    binding: Binding,
    first_bare: String,
    nonce: String,
    server_signature: Option<Vec<u8>>,
}

impl Scram {
    /// Begins an exchange with a random nonce.
    pub fn new(hash: Hash, user: &str, password: &str, binding: Binding) -> Scram {
        let mut random = [0u8; 18];
        rand::fill(&mut random).expect("the operating system has random bytes");
        let nonce = BASE64.encode(random);
        let first_bare = format!("n={user},r={nonce}");
        Scram { hash, password: password.to_owned(), binding, first_bare, nonce, server_signature: None }
    }

    /// The client-first message.
    pub fn first(&self) -> Vec<u8> {
        format!("{}{}", self.gs2_header(), self.first_bare).into_bytes()
    }

    /// The client-final message for the server-first message.
    pub fn respond(&mut self, challenge: &[u8]) -> Result<Vec<u8>, SaslError> {
        let server_first = String::from_utf8_lossy(challenge).into_owned();
        let malformed = || SaslError::Malformed(server_first.clone());
        let nonce = attribute(&server_first, 'r').ok_or_else(malformed)?;
        let salt = attribute(&server_first, 's').and_then(|s| BASE64.decode(s).ok()).ok_or_else(malformed)?;
        let rounds =
            attribute(&server_first, 'i').and_then(|i| i.parse::<NonZeroU32>().ok()).ok_or_else(malformed)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(SaslError::ForeignNonce);
        }
        let without_proof = format!("c={},r={nonce}", BASE64.encode(self.binding_input()));
        let auth_message = format!("{},{server_first},{without_proof}", self.first_bare);
        let salted = salted_password(self.hash, &self.password, &salt, rounds);
        let (proof, signature) = sign(self.hash, &salted, auth_message.as_bytes());
        self.server_signature = Some(signature);
        Ok(format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes())
    }

    /// Checks the server-final message.
    pub fn verify(&self, success: &[u8]) -> Result<(), SaslError> {
        let text = String::from_utf8_lossy(success).into_owned();
        let received = attribute(&text, 'v').and_then(|v| BASE64.decode(v).ok());
        let received = received.ok_or(SaslError::Malformed(text))?;
        if self.server_signature.as_deref() == Some(&received) {
            Ok(())
        } else {
            Err(SaslError::WrongSignature)
        }
    }

    fn gs2_header(&self) -> String {
        match &self.binding {
            Binding::Unsupported => "n,,".to_owned(),
            Binding::NotOffered => "y,,".to_owned(),
            Binding::Bound { kind, .. } => format!("p={kind},,"),
        }
    }

    fn binding_input(&self) -> Vec<u8> {
        let mut input = self.gs2_header().into_bytes();
        if let Binding::Bound { data, .. } = &self.binding {
            input.extend_from_slice(data);
        }
        input
    }
}

/// `SaltedPassword` of RFC 5802 section 3, remembered: a load client logs the same accounts in again and again.
pub fn salted_password(hash: Hash, password: &str, salt: &[u8], rounds: NonZeroU32) -> Vec<u8> {
    type Key = (Hash, String, Vec<u8>, NonZeroU32);
    static KNOWN: Mutex<Option<HashMap<Key, Vec<u8>>>> = Mutex::new(None);
    let key = (hash, password.to_owned(), salt.to_owned(), rounds);
    if let Some(salted) =
        KNOWN.lock().expect("never poisoned: nothing panics inside").as_ref().and_then(|k| k.get(&key))
    {
        return salted.clone();
    }
    let mut salted = vec![0; hash.digest().output_len()];
    pbkdf2::derive(hash.pbkdf2(), rounds, salt, password.as_bytes(), &mut salted);
    let mut known = KNOWN.lock().expect("never poisoned: nothing panics inside");
    known.get_or_insert_default().insert(key, salted.clone());
    salted
}

/// `StoredKey` and `ServerKey` of RFC 5802 section 3: what a server keeps of a password.
pub fn server_secrets(hash: Hash, salted: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let client_key = hash.hmac(salted, b"Client Key");
    (digest::digest(hash.digest(), &client_key).as_ref().to_vec(), hash.hmac(salted, b"Server Key"))
}

/// The client's proof and the signature that the server must answer with.
fn sign(hash: Hash, salted: &[u8], auth_message: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let client_key = hash.hmac(salted, b"Client Key");
    let (stored_key, server_key) = server_secrets(hash, salted);
    let client_signature = hash.hmac(&stored_key, auth_message);
    let proof = client_key.iter().zip(&client_signature).map(|(key, signature)| key ^ signature).collect();
    (proof, hash.hmac(&server_key, auth_message))
}

impl Hash {
    fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), data).as_ref().to_vec()
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

fn attribute(message: &str, name: char) -> Option<&str> {
    message.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677 section 3.
    #[test]
    fn the_example_of_rfc_7677_is_reproduced() {
        let mut scram = Scram::new(Hash::Sha256, "user", "pencil", Binding::Unsupported);
        scram.nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
        scram.first_bare = format!("n=user,r={}", scram.nonce);
        let server_first =
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let client_final = scram.respond(server_first.as_bytes()).expect("a valid server-first");
        assert_eq!(
            String::from_utf8(client_final).expect("ASCII"),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        scram.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").expect("the right signature");
        assert!(matches!(scram.verify(b"v=AAAA"), Err(SaslError::WrongSignature)));
    }

    #[test]
    fn a_nonce_that_is_not_ours_is_refused() {
        let mut scram = Scram::new(Hash::Sha1, "user", "pencil", Binding::Unsupported);
        assert!(matches!(scram.respond(b"r=other,s=QSXCR+Q6sek8bf92,i=4096"), Err(SaslError::ForeignNonce)));
        assert!(matches!(scram.respond(b"e=unknown"), Err(SaslError::Malformed(_))));
    }
}
