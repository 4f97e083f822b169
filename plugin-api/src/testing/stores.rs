//! Stores in memory.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeMap;

type Fields = BTreeMap<String, Vec<u8>>;

/// Key-value stores, maps and archives by (store, key).
#[derive(Default)]
pub(super) struct Stores {
    keyvals: BTreeMap<(String, String), Vec<u8>>,
    maps: BTreeMap<(String, String), Fields>,
    archives: BTreeMap<(String, String), Vec<Item>>,
    next_item: u64,
}

struct Item {
    id: String,
    with: String,
    at_ms: i64,
    body: Vec<u8>,
}

fn key(store: &str, key: &str) -> (String, String) {
    (store.to_owned(), key.to_owned())
}

/// Keys of one store, in order.
fn keys<'a>(
    all: impl Iterator<Item = &'a (String, String)>,
    store: &str,
    prefix: &str,
    after: &str,
    limit: usize,
) -> Vec<String> {
    let of_store = all.filter(|(s, _)| s == store).map(|(_, k)| k);
    of_store.filter(|k| k.starts_with(prefix) && k.as_str() > after).take(limit).cloned().collect()
}

impl Item {
    fn shown(&self) -> Value {
        json!({"id": self.id, "with": self.with, "at_ms": self.at_ms, "body": STANDARD.encode(&self.body)})
    }
}

impl Stores {
    pub(super) fn keyval_get(&self, store: &str, name: &str) -> Option<Vec<u8>> {
        self.keyvals.get(&key(store, name)).cloned()
    }

    pub(super) fn keyval_set(&mut self, store: &str, name: &str, value: &[u8]) {
        self.keyvals.insert(key(store, name), value.to_vec());
    }

    pub(super) fn map_entries(&self, store: &str, name: &str) -> Fields {
        self.maps.get(&key(store, name)).cloned().unwrap_or_default()
    }

    pub(super) fn map_set(&mut self, store: &str, name: &str, field: &str, value: &[u8]) {
        self.maps.entry(key(store, name)).or_default().insert(field.to_owned(), value.to_vec());
    }

    pub(super) fn keyval_delete(&mut self, store: &str, name: &str) {
        self.keyvals.remove(&key(store, name));
    }

    pub(super) fn keyval_keys(&self, store: &str, prefix: &str, after: &str, limit: usize) -> Vec<String> {
        keys(self.keyvals.keys(), store, prefix, after, limit)
    }

    pub(super) fn map_keys(&self, store: &str, prefix: &str, after: &str, limit: usize) -> Vec<String> {
        let held = self.maps.iter().filter(|(_, fields)| !fields.is_empty()).map(|(key, _)| key);
        keys(held, store, prefix, after, limit)
    }

    pub(super) fn map_get(&self, store: &str, name: &str, field: &str) -> Option<Vec<u8>> {
        self.maps.get(&key(store, name))?.get(field).cloned()
    }

    pub(super) fn map_all(&self, store: &str, name: &str) -> BTreeMap<String, String> {
        let fields = self.maps.get(&key(store, name));
        fields.into_iter().flatten().map(|(field, value)| (field.clone(), STANDARD.encode(value))).collect()
    }

    pub(super) fn map_update(
        &mut self,
        store: &str,
        name: &str,
        set: BTreeMap<String, String>,
        delete: &[String],
    ) -> Result<(), String> {
        let decoded: Result<Vec<_>, String> =
            set.into_iter().map(|(f, v)| Ok((f, STANDARD.decode(v).map_err(|e| e.to_string())?))).collect();
        let decoded = decoded?;
        let fields = self.maps.entry(key(store, name)).or_default();
        fields.extend(decoded);
        fields.retain(|field, _| !delete.contains(field));
        Ok(())
    }

    pub(super) fn map_delete(&mut self, store: &str, name: &str) {
        self.maps.remove(&key(store, name));
    }

