//! Commands that carry accounts out of the server and into it (XEP-0227), with ejabberd's names.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::{Handlers, accounts};
use crate::command::{Answer, Call, CommandError, CommandResult, ErrorKind};
use crate::server::shared::Shared;
use crate::server::transfer::{Report, export, import};

pub(super) fn add(handlers: Handlers) -> Handlers {
    handlers
        .on("import_piefxis", import_piefxis)
        .on("export_piefxis", export_piefxis)
        .on("export_piefxis_host", export_piefxis_host)
}

async fn import_piefxis(shared: Arc<Shared>, call: Call) -> CommandResult {
    let file = absolute(&call, "file")?;
    let (report, read) = import::import(&shared, file).await;
    answer("taken over", &report, read.err())
}

async fn export_piefxis(shared: Arc<Shared>, call: Call) -> CommandResult {
    let folder = absolute(&call, "dir")?;
    match export::all(&shared, &folder).await {
        Ok(report) => answer("written", &report, None),
        Err(why) => Err(CommandError::new(ErrorKind::Failed, sentence(&why))),
    }
}

async fn export_piefxis_host(shared: Arc<Shared>, call: Call) -> CommandResult {
    let (folder, host) = (absolute(&call, "dir")?, accounts::known_host(&shared, &call)?);
    match export::host(&shared, &folder, host).await {
        Ok(report) => answer("written", &report, None),
        Err(why) => Err(CommandError::new(ErrorKind::Failed, sentence(&why))),
    }
}

/// An error where an account is missing; what else was left out is told with the success.
fn answer(done: &str, report: &Report, stopped: Option<String>) -> CommandResult {
    let lines = report.lines();
    let value = json!({ "accounts": report.done, "failed": report.failed, "left_out": lines });
    let mut text = format!("{} accounts were {done}, {} were not.", report.done, report.failed);
    for line in &lines {
        text.push('\n');
        text += line;
    }
    let is_whole = stopped.is_none() && report.failed == 0;
    if let Some(why) = stopped {
        text = format!("{}\n{text}", sentence(&why));
    }
    if is_whole {
        return Ok(Answer::value(value).with_text(text));
    }
    Err(CommandError::new(ErrorKind::Failed, text).with_details(value))
}

fn sentence(why: &str) -> String {
    format!("{}.", why.trim_end_matches('.'))
}

fn absolute(call: &Call, argument: &str) -> Result<PathBuf, CommandError> {
    let path = PathBuf::from(call.args.text(argument));
    if path.is_absolute() {
        return Ok(path);
    }
    let message =
        format!("\"{}\" must be an absolute path: the server has another folder than you.", path.display());
    Err(CommandError::new(ErrorKind::BadArgument, message))
}
