//! What can be wrong with a configuration: each mistake with its place, all of them together.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A place in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file as the operator named it.
    pub file: Arc<Path>,
    /// Its line, counted from 1; 0 means the file as a whole.
    pub line: usize,
}

impl Location {
    /// A place in `file`.
    pub fn new(file: &Arc<Path>, line: usize) -> Location {
        Location { file: Arc::clone(file), line }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}", self.file.display()),
        }
    }
}

/// One mistake of the operator's configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {message}")]
pub struct ConfigError {
    /// Where it stands.
    pub location: Location,
    /// What is wrong and what would be right, as a whole sentence that names the key.
    pub message: String,
}

/// Every mistake found in one reading of the configuration, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// In the order of the file.
    pub fn new(mut errors: Vec<ConfigError>) -> ConfigErrors {
        errors.sort_by_key(|error| error.location.line);
        ConfigErrors(errors)
    }

    pub(super) fn of_file(file: &Path, message: String) -> ConfigErrors {
        let location = Location { file: PathBuf::from(file).into(), line: 0 };
        ConfigErrors(vec![ConfigError { location, message }])
    }

    /// The mistakes one by one.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
