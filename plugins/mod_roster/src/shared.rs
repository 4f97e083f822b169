//! Contacts that another module adds to rosters (mod_shared_roster): they are shown and share presence, and are not
//! stored here.
//!
//! That module is asked each time, so it may come, go and change as it likes. It tells of changes by the request
//! `shared_changed`. Where it cannot answer, rosters are shown without what it would add.

use crate::Roster;
use crate::item::{self, Item};
use moult_plugin_api::hooks::{Contact, ModulesChanged, Subscription};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::hooks::Notice;
use moult_plugin_api::serde::{Deserialize, Serialize};
use moult_plugin_api::serde_json::{self, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// How long the other module may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Sessions that are read at once.
const PAGE: usize = 500;

/// A contact of an account as the other module tells it. It is listed if the account sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde", default)]
pub struct SharedItem {
    /// The bare JID.
    pub jid: String,
    /// May be empty.
    pub name: String,
    /// What its groups are called.
    pub groups: Vec<String>,
    /// Who sees whom.
    pub subscription: Subscription,
}

/// What is added to the roster of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(crate = "moult_plugin_api::serde", default)]
pub struct Shared {
    /// Another one where anything differs; empty where nothing is added.
    pub version: String,
    items: Vec<SharedItem>,
}

impl Shared {
    /// What it says of one contact.
    pub fn of(&self, contact: &str) -> Option<&SharedItem> {
        self.items.iter().find(|item| item.jid == contact)
    }

    /// A roster with what is added to it.
    pub fn added_to(&self, own: &BTreeMap<String, Item>) -> BTreeMap<String, Item> {
        let mut all = own.clone();
        for item in &self.items {
            let merged = merged(own.get(&item.jid).unwrap_or(&Item::default()), Some(item));
            all.insert(item.jid.clone(), merged);
        }
        all
    }

    /// For the server.
    pub fn contacts(&self) -> impl Iterator<Item = Contact> {
        self.items.iter().map(|item| Contact { jid: item.jid.clone(), subscription: item.subscription })
    }

    /// The version of a roster whose own part has this one.
    pub fn joined(&self, own: u64) -> String {
        if self.version.is_empty() { own.to_string() } else { format!("{own}-{}", self.version) }
    }

    /// The own part of such a version, if what is added is still the same.
    pub fn own_part(&self, version: &str) -> Option<u64> {
        let own = match version.split_once('-') {
            Some((own, shared)) if shared == self.version && !shared.is_empty() => own,
            None if self.version.is_empty() => version,
            _ => return None,
        };
        own.parse().ok()
    }
}

/// One contact with what is added to it.
pub fn merged(own: &Item, shared: Option<&SharedItem>) -> Item {
    let mut item = own.clone();
    let Some(shared) = shared else { return item };
    item.subscription = both(own.subscription, shared.subscription);
    if !shared.subscription.has_to() {
        return item;
    }
    item.listed = true;
    item.ask = false;
    if item.name.is_empty() {
        item.name.clone_from(&shared.name);
    }
    let added = shared.groups.iter().filter(|group| !own.groups.contains(group));
    item.groups.extend(added.cloned());
    item
}

/// What adds up.
pub fn both(one: Subscription, other: Subscription) -> Subscription {
    Subscription::of(one.has_to() || other.has_to(), one.has_from() || other.has_from())
}

/// The arguments of `shared_changed`.
#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct ChangedArgs {
    account: String,
    contacts: Vec<String>,
}

impl Roster {
    /// What is added to this account's roster.
    pub(crate) async fn shared(&self, account: &str) -> Shared {
        match self.ask_for_shared(account).await {
            Ok(shared) => shared.unwrap_or_default(),
            Err(error) => {
                warn!(self.host, "{account}: the shared contacts are left out: {error}");
                Shared::default()
            }
        }
    }

    /// Nothing where there is no such module.
    async fn ask_for_shared(&self, account: &str) -> Result<Option<Shared>, HostError> {
        let source = self.options.get().shared_from.clone();
        if source.is_empty() {
            return Ok(None);
        }
        let answer = self.host.request(&source, "items", &json!({ "account": account }), ANSWER_WITHIN).await;
        let is_missing = answer.as_ref().is_err_and(|error| error.condition == "item-not-found");
        // Whoever has sessions has been told contacts, so this is known before it matters.
        let _ = self.had_source.compare_exchange(UNKNOWN, u8::from(!is_missing), Relaxed, Relaxed);
        match answer {
            Err(_) if is_missing => Ok(None),
            Err(error) => Err(error),
            Ok(answer) => serde_json::from_value(answer).map(Some).map_err(|error| HostError {
                condition: "internal-server-error".into(),
                text: format!("{source} answered what is no list of contacts: {error}"),
            }),
        }
    }

    /// The other module says that these contacts of an account are not what they were.
    pub(crate) async fn shared_changed(
        self: Arc<Self>,
        request: Request<'static>,
    ) -> Result<(), CommandError> {
        let ChangedArgs { account, contacts } = request.args()?;
        let account = Jid::parse(&account).map_err(|error| CommandError::bad_request(error.to_string()))?;
        Ok(self.show_shared(&account, contacts).await?)
    }

