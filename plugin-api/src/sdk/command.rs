//! Commands in the server's one command table, and requests between modules.

use super::handler::{Answer, Event};
use super::{Host, HostError, Jid};
use crate::abi::v1::Call;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;

/// A command as it is declared: name, what it does, arguments in order.
///
/// ```
/// use moult_plugin_api::sdk::CommandSpec;
/// let spec = CommandSpec::new("greet", "Says hello to somebody")
///     .arg("name", "string", "Whom to greet")
///     .optional("times", "integer", "How often")
///     .result("The greeting")
///     .tag("hello");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandSpec {
    #[serde(skip)]
    pub(crate) name: String,
    doc: String,
    args: Vec<CommandArg>,
    result: String,
    tags: Vec<String>,
}

/// One argument of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandArg {
    /// Name.
    pub name: String,
    /// `string`, `integer`, `boolean`, `jid`, `list`.
    pub kind: String,
    /// Whether it may be missing.
    pub optional: bool,
    /// Whether it is never shown or logged.
    pub secret: bool,
    /// One sentence.
    pub doc: String,
}

impl CommandSpec {
    /// A command without arguments. Names have lower-case letters, digits and underscores.
    pub fn new(name: impl Into<String>, doc: impl Into<String>) -> Self {
        Self { name: name.into(), doc: doc.into(), args: Vec::new(), result: String::new(), tags: Vec::new() }
    }

    /// One more argument.
    pub fn arg(self, name: &str, kind: &str, doc: &str) -> Self {
        self.with(name, kind, doc, false, false)
    }

    /// One more argument that may be missing.
    pub fn optional(self, name: &str, kind: &str, doc: &str) -> Self {
        self.with(name, kind, doc, true, false)
    }

    /// One more argument that is never shown or logged.
    pub fn secret(self, name: &str, doc: &str) -> Self {
        self.with(name, "string", doc, false, true)
    }

    fn with(mut self, name: &str, kind: &str, doc: &str, optional: bool, secret: bool) -> Self {
        let (name, kind, doc) = (name.to_owned(), kind.to_owned(), doc.to_owned());
        self.args.push(CommandArg { name, kind, optional, secret, doc });
        self
    }

    /// What it gives back, for the help.
    pub fn result(mut self, doc: &str) -> Self {
        self.result = doc.to_owned();
        self
    }

    /// A group for help and permissions.
    pub fn tag(mut self, tag: &str) -> Self {
        self.tags.push(tag.to_owned());
        self
    }
}

/// Why a command or request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError {
    /// Like an HTTP status: 400, 401, 403, 404, 409, 500.
    pub code: u16,
    /// One sentence.
    pub text: String,
}

/// Why a command of the server did not work, in full.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct CommandFailure {
    /// As in [`CommandError::code`].
    pub code: u16,
    /// One sentence, or one line per failure.
    pub text: String,
    /// What programs may want to know, such as `stage` and `reason` of a refused update; null where there is nothing.
    pub details: Value,
}

impl Default for CommandFailure {
    fn default() -> Self {
        Self { code: 500, text: String::new(), details: Value::Null }
    }
}

impl CommandError {
    /// With this code and sentence.
    pub fn new(code: u16, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// The arguments are wrong.
    pub fn bad_request(text: impl Into<String>) -> Self {
        Self::new(400, text)
    }

    /// There is no such thing.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(404, text)
    }

    /// The module failed.
    pub fn internal(text: impl Into<String>) -> Self {
        Self::new(500, text)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.code)
    }
}

impl std::error::Error for CommandError {}

impl From<HostError> for CommandError {
    fn from(error: HostError) -> Self {
        let code = match error.condition.as_str() {
            "bad-request" | "jid-malformed" | "not-acceptable" => 400,
            "not-authorized" => 401,
            "forbidden" | "not-allowed" => 403,
            "item-not-found" => 404,
            "conflict" => 409,
            _ => 500,
        };
        CommandError::new(code, error.text)
    }
}

impl From<serde_json::Error> for CommandError {
    fn from(error: serde_json::Error) -> Self {
        CommandError::bad_request(format!("the arguments do not fit: {error}"))
    }
}

/// A command that is called, or a request by another module.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Command or method.
    pub method: Cow<'a, str>,
    /// Who calls: a JID, a module, `ctl` or `http`, as the host names it.
    pub caller: Cow<'a, str>,
    args: Cow<'a, str>,
}

impl<'a> Request<'a> {
    pub(crate) fn borrowed(call: &'a Call<'a>) -> Self {
        Self {
            method: Cow::Borrowed(call.name.as_str()),
            caller: Cow::Borrowed(call.from.as_str()),
            args: Cow::Borrowed(call.args.as_str()),
        }
    }

    /// The arguments as a type of the module's own.
    pub fn args<T: DeserializeOwned>(&self) -> Result<T, CommandError> {
        let text = if self.args.is_empty() { "{}" } else { &self.args };
        Ok(serde_json::from_str(text)?)
    }

    /// The caller's JID, if it is one.
    pub fn caller_jid(&self) -> Option<Jid<'static>> {
        Jid::parse(&self.caller).ok()
    }

    /// One that borrows nothing.
    pub fn into_owned(self) -> Request<'static> {
        Request {
            method: Cow::Owned(self.method.into_owned()),
            caller: Cow::Owned(self.caller.into_owned()),
            args: Cow::Owned(self.args.into_owned()),
        }
    }
}

/// What a command answers: anything that serialises, or an error.
#[derive(Debug)]
pub struct CommandAnswer(pub(crate) Result<Value, CommandError>);

impl<T: Serialize> From<Result<T, CommandError>> for CommandAnswer {
    fn from(result: Result<T, CommandError>) -> Self {
        let json =
            |value| serde_json::to_value(value).map_err(|e| CommandError::internal(format!("no JSON: {e}")));
        Self(result.and_then(json))
    }
}

impl From<CommandAnswer> for Answer {
    fn from(answer: CommandAnswer) -> Self {
        Answer::Command(answer.0)
    }
}

/// The event behind commands.
#[derive(Debug)]
pub struct CommandEvent;

impl Event for CommandEvent {
    type Arg<'a> = Request<'a>;
    type Answer = CommandAnswer;

    fn read<'a>(_: &'a Host, call: &'a Call<'a>) -> Result<Request<'a>, String> {
        Ok(Request::borrowed(call))
    }

    fn own(request: Request<'_>) -> Request<'static> {
        request.into_owned()
    }
}
