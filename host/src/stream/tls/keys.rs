//! The key of one direction: seals or opens records under it, each with a nonce of its own.
//!
//! A nonce is the key's initialisation vector combined with the record's number (RFC 8446 section 5.3; RFC 7905 section 2
//! for ChaCha20-Poly1305 in TLS 1.2). AES-GCM in TLS 1.2 sends the last eight bytes along (RFC 5288 section 3). The number
//! goes up with each record and never comes back, so no nonce is used twice.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305};
use aws_lc_rs::aead::{LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use rustls::ConnectionTrafficSecrets;
use zeroize::Zeroize;

use super::contexts::KeyNumber;
use super::secrets::TrafficSecret;

/// The authentication tag's bytes, the same for every suite that is offered.
pub(super) const TAG_BYTES: usize = 16;

/// The longest key: that of AES-256 and ChaCha20.
const MAX_KEY_BYTES: usize = 32;

/// The key of one direction, and the number of its next record.
pub(super) struct Key {
    context: KeyNumber,
    algorithm: &'static Algorithm,
    bytes: [u8; MAX_KEY_BYTES],
    iv: [u8; NONCE_LEN],
    number: u64,
}

impl Key {
    /// As rustls gave it up, with the number of its next record.
    pub(super) fn extracted((number, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self, Unspecified> {
        use ConnectionTrafficSecrets as Secrets;
        let (algorithm, bytes, iv) = match &secrets {
            Secrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            Secrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            Secrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(Unspecified),
        };
        let mut key = Self::empty(algorithm, number);
        let bytes = bytes.as_ref().get(..algorithm.key_len()).ok_or(Unspecified)?;
        key.bytes[..bytes.len()].copy_from_slice(bytes);
        key.iv = iv.as_ref().try_into().map_err(|_| Unspecified)?;
        Ok(key)
    }

    /// The key of a new traffic secret, for the same suite as this one.
    pub(super) fn successor(&self, secret: &TrafficSecret) -> Result<Self, Unspecified> {
        let mut key = Self::empty(self.algorithm, 0);
        secret.derive_key(&mut key.bytes[..self.algorithm.key_len()], &mut key.iv)?;
        Ok(key)
    }

    fn empty(algorithm: &'static Algorithm, number: u64) -> Self {
        let (bytes, iv) = ([0; MAX_KEY_BYTES], [0; NONCE_LEN]);
        Self { context: KeyNumber::next(), algorithm, bytes, iv, number }
    }

    /// The number of the next record.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether TLS 1.2 sends half of the nonce along.
    pub(super) fn sends_nonce(&self) -> bool {
        self.algorithm != &CHACHA20_POLY1305
    }

    /// The nonce of the next record.
    pub(super) fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.number.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }

    /// The same with the eight bytes that came along.
    pub(super) fn nonce_received(&self, sent: [u8; 8]) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        nonce[4..].copy_from_slice(&sent);
        nonce
    }

    /// Encrypts in place under the next nonce; gives the tag.
    pub(super) fn seal(&mut self, aad: &[u8], text: &mut [u8]) -> Result<[u8; TAG_BYTES], Unspecified> {
        let nonce = Nonce::assume_unique_for_key(self.nonce());
        self.number = self.number.checked_add(1).ok_or(Unspecified)?;
        let tag =
            self.with_context(|context| context.seal_in_place_separate_tag(nonce, Aad::from(aad), text))?;
        tag.as_ref().try_into().map_err(|_| Unspecified)
    }

    /// Decrypts what ends with its tag into `text`, which is as long without it.
    pub(super) fn open(
        &mut self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        sealed: &[u8],
        text: &mut [u8],
    ) -> Result<(), Unspecified> {
        let (sealed, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(Unspecified)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.number = self.number.checked_add(1).ok_or(Unspecified)?;
        self.with_context(|context| context.open_separate_gather(nonce, Aad::from(aad), sealed, tag, text))
    }

    fn with_context<R>(
        &self,
        work: impl FnOnce(&LessSafeKey) -> Result<R, Unspecified>,
    ) -> Result<R, Unspecified> {
        let bytes = &self.bytes[..self.algorithm.key_len()];
        let make = || Ok(LessSafeKey::new(UnboundKey::new(self.algorithm, bytes)?));
        self.context.with_context(make, work)?
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}
