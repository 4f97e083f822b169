//! Answers to stanzas: error replies and IQ results.

use super::ingress::from_answer;
use super::{ErrorType, Jid, Kind, Stanza, StanzaError, StanzaErrorCondition, StanzaFault};
use crate::xml::Writer;

/// An error from `from` to `to`. Nothing only if the error's application condition is no XML and leaving it out does
/// not help either.
pub(super) fn error(
    kind: Kind,
    from: Option<&Jid>,
    to: Option<&Jid>,
    id: Option<&str>,
    error: &StanzaError,
) -> Option<Stanza> {
    let written = |error: &StanzaError| answer(kind, from, to, "error", id, &error.to_xml());
    written(error).or_else(|_| written(&StanzaError { application: None, ..error.clone() })).ok()
}

/// A stanza that answers another; `content` is well-formed XML, or the answer is refused.
pub(super) fn answer(
    kind: Kind,
    from: Option<&Jid>,
    to: Option<&Jid>,
    type_: &str,
    id: Option<&str>,
    content: &str,
) -> Result<Stanza, StanzaFault> {
    let mut text = String::with_capacity(content.len() + 160);
    let mut writer = Writer::new(&mut text);
    writer.start(kind.as_str());
    let addresses =
        [("from", from.map(Jid::as_str)), ("to", to.map(Jid::as_str)), ("type", Some(type_)), ("id", id)];
    for (name, value) in addresses {
        if let Some(value) = value {
            writer.attribute(name, value);
        }
    }
    if !content.is_empty() {
        writer.raw(content);
    }
    writer.end();
    from_answer(text.as_bytes())
}

impl Stanza {
    /// The error reply to this stanza, from its recipient to its sender; nothing for errors and IQ results, which are
    /// never answered (RFC 6120 8.3.1). A stanza without recipient was meant for its sender's own account.
    pub fn error_reply(&self, error: &StanzaError) -> Option<Self> {
        if !self.type_().may_be_answered() {
            return None;
        }
        let id = self.id();
        let reply = self::error(self.kind(), self.answerer().as_ref(), self.from(), id.as_deref(), error)?;
        Some(reply.with_hops(self.hops()))
    }

    /// The result of this IQ, with addresses swapped; `payload` is one element, or nothing.
    pub fn iq_result(&self, payload: &[u8]) -> Result<Self, StanzaFault> {
        let payload = std::str::from_utf8(payload).map_err(|_| crate::xml::FrameError::NotUtf8)?;
        if !self.type_().is_request() {
            let error =
                StanzaError::new(StanzaErrorCondition::UnexpectedRequest, "Only IQ requests have results.");
            let error = Box::new(error.with_type(ErrorType::Cancel));
            return Err(StanzaFault::Refused { error, reply: None });
        }
        let id = self.id();
        let result =
            answer(Kind::Iq, self.answerer().as_ref(), self.from(), "result", id.as_deref(), payload)?;
        if result.child_count() > 1 {
            let text = "An IQ of type result has at most one child element.";
            let error = Box::new(StanzaError::new(StanzaErrorCondition::BadRequest, text));
            return Err(StanzaFault::Refused { error, reply: None });
        }
        Ok(result.with_hops(self.hops()))
    }

    /// Who answers this stanza.
    fn answerer(&self) -> Option<Jid> {
        self.to().cloned().or_else(|| self.from().map(Jid::bare))
    }
}
