//! Commands for administrators, with ejabberd's names and order of arguments.

use crate::Roster;
use crate::filter::{Filter, FilterArgs};
use crate::item::Item;
use crate::shared::both;
use crate::template;
use crate::wish::{self, normalised};
use moult_plugin_api::hooks::Subscription;
use moult_plugin_api::prelude::*;
use moult_plugin_api::serde::{Deserialize, Serialize};
use moult_plugin_api::serde_json::{self, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Contacts that one `process_rosteritems` gives or deletes; who wants more says so again.
const MOST_ROWS: usize = 10_000;
/// Accounts whose names are read at once.
const PAGE: usize = 500;
/// How long another vhost may take for its part.
const LONG: Duration = Duration::from_secs(240);

/// Registers them.
pub(crate) fn register(host: &Host) -> Result<(), HostError> {
    let contact = |name: &str, doc: &str| {
        CommandSpec::new(name, doc)
            .tag("roster")
            .arg("localuser", "user", "Whose roster")
            .arg("localhost", "host", "On which vhost")
            .arg("user", "string", "The contact's name; empty for a domain")
            .arg("host", "string", "The contact's domain")
    };
    let add = contact("add_rosteritem", "Adds a contact to a user's roster, or changes it")
        .arg("nick", "string", "How the user calls the contact; may be empty")
        .arg("groups", "list", "Groups, with ',' or ';' between them; may be empty")
        .arg("subs", "string", "Who sees whom: none, from, to, both");
    host.command(&add, Roster::add)?;
    host.command(&contact("delete_rosteritem", "Removes a contact from a user's roster"), Roster::delete)?;
    let user = |spec: CommandSpec| {
        spec.tag("roster").arg("user", "user", "Whose roster").arg("host", "host", "On which vhost")
    };
    let get = user(CommandSpec::new("get_roster", "Shows a user's roster")).result("The contacts");
    host.command(&get, Roster::show)?;
    let push = CommandSpec::new(
        "push_roster",
        "Adds the contacts in a file on the server to a user's roster",
    )
    .arg("file", "string", "Absolute path of a JSON array of [\"user\", \"host\", \"group\", \"nick\"]");
    host.command(&user(push), Roster::push_file)?;
    let process = CommandSpec::new(
        "process_rosteritems",
        "Lists or deletes contacts that match a filter, on all vhosts, 10,000 at most",
    )
    .tag("roster")
    .arg("action", "string", "list or delete")
    .arg("subs", "string", "any, or none, from, to, both, with ':' between them")
    .arg("asks", "string", "any, or none, out, in, with ':' between them")
    .arg("users", "string", "any, or JIDs of users with ':' between them; *, ? and [...] are understood")
    .arg("contacts", "string", "any, or JIDs of contacts in the same way; one without @ is a domain")
    .result("User and contact of each");
    host.command(&process, Roster::process)?;
    host.on_request("process_rosteritems", Roster::process_here)
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
    groups: Vec<String>,
    #[serde(default)]
    subs: String,
}

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct AccountArgs {
    user: String,
    host: String,
    #[serde(default)]
    file: String,
}

/// A contact as `get_roster` shows it.
#[derive(Serialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct Shown {
    jid: String,
    nick: String,
    subscription: &'static str,
    pending: &'static str,
    groups: Vec<String>,
}

