//! The plugin folder: which libraries lie there, by content, and which files are not to be trusted.
//!
//! A look reads every `*.so` whole and hashes it: time stamps lie, and a file replaced by one of the same length and time
//! must be seen. A file that a process still writes, or that is no whole ELF file, is given time to settle. Nothing here
//! opens a library for execution; what is found is copied, checked again and probed by others.

mod stamp;
mod trust;

use self::stamp::{Stamp, proof, stamp, untouched_for};
use super::error::Fault;
use super::loader::elf::{self, ElfProblem};
use super::loader::{ContentHash, FileBytes, sys};
use moult_plugin_api::manifest::Manifest;
use serde::Serialize;
use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

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

/// A file that is not taken yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unsettled {
    /// The module that this file was when it was last whole, else its file stem.
    pub module: String,
    /// The file.
    pub path: PathBuf,
    /// What it still lacks.
    pub reason: String,
}

/// Something in the folder that is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FolderProblem {
    /// The module concerned, as for [`Unsettled::module`]; `None` for the folder itself.
    pub module: Option<String>,
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
    /// Libraries, sorted by path; no id appears twice.
    pub found: Vec<Found>,
    /// Files that are being written; look again after [`FolderRules::settle`].
    pub unsettled: Vec<Unsettled>,
    /// What is refused.
    pub problems: Vec<FolderProblem>,
    /// Whether every file was looked at: only then does absence mean that a module was taken away.
    pub complete: bool,
}

/// Looks into one folder, and remembers what it saw of files that were not finished.
#[derive(Debug)]
pub struct FolderScanner {
    dir: PathBuf,
    rules: FolderRules,
    /// What was taken before, by path: the same content again needs no second wait.
    taken: HashMap<PathBuf, Taken>,
    /// Content that looked unfinished, and since when it has been the same.
    waiting: HashMap<PathBuf, (ContentHash, Instant)>,
}

/// A library as it was when it was last read.
#[derive(Debug)]
struct Taken {
    found: Found,
    /// What the file looked like from outside, if that is proof enough that its content is still the same.
    proof: Option<Stamp>,
}

/// What one file turned out to be.
enum Verdict {
    Found(Found),
    Unsettled(String),
    Refused(Fault, String),
    Gone,
}

