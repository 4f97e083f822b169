//! The declaration of one command.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A text that is written in the source for the server's own commands and copied from the manifest for a module's.
pub type Text = Cow<'static, str>;

/// Everything that is known about a command without running it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandSpec {
    /// ejabberd's name where it has the command.
    pub name: Text,
    /// Groups for `help` and for permissions (`[tag:NAME]`).
    pub tags: Vec<Text>,
    /// One sentence.
    pub summary: Text,
    /// Further sentences for the reference, possibly none.
    pub description: Text,
    /// Arguments in ejabberd's order; flags last.
    pub args: Vec<ArgSpec>,
    /// The shape of the answer.
    pub result: ResultKind,
    /// Who may call it where no permission group says otherwise.
    pub permission: Permission,
    /// Whether it changes anything; such a command is refused as `GET`.
    pub changes_state: bool,
}

/// One argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArgSpec {
    /// Its name in JSON, in help, and as a flag.
    pub name: Text,
    /// What it holds.
    pub kind: ArgKind,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether it is a secret: never logged, and `moultctl` asks for it where it is given as `-`.
    pub secret: bool,
    /// Whether it is somebody's business, such as the text of a message: never logged.
    #[serde(default)]
    pub private: bool,
    /// Whether only the local control socket may give it.
    #[serde(default)]
    pub local_only: bool,
    /// One sentence.
    pub doc: Text,
}

/// What an argument holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArgKind {
    /// Any text.
    String,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A bare or full JID; handlers get it normalised.
    Jid,
    /// The localpart of an account; handlers get it normalised.
    User,
    /// A domain; handlers get it normalised.
    Host,
    /// A module id, possibly with `@vhost`.
    Module,
    /// Texts: a JSON array, or on a command line all the rest, split at commas.
    List,
    /// A duration as in the configuration; handlers get milliseconds.
    Duration,
    /// One of these texts.
    Choice(Vec<Text>),
    /// A boolean that is written `--name` on a command line and is false where absent.
    Flag,
}

/// The shape of an answer; it says how the text form is laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResultKind {
    /// Nothing but success: 0.
    Code,
    /// One sentence.
    Text,
    /// A number.
    Integer,
    /// Scalars, one per line.
    List,
    /// Objects as rows of a table with these columns.
    Table(Vec<Text>),
    /// An object, one fact per line.
    Object,
}

/// Who may call a command where no permission group says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Only the local control socket.
    Local,
    /// The local control socket and admins.
    Admin,
    /// Everybody who can reach a front end.
    Everybody,
}

impl CommandSpec {
    /// A command for admins that changes nothing, takes nothing and answers with a sentence.
    pub fn new(name: impl Into<Text>, tag: impl Into<Text>, summary: impl Into<Text>) -> CommandSpec {
        CommandSpec {
            name: name.into(),
            tags: vec![tag.into()],
            summary: summary.into(),
            description: Text::default(),
            args: Vec::new(),
            result: ResultKind::Text,
            permission: Permission::Admin,
            changes_state: false,
        }
    }

    /// The same with one more argument that must be given.
    pub fn arg(mut self, name: &'static str, kind: ArgKind, doc: &'static str) -> CommandSpec {
        self.args.push(ArgSpec::new(name, kind, doc));
        self
    }

    /// The same with one more argument that may be left out.
    pub fn optional(mut self, name: &'static str, kind: ArgKind, doc: &'static str) -> CommandSpec {
        self.args.push(ArgSpec { optional: true, ..ArgSpec::new(name, kind, doc) });
        self
    }

    /// The same with one more argument that must be given and never be logged.
    pub fn secret(mut self, name: &'static str, doc: &'static str) -> CommandSpec {
        self.args.push(ArgSpec { secret: true, ..ArgSpec::new(name, ArgKind::String, doc) });
        self
    }

    /// The same with one more text that must be given and is nobody else's business.
    pub fn private(mut self, name: &'static str, doc: &'static str) -> CommandSpec {
        self.args.push(ArgSpec { private: true, ..ArgSpec::new(name, ArgKind::String, doc) });
        self
    }

    /// The same with its last argument kept to the local control socket.
    pub fn locally(mut self) -> CommandSpec {
        self.args.iter_mut().last().into_iter().for_each(|arg| arg.local_only = true);
        self
    }

    /// The same with one more flag.
    pub fn flag(self, name: &'static str, doc: &'static str) -> CommandSpec {
        self.optional(name, ArgKind::Flag, doc)
    }

    /// The same with this shape of answer.
    pub fn returns(self, result: ResultKind) -> CommandSpec {
        CommandSpec { result, ..self }
    }

