//! The stores of modules: keyval, map, archive, each in the key space of (vhost, module, store).
//!
//! A write is handed to the store when the operation begins, so it happens also if nobody asks for the answer; what is
//! acknowledged is committed.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use moult_plugin_api::abi::v1::op;
use serde::Deserialize;
use serde_json::json as value;

use super::args::{bad_request, json, number, of_storage, read, unknown};
use super::{Answer, DEADLINE, Desk, LONG_DEADLINE, within};
use crate::plugin::services::{BoxFuture, OpError, OpReply, OpRequest, Origin};
use crate::plugin::slot::GLOBAL;
use crate::server::shared::Shared;
use crate::storage::{
    ArchiveId, ArchivePage, ArchiveQuery, Entry, MAX_PAGE_ROWS, NewEntry, Space, Storage, StorageError,
    Timestamp,
};

/// Items of an archive in one answer where the module does not say.
const DEFAULT_PAGE: u32 = 100;
/// The longest name of a store.
const MAX_STORE_NAME: usize = 128;

/// The arguments of all store operations; which of them count is told by the kind.
#[derive(Default, Deserialize)]
#[serde(default)]
struct StoreArgs {
    store: String,
    key: String,
    field: String,
    prefix: String,
    after: String,
    before: String,
    id: String,
    with: String,
    set: BTreeMap<String, String>,
    delete: Vec<String>,
    ids: Vec<String>,
    limit: Option<u64>,
    at_ms: Option<i64>,
    start_ms: Option<i64>,
    end_ms: Option<i64>,
    before_ms: Option<i64>,
    reverse: bool,
}

/// One operation on one key space.
struct Work {
    storage: Storage,
    space: Space,
    args: StoreArgs,
    body: Vec<u8>,
}

/// Begins a store operation, if the module has a place left.
pub(super) fn begin(
    shared: &Arc<Shared>,
    desk: &Desk,
    origin: &Origin,
    request: OpRequest,
) -> Result<BoxFuture<Answer>, OpError> {
    let args: StoreArgs = read(&request.args)?;
    let space = space(origin, &args.store)?;
    let place = desk.store_place(&origin.module)?;
    let (kind, storage) = (request.kind, shared.storage.clone());
    let work = Work { storage, space, args, body: request.body };
    let working = async move {
        let answer = work.run(kind).await;
        drop(place);
        answer
    };
    match kind {
        // Many steps: half a purge would be done and nobody would go on with it.
        op::ARCHIVE_DELETE => Ok(within(LONG_DEADLINE, desk.detached(working))),
        _ => Ok(within(DEADLINE, working)),
    }
}

fn space(origin: &Origin, store: &str) -> Result<Space, OpError> {
    if store.len() > MAX_STORE_NAME {
        return Err(bad_request(format!("The name of a store has {MAX_STORE_NAME} bytes at most.")));
    }
    // The data of an instance for the whole server belongs to no vhost.
    let vhost = if &*origin.vhost == GLOBAL { "" } else { &*origin.vhost };
    Ok(Space::module(vhost, &origin.module).store(store))
}

impl Work {
    async fn run(self, kind: u32) -> Answer {
        match kind {
            op::KEYVAL_GET..=op::KEYVAL_KEYS => self.keyval(kind).await,
            op::MAP_GET..=op::MAP_KEYS => self.map(kind).await,
            op::ARCHIVE_APPEND => self.append().await,
            op::ARCHIVE_QUERY => self.query().await,
            op::ARCHIVE_DELETE => self.purge().await,
            op::ARCHIVE_REMOVE => self.remove_entries().await,
            op::ARCHIVE_KEYS => self.owners().await,
            op::ARCHIVE_ITEMS => self.entries().await,
            op::ARCHIVE_REPLACE => self.replace_entry().await,
            kind => Err(unknown(kind)),
        }
    }

