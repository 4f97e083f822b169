//! Files on the disk, each named by its token alone.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A folder of files, spread over folders of their first letters.
#[derive(Debug)]
pub struct Files(PathBuf);

impl Files {
    /// Makes the folder and proves that it can be written to. The error is a sentence.
    pub fn open(root: &str) -> Result<Self, String> {
        let files = Self(PathBuf::from(root));
        let probe = files.0.join(".probe");
        let tried = fs::create_dir_all(&files.0)
            .and_then(|()| fs::write(&probe, b"probe"))
            .and_then(|()| fs::remove_file(&probe));
        tried.map_err(|error| {
            format!("the folder {root} of the option `docroot` cannot be written to: {error}")
        })?;
        // The server may have another working directory than the module's author thought.
        let absolute = fs::canonicalize(&files.0).map_err(|error| format!("{root}: {error}"))?;
        Ok(Self(absolute))
    }

    /// Where the file of a token is.
    pub fn path(&self, token: &str) -> PathBuf {
        let folder = token.get(..2).unwrap_or("__");
        self.0.join(folder).join(token)
    }

    /// Writes a file aside, flushes it and puts it in its place.
    pub fn write(&self, token: &str, content: &[u8]) -> io::Result<()> {
        let path = self.path(token);
        let folder = path.parent().unwrap_or(&self.0);
        fs::create_dir_all(folder)?;
        let aside = path.with_extension("part");
        let written = write_through(&aside, content).and_then(|()| fs::rename(&aside, &path));
        if written.is_err() {
            // Nothing more can be done about it: the sweep does not know this name.
            let _ = fs::remove_file(&aside);
        }
        written
    }

    /// Removes the file of a token, if there is one.
    pub fn remove(&self, token: &str) -> io::Result<()> {
        match fs::remove_file(self.path(token)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

fn write_through(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}