    /// The same with a table of these columns as answer.
    pub fn returns_table(self, columns: &[&'static str]) -> CommandSpec {
        self.returns(ResultKind::Table(columns.iter().map(|column| Text::Borrowed(column)).collect()))
    }

    /// The same with further sentences for the reference.
    pub fn described(self, description: impl Into<Text>) -> CommandSpec {
        CommandSpec { description: description.into(), ..self }
    }

    /// The same as a command that changes something.
    pub fn changing(self) -> CommandSpec {
        CommandSpec { changes_state: true, ..self }
    }

    /// The same for the local control socket only.
    pub fn local(self) -> CommandSpec {
        CommandSpec { permission: Permission::Local, ..self }
    }

    /// One line: `register USER HOST PASSWORD`, optional arguments in brackets.
    pub fn usage(&self) -> String {
        let mut usage = self.name.to_string();
        for arg in &self.args {
            usage.push(' ');
            usage.push_str(&arg.usage());
        }
        usage
    }

    /// The argument that names the vhost which the command is about: the first one of that kind.
    pub fn vhost_arg(&self) -> Option<&ArgSpec> {
        self.args.iter().find(|arg| arg.kind == ArgKind::Host)
    }

    /// The argument of that name; `-` and `_` are the same.
    pub fn find_arg(&self, name: &str) -> Option<&ArgSpec> {
        let name = name.replace('-', "_");
        self.args.iter().find(|arg| arg.name == name)
    }
}

impl ArgSpec {
    /// An argument that must be given.
    pub fn new(name: impl Into<Text>, kind: ArgKind, doc: impl Into<Text>) -> ArgSpec {
        ArgSpec {
            name: name.into(),
            kind,
            optional: false,
            secret: false,
            private: false,
            local_only: false,
            doc: doc.into(),
        }
    }

    /// Whether it is written `--name`.
    pub fn is_flag(&self) -> bool {
        self.kind == ArgKind::Flag
    }

    /// How a usage line shows it.
    pub fn usage(&self) -> String {
        let shown = match &self.kind {
            ArgKind::Flag => format!("--{}", self.name.replace('_', "-")),
            ArgKind::List => format!("{}...", self.name.to_uppercase()),
            ArgKind::Choice(choices) => choices.join("|"),
            _ => self.name.to_uppercase(),
        };
        if self.optional { format!("[{shown}]") } else { shown }
    }
}

impl ArgKind {
    /// The word for it.
    pub fn name(&self) -> &'static str {
        match self {
            ArgKind::String => "string",
            ArgKind::Integer => "integer",
            ArgKind::Boolean => "boolean",
            ArgKind::Jid => "jid",
            ArgKind::User => "user",
            ArgKind::Host => "host",
            ArgKind::Module => "module",
            ArgKind::List => "list",
            ArgKind::Duration => "duration",
            ArgKind::Choice(_) => "choice",
            ArgKind::Flag => "flag",
        }
    }

    /// The kind a module's manifest calls `name`; an unknown word is a plain text.
    pub fn from_name(name: &str) -> ArgKind {
        match name {
            "integer" => ArgKind::Integer,
            "boolean" | "bool" => ArgKind::Boolean,
            "jid" => ArgKind::Jid,
            "user" => ArgKind::User,
            "host" => ArgKind::Host,
            "module" => ArgKind::Module,
            "list" => ArgKind::List,
            "duration" => ArgKind::Duration,
            "flag" => ArgKind::Flag,
            _ => ArgKind::String,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usage_line_shows_what_may_be_left_out() {
        let choice = ArgKind::Choice(vec!["soft".into(), "brutal".into()]);
        let spec = CommandSpec::new("update", "modules", "Updates.")
            .arg("modules", ArgKind::List, "Which.")
            .optional("mode", choice, "How.")
            .flag("dry_run", "Whether to look only.");
        assert_eq!(spec.usage(), "update MODULES... [soft|brutal] [--dry-run]");
        assert!(spec.find_arg("dry-run").is_some_and(ArgSpec::is_flag));
    }
    #[test]
    fn the_vhost_of_a_command_is_named_by_its_kind() {
        let spec = CommandSpec::new("add", "x", "Adds.").arg("localhost", ArgKind::Host, "Where.").arg(
            "host",
            ArgKind::String,
            "Whom.",
        );
        assert_eq!(spec.vhost_arg().map(|arg| &*arg.name), Some("localhost"));
        assert!(CommandSpec::new("all", "x", "All.").vhost_arg().is_none());
    }
}
