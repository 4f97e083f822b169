//! Commands for administrators, with ejabberd's names and order of arguments.

use crate::Roster;
use crate::item::Item;
use crate::wish::normalised;
use moult_plugin_api::hooks::Subscription;
use moult_plugin_api::prelude::*;
use moult_plugin_api::serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Registers them.
pub(crate) fn register(host: &Host) -> Result<(), HostError> {
    let add = CommandSpec::new("add_rosteritem", "Adds a contact to a user's roster, or changes it")
        .arg("localuser", "user", "Whose roster")
        .arg("localhost", "host", "On which vhost")
        .arg("user", "string", "The contact's name")
        .arg("host", "string", "The contact's domain")
        .arg("nick", "string", "How the user calls the contact; may be empty")
        .arg("group", "string", "Groups, with ';' between them; may be empty")
        .arg("subs", "string", "Who sees whom: none, from, to, both");
    host.command(&add.tag("roster"), Roster::add)?;
    let delete = CommandSpec::new("delete_rosteritem", "Removes a contact from a user's roster")
        .arg("localuser", "user", "Whose roster")
        .arg("localhost", "host", "On which vhost")
        .arg("user", "string", "The contact's name")
        .arg("host", "string", "The contact's domain");
    host.command(&delete.tag("roster"), Roster::delete)?;
    let get = CommandSpec::new("get_roster", "Shows a user's roster")
        .arg("user", "user", "Whose roster")
        .arg("host", "host", "On which vhost")
        .result("The contacts");
    host.command(&get.tag("roster"), Roster::show)?;
    Ok(())
}

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct ItemArgs {
    localuser: String,
    localhost: String,
    user: String,
    host: String,
    #[serde(default)]
    nick: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    subs: String,
}

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct AccountArgs {
    user: String,
    host: String,
}

/// A contact as `get_roster` shows it.
#[derive(Serialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct Shown {
    jid: String,
    nick: String,
    subscription: &'static str,
    ask: &'static str,
    groups: Vec<String>,
}

impl Roster {
    async fn add(self: Arc<Self>, request: Request<'static>) -> Result<(), CommandError> {
        let args: ItemArgs = request.args()?;
        let (account, contact) = self.both(&args).await?;
        let subscription = match args.subs.as_str() {
            "none" => Subscription::None,
            "from" => Subscription::From,
            "to" => Subscription::To,
            "both" => Subscription::Both,
            other => {
                let text = format!("\"{other}\" is no subscription: none, from, to or both.");
                return Err(CommandError::bad_request(text));
            }
        };
        let groups = args.group.split(';').filter(|group| !group.is_empty()).map(str::to_owned).collect();
        let item = Item { listed: true, name: args.nick, groups, subscription, ..Item::default() };
        self.store(&account, &contact, item).await
    }

    async fn delete(self: Arc<Self>, request: Request<'static>) -> Result<(), CommandError> {
        let args: ItemArgs = request.args()?;
        let (account, contact) = self.both(&args).await?;
        if !self.book.item(account.as_str(), contact.as_str()).await?.listed {
            return Err(CommandError::not_found(format!("{contact} is no contact of {account}.")));
        }
        self.store(&account, &contact, Item::default()).await
    }

    /// Without a word to the contact: whoever gives commands knows what it should see.
    async fn store(&self, account: &Jid<'_>, contact: &Jid<'_>, item: Item) -> Result<(), CommandError> {
        let _turn = self.turns.take(account.as_str()).await;
        let before = self.book.item(account.as_str(), contact.as_str()).await?;
        if item.listed && !before.listed && self.is_full(account.as_str()).await? {
            return Err(CommandError::new(409, self.full().text));
        }
        let version = self.book.write(account.as_str(), contact.as_str(), &before, &item).await?;
        self.push(account.as_str(), contact.as_str(), &item, version).await?;
        Ok(self.host.contact_changed(account, contact, item.subscription).await?)
    }

    async fn show(self: Arc<Self>, request: Request<'static>) -> Result<Vec<Shown>, CommandError> {
        let args: AccountArgs = request.args()?;
        let account = self.account(&args.user, &args.host).await?;
        let roster = self.book.roster(account.as_str()).await?;
        let listed = roster.items.into_iter().filter(|(_, item)| item.listed);
        let shown = listed.map(|(jid, item)| Shown {
            jid,
            nick: item.name,
            subscription: item.subscription.name(),
            ask: match (item.ask, item.request.is_some()) {
                (false, false) => "none",
                (true, false) => "out",
                (false, true) => "in",
                (true, true) => "both",
            },
            groups: item.groups,
        });
        Ok(shown.collect())
    }

    async fn both(&self, args: &ItemArgs) -> Result<(Jid<'static>, Jid<'static>), CommandError> {
        let account = self.account(&args.localuser, &args.localhost).await?;
        let contact =
            if args.user.is_empty() { args.host.clone() } else { format!("{}@{}", args.user, args.host) };
        let contact = normalised(&contact).and_then(|contact| Jid::parse(&contact).ok());
        let contact = contact.ok_or_else(|| CommandError::bad_request("The contact has no lawful JID."))?;
        if contact == account {
            return Err(CommandError::bad_request("Nobody is a contact of his own."));
        }
        Ok((account, contact))
    }

    async fn account(&self, user: &str, host: &str) -> Result<Jid<'static>, CommandError> {
        let account = normalised(&format!("{user}@{host}")).and_then(|account| Jid::parse(&account).ok());
        let account = account.ok_or_else(|| CommandError::bad_request("The user has no lawful JID."))?;
        if !self.host.account_exists(&account).await? {
            return Err(CommandError::not_found(format!("There is no account {account}.")));
        }
        Ok(account)
    }
}
