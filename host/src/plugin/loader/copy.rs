//! The private copy of a library file: what is probed and loaded, while the watched path is never opened by `dlopen`.
//!
//! A library that is overwritten or cut while it is mapped kills the process, and opening a path a second time hands back
//! what was loaded from it first. So each generation gets a file of its own, under a name that is never used twice while
//! anything of it is mapped, in a folder where nobody else writes. Its content is compared with what was found; read back
//! and compared with what was written, while the probe runs; and right before it is loaded the file must be the one that
//! was read back, unchanged since. So what was probed is what is loaded.

use super::bytes::FileBytes;
use super::elf;
use super::hash::ContentHash;
use super::sys;
use crate::plugin::error::{EVERY_MODULE, Fault, ModuleError, Stage};
use crate::plugin::folder::Found;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const DIR_MODE: u32 = 0o700;
const COPY_MODE: u32 = 0o500;
const LOCK_NAME: &str = ".lock";

/// The folder of private copies. It belongs to one server process and is wiped when that one starts.
#[derive(Debug)]
pub struct Generations {
    dir: PathBuf,
    /// Held as long as the server runs: a second one must not wipe what the first has loaded.
    _lock: File,
}

impl Generations {
    /// Makes the folder (0700) or takes it over, locks it against a second server, and wipes it.
    pub fn open(dir: &Path) -> Result<Generations, ModuleError> {
        let refused = |fault, why: String| {
            ModuleError::new(EVERY_MODULE, Stage::Copy, fault, format!("the folder {} {why}", dir.display()))
        };
        let unusable = |e: io::Error| refused(Fault::Operator, format!("cannot be used: {e}"));
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir).map_err(unusable)?;
        let facts = fs::symlink_metadata(dir).map_err(unusable)?;
        if !facts.is_dir() {
            return Err(refused(Fault::Operator, "is not a folder (a symbolic link is not enough)".into()));
        }
        let (user, _) = sys::effective_ids();
        if facts.uid() != user {
            return Err(refused(
                Fault::Operator,
                format!("belongs to user {}, not to user {user}", facts.uid()),
            ));
        }
        fs::set_permissions(dir, Permissions::from_mode(DIR_MODE)).map_err(unusable)?;
        // The absolute path is what the loader knows the libraries by.
        let dir = dir.canonicalize().map_err(unusable)?;
        if sys::forbids_execution(&dir) {
            return Err(refused(Fault::Operator, "lies on a file system mounted noexec".into()));
        }
        let lock = lock(&dir).map_err(|e| match e {
            Some(e) => unusable(e),
            None => refused(Fault::Operator, "is in use by another running server".into()),
        })?;
        wipe(&dir).map_err(unusable)?;
        Ok(Generations { dir, _lock: lock })
    }

    /// Where the copies lie.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Copies what was found; refuses when its content is no longer the one that was found.
    pub fn copy(&self, found: &Found, generation: u64) -> Result<PrivateCopy, ModuleError> {
        let module = found.id();
        let mut bytes = read_source(found)?;
        if ContentHash::of(&bytes) != found.hash {
            let reason =
                format!("the file {} changed after it was looked at; try again", found.path.display());
            return Err(ModuleError::operator(module, Stage::Copy, reason));
        }
        // A file that cannot be read as ELF is copied as it is: the probe says what is wrong with it.
        let nodelete_cleared = elf::clear_nodelete(&mut bytes).unwrap_or(false);
        let loaded_hash = if nodelete_cleared { ContentHash::of(&bytes) } else { found.hash };
        let (path, file) =
            self.create(module, generation, found.hash).map_err(|e| self.unwritable(module, &e))?;
        let copy = PrivateCopy {
            module: module.to_owned(),
            generation,
            path,
            hash: found.hash,
            loaded_hash,
            proven: Mutex::new(None),
            nodelete_cleared,
            keep: false,
        };
        PrivateCopy::fill(file, &bytes).map_err(|e| self.unwritable(module, &e))?;
        Ok(copy)
    }

    fn unwritable(&self, module: &str, error: &io::Error) -> ModuleError {
        let reason = format!("its private copy in {} cannot be written: {error}", self.dir.display());
        ModuleError::operator(module, Stage::Copy, reason)
    }

    /// A new file under a name that is free, even if an earlier attempt with the same numbers is still mapped.
    fn create(&self, module: &str, generation: u64, hash: ContentHash) -> io::Result<(PathBuf, File)> {
        let stem = format!("{}-{generation}-{}", file_name_part(module), hash.short());
        let mut attempt = 1;
        loop {
            let name = if attempt == 1 { format!("{stem}.so") } else { format!("{stem}-{attempt}.so") };
            let path = self.dir.join(name);
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(COPY_MODE).custom_flags(libc::O_NOFOLLOW);
            match options.open(&path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && attempt < 10_000 => attempt += 1,
                result => return result.map(|file| (path, file)),
            }
        }
    }
}