impl FolderScanner {
    /// For this folder.
    pub fn new(dir: &Path, rules: FolderRules) -> FolderScanner {
        FolderScanner { dir: dir.to_owned(), rules, taken: HashMap::new(), waiting: HashMap::new() }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Looks once. Blocks for as long as reading the files takes.
    pub fn scan(&mut self) -> Scan {
        let mut scan = Scan { complete: true, ..Scan::default() };
        match self.candidates(&mut scan) {
            Ok((real_dir, paths)) => {
                self.taken.retain(|path, _| paths.contains(path));
                self.waiting.retain(|path, _| paths.contains(path));
                for path in paths {
                    self.look(&path, &real_dir, &mut scan);
                }
            }
            Err(reason) => self.incomplete(&mut scan, reason),
        }
        refuse_collisions(&mut scan);
        scan
    }

    /// Looks until no file is being written any more, at most this long; what is still unsettled then is listed as such.
    pub fn scan_settled(&mut self, patience: Duration) -> Scan {
        let deadline = Instant::now() + patience;
        loop {
            let scan = self.scan();
            let left = deadline.saturating_duration_since(Instant::now());
            if scan.unsettled.is_empty() || left.is_zero() {
                return scan;
            }
            std::thread::sleep((self.rules.settle / 8).clamp(Duration::from_millis(5), left.max(MIN_PAUSE)));
        }
    }

    /// The one library at `path` in this folder, whatever else lies there; the error is one sentence.
    pub fn find(&mut self, path: &Path) -> Result<Found, String> {
        let mut scan = Scan::default();
        let (real_dir, _) = self.candidates(&mut scan)?;
        self.look(path, &real_dir, &mut scan);
        let unsettled = scan
            .unsettled
            .pop()
            .map(|file| format!("the file {} is not whole: {}", path.display(), file.reason));
        let problem = scan.problems.pop().map(|problem| problem.reason);
        match scan.found.pop() {
            Some(found) => Ok(found),
            None => {
                Err(unsettled.or(problem).unwrap_or_else(|| format!("the file {} is gone", path.display())))
            }
        }
    }

    /// The real path of the folder, and the files in it that may be libraries, sorted.
    fn candidates(&self, scan: &mut Scan) -> Result<(PathBuf, Vec<PathBuf>), String> {
        let shown = self.dir.display();
        let real = self.dir.canonicalize().map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => format!("the plugin folder {shown} does not exist"),
            _ => format!("the plugin folder {shown} cannot be read: {e}"),
        })?;
        let unreadable = |e: io::Error| format!("the plugin folder {shown} cannot be read: {e}");
        let facts = fs::metadata(&real).map_err(unreadable)?;
        if !facts.is_dir() {
            return Err(format!("the plugin folder {shown} is not a folder"));
        }
        trust::check_rights(&facts).map_err(|why| format!("the plugin folder {shown} {why}"))?;
        let mut paths = Vec::new();
        for entry in fs::read_dir(&real).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            if is_library_name(&name.to_string_lossy()) {
                paths.push(self.dir.join(name));
            }
        }
        paths.sort();
        if paths.len() > self.rules.max_files {
            let limit = self.rules.max_files;
            let all = paths.len();
            let reason = format!(
                "the plugin folder {shown} holds {all} libraries; only the first {limit} are looked at"
            );
            self.incomplete(scan, reason);
            paths.truncate(self.rules.max_files);
        }
        Ok((real, paths))
    }

    fn incomplete(&self, scan: &mut Scan, reason: String) {
        scan.complete = false;
        let path = self.dir.clone();
        scan.problems.push(FolderProblem { module: None, path, fault: Fault::Operator, reason });
    }

    /// What to call the module of a file that cannot be read now.
    fn module_of(&self, path: &Path) -> String {
        self.taken.get(path).map_or_else(|| stem(path), |taken| taken.found.id().to_owned())
    }

    fn look(&mut self, path: &Path, real_dir: &Path, scan: &mut Scan) {
        let verdict = match trust::open_inside(path, real_dir).and_then(|file| self.read(path, file)) {
            Ok(verdict) | Err(verdict) => verdict,
        };
        match verdict {
            Verdict::Found(found) => {
                self.waiting.remove(path);
                scan.found.push(found);
            }
            Verdict::Unsettled(reason) => {
                scan.unsettled.push(Unsettled {
                    module: self.module_of(path),
                    path: path.to_owned(),
                    reason,
                });
            }
            Verdict::Refused(fault, why) => {
                self.waiting.remove(path);
                let reason = format!("the file {} {why}", path.display());
                let module = Some(self.module_of(path));
                scan.problems.push(FolderProblem { module, path: path.to_owned(), fault, reason });
            }
            Verdict::Gone => {}
        }
    }

    fn read(&mut self, path: &Path, mut file: File) -> Result<Verdict, Verdict> {
        let before = file.metadata().map_err(unreadable)?;
        trust::check_rights(&before).map_err(|why| Verdict::Refused(Fault::Operator, why))?;
        if before.len() > self.rules.max_bytes {
            let limit = self.rules.max_bytes;
            let why = format!("has {} bytes; {limit} are the limit", before.len());
            return Err(Verdict::Refused(Fault::Operator, why));
        }
        if let Some(taken) = self.taken.get(path).filter(|taken| taken.proof == Some(stamp(&before))) {
            return Ok(Verdict::Found(taken.found.clone()));
        }
        // Asked before reading: who opens it for writing later leaves a later time on it.
        let proof = proof(&file, &before);
        let bytes = FileBytes::read(&mut file, self.rules.max_bytes).map_err(unreadable)?;
        let after = file.metadata().map_err(unreadable)?;
        let hash = ContentHash::of(&bytes);
        let elf = elf::inspect(&bytes);
        if stamp(&before) != stamp(&after) {
            self.wait(path, hash);
            return Err(Verdict::Unsettled("it changes while it is read".into()));
        }
        if let Some(reason) = self.unsettled(path, hash, (&file, &after), &elf) {
            return Err(Verdict::Unsettled(reason));
        }
        let (path, file_stem, size) = (path.to_owned(), stem(path), bytes.len() as u64);
        let found = Found { path, file_stem, hash, size, manifest: manifest_of(elf) };
        self.taken.insert(found.path.clone(), Taken { found: found.clone(), proof });
        Ok(Verdict::Found(found))
    }

    /// Why this content is not taken yet.
    fn unsettled(
        &mut self,
        path: &Path,
        hash: ContentHash,
        (file, facts): (&File, &Metadata),
        elf: &Result<elf::ElfFacts, ElfProblem>,
    ) -> Option<String> {
        if self.taken.get(path).is_some_and(|taken| taken.found.hash == hash) {
            return None;
        }
        let unfinished = matches!(elf, Err(problem) if problem.unfinished);
        let written = sys::being_written(file);
        if !unfinished && written == Some(false) {
            return None;
        }
        let same_for = self.wait(path, hash);
        match (written, elf) {
            (Some(true), _) => Some("another process is still writing it".into()),
            _ if same_for.max(untouched_for(facts)) >= self.rules.settle => None,
            (_, Err(problem)) => Some(problem.reason.clone()),
            (_, Ok(_)) => Some("it is new and may still be written to".into()),
        }
    }

    /// Notes this content and says for how long it has been the same.
    fn wait(&mut self, path: &Path, hash: ContentHash) -> Duration {
        let now = Instant::now();
        let entry = self.waiting.entry(path.to_owned()).or_insert((hash, now));
        if entry.0 != hash {
            *entry = (hash, now);
        }
        now - entry.1
    }
}

