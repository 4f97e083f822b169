//! Shared roster groups: administrators say who sees whom, and the contacts appear in rosters by themselves.
//!
//! A group has members (accounts of the vhost, `@all@`, `@online@`) and groups whose members its own members see; a group
//! that displays itself makes its members contacts of each other. mod_roster asks for the contacts of an account by the
//! request `items` and shows them, this module tells it of changes by `shared_changed`: nothing is stored in rosters, and
//! either module can be swapped, loaded or unloaded while people talk.
//!
//! All lies in the store and is read through, so nothing is handed over in a swap and nobody waits for one.

mod book;
mod commands;
pub mod groups;
mod people;

use book::Book;
use groups::{Groups, People, SharedItem};
use moult_plugin_api::hooks::{SessionClosed, SessionOpened};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::hooks::{AccountNotice, Notice};
use moult_plugin_api::sdk::{Turns, digest};
use moult_plugin_api::serde::{Deserialize, Serialize};
use moult_plugin_api::serde_json::{self, json};
use people::Directory;
use std::sync::Arc;
use std::time::Duration;

/// Who shows contacts to clients.
const ROSTER: &str = "mod_roster";
/// How long it may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

module_options! {
    /// Options of mod_shared_roster.
    pub struct Options {
        /// Groups of the vhost.
        max_groups: usize = 1000, min 0, max 100000;
        /// Accounts named as members of one group.
        max_members: usize = 10000, min 0, max 1000000;
        /// Contacts that one roster gets from groups; those beyond, in the order of their JIDs, are left out.
        max_contacts: usize = 5000, min 0, max 100000;
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct SharedRoster {
    host: Host,
    options: Live<Options>,
    book: Book,
    directory: Directory,
    /// Changes are told one after the other.
    turns: Turns,
}

impl Module for SharedRoster {
    type Options = Options;

    const RELOADS: bool = true;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        host.on_request("items", Self::items)?;
        host.on_session_opened(50, Self::opened)?;
        host.on_session_closed(50, Self::closed)?;
        host.on_user_registered(50, Self::registered)?;
        host.on_user_removed(50, Self::removed)?;
        commands::register(host)?;
        Started::running(Self {
            host: host.clone(),
            options: Live::new(options),
            book: Book::open(host),
            directory: Directory::default(),
            turns: Turns::default(),
        })
    }

    fn on_reload(&self, options: Options, _: bool) -> Result<Reload, Stop> {
        self.options.set(options);
        Ok(Reload::Done)
    }
}

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct ItemsArgs {
    account: String,
}

/// The contacts of an account, and a version that differs where anything does.
#[derive(Serialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct Items {
    version: String,
    items: Vec<SharedItem>,
}

/// What holds at one moment.
struct View {
    groups: Arc<Groups>,
    people: People,
}

impl SharedRoster {
    async fn items(self: Arc<Self>, request: Request<'static>) -> Result<Items, CommandError> {
        let ItemsArgs { account } = request.args()?;
        let items = self.view().await?.items(&account, self.options.get().max_contacts);
        let version = match items.as_slice() {
            [] => String::new(),
            items => {
                let text = serde_json::to_vec(items).map_err(|e| CommandError::internal(e.to_string()))?;
                digest::hex(&digest::sha1(&text)[..8])
            }
        };
        Ok(Items { version, items })
    }

    async fn view(&self) -> Result<View, HostError> {
        let groups = self.book.groups().await?;
        let people = self.directory.people(&self.host, &groups).await?;
        Ok(View { groups, people })
    }

    /// Tells the roster module what a change of groups means for each account that has sessions.
    async fn tell_all(&self, before: &View) -> Result<(), HostError> {
        let (after, most) = (self.view().await?, self.options.get().max_contacts);
        for account in people::online(&self.host).await? {
            let changed = groups::difference(&before.items(&account, most), &after.items(&account, most));
            self.tell(&account, changed).await;
        }
        Ok(())
    }

