//! How much a peer may ask of the framer.

/// Limits of one stream. A peer that exceeds one is told so with a `policy-violation` (RFC 6120 13.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one top-level element, or of the stream header.
    pub stanza_bytes: u32,
    /// Elements open at the same time, the top-level element being the first.
    pub depth: u16,
    /// Attributes of one element, namespace declarations included.
    pub attributes: u16,
    /// Bytes of one name or of one attribute value. No name can have more than 65,535.
    pub token_bytes: u32,
    /// Namespace prefixes declared and in scope at the same time, those of the stream header not counted.
    pub declarations: u16,
}

impl Limits {
    /// The largest stanza that any configuration can allow: positions inside a stanza are 32-bit numbers.
    pub const MAX_STANZA_BYTES: u32 = 1 << 30;
    /// The greatest depth that any configuration can allow: trees are dropped recursively.
    pub const MAX_DEPTH: u16 = 1024;

    /// The same limits, brought below what the code can represent.
    pub(super) fn clamped(self) -> Self {
        Self {
            stanza_bytes: self.stanza_bytes.min(Self::MAX_STANZA_BYTES),
            depth: self.depth.min(Self::MAX_DEPTH),
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { stanza_bytes: 256 * 1024, depth: 64, attributes: 64, token_bytes: 64 * 1024, declarations: 64 }
    }
}
