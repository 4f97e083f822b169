//! What a command gives back: a value with its text, or an error that says whose fault it is.

use serde::Serialize;
use serde_json::{Value, json};

/// What a handler returns.
pub type CommandResult = Result<Answer, CommandError>;

/// The answer of a command that worked.
#[derive(Debug, Clone, PartialEq)]
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
    /// More for programs, such as the report of a refused update: stage, module, reason.
    pub details: Option<Box<Value>>,
}

impl CommandError {
    /// An error of `kind` saying `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> CommandError {
        CommandError { kind, message: message.into(), details: None }
    }

    /// The same error with more for programs.
    pub fn with_details(self, details: Value) -> CommandError {
        CommandError { details: Some(Box::new(details)), ..self }
    }

    /// The body of an error answer, as ejabberd has it.
    pub fn to_json(&self) -> Value {
        let mut body = json!({ "status": "error", "code": self.kind.code(), "message": self.message });
        if let Some(details) = &self.details {
            body["details"] = (**details).clone();
        }
        body
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

impl ErrorKind {
    /// HTTP status and the `code` of the error body; the codes below 45 are ejabberd's.
    fn numbers(self) -> (u16, u16) {
        match self {
            ErrorKind::BadArgument => (400, 40),
            ErrorKind::BadCredentials => (401, 10),
            ErrorKind::Denied => (403, 31),
            ErrorKind::DeniedArgument => (403, 32),
            ErrorKind::UnknownCommand => (404, 44),
            ErrorKind::NotFound => (404, 45),
            ErrorKind::Conflict => (409, 49),
            ErrorKind::Failed => (500, 51),
            ErrorKind::Timeout => (504, 54),
            ErrorKind::Busy => (503, 53),
            ErrorKind::Bug => (500, 50),
        }
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        self.numbers().0
    }

    /// The `code` of the error body.
    pub fn code(self) -> u16 {
        self.numbers().1
    }

    /// What `moultctl` exits with: 2 where the command line was wrong, 1 otherwise.
    pub fn exit_code(self) -> u8 {
        match self {
            ErrorKind::BadArgument | ErrorKind::UnknownCommand => 2,
            _ => 1,
        }
    }
}
