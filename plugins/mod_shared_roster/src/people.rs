//! Who there is on the vhost: accounts for `@all@`, sessions for `@online@`. Asked for only where a group wants to know.

use crate::groups::{Groups, People};
use moult_plugin_api::prelude::*;
use moult_plugin_api::serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Sessions that are read at once.
const PAGE: usize = 1000;

/// The accounts, as far as they are known.
#[derive(Debug, Default)]
pub struct Directory {
    /// Counts accounts made and removed: what was read while that happened is not kept.
    changes: AtomicU64,
    accounts: Mutex<Option<(u64, Arc<BTreeSet<String>>)>>,
}

impl Directory {
    /// An account was made or removed.
    pub fn has_changed(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// Whom these groups ask for.
    pub async fn people(&self, host: &Host, groups: &Groups) -> Result<People, HostError> {
        let mut people = People::default();
        if groups.values().any(|group| group.all) {
            people.all = self.accounts(host).await?;
        }
        if groups.values().any(|group| group.online) {
            people.online = online(host).await?;
        }
        Ok(people)
    }

    async fn accounts(&self, host: &Host) -> Result<Arc<BTreeSet<String>>, HostError> {
        let changes = self.changes.load(Ordering::SeqCst);
        let known = self.accounts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, accounts)) = known
            && at == changes
        {
            return Ok(accounts);
        }
        let users = host.run_command("registered_users", &json!({"host": host.vhost()})).await?;
        let users = users.as_array().into_iter().flatten().filter_map(Value::as_str);
        let accounts: Arc<BTreeSet<String>> =
            Arc::new(users.map(|user| format!("{user}@{}", host.vhost())).collect());
        *self.accounts.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((changes, Arc::clone(&accounts)));
        Ok(accounts)
    }
}

/// The accounts that have sessions.
pub async fn online(host: &Host) -> Result<BTreeSet<String>, HostError> {
    let (mut online, mut after) = (BTreeSet::new(), String::new());
    loop {
        let page = host.sessions(&after, PAGE).await?;
        online.extend(page.iter().filter_map(|jid| jid.split('/').next()).map(str::to_owned));
        match page.last() {
            Some(last) if page.len() == PAGE => after.clone_from(last),
            _ => return Ok(online),
        }
    }
}
