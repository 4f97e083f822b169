//! What a command gives back: a value with its text, or an error that says whose fault it is.

use serde::Serialize;
use serde_json::Value;

/// What a handler returns.
pub type CommandResult = Result<Answer, CommandError>;

/// The answer of a command that worked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The bare value, as HTTP prints it.
    pub value: Value,
    /// The text form, where the handler has a better one than the rendering of the value by the spec's result kind.
    pub text: Option<String>,
}

impl Answer {
    /// Success without a value: 0.
    pub fn ok() -> Answer {
        Answer::value(0)
    }

    /// A value whose text follows from the spec's result kind.
    pub fn value(value: impl Into<Value>) -> Answer {
        Answer { value: value.into(), text: None }
    }

    /// The same answer with a text of its own.
    pub fn with_text(self, text: impl Into<String>) -> Answer {
        Answer { text: Some(text.into()), ..self }
    }

    /// Any serialisable report as a value.
    pub fn report(report: &impl Serialize) -> CommandResult {
        match serde_json::to_value(report) {
            Ok(value) => Ok(Answer::value(value)),
            Err(error) => Err(CommandError::new(
                ErrorKind::Bug,
                format!("The answer could not be put into JSON: {error}."),
            )),
        }
    }
}

/// Why a command did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CommandError {
    /// Whose fault it is.
    pub kind: ErrorKind,
    /// A whole sentence naming the argument, the module, the JID or the rule concerned.
    pub message: String,
}

impl CommandError {
    /// An error of `kind` saying `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> CommandError {
        CommandError { kind, message: message.into() }
    }
}

/// Whose fault it is that a command did not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The caller's: an argument is missing, unknown or malformed.
    BadArgument,
    /// The caller's: credentials are missing or wrong.
    BadCredentials,
    /// The caller may not call this command.
    Denied,
    /// The caller may call this command, but not with these arguments.
    DeniedArgument,
    /// There is no such command.
    UnknownCommand,
    /// What an argument names does not exist.
    NotFound,
    /// What is to be made exists already, or something is being changed by somebody else.
    Conflict,
    /// The operation was refused or failed; nothing was changed.
    Failed,
    /// It took longer than its deadline.
    Timeout,
    /// Too much is going on; a later retry may help.
    Busy,
    /// The server's.
    Bug,
}
