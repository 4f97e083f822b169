//! Secrets from the environment and from files of their own. The exact rule:
//!
//! 1. A secret of the server has a variable: section and key in capitals, with `MOULT_` in front and `_` between
//!    them. `admin_token` in `[http]` is `MOULT_HTTP_ADMIN_TOKEN`. The same name with `_FILE` names a file that holds
//!    the secret. A variable wins over the configuration file; both variables at once are a mistake.
//! 2. Every secret of the server and every option of a module may be written as `{ env = "MOULT_NAME" }`, which
//!    reads `MOULT_NAME` or the file named by `MOULT_NAME_FILE`, or as `{ file = "path" }`, which reads that file.
//!    A variable that is not set is a mistake. Other variables than `MOULT_...` are refused.
//! 3. One line break at the end of such a file is left out. An empty secret, and a file over 64 KiB, are mistakes.
//! 4. What was read by these rules is masked wherever the configuration is printed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;

use super::raw::{Node, Shape, Table};
use super::reader::Context;

const PREFIX: &str = "MOULT_";
const MAX_SECRET_FILE: u64 = 64 * 1024;

/// Where variables come from: the process, or a test's map.
pub trait Environment {
    /// The value of one variable, if it is set.
    fn variable(&self, name: &str) -> Option<OsString>;
}

/// The environment of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }
}

impl Environment for BTreeMap<&str, &str> {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.get(name).map(OsString::from)
    }
}

/// The variable of a server secret: `("[http]", "admin_token")` is `MOULT_HTTP_ADMIN_TOKEN`.
pub(super) fn variable_name(section: &str, key: &str) -> String {
    let section = section.trim_matches(['[', ']']);
    format!("{PREFIX}{section}_{key}").to_ascii_uppercase().replace('.', "_")
}

/// Reads the variable, or the file that its `_FILE` twin names.
pub(super) fn look_up(environment: &dyn Environment, variable: &str) -> Result<Option<String>, String> {
    let twin = format!("{variable}_FILE");
    match (environment.variable(variable), environment.variable(&twin)) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(format!("Both {variable} and {twin} are set; only one of them may be.")),
        (Some(value), None) => match value.into_string() {
            Ok(text) if !text.is_empty() => Ok(Some(text)),
            Ok(_) => Err(format!("The environment variable {variable} is set, but empty.")),
            Err(_) => Err(format!("The environment variable {variable} is not UTF-8.")),
        },
        (None, Some(path)) => {
            read_secret_file(Path::new(&path)).map(Some).map_err(|e| format!("{twin}: {e}"))
        }
    }
}

/// Resolves `{ env = ... }` and `{ file = ... }`; `None` where the value is something else.
pub(super) fn value_or_reference(context: &Context<'_>, node: &Node) -> Result<Option<String>, String> {
    let Shape::Table(table) = &node.shape else { return Ok(None) };
    match single_entry(table) {
        Some(("env", variable)) => from_variable(context, variable).map(Some),
        Some(("file", path)) => read_secret_file(&context.folder.join(path)).map(Some),
        _ => Ok(None),
    }
}

fn single_entry(table: &Table) -> Option<(&str, &str)> {
    let mut entries = table.entries.iter();
    let (key, node) = entries.next()?;
    if entries.next().is_some() {
        return None;
    }
    Some((key, node.as_str()?))
}

fn from_variable(context: &Context<'_>, variable: &str) -> Result<String, String> {
    if !variable.starts_with(PREFIX) {
        return Err(format!(
            "the environment variable {variable} is not read, its name must start with {PREFIX}."
        ));
    }
    look_up(context.environment, variable)?.ok_or_else(|| {
        format!("the environment variable {variable} is not set, and neither is {variable}_FILE.")
    })
}

fn read_secret_file(path: &Path) -> Result<String, String> {
    let unreadable =
        |error: std::io::Error| format!("the secret file {} cannot be read: {error}.", path.display());
    let mut file = std::fs::File::open(path).map_err(unreadable)?.take(MAX_SECRET_FILE + 1);
    let mut text = String::new();
    let bytes = file.read_to_string(&mut text).map_err(unreadable)?;
    if bytes as u64 > MAX_SECRET_FILE {
        return Err(format!("the secret file {} is larger than 64 KiB.", path.display()));
    }
    let secret = text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
    if secret.is_empty() {
        return Err(format!("the secret file {} is empty.", path.display()));
    }
    Ok(secret.to_owned())
}