    /// The same where one account has become another one to groups. It has no sessions, or its first one, which will ask.
    async fn tell_of(&self, contact: &str, before: &View, after: &View) -> Result<(), HostError> {
        for account in people::online(&self.host).await? {
            let item = |view: &View| groups::item(&view.groups, &account, contact, &view.people);
            if item(before) != item(after) {
                self.tell(&account, vec![contact.to_owned()]).await;
            }
        }
        Ok(())
    }

    async fn tell(&self, account: &str, contacts: Vec<String>) {
        if contacts.is_empty() {
            return;
        }
        let args = json!({ "account": account, "contacts": contacts });
        match self.host.request(ROSTER, "shared_changed", &args, ANSWER_WITHIN).await {
            Ok(_) => {}
            // Without rosters nobody sees the change.
            Err(error) if error.condition == "item-not-found" => {}
            Err(error) => warn!(self.host, "{account} was not told of a change of its groups: {error}"),
        }
    }

    async fn opened(self: Arc<Self>, session: Notice<'static, SessionOpened>) {
        self.came_or_went(&session.jid, 1, true).await;
    }

    async fn closed(self: Arc<Self>, session: Notice<'static, SessionClosed>) {
        self.came_or_went(&session.jid, 0, false).await;
    }

    /// Somebody's first session, or the end of the last one, concerns groups with `@online@`.
    async fn came_or_went(&self, session: &Jid<'_>, sessions: usize, is_there: bool) {
        let account = session.bare();
        let told = async {
            let groups = self.book.groups().await?;
            if !groups.values().any(|group| group.online) {
                return Ok(());
            }
            let _turn = self.turns.take("").await;
            if self.host.sessions_of(&account).await?.len() != sessions {
                return Ok(());
            }
            let now = self.view().await?;
            let mut then = View { groups: Arc::clone(&now.groups), people: now.people.clone() };
            if is_there {
                then.people.online.remove(account.as_str());
            } else {
                then.people.online.insert(account.as_str().to_owned());
            }
            self.tell_of(account.as_str(), &then, &now).await
        };
        let told: Result<(), HostError> = told.await;
        if let Err(error) = told {
            error!(self.host.about(session), "its coming or going was not told to groups: {error}");
        }
    }

    async fn registered(self: Arc<Self>, account: AccountNotice<'static>) {
        self.directory.has_changed();
        let account = account.jid.bare();
        if let Err(error) = self.account_changed(&account, false).await {
            error!(self.host.about(&account), "the new account was not told to groups: {error}");
        }
    }

    async fn removed(self: Arc<Self>, account: AccountNotice<'static>) {
        self.directory.has_changed();
        let account = account.jid.bare();
        if let Err(error) = self.account_changed(&account, true).await {
            error!(self.host.about(&account), "the account could not be taken out of its groups: {error}");
        }
    }

    async fn account_changed(&self, account: &Jid<'_>, is_removed: bool) -> Result<(), HostError> {
        let _turn = self.turns.take("").await;
        let mut before = self.view().await?;
        if is_removed {
            Arc::make_mut(&mut before.people.all).insert(account.as_str().to_owned());
            let member = book::Field::Member(account.as_str().to_owned());
            for (id, group) in before.groups.iter() {
                if group.members.contains(account.as_str()) {
                    self.book.mark(id, std::slice::from_ref(&member), false).await?;
                }
            }
        } else {
            Arc::make_mut(&mut before.people.all).remove(account.as_str());
        }
        self.tell_of(account.as_str(), &before, &self.view().await?).await
    }
}

impl View {
    fn items(&self, account: &str, most: usize) -> Vec<SharedItem> {
        groups::items(&self.groups, account, &self.people, most)
    }
}

export_module! {
    module: SharedRoster,
    needs_minor: 2,
    capabilities: ["commands"],
}

#[cfg(test)]
mod tests;
