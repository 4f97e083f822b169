//! Push notifications (XEP-0357): the services of a user's apps are told when something waits for them.
//!
//! Something waits when a message finds nobody and goes to the offline store, when it comes for a session whose connection is
//! lost (XEP-0198) or was sent to it and never acknowledged, and, with the option `inactive`, when it comes for a client that
//! nobody looks at (XEP-0352). Messages with a body, encrypted ones and calls count; copies, errors, headlines do not.
//!
//! A session that waits concerns the app that it belongs to (the one whose last `enable` it sent) or, where that is unknown,
//! the apps that have no session. What a service gets is that there is something and how much; who wrote and what only with the
//! options that say so. At any time one notification is under way to a service for a user; what comes meanwhile follows in
//! one more. A service that answers with an error is told no more, one that does not answer (or asks to wait) after so many
//! times. Without federation, services are those of this server's domains.
//!
//! Registrations are in the store and in memory; how much waits for whom is handed over in a swap.

mod commands;
mod enabling;
mod events;
mod notify;
mod registration;

use moult_plugin_api::hooks::AccountArgs;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::Turns;
use moult_plugin_api::sdk::hooks::Notice;
use moult_plugin_api::sdk::store::KeyVal;
use moult_plugin_api::serde::{Deserialize, Serialize};
use moult_plugin_api::serde_json;
use registration::Registration as App;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// XEP-0357.
const NS: &str = "urn:xmpp:push:0";
const SCHEMA: u32 = 1;
/// Before the module that keeps messages.
const BEFORE_OFFLINE: i32 = 40;
/// Accounts read at once when the module is loaded.
const PAGE: usize = 200;

module_options! {
    /// Options of mod_push.
    pub struct Options {
        /// Services that one account may have enabled; with one more the oldest goes.
        max_registrations: usize = 10, min 1, max 100;
        /// Whether services are told who wrote.
        include_sender: bool = false;
        /// Whether services are told what was written.
        include_body: bool = false;
        /// Whether messages for clients that nobody looks at are told of, although they are connected.
        inactive: bool = false;
        /// Notifications in a row that may stay unanswered before a service is disabled.
        max_failures: u32 = 10, min 1, max 1000;
        /// How long a service may take to answer.
        timeout: Duration = "30s", min 1000, max 300000;
    }
}

/// The module on one vhost; tasks that tell services have copies of it.
#[derive(Debug, Clone)]
pub struct Push {
    host: Host,
    options: Arc<Live<Options>>,
    state: Arc<Mutex<State>>,
    turns: Turns,
    /// The hooks, while somebody has enabled a service.
    gate: Arc<Mutex<Vec<Registration>>>,
}

/// What is known at the moment.
#[derive(Debug, Default)]
struct State {
    /// By account.
    registrations: HashMap<String, Vec<App>>,
    /// Messages told of since the account was last here.
    waiting: HashMap<String, u64>,
    /// Services that are being told something, and whether there is more to tell.
    under_way: HashMap<(String, String, String), Option<notify::News>>,
}

/// What one generation hands to the next.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde", default)]
struct Kept {
    waiting: HashMap<String, u64>,
}

impl Module for Push {
    type Options = Options;
    const RELOADS: bool = true;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        host.on_iq(IqSpec::new(NS).on_accounts(), Self::answer)?;
        host.on_user_removed(50, Self::removed)?;
        commands::register(host)?;
        let state = State { registrations: stored(host)?, ..State::default() };
        let this = Self {
            host: host.clone(),
            options: Arc::new(Live::new(options)),
            state: Arc::new(Mutex::new(state)),
            turns: Turns::default(),
            gate: Arc::default(),
        };
        this.adjust_gate()?;
        Started::running(this)
    }

    fn export_state(&self) -> Option<(u32, Vec<u8>)> {
        let kept = Kept { waiting: self.state().waiting.clone() };
        Some((SCHEMA, serde_json::to_vec(&kept).expect("texts and numbers are JSON")))
    }

    fn import_state(&self, schema: u32, bytes: &[u8]) -> Result<(), Stop> {
        if schema != SCHEMA {
            return Err(Stop::new(format!("state of schema {schema} cannot be read")));
        }
        let kept: Kept = serde_json::from_slice(bytes)?;
        // Registrations have come and gone since this generation read them.
        let registrations = stored(&self.host)?;
        {
            let mut state = self.state();
            (state.registrations, state.waiting) = (registrations, kept.waiting);
        }
        Ok(self.adjust_gate()?)
    }

    fn on_reload(&self, options: Options, changed: bool) -> Result<Reload, Stop> {
        if changed {
            self.options.set(options);
        }
        Ok(Reload::Done)
    }
}

impl Push {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self) -> KeyVal {
        self.host.keyval("registrations")
    }

    fn of(&self, account: &str) -> Vec<App> {
        self.state().registrations.get(account).cloned().unwrap_or_default()
    }

    fn has(&self, account: &str) -> bool {
        let state = self.state();
        !state.registrations.is_empty() && state.registrations.contains_key(account)
    }

    /// The store first: what is acknowledged holds. To be called in turn.
    async fn keep(&self, account: &str, registrations: Vec<App>) -> Result<(), HostError> {
        if registrations.is_empty() {
            self.store().delete(account).await?;
            let mut state = self.state();
            state.registrations.remove(account);
            state.waiting.remove(account);
        } else {
            self.store().set_json(account, &registrations).await?;
            self.state().registrations.insert(account.to_owned(), registrations);
        }
        self.adjust_gate()
    }

    /// As long as nobody has enabled a service, stanzas pass as if the module were not there.
    fn adjust_gate(&self) -> Result<(), HostError> {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let needed = !self.state().registrations.is_empty();
        if needed && gate.is_empty() {
            *gate = vec![
                self.host.on_offline_message(BEFORE_OFFLINE, Self::offline)?,
                self.host.on_user_receive_packet(90, Self::received)?,
                self.host.on_inactive_packet(10, Self::inactive)?,
                self.host.on_session_suspended(50, Self::suspended)?,
                self.host.on_presence_changed(50, Self::presence)?,
            ];
        } else if !needed {
            for registration in gate.drain(..) {
                self.host.unregister(registration);
            }
        }
        Ok(())
    }

    async fn removed(self: Arc<Self>, account: Notice<'static, AccountArgs>) {
        let _turn = self.turns.take(account.jid.as_str()).await;
        if let Err(error) = self.keep(account.jid.as_str(), Vec::new()).await {
            error!(self.host.about(&account.jid), "the push services of a removed account stay: {error}");
        }
    }
}

/// All registrations, read in pages.
fn stored(host: &Host) -> Result<HashMap<String, Vec<App>>, HostError> {
    let (store, mut all, mut after) = (host.keyval("registrations"), HashMap::new(), String::new());
    loop {
        let keys = store.keys("", &after, PAGE).wait()?;
        let reads: Vec<_> = keys.iter().map(|key| store.get_json::<Vec<App>>(key)).collect();
        for (key, read) in keys.iter().zip(reads) {
            all.insert(key.clone(), read.wait()?.unwrap_or_default());
        }
        match keys.last() {
            Some(last) if keys.len() == PAGE => after.clone_from(last),
            _ => return Ok(all),
        }
    }
}

export_module! {
    module: Push,
    needs_minor: 2,
    state: { writes: 1, reads: 1 },
    xeps: ["0357" "0.4.1"],
}

#[cfg(test)]
mod tests;
