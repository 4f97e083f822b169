//! What a module's answer means.

use crate::plugin::bridge::invoke::CallEnd;
use crate::stanza::{ErrorType, StanzaError, StanzaErrorCondition};
use moult_plugin_api::abi::v1::reply;

/// How an IQ handler answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IqOutcome {
    /// A result with this payload, possibly none.
    Result(Vec<u8>),
    /// An error.
    Error(StanzaError),
    /// No answer now: the module sends one itself, or the deadline of the requester's side answers.
    Ignore,
}

impl IqOutcome {
    /// The outcome of a call of kind IQ.
    pub fn of(end: CallEnd) -> Self {
        if !end.is_done() {
            return IqOutcome::Error(internal(&end));
        }
        match end.reply.code {
            reply::IQ_RESULT => IqOutcome::Result(end.reply.body),
            reply::IQ_ERROR => IqOutcome::Error(stanza_error(&end)),
            reply::IQ_IGNORE => IqOutcome::Ignore,
            _ => IqOutcome::Error(internal(&end)),
        }
    }
}

/// The error a requester gets for a module's failure. What went wrong is the operator's to read, not the peer's.
pub fn internal(end: &CallEnd) -> StanzaError {
    if end.reply.overflowed() {
        return StanzaError::new(StanzaErrorCondition::InternalServerError, "The answer was too large.");
    }
    StanzaError::new(StanzaErrorCondition::InternalServerError, "The module failed.")
}

fn stanza_error(end: &CallEnd) -> StanzaError {
    let Some(condition) = StanzaErrorCondition::from_name(&end.reply.text) else {
        tracing::warn!(
            condition = end.reply.text,
            "a module answered with a condition that RFC 6120 does not know"
        );
        return StanzaError::new(StanzaErrorCondition::UndefinedCondition, end.reply.extra.clone());
    };
    let error = StanzaError::new(condition, end.reply.extra.clone());
    match error_type(end.reply.number) {
        Some(kind) => error.with_type(kind),
        None => error,
    }
}

fn error_type(number: i64) -> Option<ErrorType> {
    match number {
        1 => Some(ErrorType::Auth),
        2 => Some(ErrorType::Cancel),
        3 => Some(ErrorType::Continue),
        4 => Some(ErrorType::Modify),
        5 => Some(ErrorType::Wait),
        _ => None,
    }
}
