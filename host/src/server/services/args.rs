//! The arguments of an operation, and errors in the words of RFC 6120 section 8.3.3.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::plugin::services::{OpError, OpReply};
use crate::server::account_life::AccountError;
use crate::stanza::Jid;
use crate::storage::StorageError;

/// Reads the arguments; the error is the module's.
pub(super) fn read<T: DeserializeOwned>(args: &Value) -> Result<T, OpError> {
    T::deserialize(args).map_err(|error| bad_request(format!("The module's arguments do not fit: {error}.")))
}

/// The JID in the argument `jid`.
pub(super) fn jid(args: &Value) -> Result<Jid, OpError> {
    let Some(text) = args["jid"].as_str() else {
        return Err(bad_request("The module's arguments lack the text \"jid\"."));
    };
    Jid::parse(text).map_err(|error| malformed(text, &error))
}

/// What a module gave is no JID.
pub(super) fn malformed(text: &str, error: &impl std::fmt::Display) -> OpError {
    OpError::new("jid-malformed", format!("The module gave \"{text}\", which is no JID: {error}."))
}

/// The module asked for something that makes no sense.
pub(super) fn bad_request(text: impl Into<String>) -> OpError {
    OpError::new("bad-request", text)
}

/// The module was built for a later server.
pub(super) fn unknown(kind: u32) -> OpError {
    OpError::new("feature-not-implemented", format!("This server knows no operation {kind}."))
}

/// An answer of a number.
pub(super) fn number(number: i64) -> OpReply {
    OpReply { number, ..OpReply::default() }
}

/// An answer of JSON.
pub(super) fn json(value: &Value) -> OpReply {
    OpReply { text: value.to_string(), ..OpReply::default() }
}

/// What the store's refusal means for a module.
pub(super) fn of_storage(error: &StorageError) -> OpError {
    let condition = match error {
        StorageError::TooLarge { .. } => "not-acceptable",
        StorageError::NoSuchEntry { .. } | StorageError::Missing { .. } => "item-not-found",
        StorageError::Exists { .. } => "conflict",
        error if error.is_resource_constraint() => "resource-constraint",
        _ => "internal-server-error",
    };
    OpError::new(condition, error.to_string())
}

/// What the account room's refusal means for a module.
pub(super) fn of_account(error: &AccountError) -> OpError {
    OpError::new(error.condition(), error.to_string())
}
