//! What the rooms' refusals mean for who called a command.

use serde_json::json;

use crate::auth::AuthError;
use crate::command::{CommandError, ErrorKind};
use crate::plugin::error::{EVERY_MODULE, Fault, ModuleError, Stage};
use crate::router::Rejected;
use crate::server::account_life::AccountError;
use crate::server::reload::ReloadError;
use crate::storage::StorageError;

/// The vhost or account a command names is not there.
pub(super) fn no_vhost(host: &str) -> CommandError {
    CommandError::new(ErrorKind::NotFound, format!("{host} is no vhost of this server."))
}

pub(super) fn account(error: &AccountError) -> CommandError {
    let kind = match error {
        AccountError::NoVhost(_) => ErrorKind::NotFound,
        AccountError::NoAccount(_) => ErrorKind::BadArgument,
        AccountError::Auth(error) => kind_of_auth(error),
    };
    CommandError::new(kind, error.to_string())
}

pub(super) fn auth(error: &AuthError) -> CommandError {
    CommandError::new(kind_of_auth(error), error.to_string())
}

fn kind_of_auth(error: &AuthError) -> ErrorKind {
    match error {
        AuthError::BadName { .. } | AuthError::BadPassword => ErrorKind::BadArgument,
        AuthError::Exists { .. } => ErrorKind::Conflict,
        AuthError::NoSuchAccount { .. } => ErrorKind::NotFound,
        AuthError::Busy => ErrorKind::Busy,
        AuthError::Storage(error) => kind_of_storage(error),
        AuthError::Crypto { .. } => ErrorKind::Failed,
    }
}

fn kind_of_storage(error: &StorageError) -> ErrorKind {
    match error {
        StorageError::TimedOut { .. } => ErrorKind::Timeout,
        error if error.is_transient() => ErrorKind::Busy,
        _ => ErrorKind::Failed,
    }
}

pub(super) fn storage(error: &StorageError) -> CommandError {
    CommandError::new(kind_of_storage(error), error.to_string())
}

pub(super) fn rejected(error: &Rejected) -> CommandError {
    let kind = match error {
        Rejected::NoAddress => ErrorKind::BadArgument,
        Rejected::Busy => ErrorKind::Busy,
        Rejected::TooLate => ErrorKind::Conflict,
        Rejected::Loop => ErrorKind::Failed,
    };
    CommandError::new(kind, error.to_string())
}

/// Failures of modules: one line each, and for programs the stage and the reason of the first (S3-16).
pub(super) fn modules(errors: &[ModuleError], transaction: Option<u64>) -> CommandError {
    let lines: Vec<String> = errors.iter().map(line).collect();
    let first = errors.first();
    let mut details = json!({
        "module": first.map_or(EVERY_MODULE, |error| &error.module),
        "stage": first.map(|error| error.stage),
        "reason": first.map(|error| &error.reason),
    });
    if let Some(transaction) = transaction {
        details["transaction"] = transaction.into();
    }
    if errors.len() > 1 {
        details["errors"] = json!(errors);
    }
    let kind = first.map_or(ErrorKind::Bug, kind_of_module);
    CommandError::new(kind, lines.join("\n")).with_details(details)
}

/// One failure.
pub(super) fn module(error: ModuleError) -> CommandError {
    modules(&[error], None)
}

fn line(error: &ModuleError) -> String {
    if is_missing(error) { format!("{error}.") } else { format!("{error}; it is {}.", error.fault) }
}

fn kind_of_module(error: &ModuleError) -> ErrorKind {
    if is_missing(error) { ErrorKind::NotFound } else { ErrorKind::Failed }
}

/// What the caller named is not there, which is nobody else's fault.
fn is_missing(error: &ModuleError) -> bool {
    (error.stage, error.fault) == (Stage::Notice, Fault::Operator)
}

pub(super) fn reload(error: &ReloadError) -> CommandError {
    match error {
        ReloadError::Config(errors) => {
            let mistakes: Vec<_> = errors
                .iter()
                .map(|error| {
                    json!({
                        "file": error.location.file.display().to_string(),
                        "line": error.location.line,
                        "message": error.message,
                    })
                })
                .collect();
            let message = format!("Nothing was changed, because the configuration has mistakes:\n{errors}");
            CommandError::new(ErrorKind::Failed, message).with_details(json!({ "mistakes": mistakes }))
        }
        ReloadError::Modules(errors) => {
            let mut failed = modules(errors, None);
            failed.message =
                format!("Nothing was changed, because modules refuse their options:\n{}", failed.message);
            failed.kind = ErrorKind::Failed;
            failed
        }
        ReloadError::Certificate(error) => {
            CommandError::new(ErrorKind::Failed, format!("Nothing was changed: {error}"))
        }
    }
}
