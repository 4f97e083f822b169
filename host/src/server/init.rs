//! `moultd --init DIR`: a working directory that a server can be started from at once.

use std::path::Path;
use std::process::ExitCode;

/// Makes the directory.
pub fn init(_directory: &Path) -> ExitCode {
    ExitCode::from(super::FAILED)
}
