//! A SCRAM client for the tests, written from the RFC and not from the server's code.

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Hash;

/// What a client would say.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) hash: Hash,
    /// With both commas.
    pub(super) gs2_header: String,
    pub(super) binding: Vec<u8>,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) nonce: String,
}

/// A finished client: its last message, and what the server has to answer.
pub(super) struct Finished {
    pub(super) message: String,
    pub(super) server_final: String,
}

impl Client {
    pub(super) fn new(hash: Hash, user: &str, password: &str) -> Client {
        Client {
            hash,
            gs2_header: "n,,".into(),
            binding: Vec::new(),
            user: user.into(),
            password: password.into(),
            nonce: "clientnonce".into(),
        }
    }

    pub(super) fn bound(mut self, kind: &str, data: &[u8]) -> Client {
        self.gs2_header = format!("p={kind},,");
        self.binding = data.into();
        self
    }

    pub(super) fn header(mut self, header: &str) -> Client {
        self.gs2_header = header.into();
        self
    }

    pub(super) fn first(&self) -> String {
        format!("{}{}", self.gs2_header, self.first_bare())
    }

    fn first_bare(&self) -> String {
        format!("n={},r={}", self.user.replace('=', "=3D").replace(',', "=2C"), self.nonce)
    }

    pub(super) fn finish(&self, server_first: &str) -> Finished {
        let attribute =
            |name: &str| server_first.split(',').find_map(|part| part.strip_prefix(name)).unwrap();
        let nonce = attribute("r=");
        assert!(nonce.starts_with(&self.nonce) && nonce.len() > self.nonce.len(), "{server_first}");
        let salted =
            self.salted(&STANDARD.decode(attribute("s=")).unwrap(), attribute("i=").parse().unwrap());
        let binding = STANDARD.encode([self.gs2_header.as_bytes(), &self.binding].concat());
        let without_proof = format!("c={binding},r={nonce}");
        let message = format!("{},{server_first},{without_proof}", self.first_bare());
        let client_key = self.hmac(&salted, b"Client Key");
        let stored_key = digest::digest(self.digest(), &client_key);
        let signature = self.hmac(stored_key.as_ref(), message.as_bytes());
        let proof: Vec<u8> =
            client_key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
        let server_signature = self.hmac(&self.hmac(&salted, b"Server Key"), message.as_bytes());
        Finished {
            message: format!("{without_proof},p={}", STANDARD.encode(proof)),
            server_final: format!("v={}", STANDARD.encode(server_signature)),
        }
    }

    fn salted(&self, salt: &[u8], iterations: u32) -> Vec<u8> {
        let algorithm = match self.hash {
            Hash::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Hash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Hash::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        let mut salted = vec![0; self.digest().output_len()];
        pbkdf2::derive(
            algorithm,
            iterations.try_into().unwrap(),
            salt,
            self.password.as_bytes(),
            &mut salted,
        );
        salted
    }

    fn hmac(&self, key: &[u8], data: &[u8]) -> Vec<u8> {
        let algorithm = match self.hash {
            Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), data).as_ref().to_vec()
    }

    fn digest(&self) -> &'static digest::Algorithm {
        match self.hash {
            Hash::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha512 => &digest::SHA512,
        }
    }
}
