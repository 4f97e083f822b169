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

/// What one part holds at most.
const PART_BYTES: usize = 256 << 10;
const PART_ELEMENTS: usize = 500;

impl Export {
    /// A part of elements that all lie at hand, each under a key by which they are in order: what follows the cursor, as
    /// far as it fits.
    pub fn page(
        within: &str,
        elements: impl IntoIterator<Item = (String, Element)>,
        cursor: &str,
    ) -> ExportPart {
        let mut part = ExportPart { within: within.to_owned(), ..ExportPart::default() };
        let (mut bytes, mut last) = (0, String::new());
        for (key, element) in
            elements.into_iter().filter(|(key, _)| cursor.is_empty() || key.as_str() > cursor)
        {
            if bytes >= PART_BYTES || part.elements.len() >= PART_ELEMENTS {
                part.next = Some(last);
                break;
            }
            let xml = element.to_string();
            bytes += xml.len();
            part.elements.push(xml);
            last = key;
        }
        part
    }
}

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
    /// A child of `<user/>`; of a long one, some of its children at a time. `None`: whatever is kept of the account is to be
    /// forgotten, and nobody is to be told.
    pub element: Option<Element>,
}

impl Importing<'_> {
    /// The element, if it has this name and namespace.
    pub fn element_of(&self, name: &str, ns: &str) -> Option<&Element> {
        self.element.as_ref().filter(|element| element.is(name, ns))
    }
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
        let ImportArgs { forget } = args(call)?;
        let account = Jid::trusted(call.from.as_str());
        if forget {
            return Ok(Importing { account, element: None });
        }
        let text = std::str::from_utf8(call.body.as_slice()).map_err(|error| error.to_string())?;
        let element =
            parse_element(text).map_err(|error| format!("what is imported cannot be read: {error}"))?;
        Ok(Importing { account, element: Some(element) })
    }

    fn own(offered: Self::Arg<'_>) -> Self::Arg<'static> {
        Importing { account: offered.account.into_owned(), element: offered.element }
    }
}

impl Hook for ImportUserEvent {
    const NAME: &'static str = name::IMPORT_USER;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(count: usize) -> impl Iterator<Item = (String, Element)> {
        (0..count).map(|number| (format!("{number:04}"), Element::new("x").with_ns("urn:x")))
    }

    #[test]
    fn parts_follow_each_other_without_gap_or_end_at_once() {
        let first = Export::page("<w/>", all(PART_ELEMENTS + 1), "");
        assert_eq!((first.elements.len(), first.next.as_deref()), (PART_ELEMENTS, Some("0499")));
        let second = Export::page("<w/>", all(PART_ELEMENTS + 1), "0499");
        assert_eq!((second.elements.len(), second.next), (1, None));
        assert_eq!(Export::page("<w/>", all(PART_ELEMENTS), "").next, None);
        assert_eq!(
            Export::page("<w/>", all(0), ""),
            ExportPart { within: "<w/>".into(), ..Default::default() }
        );
    }
}
