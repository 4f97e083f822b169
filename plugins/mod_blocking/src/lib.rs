//! The blocking command (XEP-0191): nothing from a blocked address reaches its blocker, and nothing goes there.
//!
//! Block lists lie in the store and, all of them, in memory, where stanzas are judged. As long as nobody on the vhost blocks
//! anybody, no hook is registered and stanzas pass as if the module were not there; with the first list the hooks appear, with
//! the last one they go. With them, a stanza of somebody who blocks nobody costs two look-ups and no allocation.
//!
//! What is sent to a blocked address comes back with `not-acceptable`. Of what a blocked address sends, presence and headlines
//! vanish, messages and requests are answered with `service-unavailable`, as if there were no such account. The blocked contact
//! sees the blocker go offline, and come back when it is unblocked, where it was subscribed to its presence. All of the
//! owner's clients that asked for the list are told of changes, over a swap as well. Reports that come with a blocking command
//! (XEP-0377) are handed to mod_report.

mod contacts;
mod gate;
mod lists;
mod rules;
mod transfer;

use contacts::Hidden;
use gate::Gate;
use moult_plugin_api::hooks::{AccountArgs, SessionClosed};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::hooks::Notice;
use moult_plugin_api::sdk::store::KeyVal;
use moult_plugin_api::serde::{Deserialize, Serialize};
use moult_plugin_api::serde_json;
use rules::{BlockList, Rules};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

/// XEP-0191.
const NS: &str = "urn:xmpp:blocking";
const SCHEMA: u32 = 1;
/// Lists read at once when the module is loaded.
const PAGE: usize = 200;

module_options! {
    /// Options of mod_blocking.
    pub struct Options {
        /// Addresses that one account may block.
        max_items: usize = 500, min 1, max 10000;
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct Blocking {
    host: Host,
    options: Live<Options>,
    rules: RwLock<Rules>,
    /// Full JIDs of clients that asked for their list: they are told of changes (XEP-0191 3.3).
    told: Mutex<BTreeSet<String>>,
    /// Contacts that would see the account, were they not blocked.
    hidden: Mutex<Hidden>,
    gate: Mutex<Gate>,
}

/// What one generation hands to the next.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde", default)]
struct State {
    told: BTreeSet<String>,
    hidden: Hidden,
}

impl Module for Blocking {
    type Options = Options;
    const RELOADS: bool = true;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        host.on_iq(IqSpec::new(NS).on_accounts().hidden(), Self::answer)?;
        // XEP-0191 4: the server announces it.
        host.feature(NS, Target::Server)?;
        host.on_session_closed(50, Self::closed)?;
        host.on_user_removed(50, Self::removed)?;
        host.on_export_user(50, Self::export_user)?;
        host.on_import_user(50, Self::import_user)?;
        let this = Self {
            host: host.clone(),
            options: Live::new(options),
            rules: RwLock::new(Rules::from_lists(stored_lists(host)?)),
            told: Mutex::default(),
            hidden: Mutex::default(),
            gate: Mutex::default(),
        };
        this.adjust_gate()?;
        Started::running(this)
    }

    fn export_state(&self) -> Option<(u32, Vec<u8>)> {
        let state = State { told: self.told().clone(), hidden: self.hidden().clone() };
        Some((SCHEMA, serde_json::to_vec(&state).expect("texts are JSON")))
    }

    /// The lists were read when this generation started; what changed since then was acknowledged by the store.
    fn import_state(&self, schema: u32, bytes: &[u8]) -> Result<(), Stop> {
        if schema != SCHEMA {
            return Err(Stop::new(format!("state of schema {schema} cannot be read")));
        }
        let state: State = serde_json::from_slice(bytes)?;
        *self.told() = state.told;
        *self.hidden() = state.hidden;
        self.replace_rules(Rules::from_lists(stored_lists(&self.host)?));
        Ok(self.adjust_gate()?)
    }

    fn on_reload(&self, options: Options, changed: bool) -> Result<Reload, Stop> {
        if changed {
            self.options.set(options);
        }
        Ok(Reload::Done)
    }
}

impl Blocking {
    fn store(&self) -> KeyVal {
        self.host.keyval("lists")
    }

    fn rules(&self) -> RwLockReadGuard<'_, Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace_rules(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    fn told(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hidden(&self) -> MutexGuard<'_, Hidden> {
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store first: what is acknowledged holds.
    async fn keep(&self, account: &str, list: BlockList) -> Result<(), HostError> {
        if list.is_empty() {
            self.store().delete(account).await?;
        } else {
            self.store().set_json(account, &list).await?;
        }
        self.rules.write().unwrap_or_else(PoisonError::into_inner).put(account, list);
        self.adjust_gate()
    }

    fn closed(&self, session: &Notice<'_, SessionClosed>) {
        self.told().remove(session.jid.as_str());
    }

    async fn removed(self: Arc<Self>, account: Notice<'static, AccountArgs>) {
        if let Err(error) = self.keep(account.jid.as_str(), BlockList::default()).await {
            error!(self.host.about(&account.jid), "the block list of a removed account stays: {error}");
        }
        self.hidden().forget(account.jid.as_str());
    }
}

/// All lists, read in pages.
fn stored_lists(host: &Host) -> Result<Vec<(String, BlockList)>, HostError> {
    let store = host.keyval("lists");
    let mut lists = Vec::new();
    let mut after = String::new();
    loop {
        let keys = store.keys("", &after, PAGE).wait()?;
        let reads: Vec<_> = keys.iter().map(|key| store.get_json::<BlockList>(key)).collect();
        for (key, read) in keys.iter().zip(reads) {
            lists.push((key.clone(), read.wait()?.unwrap_or_default()));
        }
        match keys.last() {
            Some(last) if keys.len() == PAGE => after.clone_from(last),
            _ => return Ok(lists),
        }
    }
}

export_module! {
    module: Blocking,
    needs_minor: 2,
    depends: [soft "mod_report"],
    state: { writes: 1, reads: 1 },
    xeps: ["0191" "1.3"],
}

#[cfg(test)]
mod tests;
