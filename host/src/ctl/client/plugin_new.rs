//! `plugin new`: the crate of a new module, from a template that is part of this program.

use std::path::{Path, PathBuf};

use super::ClientError;

/// Writes the crate of the module `name` into `folder`; the answer is the list of files.
pub(super) fn write(name: &str, folder: &Path, api_path: Option<&Path>) -> Result<Vec<PathBuf>, ClientError> {
    let _ = (name, folder, api_path);
    Err(ClientError::Refused("The template is not there yet.".into()))
}