fn lock(dir: &Path) -> Result<File, Option<io::Error>> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(dir.join(LOCK_NAME)).map_err(Some)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(None),
        Err(fs::TryLockError::Error(e)) => Err(Some(e)),
    }
}

fn wipe(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| is_copy_name(&name.to_string_lossy())) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Whether this is a name that `create` gives: should somebody configure a folder with other things in it, they stay.
fn is_copy_name(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".so") else { return false };
    let mut parts = stem.split('-');
    let (module, generation, hash) = (parts.next(), parts.next(), parts.next());
    let digits =
        |part: Option<&str>| part.is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    let is_hash =
        |part: Option<&str>| part.is_some_and(|p| p.len() == 12 && p.bytes().all(|b| b.is_ascii_hexdigit()));
    module.is_some_and(|m| !m.is_empty()) && digits(generation) && is_hash(hash)
}

fn read_source(found: &Found) -> Result<FileBytes, ModuleError> {
    let read = || {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(&found.path)?;
        FileBytes::read(&mut file, found.size)
    };
    read().map_err(|e| {
        let reason = format!("the file {} cannot be read: {e}", found.path.display());
        ModuleError::operator(found.id(), Stage::Copy, reason)
    })
}

fn file_name_part(module: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    module.chars().take(64).map(safe).collect()
}

/// One private copy. The file goes when this value goes, unless something is still mapped from it.
#[derive(Debug)]
pub struct PrivateCopy {
    module: String,
    generation: u64,
    path: PathBuf,
    hash: ContentHash,
    loaded_hash: ContentHash,
    /// What the file looked like when it was last read back and found right.
    proven: Mutex<Option<Stamp>>,
    nodelete_cleared: bool,
    keep: bool,
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

    /// Whether the flag that forbids unloading was taken out of it.
    pub fn nodelete_cleared(&self) -> bool {
        self.nodelete_cleared
    }

    /// Refuses when the file is not, byte for byte, what was written. It is read once; from then on its inode and the time
    /// of its last change, which no program can set, stand for its content as long as they stay the same.
    pub fn verify(&self, stage: Stage) -> Result<(), ModuleError> {
        let shown = self.path.display();
        let reason = match self.is_what_was_written() {
            Ok(true) => return Ok(()),
            Ok(false) => {
                format!("its private copy {shown} is not what was written; somebody else writes there")
            }
            Err(e) => format!("its private copy {shown} cannot be read back: {e}"),
        };
        Err(ModuleError::operator(&self.module, stage, reason))
    }

    fn is_what_was_written(&self) -> io::Result<bool> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).custom_flags(libc::O_NOFOLLOW).open(&self.path)?;
        let stamp = Stamp::of(&file.metadata()?);
        let mut proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        if proven.as_ref() == Some(&stamp) {
            return Ok(true);
        }
        let same = ContentHash::of_reader(&mut file)? == self.loaded_hash;
        *proven = same.then_some(stamp);
        Ok(same)
    }

    /// Leaves the file where it is when this value goes: something is still mapped from it.
    pub(super) fn keep(&mut self) {
        self.keep = true;
    }

    /// Removes it after all when this value goes.
    pub(super) fn release(&mut self) {
        self.keep = false;
    }

    fn fill(mut file: File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)?;
        // The mode given at creation was narrowed by the process's mask.
        file.set_permissions(Permissions::from_mode(COPY_MODE))
    }
}

/// What shows that a file is the same and was not changed: device, inode, length, and the time of its last change.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    identity: (u64, u64),
    len: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(facts: &Metadata) -> Stamp {
        Stamp {
            identity: (facts.dev(), facts.ino()),
            len: facts.len(),
            changed: (facts.ctime(), facts.ctime_nsec()),
        }
    }
}

impl Drop for PrivateCopy {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(module = self.module, path = %self.path.display(), "a private copy cannot be removed: {e}");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_copy_name;

    #[test]
    fn only_names_of_copies_are_wiped() {
        for name in ["mod_echo-1-0123456789ab.so", "m-77-ba7816bf8f01-2.so"] {
            assert!(is_copy_name(name), "{name}");
        }
        for name in [
            "mod_echo.so",
            "mod-echo.so",
            "a-b-0123456789ab.so",
            "m-1-0123.so",
            ".lock",
            "m-1-0123456789ab.so.bak",
        ] {
            assert!(!is_copy_name(name), "{name}");
        }
    }
}
