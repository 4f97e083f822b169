//! The directory in the store, spread over 256 maps, and in memory, where searches look.
//!
//! A stamp in the store says whether what is in memory is still the whole truth: every change renews it, and whoever made
//! the change follows in memory. So two generations during a swap see what the other one wrote.

use crate::entry::Entry;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::Turns;
use moult_plugin_api::sdk::digest::{hex, random_token, sha1};
use moult_plugin_api::sdk::store::{KeyVal, Map, MapChange};
use moult_plugin_api::serde_json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const STAMP: &str = "stamp";

/// By bare JID.
pub type People = BTreeMap<String, Entry>;

/// The directory of a vhost.
#[derive(Debug)]
pub struct Index {
    map: Map,
    meta: KeyVal,
    /// One change after the other.
    turns: Turns,
    /// With its stamp.
    memory: Mutex<Option<(Vec<u8>, Arc<People>)>>,
}

impl Index {
    /// Of this vhost.
    pub fn open(host: &Host) -> Self {
        let (map, meta) = (host.map("directory"), host.keyval("meta"));
        Self { map, meta, turns: Turns::default(), memory: Mutex::default() }
    }

    fn memory(&self) -> MutexGuard<'_, Option<(Vec<u8>, Arc<People>)>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everybody as it is now.
    pub async fn people(&self) -> Result<Arc<People>, HostError> {
        let stamp = self.meta.get(STAMP).await?.unwrap_or_default();
        if let Some((of, people)) = &*self.memory()
            && *of == stamp
        {
            return Ok(Arc::clone(people));
        }
        let mut people = People::new();
        for shard in 0..=u8::MAX {
            for (account, value) in self.map.all(&hex(&[shard])).await? {
                // What a build to come has written in another way is not found by this one.
                people.extend(serde_json::from_slice(&value).ok().map(|entry: Entry| (account, entry)));
            }
        }
        let people = Arc::new(people);
        *self.memory() = Some((stamp, Arc::clone(&people)));
        Ok(people)
    }

    /// One account.
    pub async fn entry(&self, account: &str) -> Result<Entry, HostError> {
        let stored = self.map.get(&shard(account), account).await?;
        Ok(stored.and_then(|value| serde_json::from_slice(&value).ok()).unwrap_or_default())
    }

    /// Changes one account's entry. `false`: there is no room for another one.
    pub async fn change(
        &self,
        account: &str,
        most: usize,
        change: impl FnOnce(Entry) -> Entry,
    ) -> Result<bool, HostError> {
        let _turn = self.turns.take("").await;
        let before = self.entry(account).await?;
        let after = change(before.clone());
        if before == after {
            return Ok(true);
        }
        let mut people = self.people().await?;
        if before.is_empty() && people.len() >= most {
            return Ok(false);
        }
        let written = if after.is_empty() {
            MapChange::new().delete(account)
        } else {
            MapChange::new().set(account, &serde_json::to_vec(&after).map_err(|error| failed(&error))?)
        };
        let known = self.memory().take();
        self.map.update(&shard(account), &written).await?;
        let stamp = random_token(12).map_err(|error| failed(&error))?;
        // Only who knew the truth before knows it afterwards.
        let still = self.meta.get(STAMP).await?.unwrap_or_default();
        self.meta.set(STAMP, stamp.as_bytes()).await?;
        let Some((of, kept)) = known else { return Ok(true) };
        if of == still {
            drop(kept);
            let all = Arc::make_mut(&mut people);
            match after.is_empty() {
                true => drop(all.remove(account)),
                false => drop(all.insert(account.to_owned(), after)),
            }
            *self.memory() = Some((stamp.into_bytes(), people));
        }
        Ok(true)
    }
}

fn shard(account: &str) -> String {
    hex(&sha1(account.as_bytes())[..1])
}

fn failed(error: &impl std::fmt::Display) -> HostError {
    HostError { condition: "internal-server-error".into(), text: format!("the directory: {error}") }
}
