//! Message archives of users (XEP-0313) with paging (XEP-0059), preferences (XEP-0441) and stanza ids (XEP-0359).
//!
//! What an account sends and gets in its conversations is stored before it goes on, and carries the archive's id from then on;
//! an id that somebody else wrote in the archive's name is taken out. A message that cannot be stored goes on without an id.
//! Clients read their own archive in pages, by time and by correspondent, and nobody reads somebody else's.
//!
//! What is older than `retention` is deleted every hour. Everything lies in stores, so a swap is not felt; the archive and the
//! preferences of an account go with the account. Rooms keep their own archives.

mod answer;
mod commands;
mod keep;
mod preferences;
mod query;
mod rules;
mod transfer;

use moult_plugin_api::hooks::AccountArgs;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::now_ms;
use moult_plugin_api::sdk::hooks::Notice;
use moult_plugin_api::sdk::store::{Archive, KeyVal};
use preferences::{Known, Preferences};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// XEP-0313.
const NS: &str = "urn:xmpp:mam:2";
/// XEP-0313 7.2: single messages, ranges between ids, flipped pages, metadata.
const EXTENDED: &str = "urn:xmpp:mam:2#extended";
/// XEP-0359.
const STANZA_ID: &str = "urn:xmpp:sid:0";
/// How often old messages are deleted.
const PURGE_INTERVAL: Duration = Duration::from_secs(3600);
/// Later than everything: the year 10000, in milliseconds.
const END_OF_TIME: i64 = 253_402_300_800_000;

module_options! {
    /// Options of mod_mam.
    pub struct Options {
        /// Whose messages are archived where a user has not chosen: always, never, or roster for contacts alone.
        default: String = "always", one_of ["always", "never", "roster"];
        /// After what time messages are deleted; 0 keeps them for ever.
        retention: Duration = "365d";
        /// Messages in one page where the client does not say.
        page: usize = 50, min 1, max 500;
        /// The most messages in one page.
        max_page: usize = 250, min 1, max 500;
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct Mam {
    host: Host,
    options: Live<Options>,
    known: Mutex<Known>,
}

impl Module for Mam {
    type Options = Options;
    const RELOADS: bool = true;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        host.on_iq(IqSpec::new(NS).on_accounts().parallel_n(16), Self::request)?;
        host.feature(STANZA_ID, Target::Account)?;
        // Section 7 wants it of accounts; some clients look for it at the server alone, as other servers announce it.
        host.feature(NS, Target::Server)?;
        host.feature(EXTENDED, Target::Account)?;
        host.on_user_send_packet(50, deferred(Self::sent))?;
        host.on_filter_packet(50, deferred(Self::received))?;
        host.on_user_removed(50, Self::removed)?;
        host.on_export_user(50, Self::export_user)?;
        host.on_import_user(50, Self::import_user)?;
        host.every(PURGE_INTERVAL, |this: Arc<Mam>, _: Tick| async move { this.purge().await })?;
        commands::register(host)?;
        Started::running(Self { host: host.clone(), options: Live::new(options), known: Mutex::default() })
    }

    fn on_reload(&self, options: Options, changed: bool) -> Result<Reload, Stop> {
        if changed {
            self.options.set(options);
            // Who has not chosen is remembered with the default of before.
            *self.known() = Known::default();
        }
        Ok(Reload::Done)
    }
}

impl Mam {
    fn archive(&self) -> Archive {
        self.host.archive("messages")
    }

    fn preferences(&self) -> KeyVal {
        self.host.keyval("preferences")
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn request(self: Arc<Self>, iq: Iq<'static>) -> Result<IqReply, StanzaError> {
        if iq.from().bare() != iq.to().bare() {
            return Err(StanzaError::forbidden("an archive is its owner's alone"));
        }
        let payload = iq.payload()?;
        let owner = iq.to().bare();
        match (iq.is_set(), payload.name()) {
            (false, "query") => Ok(query::form().into()),
            (true, "query") => self.page(&iq, payload).await.map(IqReply::from),
            (false, "metadata") => Ok(self.metadata(&owner).await?.into()),
            (false, "prefs") => Ok(self.chosen(&owner).await?.to_element().into()),
            (true, "prefs") => {
                let preferences = Preferences::read(payload)?;
                self.choose(&owner, preferences.clone()).await?;
                Ok(preferences.to_element().into())
            }
            _ => Err(StanzaError::bad_request("this asks neither for messages nor for preferences")),
        }
    }

    async fn purge(&self) {
        let retention = i64::try_from(self.options.get().retention.as_millis()).unwrap_or(i64::MAX);
        if retention == 0 {
            return;
        }
        match self.archive().delete("", now_ms().saturating_sub(retention)).await {
            Ok(0) => {}
            Ok(deleted) => info!(self.host, "{deleted} archived messages were old enough to be deleted"),
            Err(error) => warn!(self.host, "old messages were not deleted: {error}"),
        }
    }

    async fn removed(self: Arc<Self>, account: Notice<'static, AccountArgs>) {
        let key = account.jid.as_str();
        self.known().forget(key);
        let deleted = self.archive().delete(key, END_OF_TIME).await.map(drop);
        for done in [deleted, self.preferences().delete(key).await] {
            if let Err(error) = done {
                error!(self.host.about(&account.jid), "the archive of a removed account stays: {error}");
            }
        }
    }
}

export_module! {
    module: Mam,
    capabilities: ["commands"],
    needs_minor: 2,
    xeps: ["0313" "1.1.3", "0441" "0.2.0", "0059" "1.0", "0359" "0.7.0", "0334" "0.4.0"],
}

#[cfg(test)]
mod tests;
