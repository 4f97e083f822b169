//! Rosters and presence subscriptions (RFC 6121 sections 2 and 3, XEP-0237).
//!
//! * [`state`]: the tables of appendix A, pure;
//! * [`item`], [`book`]: a contact, and how rosters lie in the store;
//! * [`wish`]: what clients ask for, with the RFC's errors;
//! * `subscribing`: subscription stanzas of either direction;
//! * `commands`: for administrators, with ejabberd's names.
//!
//! The server owns presence: it asks this module for contacts by the hook `contacts`, remembers the answer, and is told of
//! every change. Nothing is kept here, so a swap loses nothing; the (empty) state is exported only so that the calls of
//! one generation end before those of the next begin, because the order of changes of one account is kept by turns.

pub mod book;
mod commands;
pub mod item;
pub mod state;
mod subscribing;
pub mod wish;

use book::Book;
use item::Item;
use moult_plugin_api::hooks::{AccountArgs, ContactsAnswer, PresenceChanged};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::Turns;
use moult_plugin_api::sdk::hooks::{Collecting, Notice, SubscriptionPacket};
use std::sync::Arc;
use wish::Wish;

const SCHEMA: u32 = 1;

module_options! {
    /// Options of mod_roster.
    pub struct Options {
        /// Contacts in one roster.
        max_items: usize = 1000, min 1, max 100000;
        /// Groups of one contact.
        max_groups: usize = 32, min 0, max 1000;
        /// Characters of a contact's name.
        name_length: usize = 256, min 1, max 1023;
        /// Characters of a group's name.
        group_length: usize = 256, min 1, max 1023;
        /// Subscription requests from strangers that one account may have unanswered; more are dropped.
        max_requests: usize = 1000, min 0, max 10000;
        /// Whether clients that know the roster's version are spared the rest (XEP-0237).
        versioning: bool = true;
        /// Whether subscriptions may be approved before they are requested (RFC 6121 section 3.4).
        pre_approval: bool = true;
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct Roster {
    host: Host,
    options: Options,
    book: Book,
    turns: Turns,
}

impl Module for Roster {
    type Options = Options;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        // In the caller's task: the changes of one client are made in the order in which it asked for them.
        host.on_iq(IqSpec::new(ns::ROSTER).on_accounts().no_queue(), Self::answer)?;
        host.on_subscription_packet(50, Self::on_subscription)?;
        host.on_contacts(50, Self::contacts)?;
        host.on_presence_changed(50, deferred(Self::presence))?;
        host.on_user_removed(50, Self::removed)?;
        if options.versioning {
            host.feature(ns::ROSTER_VERSIONING, Target::Account)?;
        }
        if options.pre_approval {
            host.feature(ns::PRE_APPROVAL, Target::Account)?;
        }
        commands::register(host)?;
        let book = Book::open(host)?;
        Started::running(Self { host: host.clone(), options, book, turns: Turns::default() })
    }

    fn export_state(&self) -> Option<(u32, Vec<u8>)> {
        Some((SCHEMA, Vec::new()))
    }

    fn import_state(&self, schema: u32, _: &[u8]) -> Result<(), Stop> {
        if schema == SCHEMA {
            Ok(())
        } else {
            Err(Stop::new(format!("state of schema {schema} cannot be read")))
        }
    }
}

impl Roster {
    async fn answer(self: Arc<Self>, iq: Iq<'static>) -> Result<IqReply, StanzaError> {
        if iq.from().bare() != iq.to().bare() {
            return Err(StanzaError::forbidden("a roster is its owner's alone"));
        }
        let query = iq.payload()?;
        if query.name() != "query" {
            return Err(StanzaError::bad_request("a roster is asked for by <query/>"));
        }
        let account = iq.to().bare();
        if iq.is_get() {
            return self.get(account.as_str(), query).await;
        }
        match wish::read(query, account.as_str(), &self.options)? {
            Wish::Set { jid, name, groups } => self.set(&account, &jid, name, groups).await?,
            Wish::Remove { jid } => self.remove(&account, &jid).await?,
        }
        Ok(().into())
    }

    /// Section 2.1.3, and 2.6.3: a client that has this version already gets nothing.
    async fn get(&self, account: &str, query: &Element) -> Result<IqReply, StanzaError> {
        let roster = self.book.roster(account).await?;
        let asked = query.attr("ver").filter(|_| self.options.versioning);
        let version = roster.version.to_string();
        if asked == Some(version.as_str()) {
            return Ok(().into());
        }
        let listed = roster.items.iter().filter(|(_, item)| item.listed);
        let answer = Element::new("query")
            .with_ns(ns::ROSTER)
            .with_children(listed.map(|(jid, item)| item.to_element(jid)));
        Ok(if asked.is_some() { answer.with_attr("ver", version) } else { answer }.into())
    }

    async fn set(
        &self,
        account: &Jid<'_>,
        contact: &str,
        name: String,
        groups: Vec<String>,
    ) -> Result<(), StanzaError> {
        let _turn = self.turns.take(account.as_str()).await;
        let before = self.book.item(account.as_str(), contact).await?;
        if !before.listed && self.is_full(account.as_str()).await? {
            return Err(self.full());
        }
        let after = Item { listed: true, name, groups, ..before.clone() };
        let version = self.book.write(account.as_str(), contact, &before, &after).await?;
        Ok(self.push(account.as_str(), contact, &after, version).await?)
    }

    /// Section 2.5: the contact is told as well.
    async fn remove(&self, account: &Jid<'_>, contact: &str) -> Result<(), StanzaError> {
        let _turn = self.turns.take(account.as_str()).await;
        let before = self.book.item(account.as_str(), contact).await?;
        if !before.listed {
            return Err(StanzaError::item_not_found("there is no such contact"));
        }
        let version = self.book.write(account.as_str(), contact, &before, &Item::default()).await?;
        self.push(account.as_str(), contact, &Item::default(), version).await?;
        let jid = Jid::parse(contact).map_err(|_| StanzaError::internal("a contact has no JID"))?;
        self.host.contact_changed(account, &jid.bare(), subscribing::NOBODY).await?;
        Ok(self.part(account, &jid, &before)?)
    }

    /// Section 2.1.6: to all resources that have asked for the roster, if something that they see is new.
    pub(crate) async fn push(
        &self,
        account: &str,
        contact: &str,
        item: &Item,
        version: Option<u64>,
    ) -> Result<(), HostError> {
        let Some(version) = version else { return Ok(()) };
        let shown = if item.listed { item.to_element(contact) } else { item::removed(contact) };
        let query = Element::new("query").with_ns(ns::ROSTER).with_child(shown);
        let query = if self.options.versioning { query.with_attr("ver", version.to_string()) } else { query };
        let push = Element::new("iq")
            .with_attr("type", "set")
            .with_attr("id", format!("push-{version}"))
            .with_attr("from", account)
            .with_child(query);
        let account = Jid::parse(account).map_err(|_| HostError {
            condition: "internal-server-error".into(),
            text: "an account has no JID".into(),
        })?;
        self.host.deliver(&account, Among::Interested, &push).await?;
        Ok(())
    }

    pub(crate) async fn is_full(&self, account: &str) -> Result<bool, HostError> {
        let roster = self.book.roster(account).await?;
        Ok(roster.items.values().filter(|item| item.listed).count() >= self.options.max_items)
    }

    pub(crate) fn full(&self) -> StanzaError {
        let text = format!("a roster has {} contacts at most", self.options.max_items);
        StanzaError::new(Condition::ResourceConstraint, text)
    }

    pub(crate) async fn has_too_many_requests(&self, account: &str) -> Result<bool, HostError> {
        let roster = self.book.roster(account).await?;
        Ok(roster.items.values().filter(|item| !item.listed).count() >= self.options.max_requests)
    }

    async fn on_subscription(self: Arc<Self>, packet: SubscriptionPacket<'static>) -> Taken {
        self.subscription(&packet.stanza, packet.outbound).await
    }

    /// Who sees whom: what the server keeps while the account has sessions.
    async fn contacts(
        self: Arc<Self>,
        question: Collecting<'static, ContactsAnswer>,
    ) -> Collect<ContactsAnswer> {
        let mut answer = question.answer;
        match self.book.roster(question.from.bare().as_str()).await {
            Ok(roster) => {
                let seen = roster.items.iter().filter(|(_, item)| item.subscription != Subscription::None);
                answer.contacts.extend(seen.map(|(jid, item)| item.to_contact(jid)));
                Collect::With(answer)
            }
            Err(error) => {
                error!(self.host.about(&question.from), "the contacts could not be read: {error}");
                Collect::Continue
            }
        }
    }

    fn presence(self: &Arc<Self>, notice: &Notice<'_, PresenceChanged>) -> Soon<Chain> {
        if !notice.what.available || notice.what.was_available {
            return Soon::Now(Chain::Continue);
        }
        let (this, session) = (Arc::clone(self), notice.jid.clone().into_owned());
        Soon::later(async move {
            if let Err(error) = this.show_requests(&session).await {
                error!(this.host.about(&session), "subscription requests could not be shown: {error}");
            }
            Chain::Continue
        })
    }

    /// The contacts of an account that is no more are told what they would be told of a removed contact.
    async fn removed(self: Arc<Self>, notice: Notice<'static, AccountArgs>) {
        let account = notice.jid.bare();
        let _turn = self.turns.take(account.as_str()).await;
        if let Err(error) = self.forget(&account).await {
            error!(self.host.about(&account), "the roster could not be removed: {error}");
        }
    }

    async fn forget(&self, account: &Jid<'_>) -> Result<(), HostError> {
        let roster = self.book.roster(account.as_str()).await?;
        self.book.remove(account.as_str()).await?;
        for (contact, item) in &roster.items {
            if let Ok(contact) = Jid::parse(contact) {
                self.part(account, &contact, item)?;
            }
        }
        Ok(())
    }
}

export_module! {
    module: Roster,
    needs_minor: 1,
    state: { writes: 1, reads: 1 },
    xeps: ["0237" "1.3"],
}

#[cfg(test)]
mod tests;
