//! What is kept of a password: SCRAM secrets (RFC 5802, RFC 7677).

/// A hash function of the SCRAM family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// SHA-1, for old clients.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// All of them, the weakest first.
    pub const ALL: [Hash; 3] = [Hash::Sha1, Hash::Sha256, Hash::Sha512];
}

/// What a server keeps of a password for one hash function.
#[derive(Clone)]
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
