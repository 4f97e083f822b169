//! Hooks that carry what is kept of an account out of the server and into it, in the elements of XEP-0227.

use super::{Hook, Verdict, args};
use crate::abi::v1::Call;
use crate::hooks::{ExportArgs, ExportPart, ImportAnswer, ImportArgs, name};
use crate::sdk::element::{Element, parse_element};
use crate::sdk::handler::{Answer, Event};
use crate::sdk::{Host, HostError, Jid, Stop};

/// Asks for a part of what is kept of an account. The default of an answer says that nothing is.
#[derive(Debug, Clone)]
pub struct Exporting<'a> {
    /// The bare JID.
    pub account: Jid<'a>,
    /// What this handler gave as the place to go on; empty at first.
    pub cursor: String,
}

/// What of the account this handler keeps, or why it cannot be told: then the export fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export(pub Result<ExportPart, String>);

impl From<ExportPart> for Export {
    fn from(part: ExportPart) -> Self {
        Self(Ok(part))
    }
}

impl From<Result<ExportPart, HostError>> for Export {
    fn from(part: Result<ExportPart, HostError>) -> Self {
        Self(part.map_err(|error| error.to_string()))
    }
}

impl From<Export> for Answer {
    fn from(export: Export) -> Self {
        match export.0 {
            Ok(part) => Answer::Hook(Verdict::next(serde_json::to_vec(&part).ok())),
            Err(why) => Answer::Failed(Stop::new(why)),
        }
    }
}

/// An element of an account's data, offered to the handlers in turn until one takes it.
#[derive(Debug, Clone)]
pub struct Importing<'a> {
    /// The bare JID. The account itself is made after its data, when all of them are there.
    pub account: Jid<'a>,
    /// A child of `<user/>`; of a long one, some of its children at a time.
    pub element: Element,
    /// Where it comes from, for messages to people.
    pub source: String,
}

/// What became of such an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Import {
    /// It belongs to somebody else.
    NotMine,
    /// It was stored, but for what is named here: one sentence each.
    Taken(Vec<String>),
    /// It cannot be stored: the whole account is not taken over, for this reason.
    Failed(String),
}

impl From<Result<Vec<String>, HostError>> for Import {
    fn from(stored: Result<Vec<String>, HostError>) -> Self {
        match stored {
            Ok(left_out) => Import::Taken(left_out),
            Err(error) => Import::Failed(error.to_string()),
        }
    }
}

impl From<Import> for Answer {
    fn from(import: Import) -> Self {
        let answer = match import {
            Import::NotMine => return Answer::Hook(Verdict::next(None)),
            Import::Taken(left_out) => ImportAnswer { left_out, ..ImportAnswer::default() },
            Import::Failed(failed) => ImportAnswer { failed, ..ImportAnswer::default() },
        };
        Answer::Hook(Verdict::stop("", serde_json::to_vec(&answer).ok()))
    }
}

/// What is kept of an account is written out.
#[derive(Debug)]
pub struct ExportUserEvent;

impl Event for ExportUserEvent {
    type Arg<'a> = Exporting<'a>;
    type Answer = Export;

    fn read<'a>(_: &'a Host, call: &'a Call<'a>) -> Result<Self::Arg<'a>, String> {
        let ExportArgs { cursor } = args(call)?;
        Ok(Exporting { account: Jid::trusted(call.from.as_str()), cursor })
    }

    fn own(asked: Self::Arg<'_>) -> Self::Arg<'static> {
        Exporting { account: asked.account.into_owned(), cursor: asked.cursor }
    }
}

impl Hook for ExportUserEvent {
    const NAME: &'static str = name::EXPORT_USER;
}

/// An element of an account's data is read in.
#[derive(Debug)]
pub struct ImportUserEvent;

impl Event for ImportUserEvent {
    type Arg<'a> = Importing<'a>;
    type Answer = Import;

    fn read<'a>(_: &'a Host, call: &'a Call<'a>) -> Result<Self::Arg<'a>, String> {
        let ImportArgs { source } = args(call)?;
        let text = std::str::from_utf8(call.body.as_slice()).map_err(|error| error.to_string())?;
        let element =
            parse_element(text).map_err(|error| format!("what is imported cannot be read: {error}"))?;
        Ok(Importing { account: Jid::trusted(call.from.as_str()), element, source })
    }

    fn own(offered: Self::Arg<'_>) -> Self::Arg<'static> {
        Importing { account: offered.account.into_owned(), element: offered.element, source: offered.source }
    }
}

impl Hook for ImportUserEvent {
    const NAME: &'static str = name::IMPORT_USER;
}
