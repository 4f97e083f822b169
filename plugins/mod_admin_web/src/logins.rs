//! Who is logged in, and how often somebody may fail to be.
//!
//! A session lies in the module's store, under the hash of its cookie, so nothing that lies there lets anybody in, and an update or
//! a restart of the server ends no login.

use moult_plugin_api::sdk::sha::sha256;
use moult_plugin_api::serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Sessions at the same time; the one that was used least lately gives way.
pub const MAX_SESSIONS: usize = 64;
/// A use is written down where the last one that was is so long ago.
const NOTED_AFTER_MS: u64 = 30_000;
/// However busy it is, a session ends after that time.
const LONGEST: Duration = Duration::from_secs(12 * 3600);
/// Failures in the window, by account and by address.
const PER_ACCOUNT: u32 = 5;
const PER_ADDRESS: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);
/// Accounts and addresses that are counted at the same time.
const MAX_COUNTED: usize = 1024;

/// Who is logged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde", rename_all = "snake_case")]
pub enum Who {
    /// Somebody with the admin token.
    Token,
    /// An account, by its bare JID.
    Account(String),
}

impl Who {
    /// For people.
    pub fn name(&self) -> &str {
        match self {
            Who::Token => "the admin token",
            Who::Account(jid) => jid,
        }
    }
}

/// One login, as it lies in the store under [`key`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
pub struct Session {
    pub who: Who,
    since_ms: u64,
    pub used_ms: u64,
}

impl Session {
    /// One that begins now.
    pub fn new(who: Who, now: SystemTime) -> Self {
        Self { who, since_ms: millis(now), used_ms: millis(now) }
    }

    /// Whether it has been idle for too long, or is too old.
    pub fn is_over(&self, idle: Duration, now: SystemTime) -> bool {
        let passed =
            |since: u64, time: Duration| u128::from(millis(now).saturating_sub(since)) >= time.as_millis();
        passed(self.used_ms, idle) || passed(self.since_ms, LONGEST)
    }

    /// Notes that it is used; `false` where that need not be written down, because it was a moment ago.
    pub fn touch(&mut self, now: SystemTime) -> bool {
        let is_news = millis(now).saturating_sub(self.used_ms) >= NOTED_AFTER_MS;
        if is_news {
            self.used_ms = millis(now);
        }
        is_news
    }
}

/// The name of a session, which lets nobody in.
pub fn key(cookie: &str) -> String {
    hashed("session", cookie)
}

/// What a form must carry beside this cookie.
pub fn csrf(cookie: &str) -> String {
    hashed("form", cookie)
}

fn hashed(what: &str, cookie: &str) -> String {
    sha256(format!("{what} {cookie}").as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Failed logins of the last minute.
#[derive(Debug, Default)]
pub struct Failures(BTreeMap<String, (SystemTime, u32)>);

impl Failures {
    /// Counts an attempt as failed, as long as it has not succeeded; `false` where there were too many.
    pub fn attempt(&mut self, account: &str, address: &str, now: SystemTime) -> bool {
        self.0.retain(|_, (since, _)| now.duration_since(*since).is_ok_and(|time| time < WINDOW));
        let (account, address) = (format!("account {account}"), format!("address {address}"));
        let count = |key: &str| self.0.get(key).map_or(0, |(_, count)| *count);
        if count(&account) >= PER_ACCOUNT || count(&address) >= PER_ADDRESS || self.0.len() >= MAX_COUNTED {
            return false;
        }
        for key in [account, address] {
            self.0.entry(key).or_insert((now, 0)).1 += 1;
        }
        true
    }

    /// It has succeeded after all.
    pub fn succeeded(&mut self, account: &str, address: &str) {
        for key in [format!("account {account}"), format!("address {address}")] {
            if let Some((_, count)) = self.0.get_mut(&key) {
                *count = count.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(600);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_session_ends_when_it_is_idle_and_after_half_a_day() {
        let mut session = Session::new(Who::Token, at(0));
        assert!(!session.touch(at(29)) && !session.is_over(IDLE, at(599)) && session.is_over(IDLE, at(600)));
        assert!(
            session.touch(at(590)) && !session.is_over(IDLE, at(1189)) && session.is_over(IDLE, at(1190))
        );
        assert!(
            (1..72).all(|n| session.touch(at(590 + n * 590)) && !session.is_over(IDLE, at(591 + n * 590)))
        );
        assert!(session.touch(at(43_199)) && session.is_over(IDLE, at(43_200)));
    }

    #[test]
    fn neither_name_nor_form_tells_the_cookie() {
        let cookie = "c00kie";
        assert_ne!(key(cookie), csrf(cookie));
        assert!(key(cookie).len() == 64 && !key(cookie).contains(cookie));
    }

    #[test]
    fn failures_are_bounded_by_account_and_by_address_for_a_minute() {
        let mut failures = Failures::default();
        assert!((0..5).all(|_| failures.attempt("a@b", "::1", at(0))));
        assert!(!failures.attempt("a@b", "::2", at(1)));
        failures.succeeded("a@b", "::1");
        assert!(failures.attempt("a@b", "::2", at(1)));
        assert!((0..16).all(|n| failures.attempt(&format!("{n}@b"), "::1", at(2))));
        assert!(!failures.attempt("new@b", "::1", at(3)));
        assert!(failures.attempt("a@b", "::1", at(61)));
    }
}
