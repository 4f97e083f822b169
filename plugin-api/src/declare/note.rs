//! The ELF note that repeats the manifest.

use crate::abi::v1::{NOTE_OWNER, NOTE_TYPE_MANIFEST};

/// A note record as ELF wants it: sizes, type, owner padded to four bytes, description padded to four bytes.
#[repr(C, align(4))]
#[derive(Debug)]
pub struct Note<const PADDED: usize> {
    owner_size: u32,
    description_size: u32,
    kind: u32,
    owner: [u8; 8],
    description: [u8; PADDED],
}

/// The room that `len` bytes of description take.
pub const fn padded(len: usize) -> usize {
    len.next_multiple_of(4)
}

impl<const PADDED: usize> Note<PADDED> {
    /// A note with this manifest.
    pub const fn manifest(json: &[u8]) -> Self {
        assert!(padded(json.len()) == PADDED, "PADDED is padded(json.len())");
        let mut owner = [0; 8];
        let mut i = 0;
        while i < NOTE_OWNER.len() {
            owner[i] = NOTE_OWNER[i];
            i += 1;
        }
        let mut description = [0; PADDED];
        i = 0;
        while i < json.len() {
            description[i] = json[i];
            i += 1;
        }
        Self {
            owner_size: NOTE_OWNER.len() as u32,
            description_size: json.len() as u32,
            kind: NOTE_TYPE_MANIFEST,
            owner,
            description,
        }
    }

    /// Sizes of owner and description, and the type.
    pub const fn header(&self) -> (u32, u32, u32) {
        (self.owner_size, self.description_size, self.kind)
    }

    /// The description without its padding.
    pub fn description(&self) -> &[u8] {
        &self.description[..self.description_size as usize]
    }
}
