//! Limits failed logins per account and per address, so that passwords cannot be guessed by trying.
//!
//! Failures are counted in a sliding window: those of the running window, and those of the one before in proportion to
//! how much of it the sliding window still covers. A counter takes 24 bytes, whatever it counts; their number is bounded, and
//! when it is reached the smallest counters give way, never the biggest of those looked at. Names are kept as keyed
//! hashes, so nobody can aim at another's counter. Unknown accounts are counted like known ones.
//!
//! A success does not clear a counter: whoever guesses at a stranger's password could otherwise rely on the stranger's own
//! logins, or on an account of their own, to go on for ever. The price is that a guesser can keep an account's owner from
//! logging in anew for the length of the window; running sessions are not touched.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many counters are looked at when one has to give way.
const CANDIDATES: usize = 16;

/// The limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimiterOptions {
    /// Failures of one account within the window.
    pub per_account: u32,
    /// Failures from one address (one /64 in IPv6) within the window.
    pub per_address: u32,
    /// The window.
    pub window: Duration,
    /// Accounts and addresses remembered at most, each.
    pub entries: usize,
}

impl Default for LimiterOptions {
    fn default() -> LimiterOptions {
        LimiterOptions {
            per_account: 20,
            per_address: 50,
            window: Duration::from_secs(300),
            entries: 100_000,
        }
    }
}

/// Counts failed logins.
pub struct LoginLimiter {
    options: LimiterOptions,
    epoch: Instant,
    keys: RandomState,
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    accounts: Table,
    addresses: Table,
}

#[derive(Default)]
struct Table {
    counters: HashMap<u64, Counter>,
    /// The window in which the last sweep was made.
    swept: u64,
}

/// Failures in one window and in the one before it.
#[derive(Clone, Copy, Default)]
struct Counter {
    window: u64,
    current: u32,
    previous: u32,
}

/// A moment as the number of its window and how far into it, in nanoseconds.
#[derive(Clone, Copy)]
struct Moment {
    window: u64,
    into: u64,
    length: u64,
}

impl LoginLimiter {
    /// A limiter that has seen nothing; `now` is the moment from which its windows are counted.
    pub fn new(options: LimiterOptions, now: Instant) -> LoginLimiter {
        LoginLimiter { options, epoch: now, keys: RandomState::new(), tables: Mutex::default() }
    }

    /// How long this account or address must wait, if it must. `account` is a bare JID.
    pub fn blocked(&self, account: &str, address: IpAddr, now: Instant) -> Option<Duration> {
        let moment = self.moment(now);
        let keys = (self.keys.hash_one(account), self.address_key(address));
        self.tables().wait(keys, &self.options, moment)
    }

    /// Like [`LoginLimiter::blocked`] before the account is known.
    pub fn address_blocked(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let (moment, address) = (self.moment(now), self.address_key(address));
        self.tables().addresses.wait(address, self.options.per_address, moment)
    }

    /// Counts a failed login, unless a limit is reached: then it answers the wait, and the peer must not be told that
    /// the password was wrong. Check and count are one step, so tries at the same moment get no extra verdicts.
    pub fn failed(&self, account: &str, address: IpAddr, now: Instant) -> Option<Duration> {
        let moment = self.moment(now);
        let keys = (self.keys.hash_one(account), self.address_key(address));
        let mut tables = self.tables();
        let wait = tables.wait(keys, &self.options, moment);
        if wait.is_none() {
            tables.accounts.count(keys.0, self.options.entries, moment);
            tables.addresses.count(keys.1, self.options.entries, moment);
        }
        wait
    }

    /// Whoever has an IPv6 address has its whole /64; a mapped IPv4 address is an IPv4 address.
    fn address_key(&self, address: IpAddr) -> u64 {
        match address.to_canonical() {
            IpAddr::V4(address) => self.keys.hash_one(address),
            IpAddr::V6(address) => self.keys.hash_one(&address.segments()[..4]),
        }
    }

    fn moment(&self, now: Instant) -> Moment {
        let length = (self.options.window.as_nanos() as u64).max(1);
        let since = now.saturating_duration_since(self.epoch).as_nanos() as u64;
        Moment { window: since / length, into: since % length, length }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // The tables are sound after every statement, so a panic elsewhere does no harm to them.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn wait(
        &self,
        (account, address): (u64, u64),
        options: &LimiterOptions,
        moment: Moment,
    ) -> Option<Duration> {
        let account = self.accounts.wait(account, options.per_account, moment);
        account.max(self.addresses.wait(address, options.per_address, moment))
    }
}

impl Table {
    fn wait(&self, key: u64, limit: u32, moment: Moment) -> Option<Duration> {
        self.counters.get(&key)?.at(moment.window).wait(limit, moment)
    }

    fn count(&mut self, key: u64, entries: usize, moment: Moment) {
        if self.counters.len() >= entries.max(1) && !self.counters.contains_key(&key) {
            self.make_room(entries.max(1), moment.window);
        }
        let counter = self.counters.entry(key).or_default();
        *counter = counter.at(moment.window);
        counter.current = counter.current.saturating_add(1);
    }

    /// Drops the counters that count nothing any more, once per window; else the smallest of some.
    fn make_room(&mut self, entries: usize, window: u64) {
        if self.swept != window {
            self.swept = window;
            self.counters.retain(|_, counter| !counter.at(window).is_empty());
        }
        if self.counters.len() >= entries {
            let some = self.counters.iter().take(CANDIDATES);
            let smallest = some.min_by_key(|(_, counter)| counter.at(window).weight()).map(|(key, _)| *key);
            smallest.map(|key| self.counters.remove(&key));
        }
    }
}

