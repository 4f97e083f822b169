//! What is known of the clients of accounts that use carbons: which of them wants copies, and who gets a message to the bare
//! JID anyway.

use moult_plugin_api::prelude::*;
use moult_plugin_api::serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// One client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
pub struct Client {
    /// Whether it wants copies.
    pub enabled: bool,
    /// Its priority while it is available.
    pub priority: Option<i8>,
}

/// Clients by account and resource. Only what is enabled or available is kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde", transparent)]
pub struct Clients(HashMap<String, BTreeMap<String, Client>>);

impl Clients {
    pub fn enable(&mut self, jid: &Jid<'_>, enabled: bool) {
        self.change(jid, |client| client.enabled = enabled);
    }

    pub fn available(&mut self, jid: &Jid<'_>, priority: Option<i8>) {
        self.change(jid, |client| client.priority = priority);
    }

    pub fn gone(&mut self, jid: &Jid<'_>) {
        self.change(jid, |client| *client = Client::default());
    }

    fn change(&mut self, jid: &Jid<'_>, change: impl FnOnce(&mut Client)) {
        let (account, Some(resource)) = (jid.bare(), jid.resource()) else { return };
        let clients = self.0.entry(account.as_str().to_owned()).or_default();
        let client = clients.entry(resource.to_owned()).or_default();
        change(client);
        if *client == Client::default() {
            clients.remove(resource);
        }
        if clients.is_empty() {
            self.0.remove(account.as_str());
        }
    }

    /// The resources that get a copy of what `resource` of the account sent.
    pub fn for_sent(&self, account: &str, resource: &str) -> Vec<String> {
        self.wanting(account, |name, _| name != resource)
    }

    /// The resources that get a copy of a message to the account: not the one it is addressed to, or, where it is addressed
    /// to the bare JID, not those that get it by their priority (RFC 6121 8.5.2.1.1).
    pub fn for_received(&self, account: &str, resource: Option<&str>) -> Vec<String> {
        let Some(clients) = self.0.get(account) else { return Vec::new() };
        let highest = clients.values().filter_map(|client| client.priority).filter(|p| *p >= 0).max();
        match resource {
            Some(resource) if clients.contains_key(resource) => {
                self.wanting(account, |name, _| name != resource)
            }
            // A resource that is gone: the message goes to the account as if it were addressed to the bare JID. Nobody takes
            // a message without a resource of priority 0 or more, and what nobody took is not copied.
            _ if highest.is_none() => Vec::new(),
            _ => self.wanting(account, |_, client| client.priority != highest),
        }
    }

    fn wanting(&self, account: &str, fits: impl Fn(&str, &Client) -> bool) -> Vec<String> {
        let clients = self.0.get(account).into_iter().flatten();
        clients
            .filter(|(name, client)| client.enabled && fits(name, client))
            .map(|(name, _)| name.clone())
            .collect()
    }
}
