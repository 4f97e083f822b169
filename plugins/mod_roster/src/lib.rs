//! Rosters and presence subscriptions (RFC 6121 sections 2 and 3, XEP-0237).
//!
//! * [`state`]: the tables of appendix A, pure;
//! * [`item`], [`book`]: a contact, and how rosters lie in the store;
//! * [`wish`]: what clients ask for, with the RFC's errors; `asking`: how they are answered and told of changes;
//! * [`changes`]: what changed lately, for clients with an older version;
//! * [`shared`]: contacts that another module adds;
//! * `subscribing`: subscription stanzas of either direction;
//! * `commands`, `filter`, `template`: for administrators, with ejabberd's names.
//!
//! The server owns presence: it asks this module for contacts by the hook `contacts`, remembers the answer, and is told of
//! every change. All lies in the store; what is exported is whether shared contacts were there, and above all so that the
//! calls of one generation end before those of the next begin, because the order of changes of one account is kept by turns.

mod asking;
pub mod book;
pub mod changes;
mod commands;
pub mod filter;
pub mod item;
pub mod shared;
pub mod state;
mod subscribing;
pub mod template;
mod transfer;
pub mod wish;

use book::Book;
use changes::Changes;
use moult_plugin_api::hooks::{AccountArgs, ContactsAnswer, PresenceChanged};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::Turns;
use moult_plugin_api::sdk::hooks::{Collecting, Notice, SubscriptionPacket};
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

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
        versioning: bool = true, boot_only true;
        /// Changes per account that are remembered for clients with an older version; who knows none of them gets everything.
        max_changes: usize = 200, min 0, max 10000;
        /// Whether subscriptions may be approved before they are requested (RFC 6121 section 3.4).
        pre_approval: bool = true, boot_only true;
        /// The module that adds shared contacts; none where empty.
        shared_from: String = "mod_shared_roster";
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct Roster {
    host: Host,
    options: Live<Options>,
    book: Book,
    changes: Changes,
    turns: Turns,
    /// Whether the module that adds contacts was there when it was asked last.
    had_source: AtomicU8,
}

impl Module for Roster {
    type Options = Options;

    const RELOADS: bool = true;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        // In the caller's task: the changes of one client are made in the order in which it asked for them.
        host.on_iq(IqSpec::new(ns::ROSTER).on_accounts().no_queue(), Self::answer)?;
        host.on_subscription_packet(50, Self::on_subscription)?;
        host.on_contacts(50, Self::contacts)?;
        host.on_presence_changed(50, deferred(Self::presence))?;
        host.on_user_removed(50, Self::removed)?;
        host.on_modules_changed(50, Self::modules_changed)?;
        host.on_request("shared_changed", Self::shared_changed)?;
        host.on_request("shared_compare", Self::shared_compare)?;
        host.on_export_user(50, Self::export_user)?;
        host.on_import_user(50, Self::import_user)?;
        if options.versioning {
            host.feature(ns::ROSTER_VERSIONING, Target::Account)?;
        }
        if options.pre_approval {
            host.feature(ns::PRE_APPROVAL, Target::Account)?;
        }
        commands::register(host)?;
        Started::running(Self {
            host: host.clone(),
            options: Live::new(options),
            book: Book::open(host)?,
            changes: Changes::open(host),
            turns: Turns::default(),
            had_source: AtomicU8::new(shared::UNKNOWN),
        })
    }

    /// What streams announce is decided at the start.
    fn on_reload(&self, options: Options, _: bool) -> Result<Reload, Stop> {
        let now = self.options.get();
        if (options.versioning, options.pre_approval) != (now.versioning, now.pre_approval) {
            return Ok(Reload::Restart);
        }
        self.options.set(options);
        Ok(Reload::Done)
    }

    fn export_state(&self) -> Option<(u32, Vec<u8>)> {
        Some((SCHEMA, vec![self.had_source.load(Relaxed)]))
    }

    /// Builds that knew nothing of shared contacts export nothing, and read nothing.
    fn import_state(&self, schema: u32, state: &[u8]) -> Result<(), Stop> {
        if schema != SCHEMA {
            return Err(Stop::new(format!("state of schema {schema} cannot be read")));
        }
        if let Some(had_source) = state.first().filter(|byte| **byte <= 1) {
            self.had_source.store(*had_source, Relaxed);
        }
        Ok(())
    }
}

impl Roster {
    pub(crate) async fn is_full(&self, account: &str) -> Result<bool, HostError> {
        let roster = self.book.roster(account).await?;
        Ok(roster.items.values().filter(|item| item.listed).count() >= self.options.get().max_items)
    }

    pub(crate) fn full(&self) -> StanzaError {
        let text = format!("a roster has {} contacts at most", self.options.get().max_items);
        StanzaError::new(Condition::ResourceConstraint, text)
    }

    pub(crate) async fn has_too_many_requests(&self, account: &str) -> Result<bool, HostError> {
        let roster = self.book.roster(account).await?;
        Ok(roster.items.values().filter(|item| !item.listed).count() >= self.options.get().max_requests)
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
                answer.contacts.extend(self.shared(question.from.bare().as_str()).await.contacts());
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
        self.changes.remove(account.as_str()).await?;
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
    needs_minor: 2,
    state: { writes: 1, reads: 1 },
    capabilities: ["commands"],
    xeps: ["0237" "1.3"],
}

#[cfg(test)]
mod tests;
