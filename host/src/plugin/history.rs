//! What was updated when, and the files to go back to. Kept on disk, bounded, so that `rollback` works after a restart.
//!
//! Nothing of it is kept in memory: a thousand entries would be most of what a server holds for its modules, and they are
//! read when somebody asks, or goes back.

use super::error::one_line;
use super::folder::Found;
use super::loader::ContentHash;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Entries kept, at most twice as many for a while.
const ENTRIES: usize = 1000;
/// Fewer digits of a hash name no build.
const HASH_DIGITS: usize = 4;

/// One update of one module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Seconds since 1970.
    pub at: u64,
    /// Number of the transaction.
    pub transaction: u64,
    /// What caused it: `start`, `ctl`, `http`, `hup`, `watch`, `rollback`, `health`, …
    pub trigger: String,
    /// Module id.
    pub module: String,
    /// `loaded`, `updated`, `unloaded`, `rolled_back`, `failed`.
    pub outcome: String,
    /// Version and hash before.
    pub from: Option<Build>,
    /// Version and hash after.
    pub to: Option<Build>,
    /// Why, for failures.
    pub reason: Option<String>,
}

/// One build of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Version.
    pub version: String,
    /// SHA-256 of the file, hexadecimal.
    pub hash: String,
}

impl Build {
    /// That of a file.
    pub fn new(version: &str, hash: ContentHash) -> Self {
        Self { version: version.to_owned(), hash: hash.to_string() }
    }

    /// Whether an operator who writes `name` means this one: its version, or the first digits of its hash.
    fn is_called(&self, name: &str) -> bool {
        self.version == name || (name.len() >= HASH_DIGITS && self.hash.starts_with(name))
    }
}

/// The record and the store of files.
pub struct History {
    file: PathBuf,
    versions: PathBuf,
    /// Entries in the file.
    entries: usize,
    next_transaction: u64,
    keep: usize,
}

