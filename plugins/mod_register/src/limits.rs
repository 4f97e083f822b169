//! How many changes came from where.

use moult_plugin_api::prelude::*;
use moult_plugin_api::serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Addresses of sessions, and changes per address. Sessions bound both, and the counts begin anew from time to time.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
pub struct Limits {
    addresses: HashMap<String, String>,
    changes: HashMap<String, u32>,
}

impl Limits {
    /// A session began.
    pub fn opened(&mut self, jid: &str, address: &str) {
        if !address.is_empty() {
            self.addresses.insert(jid.to_owned(), address.to_owned());
        }
    }

    /// A session ended.
    pub fn closed(&mut self, jid: &str) {
        self.addresses.remove(jid);
    }

    /// Counts a change; `false` when there were `limit` already.
    pub fn count(&mut self, session: &Jid<'_>, limit: u32) -> bool {
        let address = self.addresses.get(session.as_str());
        let whose = address.cloned().unwrap_or_else(|| session.bare().as_str().to_owned());
        self.count_address(&whose, limit)
    }

    /// The same for somebody who has no session.
    pub fn count_address(&mut self, address: &str, limit: u32) -> bool {
        let changes = self.changes.entry(address.to_owned()).or_default();
        *changes = changes.saturating_add(1);
        *changes <= limit
    }

    /// All counts begin anew.
    pub fn begin_anew(&mut self) {
        self.changes = HashMap::new();
    }
}