    /// The other module does not know whom it has told what.
    pub(crate) async fn shared_compare(self: Arc<Self>, _: Request<'static>) -> Result<(), CommandError> {
        let _turn = self.turns.take(SOURCE).await;
        Ok(self.compare_all().await?)
    }

    async fn show_shared(&self, account: &Jid<'_>, contacts: Vec<String>) -> Result<(), HostError> {
        let _turn = self.turns.take(account.as_str()).await;
        let shared = self.shared(account.as_str()).await;
        let roster = self.book.roster(account.as_str()).await?;
        let last = shared.joined(roster.version);
        for (number, jid) in contacts.iter().enumerate() {
            let own = roster.items.get(jid).cloned().unwrap_or_default();
            let item = merged(&own, shared.of(jid));
            let shown = if item.listed { item.to_element(jid) } else { item::removed(jid) };
            // Who has got no more than this knows no version that there is, and asks for everything.
            let is_last = number + 1 == contacts.len();
            let version = if is_last { last.clone() } else { format!("{last}.{number}") };
            self.push_element(account, shown, &version).await?;
            let contact = Jid::parse(jid)
                .map_err(|error| HostError { condition: "jid-malformed".into(), text: error.to_string() })?;
            self.host.contact_changed(account, &contact, item.subscription).await?;
        }
        Ok(())
    }

    /// That the other module has come or gone is told by nobody else.
    pub(crate) async fn modules_changed(self: Arc<Self>, _: Notice<'static, ModulesChanged>) {
        let _turn = self.turns.take(SOURCE).await;
        let before = self.had_source.load(Relaxed);
        let now = match self.ask_for_shared("").await {
            Ok(answer) => answer.is_some(),
            // It is there and cannot answer.
            Err(_) => true,
        };
        self.had_source.store(u8::from(now), Relaxed);
        if before == u8::from(now) || before == UNKNOWN {
            return;
        }
        if let Err(error) = self.compare_all().await {
            error!(self.host, "sessions may show shared contacts of before: {error}");
        }
    }

    /// Tells every account with sessions what the server does not know of its contacts.
    async fn compare_all(&self) -> Result<(), HostError> {
        let mut after = String::new();
        let mut last = String::new();
        loop {
            let page = self.host.sessions(&after, PAGE).await?;
            for session in &page {
                let account =
                    Jid::parse(session).map(|jid| jid.bare().as_str().to_owned()).unwrap_or_default();
                if account != last {
                    self.compare(&account).await?;
                    last = account;
                }
            }
            match page.last() {
                Some(session) if page.len() == PAGE => after.clone_from(session),
                _ => return Ok(()),
            }
        }
    }

    async fn compare(&self, account: &str) -> Result<(), HostError> {
        let jid = Jid::parse(account)
            .map_err(|error| HostError { condition: "jid-malformed".into(), text: error.to_string() })?;
        let known = self.host.contacts_of(&jid).await?;
        let known: BTreeMap<String, Subscription> =
            known.into_iter().map(|contact| (contact.jid, contact.subscription)).collect();
        let shared = self.shared(account).await;
        let now = shared.added_to(&self.book.roster(account).await?.items);
        let all: BTreeSet<&String> = known.keys().chain(now.keys()).collect();
        let differs = all.into_iter().filter(|contact| {
            let now = now.get(*contact).map(|item| item.subscription).unwrap_or_default();
            known.get(*contact).copied().unwrap_or_default() != now
        });
        let differs: Vec<String> = differs.cloned().collect();
        if differs.is_empty() { Ok(()) } else { self.show_shared(&jid, differs).await }
    }
}

/// No JID: whose turn it is to compare.
const SOURCE: &str = "@source";
/// Whether the other module is there has not been asked yet.
pub(crate) const UNKNOWN: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(subscription: Subscription) -> SharedItem {
        SharedItem { jid: "a@b".into(), name: "Ann".into(), groups: vec!["Team".into()], subscription }
    }

    #[test]
    fn what_is_added_goes_beside_what_the_user_wrote() {
        let own = Item {
            listed: true,
            name: "Annie".into(),
            groups: vec!["Mine".into(), "Team".into()],
            ask: true,
            ..Item::default()
        };
        let item = merged(&own, Some(&shared(Subscription::Both)));
        let shown = item.to_element("a@b").to_string();
        assert_eq!(
            shown,
            "<item jid='a@b' name='Annie' subscription='both'><group>Mine</group><group>Team</group></item>"
        );
        assert_eq!(merged(&own, None), own);
    }

    #[test]
    fn who_only_sees_the_account_is_not_listed() {
        let item = merged(&Item::default(), Some(&shared(Subscription::From)));
        assert!(!item.listed && item.subscription == Subscription::From && item.groups.is_empty());
    }

    #[test]
    fn a_version_says_what_was_added() {
        let with = |version: &str| Shared { version: version.into(), items: Vec::new() };
        assert_eq!((with("").joined(7), with("ab").joined(7)), ("7".to_owned(), "7-ab".to_owned()));
        for (shared, version, own) in [
            ("", "7", Some(7)),
            ("", "7-ab", None),
            ("ab", "7-ab", Some(7)),
            ("ab", "7-ab.0", None),
            ("ab", "7", None),
            ("ab", "7-", None),
            ("", "", None),
        ] {
            assert_eq!(with(shared).own_part(version), own, "{shared} {version}");
        }
    }
}
