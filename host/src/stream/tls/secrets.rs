//! The traffic secrets of TLS 1.3 sessions (RFC 8446 section 7): caught while rustls shakes hands, kept for new keys.
//!
//! rustls gives up the keys of a session, but not the secrets from which a KeyUpdate makes the next ones. It does tell
//! them to a key log, inside the very call that derives them. So the key log here puts them into a place of the calling
//! thread, and who made the call takes them out after it. They go nowhere else, and are wiped when they are dropped.

use std::cell::Cell;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{Algorithm, HKDF_SHA256, HKDF_SHA384, KeyType, Prk};
use rustls::KeyLog;
use zeroize::Zeroize;

/// The longest hash of a suite that is offered: SHA-384.
const MAX_BYTES: usize = 48;

/// The secret of one direction.
pub(super) struct TrafficSecret {
    bytes: [u8; MAX_BYTES],
    algorithm: Algorithm,
}

/// Those of both directions.
#[derive(Default)]
pub(super) struct TrafficSecrets {
    pub(super) client: Option<TrafficSecret>,
    pub(super) server: Option<TrafficSecret>,
}

thread_local! {
    static CAUGHT: Cell<TrafficSecrets> = const { Cell::new(TrafficSecrets { client: None, server: None }) };
}

impl TrafficSecrets {
    /// What rustls has derived on this thread since the last time.
    pub(super) fn take_caught() -> Self {
        CAUGHT.take()
    }
}

/// The key log that catches them.
#[derive(Debug)]
pub(super) struct Catcher;

impl KeyLog for Catcher {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        let mut caught = CAUGHT.take();
        match label {
            "CLIENT_TRAFFIC_SECRET_0" => caught.client = TrafficSecret::new(secret),
            "SERVER_TRAFFIC_SECRET_0" => caught.server = TrafficSecret::new(secret),
            _ => {}
        }
        CAUGHT.set(caught);
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, "CLIENT_TRAFFIC_SECRET_0" | "SERVER_TRAFFIC_SECRET_0")
    }
}

/// How many bytes a derivation is to give.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl TrafficSecret {
    fn new(secret: &[u8]) -> Option<Self> {
        let algorithm = match secret.len() {
            32 => HKDF_SHA256,
            48 => HKDF_SHA384,
            _ => return None,
        };
        let mut bytes = [0; MAX_BYTES];
        bytes[..secret.len()].copy_from_slice(secret);
        Some(Self { bytes, algorithm })
    }

    /// The secret after a KeyUpdate (RFC 8446 section 7.2).
    pub(super) fn next(&self) -> Result<Self, Unspecified> {
        let mut next = Self { bytes: [0; MAX_BYTES], algorithm: self.algorithm };
        self.derive(b"tls13 traffic upd", &mut next.bytes[..self.length()])?;
        Ok(next)
    }

    /// Its key and initialisation vector (RFC 8446 section 7.3).
    pub(super) fn derive_key(&self, key: &mut [u8], iv: &mut [u8]) -> Result<(), Unspecified> {
        self.derive(b"tls13 key", key)?;
        self.derive(b"tls13 iv", iv)
    }

    /// HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
    fn derive(&self, label: &[u8], output: &mut [u8]) -> Result<(), Unspecified> {
        let length = u16::try_from(output.len()).map_err(|_| Unspecified)?.to_be_bytes();
        let label_length = [u8::try_from(label.len()).map_err(|_| Unspecified)?];
        let info: [&[u8]; 4] = [&length, &label_length, label, &[0]];
        let key = Prk::new_less_safe(self.algorithm, &self.bytes[..self.length()]);
        key.expand(&info, Length(output.len()))?.fill(output)
    }

    fn length(&self) -> usize {
        if self.algorithm == HKDF_SHA384 { 48 } else { 32 }
    }
}

impl Drop for TrafficSecret {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}
