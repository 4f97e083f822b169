//! How much strangers send, and who is none: bounded tables that a swap takes over.

use moult_plugin_api::serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What is known of senders. Times are milliseconds since 1970.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde", default)]
pub struct Senders {
    windows: HashMap<String, Window>,
    /// By account and peer: until when the peer is no stranger.
    known: HashMap<String, i64>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct Window {
    began: i64,
    count: u32,
}

/// How much is allowed.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// Stanzas in an interval.
    pub count: u32,
    /// In milliseconds.
    pub interval: i64,
    /// Senders that are remembered.
    pub senders: usize,
}

impl Senders {
    /// Counts a stanza; `false` when the sender had as many as are allowed.
    pub fn count(&mut self, sender: &str, limit: Limit, now: i64) -> bool {
        let ended = |window: &Window| window.began > now || window.began + limit.interval <= now;
        if self.windows.len() >= limit.senders && !self.windows.contains_key(sender) {
            self.windows.retain(|_, window| !ended(window));
            self.keep_the_busiest(limit.senders);
        }
        let window = self.windows.entry(sender.to_owned()).or_default();
        if ended(window) {
            *window = Window { began: now, count: 0 };
        }
        window.count = window.count.saturating_add(1);
        window.count <= limit.count
    }

    /// A full table forgets the half that sent least: to be forgotten, one must be quiet.
    fn keep_the_busiest(&mut self, max: usize) {
        if self.windows.len() < max {
            return;
        }
        let mut counts: Vec<u32> = self.windows.values().map(|window| window.count).collect();
        counts.sort_unstable();
        let median = counts[counts.len() / 2];
        let mut spare = max / 2;
        self.windows.retain(|_, window| {
            let stays = window.count > median || (window.count == median && spare > 0);
            spare = spare.saturating_sub(usize::from(stays));
            stays
        });
    }

    /// Notes that `peer` is no stranger to `account` until then.
    pub fn note(&mut self, account: &str, peer: &str, until: i64, max: usize, now: i64) {
        if self.known.len() >= max {
            self.known.retain(|_, end| *end > now);
        }
        if self.known.len() >= max {
            // The rosters know them still.
            self.known = HashMap::new();
        }
        let end = self.known.entry(pair(account, peer)).or_insert(until);
        *end = until.max(*end);
    }

    /// Whether `peer` is known not to be a stranger.
    pub fn knows(&self, account: &str, peer: &str, now: i64) -> bool {
        !self.known.is_empty() && self.known.get(&pair(account, peer)).is_some_and(|end| *end > now)
    }
}

fn pair(account: &str, peer: &str) -> String {
    format!("{account} {peer}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { count: 2, interval: 1000, senders: 4 };

    #[test]
    fn so_many_in_an_interval_and_then_anew() {
        let mut senders = Senders::default();
        let counted: Vec<bool> = [0, 1, 2, 999, 1000].map(|now| senders.count("a", LIMIT, now)).to_vec();
        assert_eq!(counted, [true, true, false, false, true]);
        assert!(senders.count("b", LIMIT, 2), "one sender does not count for another");
    }

    #[test]
    fn the_tables_are_bounded_and_keep_who_sends_most() {
        let mut senders = Senders::default();
        for _ in 0..3 {
            senders.count("busy", LIMIT, 0);
        }
        for sender in 0..100 {
            senders.count(&format!("s{sender}"), LIMIT, 1);
            senders.note("account", &format!("s{sender}"), 100, 4, 1);
            assert!(senders.windows.len() <= 4 && senders.known.len() <= 4);
        }
        assert!(!senders.count("busy", LIMIT, 2), "it is still above its limit");
    }

    #[test]
    fn who_is_known_is_so_for_a_time_and_for_one_account() {
        let mut senders = Senders::default();
        senders.note("a", "peer", 10, 4, 0);
        senders.note("a", "peer", 5, 4, 0);
        assert!(senders.knows("a", "peer", 9) && !senders.knows("a", "peer", 10));
        assert!(!senders.knows("b", "peer", 9) && !senders.knows("peer", "a", 9));
    }
}