const MIN_PAUSE: Duration = Duration::from_millis(5);

/// Whether a file of this name is looked at. Names with a dot first are what copying tools write to before they rename.
fn is_library_name(name: &str) -> bool {
    name.ends_with(".so") && !name.starts_with('.')
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
}

fn unreadable(error: io::Error) -> Verdict {
    match error.kind() {
        io::ErrorKind::NotFound => Verdict::Gone,
        _ => Verdict::Refused(Fault::Operator, format!("cannot be read: {error}")),
    }
}

/// What a library says about itself, read without loading it.
pub fn manifest_in(path: &Path) -> Result<Arc<Manifest>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    manifest_of(elf::inspect(&bytes))
}

fn manifest_of(elf: Result<elf::ElfFacts, ElfProblem>) -> Result<Arc<Manifest>, String> {
    let facts = elf.map_err(|problem| problem.reason)?;
    match facts.manifest {
        Some(json) => Manifest::parse(&json).map(Arc::new),
        None => Err("it carries no Moult manifest".into()),
    }
}

/// Two files with one id: neither is taken, because nobody could say which was meant. The same content under two names
/// (a link beside its target) is one library.
fn refuse_collisions(scan: &mut Scan) {
    let mut first: HashMap<String, usize> = HashMap::new();
    let mut refused = vec![None; scan.found.len()];
    for (i, found) in scan.found.iter().enumerate() {
        let Some(&other) = first.get(found.id()) else {
            first.insert(found.id().to_owned(), i);
            continue;
        };
        refused[i] = Some(other);
        if scan.found[other].hash != found.hash {
            refused[other] = Some(i);
        }
    }
    let all = std::mem::take(&mut scan.found);
    for (i, found) in all.iter().enumerate() {
        match refused[i] {
            None => scan.found.push(found.clone()),
            Some(other) if all[other].hash == found.hash => {}
            // Told of once, with the file that came first.
            Some(other) if other > i => {}
            Some(other) => scan.problems.push(FolderProblem {
                module: Some(found.id().to_owned()),
                path: found.path.clone(),
                fault: Fault::Operator,
                reason: format!(
                    "the files {} and {} both carry the module id {}; remove one of them",
                    found.path.display(),
                    all[other].path.display(),
                    found.id()
                ),
            }),
        }
    }
}
