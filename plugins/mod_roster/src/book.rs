//! Rosters in the store: one map per account, one field per contact, and the roster's version beside them, so that a change
//! and its version are written together or not at all.

use crate::item::Item;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::Op;
use moult_plugin_api::sdk::store::{KeyVal, Map, MapChange};
use moult_plugin_api::serde_json;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// No JID: one has a localpart before its `@`.
const VERSION: &str = "@version";
/// How what lies in the store is written.
const SCHEMA: u32 = 1;

/// The rosters of a vhost.
#[derive(Clone, Debug)]
pub struct Book {
    map: Map,
}

/// The roster of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// By JID.
    pub items: BTreeMap<String, Item>,
    /// Grows with every change that clients are shown; 0 before the first.
    pub version: u64,
}

impl Book {
    /// Of this vhost. Refuses a store that a later build has written.
    pub fn open(host: &Host) -> Result<Self, Stop> {
        let meta: KeyVal = host.keyval("meta");
        match meta.get_json::<u32>("schema").wait()? {
            None => meta.set_json("schema", &SCHEMA).wait()?,
            Some(SCHEMA) => {}
            Some(other) => {
                let text = format!("the rosters are stored in schema {other}, and this build reads {SCHEMA}");
                return Err(Stop::new(text));
            }
        }
        Ok(Self { map: host.map("rosters") })
    }

    /// All that is known of an account's contacts.
    pub async fn roster(&self, account: &str) -> Result<Roster, HostError> {
        let mut roster = Roster::default();
        for (field, value) in self.map.all(account).await? {
            if field == VERSION {
                roster.version = version(&value);
            } else {
                roster.items.insert(field, read(&value)?);
            }
        }
        Ok(roster)
    }

    /// One contact; an empty one where there is none.
    pub async fn item(&self, account: &str, contact: &str) -> Result<Item, HostError> {
        let stored = self.map.get(account, contact).await?;
        stored.map_or(Ok(Item::default()), |value| read(&value))
    }

    /// The accounts that have contacts, in order, after that one.
    pub async fn accounts(&self, after: &str, limit: usize) -> Result<Vec<String>, HostError> {
        self.map.keys("", after, limit).await
    }

    /// Writes one contact back, or forgets it where nothing is left of it. Gives the version before and the new one, if
    /// clients are shown something new.
    pub async fn write(
        &self,
        account: &str,
        contact: &str,
        before: &Item,
        after: &Item,
    ) -> Result<Option<(u64, u64)>, HostError> {
        if before == after {
            return Ok(None);
        }
        let change = if after.is_empty() {
            MapChange::new().delete(contact)
        } else {
            MapChange::new().set(contact, &serde_json::to_vec(after).map_err(unwritable)?)
        };
        let shown = |item: &Item| item.listed.then(|| item.to_element(contact));
        if shown(before) == shown(after) {
            self.map.update(account, &change).await?;
            return Ok(None);
        }
        let stored = self.map.get(account, VERSION).await?;
        let last = stored.as_deref().map_or(0, version);
        let next = next_version(last);
        self.map.update(account, &change.set(VERSION, next.to_string().as_bytes())).await?;
        Ok(Some((last, next)))
    }

    /// Forgets an account.
    pub fn remove(&self, account: &str) -> Op<()> {
        self.map.delete(account)
    }
}

/// Versions are never used twice, also not by the roster of an account that was removed and made again: they begin with
/// the time.
fn next_version(last: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    (last + 1).max(u64::try_from(now).unwrap_or(0))
}

fn version(stored: &[u8]) -> u64 {
    std::str::from_utf8(stored).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn read(value: &[u8]) -> Result<Item, HostError> {
    serde_json::from_slice(value).map_err(|error| HostError {
        condition: "internal-server-error".into(),
        text: format!("a stored contact cannot be read: {error}"),
    })
}

fn unwritable(error: serde_json::Error) -> HostError {
    HostError {
        condition: "internal-server-error".into(),
        text: format!("a contact cannot be written: {error}"),
    }
}
