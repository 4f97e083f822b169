//! One report: as it comes, and as it is kept.

use crate::NS;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::element::parse_element;
use moult_plugin_api::serde::{Deserialize, Serialize};
use std::fmt;

/// XEP-0359.
const STANZA_ID: &str = "urn:xmpp:sid:0";
/// Messages that one report names.
const MAX_IDS: usize = 20;
/// The longest id, language and reason.
const LONGEST: usize = 256;

/// What mod_blocking hands over.
#[derive(Debug, Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
pub struct Reported {
    reporter: String,
    jid: String,
    report: String,
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
pub struct Report {
    pub reporter: String,
    pub jid: String,
    /// `spam`, `abuse`, or the whole URN of another reason.
    pub reason: String,
    #[serde(default)]
    pub text: String,
    /// Ids of messages, each with who gave it.
    #[serde(default)]
    pub messages: Vec<MessageId>,
    /// Whether the author agrees to forwarding it to the server of the reported address.
    #[serde(default)]
    pub report_origin: bool,
    /// Whether the author agrees to forwarding it to others.
    #[serde(default)]
    pub third_party: bool,
}

/// The id of a message (XEP-0359).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
pub struct MessageId {
    pub by: String,
    pub id: String,
}

impl Report {
    /// Reads what came; `None` where it is no report: the reason is mandatory (XEP-0377 section 4).
    pub fn read(reported: &Reported, text_length: usize) -> Option<Self> {
        let element = parse_element(&reported.report).ok().filter(|element| element.is("report", NS))?;
        let reason = element.attr("reason").filter(|reason| !reason.is_empty() && reason.len() <= LONGEST)?;
        let reason = match reason {
            "urn:xmpp:reporting:spam" => "spam",
            "urn:xmpp:reporting:abuse" => "abuse",
            other => other,
        };
        let (reporter, jid) = (Jid::parse(&reported.reporter).ok()?, Jid::parse(&reported.jid).ok()?);
        let text = element.subtag_ns("text", NS).map(Element::text).unwrap_or_default();
        let has = |name: &str| element.subtag_ns(name, NS).is_some();
        Some(Self {
            reporter: reporter.bare().as_str().to_owned(),
            jid: jid.as_str().to_owned(),
            reason: reason.to_owned(),
            text: text.trim().chars().take(text_length).collect(),
            messages: element.elements().filter_map(MessageId::read).take(MAX_IDS).collect(),
            report_origin: has("report-origin"),
            third_party: has("third-party"),
        })
    }
}

impl MessageId {
    fn read(element: &Element) -> Option<Self> {
        if !element.is("stanza-id", STANZA_ID) {
            return None;
        }
        let of = |name: &str| element.attr(name).filter(|text| !text.is_empty() && text.len() <= LONGEST);
        Some(Self { by: Jid::parse(of("by")?).ok()?.as_str().to_owned(), id: of("id")?.to_owned() })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} reports {} for {}", self.reporter, self.jid, self.reason)?;
        if !self.text.is_empty() {
            write!(f, ": {}", self.text)?;
        }
        if !self.messages.is_empty() {
            write!(f, " ({} messages are named)", self.messages.len())?;
        }
        Ok(())
    }
}