impl History {
    /// Opens or begins it in `dir`. A line that cannot be read is left out.
    pub fn open(dir: &Path, keep: usize) -> io::Result<Self> {
        let (file, versions) = (dir.join("module_history.jsonl"), dir.join("versions"));
        fs::create_dir_all(&versions)?;
        let mut history = Self { file, versions, entries: 0, next_transaction: 1, keep };
        history.shorten()?;
        Ok(history)
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        Ok(self.text()?.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Writes entries down.
    pub fn add(&mut self, new: impl IntoIterator<Item = Entry>) -> io::Result<()> {
        let mut out = fs::OpenOptions::new().append(true).create(true).open(&self.file)?;
        for mut entry in new {
            entry.reason = entry.reason.map(|reason| one_line(&reason));
            out.write_all(line(&entry)?.as_bytes())?;
            self.entries += 1;
            self.next_transaction = self.next_transaction.max(entry.transaction + 1);
        }
        if self.entries > ENTRIES * 2 {
            self.shorten()?;
        }
        Ok(())
    }

    /// The number to give the next transaction.
    pub fn next_transaction(&self) -> u64 {
        self.next_transaction
    }

    /// The newest build of a module that does not serve now and whose file was kept: the one that served before, or with
    /// `wanted` the one of this version, or whose hash begins so.
    pub fn former(
        &self,
        module: &str,
        now: &str,
        wanted: Option<&str>,
    ) -> io::Result<Option<(Build, PathBuf)>> {
        let entries = self.entries()?.into_iter().rev().filter(|entry| entry.module == module);
        let mut builds = entries.flat_map(|entry| {
            // Without a wish only what was replaced counts: what was tried in vain is no way back.
            let tried = entry.to.filter(|_| wanted.is_some());
            tried.into_iter().chain(entry.from)
        });
        Ok(builds.find_map(|build| {
            let path = self.path(module, &build.hash);
            let fits = wanted.is_none_or(|wanted| build.is_called(wanted));
            (fits && build.hash != now && path.is_file()).then_some((build, path))
        }))
    }

    /// Keeps a file for later; the oldest ones beyond the number to keep go.
    pub fn keep(&self, found: &Found, copy: &Path) -> io::Result<()> {
        let module = found.id();
        let path = self.path(module, &found.hash.to_string());
        fs::create_dir_all(self.versions.join(module))?;
        if !path.is_file() {
            let half = path.with_extension("tmp");
            fs::copy(copy, &half)?;
            fs::rename(&half, &path)?;
        }
        self.forget_oldest(module, &path)
    }

    fn forget_oldest(&self, module: &str, current: &Path) -> io::Result<()> {
        let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
        for file in fs::read_dir(self.versions.join(module))? {
            let file = file?;
            files.push((file.metadata()?.modified()?, file.path()));
        }
        files.sort();
        // The current one is kept beside the former ones.
        let surplus = files.len().saturating_sub(self.keep + 1);
        for (_, path) in files.iter().filter(|(_, path)| path != current).take(surplus) {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    fn text(&self) -> io::Result<String> {
        match fs::read_to_string(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => read,
        }
    }

    fn path(&self, module: &str, hash: &str) -> PathBuf {
        self.versions.join(module).join(format!("{hash}.so"))
    }

    /// Writes the file anew with the newest lines that can be read. None of the entries is held meanwhile.
    fn shorten(&mut self) -> io::Result<()> {
        let text = self.text()?;
        let is_newest = |line: &&str| {
            let entry = serde_json::from_str::<Entry>(line).ok();
            entry.is_some_and(|entry| {
                self.next_transaction = self.next_transaction.max(entry.transaction + 1);
                true
            })
        };
        let mut newest: Vec<&str> = text.lines().rev().filter(is_newest).take(ENTRIES).collect();
        newest.reverse();
        let half = self.file.with_extension("tmp");
        let mut out = io::BufWriter::new(fs::File::create(&half)?);
        for line in &newest {
            writeln!(out, "{line}")?;
        }
        out.into_inner().map_err(io::IntoInnerError::into_error)?;
        fs::rename(half, &self.file)?;
        self.entries = newest.len();
        Ok(())
    }
}

/// The entry as it stands in the file.
fn line(entry: &Entry) -> io::Result<String> {
    let mut line = serde_json::to_string(entry).map_err(io::Error::other)?;
    line.push('\n');
    Ok(line)
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn found(dir: &Path, content: &str) -> Found {
        let path = dir.join("mod_x.so");
        fs::write(&path, content).unwrap();
        let manifest =
            moult_plugin_api::manifest::Manifest::parse(br#"{"id":"mod_x","version":"1"}"#).unwrap();
        Found {
            file_stem: "mod_x".into(),
            hash: ContentHash::of(content.as_bytes()),
            size: content.len() as u64,
            manifest: Ok(Arc::new(manifest)),
            path,
        }
    }

    fn entry(transaction: u64, from: Option<&Found>, to: &Found) -> Entry {
        Entry {
            at: now(),
            transaction,
            trigger: "ctl".into(),
            module: "mod_x".into(),
            outcome: "updated".into(),
            from: from.map(|f| Build::new("1", f.hash)),
            to: Some(Build::new("1", to.hash)),
            reason: None,
        }
    }

    #[test]
    fn the_build_before_is_found_again_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (found(dir.path(), "one"), found(dir.path(), "two"));
        let mut history = History::open(dir.path(), 3).unwrap();
        fs::write(&one.path, "one").unwrap();
        history.keep(&one, &one.path).unwrap();
        history.add([entry(1, Some(&one), &two)]).unwrap();
        let history = History::open(dir.path(), 3).unwrap();
        let (build, path) = history.former("mod_x", &two.hash.to_string(), None).unwrap().unwrap();
        assert_eq!(build.hash, one.hash.to_string());
        assert_eq!(fs::read_to_string(path).unwrap(), "one");
        assert_eq!(history.next_transaction(), 2);
    }

    #[test]
    fn a_build_is_named_by_its_version_or_its_hash() {
        let dir = tempfile::tempdir().unwrap();
        let builds = ["one", "two", "three"].map(|content| found(dir.path(), content));
        let mut history = History::open(dir.path(), 3).unwrap();
        for build in &builds {
            history.keep(build, &build.path).unwrap();
        }
        let [one, two, three] = &builds;
        history.add([entry(1, None, one), entry(2, Some(one), two), entry(3, Some(two), three)]).unwrap();
        let hash = |found: &Found| found.hash.to_string();
        let former = |wanted: &str| {
            let build = history.former("mod_x", &hash(three), Some(wanted)).unwrap();
            build.map(|(build, _)| build.hash)
        };
        assert_eq!(former(&hash(one)[..6]), Some(hash(one)));
        assert_eq!(former("1"), Some(hash(two)), "the newest of that version that does not serve");
        for nothing in ["2", &hash(three), &hash(one)[..2], ""] {
            assert_eq!(former(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn only_so_many_files_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::open(dir.path(), 2).unwrap();
        for content in ["a", "b", "c", "d", "e"] {
            let found = found(dir.path(), content);
            history.keep(&found, &found.path).unwrap();
        }
        let kept = fs::read_dir(dir.path().join("versions/mod_x")).unwrap().count();
        assert_eq!(kept, 3);
    }

    #[test]
    fn a_broken_line_does_not_stop_the_server() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("module_history.jsonl"), "{half a li").unwrap();
        assert_eq!(History::open(dir.path(), 2).unwrap().entries().unwrap(), []);
    }

    #[test]
    fn the_file_keeps_the_newest_entries_and_the_numbers_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let build = found(dir.path(), "one");
        let mut history = History::open(dir.path(), 2).unwrap();
        for transaction in 1..=2 * ENTRIES as u64 + 1 {
            assert_eq!(history.next_transaction(), transaction);
            history.add([entry(transaction, None, &build)]).unwrap();
        }
        let numbers: Vec<u64> = history.entries().unwrap().iter().map(|entry| entry.transaction).collect();
        assert_eq!(numbers, (ENTRIES as u64 + 2..=2 * ENTRIES as u64 + 1).collect::<Vec<_>>());
        assert_eq!(History::open(dir.path(), 2).unwrap().next_transaction(), 2 * ENTRIES as u64 + 2);
    }
}
