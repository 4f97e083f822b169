//! Fields with values under a key.

use crate::abi::v1::op;
use crate::sdk::ask::{nothing, text_as_json, unreadable};
use crate::sdk::{Host, Op};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::collections::BTreeMap;

/// A store of maps.
#[derive(Debug, Clone)]
pub struct Map {
    pub(super) host: Host,
    pub(super) store: String,
}

/// Changes of one map, made all together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MapChange {
    set: BTreeMap<String, String>,
    delete: Vec<String>,
}

impl MapChange {
    /// No change yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a field.
    pub fn set(mut self, field: &str, value: &[u8]) -> Self {
        self.set.insert(field.to_owned(), STANDARD.encode(value));
        self
    }

    /// Removes a field.
    pub fn delete(mut self, field: &str) -> Self {
        self.delete.push(field.to_owned());
        self
    }
}

impl Map {
    /// The value of a field.
    pub fn get(&self, key: &str, field: &str) -> Op<Option<Vec<u8>>> {
        let args = json!({"store": self.store, "key": key, "field": field});
        self.host.op(op::MAP_GET, 0, &args, b"", |answer| Ok((answer.number == 1).then_some(answer.body)))
    }

    /// All fields.
    pub fn all(&self, key: &str) -> Op<BTreeMap<String, Vec<u8>>> {
        self.host.op(op::MAP_ALL, 0, &json!({"store": self.store, "key": key}), b"", |answer| {
            let fields: BTreeMap<String, String> = text_as_json(answer)?;
            fields
                .into_iter()
                .map(|(field, value)| Ok((field, STANDARD.decode(value).map_err(unreadable)?)))
                .collect()
        })
    }

    /// Makes all changes or none.
    pub fn update(&self, key: &str, change: &MapChange) -> Op<()> {
        let args = json!({"store": self.store, "key": key, "set": change.set, "delete": change.delete});
        self.host.op(op::MAP_UPDATE, 0, &args, b"", nothing)
    }

    /// Keys that have fields, in order, that begin with `prefix`, after `after` (empty: from the first). Since 1.2.
    pub fn keys(&self, prefix: &str, after: &str, limit: usize) -> Op<Vec<String>> {
        let args = json!({"store": self.store, "prefix": prefix, "after": after, "limit": limit});
        self.host.op(op::MAP_KEYS, 0, &args, b"", text_as_json)
    }

    /// Removes all fields.
    pub fn delete(&self, key: &str) -> Op<()> {
        self.host.op(op::MAP_DELETE, 0, &json!({"store": self.store, "key": key}), b"", nothing)
    }
}
