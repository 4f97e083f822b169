//! Commands about the log.

use std::sync::Arc;

use super::Handlers;
use crate::command::{Answer, Call, CommandError, CommandResult, ErrorKind};
use crate::config::LogLevel;
use crate::server::shared::Shared;

pub(super) fn add(handlers: Handlers) -> Handlers {
    handlers
        .on("get_loglevel", get_loglevel)
        .on("set_loglevel", set_loglevel)
        .on("reopen_log", reopen_log)
        .on("rotate_log", rotate_log)
}

async fn get_loglevel(shared: Arc<Shared>, call: Call) -> CommandResult {
    let level = match module(&call)? {
        Some(module) => shared.logging.module_level(module),
        None => shared.logging.level(),
    };
    Ok(Answer::value(level.name()))
}

async fn set_loglevel(shared: Arc<Shared>, call: Call) -> CommandResult {
    let text = call.args.text("level");
    let Some(level) = LogLevel::parse(text) else {
        let names: Vec<&str> = LogLevel::ALL.iter().map(|(_, name, _)| *name).collect();
        let message = format!("\"{text}\" is no level: levels are 0 to 5 and {}.", names.join(", "));
        return Err(CommandError::new(ErrorKind::BadArgument, message));
    };
    match module(&call)? {
        Some(module) => {
            known(&shared, module).await?;
            shared.logging.set_module_level(module, level);
        }
        None => shared.logging.set_level(level),
    }
    Ok(Answer::ok())
}

async fn reopen_log(shared: Arc<Shared>, _: Call) -> CommandResult {
    let reopened = shared.logging.reopen();
    reopened.map_err(|error| CommandError::new(ErrorKind::Failed, error.to_string()))?;
    Ok(Answer::ok())
}

async fn rotate_log(shared: Arc<Shared>, _: Call) -> CommandResult {
    match shared.logging.rotate() {
        Ok(Some(old)) => Ok(Answer::value(format!("What was logged before lies in {}.", old.display()))),
        Ok(None) => {
            let message = "The log goes to standard error: [log] has no file that could be moved.";
            Err(CommandError::new(ErrorKind::Failed, message))
        }
        Err(error) => Err(CommandError::new(ErrorKind::Failed, error.to_string())),
    }
}

/// A level for a module that nobody has heard of would be a slip of the hand that nobody notices.
async fn known(shared: &Shared, module: &str) -> Result<(), CommandError> {
    let is_known = shared.config().modules.sections.contains_key(module)
        || shared.manager.module_list().await.iter().any(|line| line.module == module);
    if is_known {
        return Ok(());
    }
    let message = format!(
        "There is no module {module}: it is neither loaded, nor in the plugin folder, nor configured."
    );
    Err(CommandError::new(ErrorKind::NotFound, message))
}

/// Levels are set for a module on all vhosts.
fn module(call: &Call) -> Result<Option<&str>, CommandError> {
    match call.args.optional_text("module") {
        Some(name) if name.contains('@') => {
            let message = format!("\"{name}\": a level is set for a module on all vhosts; leave the @ out.");
            Err(CommandError::new(ErrorKind::BadArgument, message))
        }
        name => Ok(name),
    }
}