    async fn keyval(self, kind: u32) -> Answer {
        let (store, key) = (self.storage.keyval(&self.space), self.args.key.as_str());
        match kind {
            op::KEYVAL_GET => store.get(key).await.map(found).map_err(refused),
            op::KEYVAL_SET => store.set(key, &self.body).await.map(|()| number(0)).map_err(refused),
            op::KEYVAL_DELETE => store.delete(key).await.map(|_| number(0)).map_err(refused),
            _ => {
                let after = given(&self.args.after);
                let keys = store.keys(&self.args.prefix, after, self.limit(MAX_PAGE_ROWS)).await;
                Ok(json(&value!(keys.map_err(refused)?.keys)))
            }
        }
    }

    async fn map(self, kind: u32) -> Answer {
        let (store, key) = (self.storage.map(&self.space), self.args.key.as_str());
        match kind {
            op::MAP_GET => store.get(key, &self.args.field).await.map(found).map_err(refused),
            op::MAP_ALL => {
                let fields = store.all(key).await.map_err(refused)?.into_iter();
                let fields: BTreeMap<_, _> = fields.map(|(name, v)| (name, STANDARD.encode(v))).collect();
                Ok(json(&value!(fields)))
            }
            op::MAP_UPDATE => self.update_map().await,
            op::MAP_KEYS => {
                let after = given(&self.args.after);
                let keys = store.keys(&self.args.prefix, after, self.limit(MAX_PAGE_ROWS)).await;
                Ok(json(&value!(keys.map_err(refused)?.keys)))
            }
            op::MAP_DELETE => store.delete(key).await.map(|_| number(0)).map_err(refused),
            kind => Err(unknown(kind)),
        }
    }

    async fn update_map(&self) -> Answer {
        let set: BTreeMap<&str, Vec<u8>> = self.decoded()?;
        let sets = set.iter().map(|(name, value)| (*name, Some(&**value)));
        // A field that is both set and deleted ends deleted, as in the contract's fake host.
        let deletes = self.args.delete.iter().map(|name| (name.as_str(), None));
        let fields: Vec<(&str, Option<&[u8]>)> = sets
            .filter(|(name, _)| !self.args.delete.iter().any(|other| other == name))
            .chain(deletes)
            .collect();
        let store = self.storage.map(&self.space);
        store.set(&self.args.key, &fields).await.map(|()| number(0)).map_err(refused)
    }

    fn decoded(&self) -> Result<BTreeMap<&str, Vec<u8>>, OpError> {
        let fields = self.args.set.iter();
        fields
            .map(|(name, text)| match STANDARD.decode(text) {
                Ok(value) => Ok((name.as_str(), value)),
                Err(error) => Err(bad_request(format!("The field \"{name}\" is not in base64: {error}."))),
            })
            .collect()
    }

    async fn append(self) -> Answer {
        let at = self.args.at_ms.map(at).transpose()?;
        let with = given(&self.args.with).map(str::to_owned);
        // An id of another kind of store is none of ours.
        let id = given(&self.args.id).and_then(|id| id.parse().ok());
        let archive = self.storage.archive(&self.space);
        let appended = archive.append(&self.args.key, NewEntry { at, with, value: self.body, id }).await;
        Ok(json(&value!(appended.map_err(refused)?.to_string())))
    }

    async fn query(self) -> Answer {
        let query = self.archive_query()?;
        let page = self.storage.archive(&self.space).query(query.clone()).await.map_err(refused)?;
        Ok(json(&shown(page, &query)))
    }

    fn archive_query(&self) -> Result<ArchiveQuery, OpError> {
        let args = &self.args;
        let limit = self.limit(DEFAULT_PAGE);
        Ok(ArchiveQuery {
            owner: args.key.clone(),
            with: given(&args.with).map(str::to_owned),
            start: args.start_ms.map(at).transpose()?,
            // The whole millisecond counts.
            end: args
                .end_ms
                .map(at)
                .transpose()?
                .map(|Timestamp(micros)| Timestamp(micros.saturating_add(999))),
            after: given(&args.after).map(id).transpose()?,
            before: given(&args.before).map(id).transpose()?,
            reverse: args.reverse,
            limit,
            // Counting reads what a page does not: only who asks for nothing else is told a number at that price.
            count: limit == 0,
        })
    }

