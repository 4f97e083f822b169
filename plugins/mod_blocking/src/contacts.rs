//! What blocking does to presence: a blocked contact that is subscribed to the account no longer sees it (XEP-0191 3.3 and 3.5).
//!
//! The server tells contacts by what the modules behind the hook `contacts` say. This module comes last there and takes
//! blocked ones out, and it tells the server when a contact becomes blocked or is blocked no longer.

use crate::Blocking;
use crate::rules::BlockList;
use moult_plugin_api::hooks::ContactsAnswer;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::hooks::Collecting;
use moult_plugin_api::serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// By account and blocked contact: the subscription that holds without the block. As many as block lists and rosters have
/// in common.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde", transparent)]
pub struct Hidden(HashMap<String, BTreeMap<String, Subscription>>);

impl Hidden {
    fn put(&mut self, account: &str, contact: &str, subscription: Subscription) {
        self.0.entry(account.to_owned()).or_default().insert(contact.to_owned(), subscription);
    }

    /// Takes out those that `list` no longer blocks.
    fn unblocked(&mut self, account: &str, list: &BlockList) -> Vec<(Jid<'static>, Subscription)> {
        let Some(hidden) = self.0.get_mut(account) else { return Vec::new() };
        let mut shown = Vec::new();
        hidden.retain(|contact, subscription| match Jid::parse(contact) {
            Ok(jid) if list.blocks(&jid) => true,
            Ok(jid) => {
                shown.push((jid, *subscription));
                false
            }
            Err(_) => false,
        });
        if hidden.is_empty() {
            self.0.remove(account);
        }
        shown
    }

    pub fn forget(&mut self, account: &str) {
        self.0.remove(account);
    }
}

impl Blocking {
    /// The hook: contacts as the modules before this one told them, without what the blocked ones would see.
    pub(crate) fn contacts(&self, question: &Collecting<'_, ContactsAnswer>) -> ContactsAnswer {
        let mut answer = question.answer.clone();
        let account = question.from.bare();
        if let Some(list) = self.rules().of(account.as_str()) {
            for contact in answer.contacts.iter_mut().filter(|contact| contact.subscription.has_from()) {
                if Jid::parse(&contact.jid).is_ok_and(|jid| list.blocks(&jid)) {
                    self.hidden().put(account.as_str(), &contact.jid, contact.subscription);
                    contact.subscription = Subscription::of(contact.subscription.has_to(), false);
                }
            }
        }
        answer
    }

    /// Those who see the account now. To be asked before a list changes.
    pub(crate) async fn seeing(&self, account: &Jid<'_>) -> Vec<Contact> {
        let contacts = self.host.contacts_of(account).await.unwrap_or_default();
        contacts.into_iter().filter(|contact| contact.subscription.has_from()).collect()
    }

    /// Tells the server what follows from a changed list.
    pub(crate) async fn hide_and_show(&self, account: &Jid<'_>, seeing: Vec<Contact>) {
        let list = self.rules().of(account.as_str()).cloned().unwrap_or_default();
        let mut changed = self.hidden().unblocked(account.as_str(), &list);
        for contact in seeing {
            let Ok(jid) = Jid::parse(&contact.jid) else { continue };
            if list.blocks(&jid) {
                self.hidden().put(account.as_str(), jid.as_str(), contact.subscription);
                changed.push((jid, Subscription::of(contact.subscription.has_to(), false)));
            }
        }
        for (contact, subscription) in changed {
            if let Err(error) = self.host.contact_changed(account, &contact, subscription).await {
                warn!(self.host.about(account), "the server was not told of a blocked contact: {error}");
            }
        }
    }
}
