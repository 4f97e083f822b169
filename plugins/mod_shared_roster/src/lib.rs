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
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Who shows contacts to clients.
const ROSTER: &str = "mod_roster";
/// How long it may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long it may take to look at every session.
const COMPARED_WITHIN: Duration = Duration::from_secs(240);

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
    /// Whom this generation has told to be online, and not to have gone.
    told_online: Mutex<BTreeSet<String>>,
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
            told_online: Mutex::default(),
        })
    }

    /// Who came or went while the generation before ended may not have been told to everybody.
    fn on_started(&self) -> Result<(), Stop> {
        if !self.host.is_swap() {
            return Ok(());
        }
        let (host, book) = (self.host.clone(), Book::open(&self.host));
        Ok(self.host.spawn(async move {
            let has_online =
                book.groups().await.is_ok_and(|groups| groups.values().any(|group| group.online));
            if has_online
                && let Err(error) = host.request(ROSTER, "shared_compare", &json!({}), COMPARED_WITHIN).await
            {
                warn!(host, "sessions may show who was online before: {error}");
            }
        })?)
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

    fn told_online(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.told_online.lock().unwrap_or_else(PoisonError::into_inner)
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
            // Where there are many and nothing changes for them, others get their turn nevertheless.
            self.host.sleep(Duration::ZERO).await?;
        }
        Ok(())
    }

    /// The same where one account was put into a group or taken out of it: others see a change of this one alone.
    async fn tell_of_member(&self, member: &str, before: &View) -> Result<(), HostError> {
        let (after, most) = (self.view().await?, self.options.get().max_contacts);
        self.tell_of(member, before, &after).await?;
        if people::online(&self.host).await?.contains(member) {
            let changed = groups::difference(&before.items(member, most), &after.items(member, most));
            self.tell(member, changed).await;
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
        self.concerns_groups(session.jid, true).await;
    }

    async fn closed(self: Arc<Self>, session: Notice<'static, SessionClosed>) {
        // Also where no group wants to know now: one may when this account comes again.
        self.told_online().remove(session.jid.bare().as_str());
        self.concerns_groups(session.jid, false).await;
    }

    /// The login does not wait until others are told: one of them may be slow to read.
    async fn concerns_groups(self: Arc<Self>, session: Jid<'static>, is_there: bool) {
        match self.book.groups().await {
            Ok(groups) if groups.values().any(|group| group.online) => {}
            Ok(_) => return,
            Err(error) => return error!(self.host.about(&session), "its groups are not known: {error}"),
        }
        let host = self.host.clone();
        let about = session.clone();
        if let Err(error) = host.spawn(async move { self.came_or_went(&session, is_there).await }) {
            error!(host.about(&about), "its coming or going was not told to groups: {error}");
        }
    }

    /// Somebody's first session, or the end of the last one, concerns groups with `@online@`.
    async fn came_or_went(&self, session: &Jid<'_>, is_there: bool) {
        let account = session.bare();
        let told = async {
            let _turn = self.turns.take("").await;
            // What holds now counts: meanwhile others of its sessions may have begun or ended.
            if self.host.sessions_of(&account).await?.is_empty() == is_there {
                return Ok(());
            }
            // That it has gone is told in any case: the generation before may have told that it came.
            if is_there && !self.told_online().insert(account.as_str().to_owned()) {
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
