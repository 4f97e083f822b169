//! Keeps unwanted messages and subscription requests of strangers from accounts.
//!
//! A stranger is who is not in the recipient's roster with a subscription, and whom the recipient has not written to within
//! the option `answers`. Three rules judge what a stranger sends: lists of JIDs, domains and their SHA-256 (options, files in
//! the manner of real-time block lists, commands), patterns for texts, and a rate per sender. Each has an action: `bounce`
//! (`policy-violation`), `drop` (without a word), or `tag` (delivered with a mark for clients).
//!
//! Whoever is listed cannot send requests to accounts or show presence either. Errors, answers and messages of rooms pass.
//! Patterns match without backtracking; all tables are bounded. Rates hold over a swap. As long as there is no rule, which is
//! the default, stanzas pass as if the module were not there.

mod commands;
mod judge;
mod lists;
mod rates;
mod rules;

use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::Turns;
use moult_plugin_api::serde_json;
use rates::Senders;
use rules::{Fixed, Rules, stored};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const SCHEMA: u32 = 1;
/// After blocking, which is the recipient's own word, and before archives and copies.
const SEQUENCE: i32 = 20;

module_options! {
    /// Options of mod_spam_filter.
    pub struct Options {
        /// What becomes of what listed senders send.
        list_action: String = "bounce", one_of ["bounce", "drop", "tag"];
        /// What becomes of texts that match a pattern.
        content_action: String = "bounce", one_of ["bounce", "drop", "tag"];
        /// What becomes of what is too much.
        rate_action: String = "bounce", one_of ["bounce", "drop", "tag"];
        /// Unwanted senders: bare JIDs, domains, or the SHA-256 of one.
        blocked: Vec<String> = [], max 1000;
        /// Senders that are never judged.
        allowed: Vec<String> = [], max 1000;
        /// Files with unwanted senders, one per line.
        files: Vec<String> = [], max 16;
        /// Regular expressions for unwanted texts.
        patterns: Vec<String> = [], max 200;
        /// Messages and requests that one sender may send to strangers within the time below; 0 is without a limit.
        rate: u32 = 0, min 0, max 1000000;
        /// After what time the count begins anew.
        rate_interval: Duration = "1m", min 1000, max 86400000;
        /// How long somebody whom the account has written to is no stranger.
        answers: Duration = "1h", min 0, max 604800000;
        /// Senders whose rates are remembered.
        max_senders: usize = 10000, min 10, max 1000000;
        /// Entries that files and commands may have.
        max_entries: usize = 100000, min 1, max 5000000;
    }
}

/// Why a stanza is unwanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    List,
    Content,
    Rate,
}

impl Rule {
    fn name(self) -> &'static str {
        match self {
            Rule::List => "list",
            Rule::Content => "content",
            Rule::Rate => "rate",
        }
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct SpamFilter {
    host: Host,
    options: Live<Options>,
    rules: Live<Rules>,
    senders: Mutex<Senders>,
    /// Of commands that change the rules.
    turns: Turns,
    /// The hook, while there is a rule.
    gate: Mutex<Option<Registration>>,
}

impl Module for SpamFilter {
    type Options = Options;
    const RELOADS: bool = true;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        let fixed = Fixed::read(host, &options)?;
        let rules = Rules::new(Arc::new(fixed), stored(host)?)?;
        commands::register(host)?;
        let this = Self {
            host: host.clone(),
            options: Live::new(options),
            rules: Live::new(rules),
            senders: Mutex::default(),
            turns: Turns::default(),
            gate: Mutex::default(),
        };
        this.adjust_gate()?;
        Started::running(this)
    }

    fn export_state(&self) -> Option<(u32, Vec<u8>)> {
        Some((SCHEMA, serde_json::to_vec(&*self.senders()).expect("texts and numbers are JSON")))
    }

    fn import_state(&self, schema: u32, bytes: &[u8]) -> Result<(), Stop> {
        if schema != SCHEMA {
            return Err(Stop::new(format!("state of schema {schema} cannot be read")));
        }
        *self.senders() = serde_json::from_slice(bytes)?;
        // Commands may have changed the lists since this generation read them.
        Ok(self.take_over(self.rules.get().with_added(stored(&self.host)?)?)?)
    }

    fn on_reload(&self, options: Options, changed: bool) -> Result<Reload, Stop> {
        if changed {
            let rules = self.rules.get().with_fixed(Fixed::read(&self.host, &options)?)?;
            self.options.set(options);
            self.take_over(rules)?;
        }
        Ok(Reload::Done)
    }
}

impl SpamFilter {
    fn senders(&self) -> MutexGuard<'_, Senders> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_over(&self, rules: Rules) -> Result<(), HostError> {
        self.rules.set(rules);
        self.adjust_gate()
    }

    /// Without a rule no stanza is looked at.
    fn adjust_gate(&self) -> Result<(), HostError> {
        let rules = self.rules.get();
        self.host.gauge("blocked_entries", i64::try_from(rules.len()).unwrap_or(i64::MAX));
        let needed = rules.len() > 0 || rules.has_patterns() || self.options.get().rate > 0;
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if needed && gate.is_none() {
            *gate = Some(self.host.on_filter_packet(SEQUENCE, deferred(Self::judge))?);
        } else if !needed && let Some(registration) = gate.take() {
            self.host.unregister(registration);
        }
        Ok(())
    }
}

export_module! {
    module: SpamFilter,
    needs_minor: 1,
    state: { writes: 1, reads: 1 },
}

#[cfg(test)]
mod tests;