    async fn purge(self) -> Answer {
        let older_than = self.args.before_ms.map(at).transpose()?;
        let archive = self.storage.archive(&self.space);
        let removed = archive.purge(given(&self.args.key), older_than).await.map_err(refused)?;
        Ok(number(i64::try_from(removed).unwrap_or(i64::MAX)))
    }

    async fn remove_entries(self) -> Answer {
        // An id that was never given names nothing, as one that was given and removed.
        let ids: Vec<ArchiveId> = self.args.ids.iter().filter_map(|id| id.parse().ok()).collect();
        let removed =
            self.storage.archive(&self.space).remove(&self.args.key, &ids).await.map_err(refused)?;
        Ok(number(i64::try_from(removed).unwrap_or(i64::MAX)))
    }

    async fn owners(self) -> Answer {
        let archive = self.storage.archive(&self.space);
        let after = given(&self.args.after);
        let owners = archive.owners(&self.args.prefix, after, self.limit(MAX_PAGE_ROWS)).await;
        Ok(json(&value!(owners.map_err(refused)?.keys)))
    }

    /// Single entries, in the order of time, within the bounds of a page.
    async fn entries(self) -> Answer {
        let archive = self.storage.archive(&self.space);
        let ids = self.args.ids.iter().filter_map(|id| id.parse::<ArchiveId>().ok());
        let mut entries = Vec::new();
        for id in ids.take(MAX_PAGE_ROWS as usize) {
            entries.extend(archive.get(&self.args.key, id).await.map_err(refused)?);
        }
        entries.sort_by_key(|entry| (entry.at, entry.id));
        entries.dedup_by_key(|entry| entry.id);
        let items: Vec<_> = entries.iter().map(item).collect();
        Ok(json(&value!({ "count": items.len(), "items": items, "complete": true })))
    }

    async fn replace_entry(self) -> Answer {
        let Ok(id) = self.args.id.parse() else { return Ok(number(0)) };
        let archive = self.storage.archive(&self.space);
        let replaced = archive.replace(&self.args.key, id, &self.body).await.map_err(refused)?;
        Ok(number(i64::from(replaced)))
    }

    fn limit(&self, otherwise: u32) -> u32 {
        let asked = self.args.limit.map_or(otherwise, |limit| u32::try_from(limit).unwrap_or(u32::MAX));
        asked.min(MAX_PAGE_ROWS)
    }
}

/// A page as the contract has it: always in the order of time, also when it is the last one.
fn shown(mut page: ArchivePage, query: &ArchiveQuery) -> serde_json::Value {
    if query.reverse {
        page.entries.reverse();
    }
    let everything = page.complete && query.after.is_none() && query.before.is_none();
    let count = match page.total {
        Some(total) => Some(total.rows),
        None => everything.then_some(page.entries.len() as u64),
    };
    let items: Vec<_> = page.entries.iter().map(item).collect();
    value!({ "items": items, "count": count, "complete": page.complete })
}

fn item(entry: &Entry) -> serde_json::Value {
    value!({
        "id": entry.id.to_string(),
        "with": entry.with.as_deref().unwrap_or_default(),
        "at_ms": entry.at.0.div_euclid(1000),
        "body": STANDARD.encode(&entry.value),
    })
}

fn found(found: Option<Vec<u8>>) -> OpReply {
    match found {
        Some(body) => OpReply { number: 1, body, ..OpReply::default() },
        None => number(0),
    }
}

fn refused(error: StorageError) -> OpError {
    of_storage(&error)
}

/// An empty text stands for nothing.
fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn at(millis: i64) -> Result<Timestamp, OpError> {
    let micros = millis.checked_mul(1000).map(Timestamp);
    micros.ok_or_else(|| bad_request(format!("The time {millis} ms is out of range.")))
}

fn id(text: &str) -> Result<ArchiveId, OpError> {
    // XEP-0059 section 2.2: an id that is not there.
    text.parse().map_err(|_| OpError::new("item-not-found", format!("There is no entry \"{text}\".")))
}
