//! The table of commands: look-up, arguments, permission, audit, deadline, call.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{CommandResult, CommandSpec};

/// A boxed handler. It may be called many times at once.
pub type Handler = Arc<dyn Fn(Call) -> Pin<Box<dyn Future<Output = CommandResult> + Send>> + Send + Sync>;

/// One call of a command, after its arguments and its permission were checked.
#[derive(Debug, Clone)]
pub struct Call {
    /// The command.
    pub spec: Arc<CommandSpec>,
    /// Its arguments: every one that is not optional is there, each of its declared kind.
    pub args: Args,
    /// Who calls.
    pub caller: Caller,
}

/// Checked arguments by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Args(Map<String, Value>);

/// Who calls a command, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The way the call came in.
    pub from: FrontEnd,
    /// Whether it proved to be an admin: the admin token, or the JID of an admin.
    pub admin: bool,
    /// The bare JID, where the caller has one.
    pub jid: Option<String>,
    /// What the audit line says: a peer address, a process id, a JID.
    pub who: String,
}

/// The way a call came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrontEnd {
    /// The control socket: whoever may open it may do everything.
    Local,
    /// The HTTP API.
    Http,
    /// Ad-hoc commands (XEP-0050).
    Xmpp,
    /// A module.
    Module,
}

/// Arguments as a front end received them.
#[derive(Debug, Clone)]
pub enum Input {
    /// Texts in order, with `--flags` anywhere among them.
    Positional(Vec<String>),
    /// A JSON object by name.
    Json(Map<String, Value>),
}

/// Where the commands of modules come from.
pub trait CommandProvider: Send + Sync {
    /// The specs of all commands that modules offer now.
    fn specs(&self) -> Vec<Arc<CommandSpec>>;

    /// The spec of one of them.
    fn spec(&self, name: &str) -> Option<Arc<CommandSpec>> {
        self.specs().into_iter().find(|spec| spec.name == name)
    }

    /// Calls one of them.
    fn call(&self, call: Call) -> Pin<Box<dyn Future<Output = CommandResult> + Send>>;
}

/// All commands of the server.
pub struct Table {
    provider: Option<Arc<dyn CommandProvider>>,
}

impl Args {
    /// A text argument; empty where it was left out.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A text argument that may have been left out.
    pub fn optional_text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// A flag or boolean; false where it was left out.
    pub fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// A number that may have been left out.
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.0.get(name).and_then(Value::as_i64)
    }

    /// A list; empty where it was left out.
    pub fn list(&self, name: &str) -> Vec<String> {
        let items = self.0.get(name).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    }

    /// All of them as JSON, for a module.
    pub fn as_json(&self) -> &Map<String, Value> {
        &self.0
    }
}

impl Table {
    /// A table with the server's own commands and those of `provider`.
    pub fn new(provider: Option<Arc<dyn CommandProvider>>) -> Table {
        Table { provider }
    }

    /// The commands of modules, if there are any.
    pub fn provider(&self) -> Option<&Arc<dyn CommandProvider>> {
        self.provider.as_ref()
    }
}
