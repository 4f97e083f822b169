//! Items in order, paged, by time and id.

use crate::abi::v1::op;
use crate::glue::OpAnswer;
use crate::sdk::ask::{text_as_json, unreadable};
use crate::sdk::{Host, HostError, Op};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A store of ordered items.
#[derive(Debug, Clone)]
pub struct Archive {
    pub(super) host: Host,
    pub(super) store: String,
}

/// One item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its id, given at [`Archive::append`].
    pub id: String,
    /// With whom.
    pub with: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// What.
    pub body: Vec<u8>,
}

/// Which items. An empty text and `None` mean: no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Query {
    /// With whom.
    pub with: String,
    /// From then on, in milliseconds since 1970.
    pub start_ms: Option<i64>,
    /// Until then.
    pub end_ms: Option<i64>,
    /// After the item of this id.
    pub after: String,
    /// Before the item of this id.
    pub before: String,
    /// At most so many; `None` leaves it to the host.
    pub limit: Option<usize>,
    /// The last ones instead of the first.
    pub reverse: bool,
}

/// A part of an archive, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The items.
    pub items: Vec<Item>,
    /// How many match in all, where the host counted.
    pub count: Option<u64>,
    /// Whether nothing follows.
    pub complete: bool,
}

#[derive(Deserialize)]
struct RawPage {
    items: Vec<RawItem>,
    count: Option<u64>,
    #[serde(default)]
    complete: bool,
}

#[derive(Deserialize)]
struct RawItem {
    id: String,
    #[serde(default)]
    with: String,
    at_ms: i64,
    body: String,
}

impl Archive {
    /// Appends an item under a key; gives its id.
    pub fn append(&self, key: &str, with: &str, at_ms: i64, body: &[u8]) -> Op<String> {
        let args = json!({"store": self.store, "key": key, "with": with, "at_ms": at_ms});
        self.host.op(op::ARCHIVE_APPEND, 0, &args, body, text_as_json)
    }

    /// Appends an item that had an id before, which it keeps where that is free and one of this kind of store; gives the id
    /// it has. Since 1.2.
    pub fn restore(&self, key: &str, item: &Item) -> Op<String> {
        let Item { id, with, at_ms, body } = item;
        let args = json!({"store": self.store, "key": key, "with": with, "at_ms": at_ms, "id": id});
        self.host.op(op::ARCHIVE_APPEND, 0, &args, body, text_as_json)
    }

    /// Finds items of a key.
    pub fn query(&self, key: &str, query: &Query) -> Op<Page> {
        let mut args = json!(query);
        args["store"] = json!(self.store);
        args["key"] = json!(key);
        self.host.op(op::ARCHIVE_QUERY, 0, &args, b"", page)
    }

    /// Single items of a key: those that are there, in order. Since 1.2.
    pub fn items(&self, key: &str, ids: &[String]) -> Op<Page> {
        let args = json!({"store": self.store, "key": key, "ids": ids});
        self.host.op(op::ARCHIVE_ITEMS, 0, &args, b"", page)
    }

    /// Keys that have items, in order, that begin with `prefix`, after `after` (empty: from the first). Since 1.2.
    pub fn keys(&self, prefix: &str, after: &str, limit: usize) -> Op<Vec<String>> {
        let args = json!({"store": self.store, "prefix": prefix, "after": after, "limit": limit});
        self.host.op(op::ARCHIVE_KEYS, 0, &args, b"", text_as_json)
    }

    /// Puts another body into an item, whose id, time and peer stay; whether there is such an item. Since 1.2.
    pub fn replace(&self, key: &str, id: &str, body: &[u8]) -> Op<bool> {
        let args = json!({"store": self.store, "key": key, "id": id});
        self.host.op(op::ARCHIVE_REPLACE, 0, &args, body, |answer| Ok(answer.number == 1))
    }

    /// Removes single items of a key, together; gives how many there were.
    pub fn remove(&self, key: &str, ids: &[String]) -> Op<u64> {
        let args = json!({"store": self.store, "key": key, "ids": ids});
        self.host.op(
            op::ARCHIVE_REMOVE,
            0,
            &args,
            b"",
            |answer| Ok(u64::try_from(answer.number).unwrap_or(0)),
        )
    }

    /// Removes what is older than `before_ms`, of one key or (empty) of all; gives how many.
    pub fn delete(&self, key: &str, before_ms: i64) -> Op<u64> {
        let args = json!({"store": self.store, "key": key, "before_ms": before_ms});
        self.host.op(
            op::ARCHIVE_DELETE,
            0,
            &args,
            b"",
            |answer| Ok(u64::try_from(answer.number).unwrap_or(0)),
        )
    }
}

fn page(answer: OpAnswer) -> Result<Page, HostError> {
    let raw: RawPage = text_as_json(answer)?;
    let items: Result<_, _> = raw.items.into_iter().map(RawItem::decoded).collect();
    Ok(Page { items: items?, count: raw.count, complete: raw.complete })
}

impl RawItem {
    fn decoded(self) -> Result<Item, HostError> {
        let body = STANDARD.decode(self.body).map_err(unreadable)?;
        Ok(Item { id: self.id, with: self.with, at_ms: self.at_ms, body })
    }
}
