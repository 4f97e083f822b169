//! Invitations: a link with a token that is good for one use and for some days.
//!
//! * A user invites a contact by the ad-hoc command `urn:xmpp:invite#invite` (XEP-0401). Whoever opens the link sends a
//!   subscription request with the token (XEP-0379): the request is granted and returned without asking the user again. Where
//!   the option `users_create_accounts` says so, the link also makes an account.
//! * An administrator invites to an account by `urn:xmpp:invite#create-account` or by the commands, with or without a name.
//!   A name that an invitation carries is reserved until the invitation expires.
//! * Before the login, a client shows the token (XEP-0445) and registers by mod_register (XEP-0077), which asks this module
//!   by requests: `invited`, `claim`, `registered`. The token is used when the account is there, not before. Inviter and
//!   invited are then in each other's rosters.
//! * Every link has a page at the option `path`, for those who have no client yet.
//!
//! Tokens lie in the store and, all of them, in memory. Which stream has shown which token is handed over in a swap.

mod account;
mod adhoc;
mod book;
mod commands;
mod contacts;
mod invite;
mod page;

use book::Book;
use invite::Invite;
use moult_plugin_api::hooks::AccountArgs;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::now_ms;
use moult_plugin_api::sdk::hooks::Notice;
use moult_plugin_api::sdk::store::KeyVal;
use moult_plugin_api::serde_json::{self, Value};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const SCHEMA: u32 = 1;
/// XEP-0379, of which XEP-0445 takes the element.
const PARS: &str = "urn:xmpp:pars:0";
/// The stream features (XEP-0445 section 3, XEP-0077 section 8).
const TOKEN_FEATURE: &str = "urn:xmpp:ibr-token:0";
const REGISTER_FEATURE: &str = "http://jabber.org/features/iq-register";
/// Before the roster, which would show the request to the user.
const BEFORE_ROSTER: i32 = 40;
/// How often tokens are looked for that nobody needs any more, and how long they are shown as expired.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(3600);
const SHOWN_MS: i64 = 24 * 3_600_000;
/// Tokens read at once when the module is loaded.
const PAGE: usize = 200;

module_options! {
    /// Options of mod_invites.
    pub struct Options {
        /// How long an invitation can be used.
        expire: Duration = "5d", min 60000, max 31536000000;
        /// Invitations of one user that are open at the same time.
        max_invites: usize = 20, min 0, max 100000;
        /// Invitations in all, used and expired ones included.
        max_tokens: usize = 10000, min 1, max 1000000;
        /// Whether users may invite contacts.
        users_invite: bool = true;
        /// Whether the invitations of users make accounts.
        users_create_accounts: bool = false;
        /// The path of the pages on the HTTP server; @HOST@ stands for the vhost.
        path: String = "/invite/@HOST@", boot_only true;
        /// Where that path is seen from outside.
        url: String = "http://@HOST@:5280/invite/@HOST@", boot_only true;
        /// A page that lists clients.
        clients_url: String = "https://xmpp.org/software/";
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct Invites {
    host: Host,
    options: Live<Options>,
    book: Mutex<Book>,
    /// The public address, without a slash at its end.
    url: String,
    path: String,
}

impl Module for Invites {
    type Options = Options;
    const RELOADS: bool = true;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        let trimmed = |text: &str| host.expand(text).trim_end_matches('/').to_owned();
        let (url, path) = (trimmed(&options.url), trimmed(&options.path));
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err(Stop::new(format!("the option `url` is no address of HTTP: \"{url}\"")));
        }
        host.on_iq(IqSpec::new(PARS).hidden(), Self::pre_authenticate)?;
        host.stream_feature(&Element::new("register").with_ns(TOKEN_FEATURE), Target::Server)?;
        // The stream feature, which the server announces where a module declares it.
        host.feature(REGISTER_FEATURE, Target::Server)?;
        host.on_subscription_packet(BEFORE_ROSTER, deferred(Self::subscription))?;
        host.on_disco_items(60, Self::items)?;
        host.on_disco_info(60, Self::info)?;
        host.on_user_removed(50, Self::removed)?;
        host.on_http(&path, HttpAuth::None, Self::page)?;
        host.every(CLEANUP_INTERVAL, |this: Arc<Invites>, _: Tick| async move { this.clean_up().await })?;
        commands::register(host)?;
        let book = Mutex::new(Book::new(stored(host)?));
        Started::running(Self { host: host.clone(), options: Live::new(options), book, url, path })
    }

    fn export_state(&self) -> Option<(u32, Vec<u8>)> {
        Some((SCHEMA, serde_json::to_vec(&self.book().streams).expect("texts and numbers are JSON")))
    }

    fn import_state(&self, schema: u32, bytes: &[u8]) -> Result<(), Stop> {
        if schema != SCHEMA {
            return Err(Stop::new(format!("state of schema {schema} cannot be read")));
        }
        let streams = serde_json::from_slice(bytes)?;
        // Tokens have come and gone since this generation read them.
        let mut book = Book::new(stored(&self.host)?);
        book.streams = streams;
        *self.book() = book;
        Ok(())
    }

    /// Where the pages are is decided at the start.
    fn on_reload(&self, options: Options, changed: bool) -> Result<Reload, Stop> {
        let place = |options: &Options| [options.path.clone(), options.url.clone()];
        if place(&options) != place(&self.options.get()) {
            return Ok(Reload::Restart);
        }
        if changed {
            self.options.set(options);
        }
        Ok(Reload::Done)
    }

    fn on_request(&self, request: &Request<'_>) -> Result<Value, CommandError> {
        match &*request.method {
            "invited" => self.invited(&request.args()?),
            "claim" => self.claim(&request.args()?),
            "registered" => self.registered(&request.args()?),
            "adhoc" => self.adhoc(&request.args()?),
            other => Err(CommandError::not_found(format!("mod_invites answers no request '{other}'"))),
        }
    }
}

