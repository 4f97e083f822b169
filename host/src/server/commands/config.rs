//! Commands about the configuration.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Handlers, failures};
use crate::command::{Answer, Call, CommandError, CommandResult, ErrorKind};
use crate::config::Change;
use crate::http::is_admin_token;
use crate::plugin::manager::ReloadReport;
use crate::server::reload::{self, Modules, Reloaded};
use crate::server::shared::Shared;

pub(super) fn add(handlers: Handlers) -> Handlers {
    handlers
        .on("reload_config", reload_config)
        .on("dump_config", dump_config)
        .on("check_admin_token", check_admin_token)
}

/// Without a token nothing is the token.
async fn check_admin_token(shared: Arc<Shared>, call: Call) -> CommandResult {
    let config = shared.config();
    let is_it =
        config.http.admin_token.as_ref().is_some_and(|token| is_admin_token(token, call.args.text("token")));
    Ok(Answer::value(u8::from(!is_it)))
}

async fn reload_config(shared: Arc<Shared>, call: Call) -> CommandResult {
    if call.args.flag("dry_run") {
        let changes = reload::dry_run(&shared).await.map_err(|error| failures::reload(&error))?;
        return Ok(Answer::value(rows(&changes)));
    }
    let done = reload::reload(&shared, Modules::Changed).await;
    let Reloaded { changes, modules } = done.map_err(|error| failures::reload(&error))?;
    if modules.errors.is_empty() {
        return Ok(Answer::value([rows(&changes), instances(&modules)].concat()));
    }
    let mut failed = failures::modules(&modules.errors, None);
    failed.kind = ErrorKind::Failed;
    failed.message = format!("The configuration holds, but not for these:\n{}", failed.message);
    Err(failed)
}

fn rows(changes: &[Change]) -> Vec<Value> {
    let row = |change: &Change| {
        json!({
            "path": change.path,
            "before": change.before,
            "after": change.after,
            "effect": change.effect,
        })
    };
    changes.iter().map(row).collect()
}

/// What became of the instances of modules that heard of it.
fn instances(report: &ReloadReport) -> Vec<Value> {
    let row = |(instance, what): (&String, _)| json!({ "path": instance, "before": null, "after": null, "effect": what });
    report.instances.iter().map(row).collect()
}

async fn dump_config(shared: Arc<Shared>, call: Call) -> CommandResult {
    let dump = shared.config().dump();
    let Some(out) = call.args.optional_text("out") else {
        return Ok(Answer::value(dump.clone()).with_text(dump));
    };
    let path = Path::new(out).to_owned();
    if !path.is_absolute() {
        let message = format!("\"{out}\" must be an absolute path: the server has another folder than you.");
        return Err(CommandError::new(ErrorKind::BadArgument, message));
    }
    let writing = tokio::task::spawn_blocking({
        let path = path.clone();
        move || write(&path, &dump)
    });
    match writing.await {
        Ok(Ok(())) => Ok(Answer::value(format!("The configuration was written to {}.", path.display()))),
        Ok(Err(error)) => {
            let message = format!("{} cannot be written: {error}.", path.display());
            Err(CommandError::new(ErrorKind::Failed, message))
        }
        Err(_) => Err(CommandError::new(ErrorKind::Bug, "The writing of the file was cut off.")),
    }
}

/// A file that is there already is not overwritten: the name may be a mistake, and the server may do more than its caller.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