/// What `process_rosteritems` found.
#[derive(Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct Found {
    user: String,
    contact: String,
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
        let groups = args.groups.iter().flat_map(|groups| groups.split(';')).map(str::trim);
        self.give(&account, &contact, args.nick.clone(), groups, subscription).await
    }

    /// Adds or changes a contact within the limits that clients have. What the account asked the contact, or was asked,
    /// is settled.
    async fn give(
        &self,
        account: &Jid<'_>,
        contact: &Jid<'_>,
        name: String,
        groups: impl Iterator<Item = &str>,
        subscription: Subscription,
    ) -> Result<(), CommandError> {
        let mut kept: Vec<String> = Vec::new();
        for group in groups.filter(|group| !group.is_empty()) {
            if !kept.iter().any(|other| other == group) {
                kept.push(group.to_owned());
            }
        }
        let limits = self.options.get();
        wish::check_name(&name, &limits)
            .and_then(|()| wish::check_groups(&kept, &limits))
            .map_err(|error| CommandError::bad_request(format!("{}.", error.text)))?;
        self.store(
            account,
            contact,
            Item { listed: true, name, groups: kept, subscription, ..Item::default() },
        )
        .await
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
            return Err(CommandError::new(409, format!("{}.", self.full().text)));
        }
        let shared = self.shared(account.as_str()).await;
        self.change(account, contact.as_str(), (&before, &item), &shared).await?;
        let added = shared.of(contact.as_str()).map(|item| item.subscription).unwrap_or_default();
        Ok(self.host.contact_changed(account, contact, both(item.subscription, added)).await?)
    }

    async fn show(self: Arc<Self>, request: Request<'static>) -> Result<Vec<Shown>, CommandError> {
        let args: AccountArgs = request.args()?;
        let account = self.account(&args.user, &args.host).await?;
        let roster = self.book.roster(account.as_str()).await?;
        let all = self.shared(account.as_str()).await.added_to(&roster.items);
        let shown = all.into_iter().filter(|(_, item)| item.listed).map(|(jid, item)| Shown {
            jid,
            subscription: item.subscription.name(),
            pending: match (item.ask, item.request.is_some()) {
                (false, false) => "none",
                (true, false) => "out",
                (false, true) => "in",
                (true, true) => "both",
            },
            nick: item.name,
            groups: item.groups,
        });
        Ok(shown.collect())
    }

    /// All contacts of the file, both of whom see each other as far as this roster goes.
    async fn push_file(self: Arc<Self>, request: Request<'static>) -> Result<(), CommandError> {
        let args: AccountArgs = request.args()?;
        let account = self.account(&args.user, &args.host).await?;
        let entries = template::read(&args.file)?;
        for entry in entries.iter().filter(|entry| entry.jid != account.as_str()) {
            let contact =
                Jid::parse(&entry.jid).map_err(|error| CommandError::bad_request(error.to_string()))?;
            let groups = std::iter::once(entry.group.as_str());
            self.give(&account, &contact, entry.nick.clone(), groups, Subscription::Both).await?;
        }
        Ok(())
    }

    /// One instance gets the command and asks those of the other vhosts.
    async fn process(self: Arc<Self>, request: Request<'static>) -> Result<Vec<Found>, CommandError> {
        let args: FilterArgs = request.args()?;
        Filter::read(&args)?;
        let vhosts = self.host.run_command("registered_vhosts", &json!({})).await?;
        let vhosts = vhosts.as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut found: Vec<Found> = Vec::new();
        for vhost in vhosts {
            if vhost == self.host.vhost() {
                found.extend(self.matching(&args, MOST_ROWS - found.len()).await?);
                continue;
            }
            let to = format!("{}@{vhost}", self.host.module());
            let asked = json!({ "filter": args, "most": MOST_ROWS - found.len() });
            match self.host.request(&to, "process_rosteritems", &asked, LONG).await {
                Ok(answer) => found.extend(serde_json::from_value::<Vec<Found>>(answer).unwrap_or_default()),
                // The module does not run there.
                Err(error) if error.condition == "item-not-found" => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    async fn process_here(self: Arc<Self>, request: Request<'static>) -> Result<Vec<Found>, CommandError> {
        #[derive(Deserialize)]
        #[serde(crate = "moult_plugin_api::serde")]
        struct Asked {
            filter: FilterArgs,
            most: usize,
        }
        let Asked { filter, most } = request.args()?;
        self.matching(&filter, most).await
    }

    async fn matching(&self, args: &FilterArgs, most: usize) -> Result<Vec<Found>, CommandError> {
        let filter = Filter::read(args)?;
        let mut found: Vec<Found> = Vec::new();
        let mut after = String::new();
        loop {
            let accounts = self.book.accounts(&after, PAGE).await?;
            for account in accounts.iter().filter(|account| filter.has_user(account)) {
                let roster = self.book.roster(account).await?;
                for (contact, _) in roster.items.iter().filter(|(contact, item)| filter.has(contact, item)) {
                    if found.len() == most {
                        return Ok(found);
                    }
                    if filter.deletes {
                        self.delete_found(account, contact).await?;
                    }
                    found.push(Found { user: account.clone(), contact: contact.clone() });
                }
            }
            match accounts.last() {
                Some(last) if accounts.len() == PAGE => after.clone_from(last),
                _ => return Ok(found),
            }
        }
    }

    async fn delete_found(&self, account: &str, contact: &str) -> Result<(), CommandError> {
        match (Jid::parse(account), Jid::parse(contact)) {
            (Ok(account), Ok(contact)) => self.store(&account, &contact, Item::default()).await,
            _ => Err(CommandError::internal(format!("{account} or its contact {contact} has no JID."))),
        }
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