impl Invites {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self) -> KeyVal {
        self.host.keyval("tokens")
    }

    /// Where the page of a token is.
    fn landing(&self, token: &str) -> String {
        format!("{}/{token}", self.url)
    }

    /// Removes what is neither of use nor worth showing. Gives how many went.
    async fn remove_expired(&self, before: i64) -> Result<usize, HostError> {
        let old = self.book().expired(before);
        self.forget(&old).await?;
        Ok(old.len())
    }

    async fn forget(&self, tokens: &[String]) -> Result<(), HostError> {
        for token in tokens {
            self.store().delete(token).await?;
            self.book().remove(token);
        }
        Ok(())
    }

    async fn clean_up(&self) {
        match self.remove_expired(now_ms() - SHOWN_MS).await {
            Ok(0) => {}
            Ok(count) => info!(self.host, "{count} invitations had expired"),
            Err(error) => error!(self.host, "expired invitations could not be removed: {error}"),
        }
    }

    async fn removed(self: Arc<Self>, account: Notice<'static, AccountArgs>) {
        let tokens = self.book().of_inviter(account.jid.as_str());
        if let Err(error) = self.forget(&tokens).await {
            error!(self.host.about(&account.jid), "the invitations of a removed account stay: {error}");
        }
    }
}

/// All tokens, read in pages.
fn stored(host: &Host) -> Result<BTreeMap<String, Invite>, HostError> {
    let (store, mut all, mut after) = (host.keyval("tokens"), BTreeMap::new(), String::new());
    loop {
        let keys = store.keys("", &after, PAGE).wait()?;
        let reads: Vec<_> = keys.iter().map(|key| store.get_json::<Invite>(key)).collect();
        for (key, read) in keys.iter().zip(reads) {
            if let Some(invite) = read.wait()? {
                all.insert(key.clone(), invite);
            }
        }
        match keys.last() {
            Some(last) if keys.len() == PAGE => after.clone_from(last),
            _ => return Ok(all),
        }
    }
}

export_module! {
    module: Invites,
    depends: [hard "mod_register", soft "mod_roster", soft "mod_adhoc"],
    capabilities: ["commands", "accounts"],
    needs_minor: 2,
    state: { writes: 1, reads: 1 },
    xeps: ["0379" "0.3.3", "0401" "0.6.0", "0445" "0.2.0"],
}

#[cfg(test)]
mod tests;
