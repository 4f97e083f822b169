//! The accounts of the peers, written into their stores before they start.
//!
//! All accounts share one password and one salt, so that 9,000 of them cost one PBKDF2 and not 9,000.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use moult_tests::sasl::{Hash, salted_password, server_secrets};

use super::{PASSWORD, SCRAM_ROUNDS};

const SALT: &[u8] = b"0123456789abcdef";

/// What a server keeps for SCRAM-SHA-1.
pub struct Secrets {
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl Secrets {
    /// The secrets of everybody's password.
    pub fn new() -> Secrets {
        let rounds = NonZeroU32::new(SCRAM_ROUNDS).expect("the rounds are not zero");
        let salted = salted_password(Hash::Sha1, PASSWORD, SALT, rounds);
        let (stored_key, server_key) = server_secrets(Hash::Sha1, &salted);
        Secrets { stored_key, server_key }
    }

    /// One account file of Prosody's internal storage.
    pub fn prosody_account(&self) -> String {
        format!(
            "return {{ [\"iteration_count\"] = {SCRAM_ROUNDS}; [\"salt\"] = \"{}\"; [\"stored_key\"] = \"{}\"; \
             [\"server_key\"] = \"{}\"; }};\n",
            String::from_utf8_lossy(SALT),
            hex(&self.stored_key),
            hex(&self.server_key),
        )
    }

    /// A dump of ejabberd's account table, as its command `load` reads it.
    pub fn ejabberd_dump(&self, users: impl Iterator<Item = String>, domain: &str) -> String {
        let mut dump =
            "{tables, [{passwd, [{record_name, passwd}, {attributes, [us, password]}]}]}.\n".to_owned();
        let [stored, server, salt] =
            [&self.stored_key, &self.server_key, SALT].map(|bytes| BASE64.encode(bytes));
        for user in users {
            dump.push_str(&format!(
                "{{passwd, {{<<\"{user}\">>, <<\"{domain}\">>}}, {{scram, <<\"{stored}\">>, <<\"{server}\">>, \
                 <<\"{salt}\">>, sha, {SCRAM_ROUNDS}}}}}.\n"
            ));
        }
        dump
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