impl Counter {
    /// This counter as seen in a later window.
    fn at(self, window: u64) -> Counter {
        match window.saturating_sub(self.window) {
            0 => self,
            1 => Counter { window, current: 0, previous: self.current },
            _ => Counter { window, current: 0, previous: 0 },
        }
    }

    fn weight(self) -> u64 {
        u64::from(self.current) + u64::from(self.previous)
    }

    fn is_empty(self) -> bool {
        self.weight() == 0
    }

    /// How long until the sliding window holds fewer failures than the limit, if no more are added.
    fn wait(self, limit: u32, moment: Moment) -> Option<Duration> {
        let Moment { into, length, .. } = moment;
        // `current` counts fully now and fades in the next window; `previous` fades in this one.
        let ends = if self.current >= limit {
            length + fade(self.current, limit, length)
        } else {
            fade(self.previous, limit - self.current, length)
        };
        let left = ends.saturating_sub(into);
        (left > 0).then(|| Duration::from_nanos(left))
    }
}

/// When in its fading window `count` failures have become fewer than `limit`: `count * (1 - t / length) < limit`.
fn fade(count: u32, limit: u32, length: u64) -> u64 {
    let Some(surplus) = u128::from(count).checked_sub(u128::from(limit)) else { return 0 };
    // At most `length`, because the surplus is at most the count.
    (u128::from(length) * surplus / u128::from(count.max(1)) + 1) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(100);

    fn limiter(per_account: u32, per_address: u32, entries: usize) -> (LoginLimiter, Instant) {
        let start = Instant::now();
        (
            LoginLimiter::new(LimiterOptions { per_account, per_address, window: WINDOW, entries }, start),
            start,
        )
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_account_is_blocked_from_everywhere_and_only_it() {
        let (limiter, now) = limiter(3, 100, 10);
        for number in 0..3 {
            assert_eq!(limiter.blocked("alice@a", address("192.0.2.9"), now), None);
            limiter.failed("alice@a", address(&format!("192.0.2.{number}")), now);
        }
        assert!(limiter.blocked("alice@a", address("192.0.2.9"), now).is_some());
        assert_eq!(limiter.blocked("bob@a", address("192.0.2.1"), now), None);
    }

    #[test]
    fn an_address_is_blocked_for_all_accounts_and_an_ipv6_network_counts_as_one() {
        let (limiter, now) = limiter(100, 3, 10);
        for (number, host) in ["2001:db8::1", "2001:db8::ffff", "2001:db8:0:0:1::"].into_iter().enumerate() {
            assert_eq!(limiter.address_blocked(address("2001:db8::2"), now), None);
            limiter.failed(&format!("user{number}@a"), address(host), now);
        }
        assert!(limiter.address_blocked(address("2001:db8::2"), now).is_some());
        assert!(limiter.blocked("other@a", address("2001:db8::3"), now).is_some());
        assert_eq!(limiter.address_blocked(address("2001:db8:0:1::1"), now), None);
        for _ in 0..3 {
            limiter.failed("alice@a", address("::ffff:192.0.2.1"), now);
        }
        assert!(limiter.address_blocked(address("192.0.2.1"), now).is_some());
    }

    #[test]
    fn the_wait_that_is_told_is_enough_and_not_too_long() {
        let (limiter, start) = limiter(4, 100, 10);
        for seconds in [10, 60, 90, 95, 99] {
            limiter.failed("alice@a", address("192.0.2.1"), start + Duration::from_secs(seconds));
        }
        let mut now = start + Duration::from_secs(99);
        let wait = limiter.blocked("alice@a", address("192.0.2.1"), now).unwrap();
        assert!(wait <= WINDOW, "{wait:?}");
        now += wait - Duration::from_secs(1);
        assert!(limiter.blocked("alice@a", address("192.0.2.1"), now).is_some());
        now += Duration::from_secs(1);
        assert_eq!(limiter.blocked("alice@a", address("192.0.2.1"), now), None);
    }

    #[test]
    fn memory_is_bounded_and_the_one_who_guesses_most_is_not_forgotten() {
        let (limiter, now) = limiter(10, 100_000, 50);
        for _ in 0..10 {
            limiter.failed("victim@a", address("192.0.2.1"), now);
        }
        for number in 0..10_000 {
            limiter.failed(&format!("{number}@a"), address("192.0.2.1"), now);
        }
        assert_eq!(limiter.tables().accounts.counters.len(), 50);
        assert!(limiter.blocked("victim@a", address("192.0.2.2"), now).is_some());
        limiter.failed("later@a", address("192.0.2.1"), now + 3 * WINDOW);
        assert_eq!(limiter.tables().accounts.counters.len(), 1, "faded counters are swept");
    }

    proptest! {
        /// Whatever the pattern of attempts, no span as long as the window lets more than twice the limit through
        /// (a sliding count by two buckets can be off by the unevenness of the older one, never by more).
        #[test]
        fn no_window_lets_twice_the_limit_through(gaps in prop::collection::vec(0..40_u64, 1..300), limit in 1..10_u32) {
            let (limiter, start) = limiter(limit, 100_000, 10);
            let (mut now, mut let_through) = (start, Vec::new());
            for gap in gaps {
                now += Duration::from_secs(gap);
                if limiter.failed("alice@a", address("192.0.2.1"), now).is_none() {
                    let_through.push(now);
                }
            }
            for (index, first) in let_through.iter().enumerate() {
                let within = let_through[index..].iter().take_while(|at| **at < *first + WINDOW).count();
                prop_assert!(within <= 2 * limit as usize, "{within} within one window, limit {limit}");
            }
        }
    }
}
