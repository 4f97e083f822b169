//! Which contacts changed lately, per account, so that a client with an older version of the roster gets the difference
//! (RFC 6121 section 2.6.3). Bounded: who was away for longer gets the whole roster.
//!
//! It lies beside the rosters, not in them: a build that knows nothing of it goes on changing rosters, and what it leaves
//! behind does not fit the roster's version any more and is not used.

use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::store::KeyVal;
use moult_plugin_api::serde::{Deserialize, Serialize};

/// The log of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde", default)]
struct Log {
    /// What came after this version is here.
    since: u64,
    /// Version and contact, oldest first; each contact once, with its latest change.
    changes: Vec<(u64, String)>,
}

impl Log {
    fn version(&self) -> u64 {
        self.changes.last().map_or(self.since, |(version, _)| *version)
    }

    /// The change that led from one version to the next.
    fn note(&mut self, before: u64, version: u64, contact: &str, most: usize) {
        if self.version() != before {
            *self = Self { since: before, changes: Vec::new() };
        }
        self.changes.retain(|(_, other)| other != contact);
        self.changes.push((version, contact.to_owned()));
        while self.changes.len() > most {
            self.since = self.changes.remove(0).0;
        }
    }

    /// What changed after `known`, if that can be told.
    fn after(self, known: u64, version: u64) -> Option<Vec<(u64, String)>> {
        let is_whole = self.version() == version && (self.since..=version).contains(&known);
        is_whole.then(|| self.changes.into_iter().filter(|(at, _)| *at > known).collect())
    }
}

/// The logs of a vhost.
#[derive(Clone, Debug)]
pub struct Changes(KeyVal);

impl Changes {
    /// Of this vhost.
    pub fn open(host: &Host) -> Self {
        Self(host.keyval("changes"))
    }

    async fn log(&self, account: &str) -> Result<Log, HostError> {
        // One that cannot be read is of another build; it is begun anew.
        Ok(self.0.get_json(account).await.unwrap_or_default().unwrap_or_default())
    }

    /// Notes a change after it was stored.
    pub async fn note(
        &self,
        account: &str,
        (before, version): (u64, u64),
        contact: &str,
        most: usize,
    ) -> Result<(), HostError> {
        let mut log = self.log(account).await?;
        log.note(before, version, contact, most);
        self.0.set_json(account, &log).await
    }

    /// Versions and contacts that changed after `known` and up to `version`, in order; nothing where it is not known.
    pub async fn after(
        &self,
        account: &str,
        known: u64,
        version: u64,
    ) -> Result<Option<Vec<(u64, String)>>, HostError> {
        Ok(self.log(account).await?.after(known, version))
    }

    /// Forgets an account.
    pub async fn remove(&self, account: &str) -> Result<(), HostError> {
        self.0.delete(account).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(changes: &[(u64, &str)], most: usize) -> Log {
        let mut log = Log::default();
        let mut before = 0;
        for (version, contact) in changes {
            log.note(before, *version, contact, most);
            before = *version;
        }
        log
    }

    fn after(log: &Log, known: u64, version: u64) -> Option<Vec<u64>> {
        Some(log.clone().after(known, version)?.into_iter().map(|(version, _)| version).collect())
    }

    #[test]
    fn a_contact_is_told_once_with_its_latest_change() {
        let log = log(&[(10, "a"), (20, "b"), (30, "a")], 9);
        assert_eq!(after(&log, 0, 30), Some(vec![20, 30]));
        assert_eq!(after(&log, 10, 30), Some(vec![20, 30]));
        assert_eq!(after(&log, 20, 30), Some(vec![30]));
        assert_eq!(after(&log, 30, 30), Some(vec![]));
    }

    #[test]
    fn who_was_away_for_too_long_is_told_nothing() {
        let log = log(&[(10, "a"), (20, "b"), (30, "c")], 2);
        assert_eq!((after(&log, 0, 30), after(&log, 10, 30)), (None, Some(vec![20, 30])));
        assert_eq!(after(&log, 31, 30), None, "a version that never was");
    }

    #[test]
    fn a_log_that_misses_a_change_is_not_used_and_begun_anew() {
        let mut log = log(&[(10, "a"), (20, "b")], 9);
        assert_eq!(after(&log, 10, 25), None, "another build wrote version 25");
        log.note(25, 30, "c", 9);
        assert_eq!((after(&log, 10, 30), after(&log, 25, 30)), (None, Some(vec![30])));
    }
}
