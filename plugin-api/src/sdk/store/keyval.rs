//! One value per key.

use crate::abi::v1::op;
use crate::sdk::ask::{nothing, text_as_json, unreadable};
use crate::sdk::{Host, HostError, Op};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

/// A store of single values.
#[derive(Debug, Clone)]
pub struct KeyVal {
    pub(super) host: Host,
    pub(super) store: String,
}

impl KeyVal {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Op<Option<Vec<u8>>> {
        self.host.op(op::KEYVAL_GET, 0, &json!({"store": self.store, "key": key}), b"", |answer| {
            Ok((answer.number == 1).then_some(answer.body))
        })
    }

    /// The value of a key, stored as JSON.
    pub fn get_json<T: DeserializeOwned>(&self, key: &str) -> Op<Option<T>> {
        self.host.op(op::KEYVAL_GET, 0, &json!({"store": self.store, "key": key}), b"", |answer| match answer
            .number
        {
            1 => serde_json::from_slice(&answer.body).map(Some).map_err(unreadable),
            _ => Ok(None),
        })
    }

    /// Sets a key.
    pub fn set(&self, key: &str, value: &[u8]) -> Op<()> {
        self.host.op(op::KEYVAL_SET, 0, &json!({"store": self.store, "key": key}), value, nothing)
    }

    /// Sets a key to a value as JSON.
    pub fn set_json(&self, key: &str, value: &impl Serialize) -> Op<()> {
        match serde_json::to_vec(value) {
            Ok(bytes) => self.set(key, &bytes),
            Err(e) => {
                let error = HostError::new("bad-request", format!("the value is no JSON: {e}"));
                Op::refused(&self.host, error, nothing)
            }
        }
    }

    /// Removes a key.
    pub fn delete(&self, key: &str) -> Op<()> {
        self.host.op(op::KEYVAL_DELETE, 0, &json!({"store": self.store, "key": key}), b"", nothing)
    }

    /// Keys in order that begin with `prefix`, after `after` (empty: from the first).
    pub fn keys(&self, prefix: &str, after: &str, limit: usize) -> Op<Vec<String>> {
        let args = json!({"store": self.store, "prefix": prefix, "after": after, "limit": limit});
        self.host.op(op::KEYVAL_KEYS, 0, &args, b"", text_as_json)
    }
}
