//! Built plugin libraries and all the ways in which one can get into a server's plugin folder.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::artifacts;

/// The bytes of a library and the name of its file.
#[derive(Debug, Clone)]
pub struct Plugin {
    file_name: String,
    bytes: Vec<u8>,
}

impl Plugin {
    /// The library of a crate of this workspace, as cargo built it.
    pub fn built(crate_name: &str) -> Plugin {
        let path = artifacts::library(crate_name);
        let file_name = path.file_name().expect("a library has a name").to_string_lossy().into_owned();
        Plugin { file_name, bytes: fs::read(&path).expect("the library was just built") }
    }

    /// Any bytes that pretend to be a library.
    pub fn from_bytes(file_name: &str, bytes: impl Into<Vec<u8>>) -> Plugin {
        Plugin { file_name: file_name.to_owned(), bytes: bytes.into() }
    }

    /// The same under another file name.
    pub fn named(mut self, file_name: &str) -> Plugin {
        self.file_name = file_name.to_owned();
        self
    }

    /// The same code in other bytes: some are appended behind the last section, where no loader looks.
    pub fn variant(mut self, number: u64) -> Plugin {
        self.bytes.extend_from_slice(b"variant ");
        self.bytes.extend_from_slice(&number.to_le_bytes());
        self
    }

    /// The same with its bytes changed by `change`.
    pub fn altered(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Plugin {
        change(&mut self.bytes);
        self
    }

    /// The file's name.
    pub fn file_name(&self) -> &str {
        &self.file_name
    }

    /// The file's content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A server's plugin folder.
#[derive(Debug, Clone)]
pub struct PluginFolder {
    path: PathBuf,
}

impl PluginFolder {
    pub(crate) fn new(path: PathBuf) -> PluginFolder {
        fs::create_dir_all(&path).expect("the test folder is writable");
        PluginFolder { path }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where this plugin's file is, or would be.
    pub fn file(&self, plugin: &Plugin) -> PathBuf {
        self.path.join(&plugin.file_name)
    }

    /// As `install` and package managers do: a complete file is renamed over the old one.
    pub fn install(&self, plugin: &Plugin) -> PathBuf {
        let temporary = self.path.join(format!(".{}.new", plugin.file_name));
        fs::write(&temporary, &plugin.bytes).expect("the plugin folder is writable");
        let file = self.file(plugin);
        fs::rename(&temporary, &file).expect("the plugin folder is writable");
        file
    }

    /// As `cp` does: the existing file is truncated and written again.
    pub fn overwrite(&self, plugin: &Plugin) {
        fs::write(self.file(plugin), &plugin.bytes).expect("the plugin folder is writable");
    }

    /// As `scp` over a slow line does: the file grows piece by piece, with `pause` between the pieces.
    pub async fn copy_slowly(&self, plugin: &Plugin, pieces: usize, pause: Duration) {
        let mut file = File::create(self.file(plugin)).expect("the plugin folder is writable");
        for piece in plugin.bytes.chunks(plugin.bytes.len().div_ceil(pieces)) {
            file.write_all(piece).expect("the plugin folder is writable");
            tokio::time::sleep(pause).await;
        }
    }

    /// Cuts the file down to `length` bytes in place.
    pub fn truncate(&self, plugin: &Plugin, length: u64) {
        let file = File::options().write(true).open(self.file(plugin)).expect("the plugin is in the folder");
        file.set_len(length).expect("a file can be cut");
    }

    /// Puts a symbolic link to `target` in the plugin's place.
    pub fn symlink(&self, plugin: &Plugin, target: &Path) {
        let temporary = self.path.join(format!(".{}.link", plugin.file_name));
        std::os::unix::fs::symlink(target, &temporary).expect("the plugin folder is writable");
        fs::rename(&temporary, self.file(plugin)).expect("the plugin folder is writable");
    }

    /// Changes the file's times and nothing else.
    pub fn touch(&self, plugin: &Plugin) {
        let file = File::options().append(true).open(self.file(plugin)).expect("the plugin is in the folder");
        let later = SystemTime::now() + Duration::from_secs(60);
        file.set_modified(later).expect("the file is ours");
    }

    /// Deletes the file.
    pub fn remove(&self, plugin: &Plugin) {
        fs::remove_file(self.file(plugin)).expect("the plugin is in the folder");
    }
}
