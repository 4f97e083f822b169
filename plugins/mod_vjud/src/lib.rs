//! A directory of the vhost's users, searched by what their vCards say (XEP-0055), as a service of its own.
//!
//! mod_vcard tells of every vCard that is set or removed, and is asked for all of them when this module is loaded. What is
//! searched lies in a store of this module's own, bounded. Who may be found is up to the operator (`opt_in`) and to each
//! user, who registers with the service to be found and removes the registration not to be (XEP-0077, as user directories
//! have it). Nobody else is told that an account exists, and nobody gets the whole directory unless the operator allows it.

pub mod entry;
mod index;
mod service;

use entry::Entry;
use index::Index;
use moult_plugin_api::hooks::AccountArgs;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::element::parse_element;
use moult_plugin_api::sdk::hooks::Notice;
use moult_plugin_api::serde::Deserialize;
use moult_plugin_api::serde_json::{self, json};
use std::sync::Arc;
use std::time::Duration;

/// Who keeps vCards.
const VCARDS: &str = "mod_vcard";
/// Cards that are asked for at once.
const PAGE: usize = 50;
/// How long that may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

module_options! {
    /// Options of mod_vjud.
    pub struct Options {
        /// Where the service is.
        host: String = "vjud.@HOST@", boot_only true;
        /// What it is called.
        name: String = "Users directory";
        /// Accounts that one search gives at most.
        matches: usize = 30, min 1, max 1000;
        /// Whether a search for nothing in particular gives everybody, within `matches`.
        allow_return_all: bool = false;
        /// Whether only those are found who have registered with the service; else all with a vCard but those who do not want it.
        opt_in: bool = false;
        /// Whether users of other servers may search.
        public: bool = false;
        /// Accounts in the directory.
        max_entries: usize = 100000, min 1, max 1000000;
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct Directory {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    host: Host,
    options: Live<Options>,
    index: Index,
}

impl Module for Directory {
    type Options = Options;

    const RELOADS: bool = true;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        host.on_stanza(&host.expand(&options.host), Self::stanza)?;
        host.on_request("card", Self::card)?;
        host.on_user_removed(50, Self::removed)?;
        let rebuild =
            CommandSpec::new("vjud_rebuild", "Reads all vCards of a vhost into the users directory again")
                .tag("vcard")
                .arg("host", "host", "On which vhost")
                .result("How many vCards there are");
        host.command(&rebuild, Self::rebuild)?;
        let inner = Inner { host: host.clone(), options: Live::new(options), index: Index::open(host) };
        Started::running(Self { inner: Arc::new(inner) })
    }

    /// What was set while this module was not there is in no directory.
    fn on_started(&self) -> Result<(), Stop> {
        if self.inner.host.is_swap() {
            return Ok(());
        }
        let inner = Arc::clone(&self.inner);
        Ok(self.inner.host.spawn(async move {
            match inner.read_all().await {
                Ok(count) => debug!(inner.host, "{count} vCards were read into the directory"),
                Err(error) => error!(inner.host, "the vCards could not be read into the directory: {error}"),
            }
        })?)
    }

    fn on_reload(&self, options: Options, _: bool) -> Result<Reload, Stop> {
        if options.host != self.inner.options.get().host {
            return Ok(Reload::Restart);
        }
        self.inner.options.set(options);
        Ok(Reload::Done)
    }
}

/// A vCard as mod_vcard tells it; empty where there is none any more.
#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct Card {
    account: String,
    #[serde(default)]
    card: String,
}

/// Some of them.
#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct Cards {
    cards: Vec<Card>,
    /// Where to go on; empty at the end.
    #[serde(default)]
    next: String,
}

impl Directory {
    async fn stanza(self: Arc<Self>, stanza: Stanza<'static>) -> Flow {
        self.inner.stanza(&stanza).await
    }

    async fn card(self: Arc<Self>, request: Request<'static>) -> Result<(), CommandError> {
        Ok(self.inner.take(&request.args()?).await?)
    }

    async fn removed(self: Arc<Self>, account: Notice<'static, AccountArgs>) {
        let (index, account) = (&self.inner.index, account.jid.bare());
        if let Err(error) = index.change(account.as_str(), usize::MAX, |_| Entry::default()).await {
            error!(self.inner.host.about(&account), "a removed account stays in the directory: {error}");
        }
    }

    async fn rebuild(self: Arc<Self>, _: Request<'static>) -> Result<u64, CommandError> {
        Ok(self.inner.read_all().await?)
    }
}

impl Inner {
    async fn take(&self, Card { account, card }: &Card) -> Result<(), HostError> {
        let card = parse_element(card).ok();
        let most = self.options.get().max_entries;
        let has_room = self.index.change(account, most, |entry| entry.with_card(card.as_ref())).await?;
        if !has_room {
            self.host.count("left_out", 1);
            warn!(self.host, "{account} is not in the directory: it has {most} entries already");
        }
        Ok(())
    }

    /// All vCards that there are; gives how many. Where there is no mod_vcard there are none.
    async fn read_all(&self) -> Result<u64, HostError> {
        let (mut count, mut after) = (0, String::new());
        loop {
            let args = json!({ "after": after, "limit": PAGE });
            let page = match self.host.request(VCARDS, "cards", &args, ANSWER_WITHIN).await {
                Err(error) if error.condition == "item-not-found" => return Ok(count),
                page => serde_json::from_value::<Cards>(page?).map_err(|error| HostError {
                    condition: "internal-server-error".into(),
                    text: format!("{VCARDS} answered what are no vCards: {error}"),
                })?,
            };
            for card in &page.cards {
                self.take(card).await?;
                count += 1;
            }
            if page.next.is_empty() {
                return Ok(count);
            }
            after = page.next;
        }
    }
}

export_module! {
    module: Directory,
    needs_minor: 2,
    xeps: ["0055" "1.3"],
}

#[cfg(test)]
mod tests;
