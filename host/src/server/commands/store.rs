//! Commands about the store as a whole: saved, replaced, looked at.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::{Handlers, failures};
use crate::command::{Answer, Call, CommandError, CommandResult, ErrorKind};
use crate::server::shared::Shared;
use crate::storage::Form;

pub(super) fn add(handlers: Handlers) -> Handlers {
    handlers
        .on("backup", |shared, call| save(shared, call, Form::Backup))
        .on("dump", |shared, call| save(shared, call, Form::Dump))
        .on("restore", |shared, call| replace(shared, call, Form::Backup))
        .on("load", |shared, call| replace(shared, call, Form::Dump))
        .on("db_info", db_info)
}

async fn save(shared: Arc<Shared>, call: Call, form: Form) -> CommandResult {
    let file = absolute(&call)?;
    shared.storage.save(&file, form).await.map_err(|error| failures::storage(&error))?;
    Ok(Answer::value(format!("The store was written to {}.", file.display())))
}

async fn replace(shared: Arc<Shared>, call: Call, form: Form) -> CommandResult {
    let file = absolute(&call)?;
    shared.storage.replace(&file, form).await.map_err(|error| failures::storage(&error))?;
    Ok(Answer::value(format!("The store holds what {} holds.", file.display())))
}

async fn db_info(shared: Arc<Shared>, _: Call) -> CommandResult {
    let info = shared.storage.db_info().await.map_err(|error| failures::storage(&error))?;
    Ok(Answer::value(serde_json::to_value(info).unwrap_or(Value::Null)))
}

fn absolute(call: &Call) -> Result<PathBuf, CommandError> {
    let file = PathBuf::from(call.args.text("file"));
    if file.is_absolute() {
        return Ok(file);
    }
    let message =
        format!("\"{}\" must be an absolute path: the server has another folder than you.", file.display());
    Err(CommandError::new(ErrorKind::BadArgument, message))
}