    pub(super) fn archive_append(
        &mut self,
        store: &str,
        name: &str,
        with: &str,
        at_ms: i64,
        id: &str,
        body: &[u8],
    ) -> String {
        self.next_item += 1;
        let is_taken = || self.archives.values().flatten().any(|item| item.id == id);
        // Of one width, so that ids sort as they were given.
        let id = if id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit()) && !is_taken() {
            id.to_owned()
        } else {
            format!("{:012}", self.next_item)
        };
        let item = Item { id: id.clone(), with: with.to_owned(), at_ms, body: body.to_vec() };
        let items = self.archives.entry(key(store, name)).or_default();
        let place = items.partition_point(|other| other.at_ms <= at_ms);
        items.insert(place, item);
        id
    }

    pub(super) fn archive_query(&self, store: &str, name: &str, args: &Value) -> Value {
        let with = args["with"].as_str().unwrap_or_default();
        let (start, end) = (args["start_ms"].as_i64(), args["end_ms"].as_i64());
        let fits = |item: &&Item| {
            (with.is_empty() || item.with == with)
                && start.is_none_or(|start| item.at_ms >= start)
                && end.is_none_or(|end| item.at_ms <= end)
        };
        let all: Vec<&Item> =
            self.archives.get(&key(store, name)).into_iter().flatten().filter(fits).collect();
        let count = all.len();
        let position = |field: &str| {
            let id = args[field].as_str().filter(|id| !id.is_empty())?;
            all.iter().position(|item| item.id == id)
        };
        let (first, last) = (position("after").map_or(0, |p| p + 1), position("before").unwrap_or(count));
        let part = all.get(first..last.max(first)).unwrap_or_default();
        let limit = args["limit"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        let taken = part.len().min(limit);
        let page = if args["reverse"] == true { &part[part.len() - taken..] } else { &part[..taken] };
        let items: Vec<Value> = page.iter().map(|item| item.shown()).collect();
        json!({"items": items, "count": count, "complete": taken == part.len()})
    }

    pub(super) fn archive_items(&self, store: &str, name: &str, ids: &Value) -> Value {
        let is_meant = |item: &&Item| ids.as_array().is_some_and(|ids| ids.iter().any(|id| item.id == *id));
        let all = self.archives.get(&key(store, name)).into_iter().flatten();
        let items: Vec<Value> = all.filter(is_meant).map(Item::shown).collect();
        json!({"count": items.len(), "items": items, "complete": true})
    }

    pub(super) fn archive_keys(&self, store: &str, prefix: &str, after: &str, limit: usize) -> Vec<String> {
        let held = self.archives.iter().filter(|(_, items)| !items.is_empty()).map(|(key, _)| key);
        keys(held, store, prefix, after, limit)
    }

    pub(super) fn archive_replace(&mut self, store: &str, name: &str, id: &str, body: &[u8]) -> i64 {
        let items = self.archives.get_mut(&key(store, name));
        let Some(item) = items.into_iter().flatten().find(|item| item.id == id) else { return 0 };
        item.body = body.to_vec();
        1
    }

    pub(super) fn archive_remove(&mut self, store: &str, name: &str, ids: &Value) -> i64 {
        let Some(items) = self.archives.get_mut(&key(store, name)) else { return 0 };
        let before = items.len();
        let is_meant = |item: &Item| ids.as_array().is_some_and(|ids| ids.iter().any(|id| item.id == *id));
        items.retain(|item| !is_meant(item));
        i64::try_from(before - items.len()).unwrap_or(i64::MAX)
    }

    pub(super) fn archive_delete(&mut self, store: &str, name: &str, before_ms: i64) -> i64 {
        let mut removed = 0;
        for ((s, k), items) in &mut self.archives {
            if s == store && (name.is_empty() || k == name) {
                let before = items.len();
                items.retain(|item| item.at_ms >= before_ms);
                removed += before - items.len();
            }
        }
        i64::try_from(removed).unwrap_or(i64::MAX)
    }
}
