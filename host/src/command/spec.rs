//! The declaration of one command.

use std::borrow::Cow;

use serde::Serialize;

/// A text that is written in the source for the server's own commands and copied from the manifest for a module's.
pub type Text = Cow<'static, str>;

/// Everything that is known about a command without running it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CommandSpec {
    /// ejabberd's name where it has the command.
    pub name: Text,
    /// Groups for `help` and for permissions (`[tag:NAME]`).
    pub tags: Cow<'static, [Text]>,
    /// One sentence.
    pub summary: Text,
    /// Further paragraphs for the reference, possibly none.
    pub description: Text,
    /// Arguments in ejabberd's order; flags last.
    pub args: Cow<'static, [ArgSpec]>,
    /// The shape of the answer.
    pub result: ResultKind,
    /// Who may call it where no permission group says otherwise.
    pub permission: Permission,
    /// Whether it changes anything; such a command is refused as `GET`.
    pub changes_state: bool,
}

/// One argument.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArgSpec {
    /// Its name in JSON, in help, and as a flag.
    pub name: Text,
    /// What it holds.
    pub kind: ArgKind,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether it must not appear in a log, a process list hint or a history.
    pub secret: bool,
    /// One sentence.
    pub doc: Text,
}

/// What an argument holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ArgKind {
    /// Any text.
    String,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A bare or full JID.
    Jid,
    /// The localpart of an account.
    User,
    /// A vhost.
    Host,
    /// A module id, `module@vhost` included.
    Module,
    /// Texts: a JSON array, or positionally one text with commas.
    List,
    /// A duration as in the configuration.
    Duration,
    /// One of these texts.
    Choice(Cow<'static, [Text]>),
    /// A boolean that is written `--name` on a command line and is false where absent.
    Flag,
}

/// The shape of an answer; it says how the text form is laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
    Table(Cow<'static, [Text]>),
    /// An object, one fact per line.
    Object,
}

/// Who may call a command where no permission group says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Only the local control socket.
    Local,
    /// The local control socket and admins.
    Admin,
    /// Everybody who can reach a front end.
    Everybody,
}
