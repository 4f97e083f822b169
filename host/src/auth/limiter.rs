//! Limits failed logins per account and per address.

use std::net::IpAddr;
use std::time::{Duration, Instant};

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
pub struct LoginLimiter {}

impl LoginLimiter {
    /// A limiter that has seen nothing.
    pub fn new(_options: LimiterOptions) -> LoginLimiter {
        LoginLimiter {}
    }

    /// How long this account or address must wait, if it must.
    pub fn blocked(&self, _account: &str, _address: IpAddr, _now: Instant) -> Option<Duration> {
        None
    }

    /// Like [`LoginLimiter::blocked`] before the account is known.
    pub fn address_blocked(&self, _address: IpAddr, _now: Instant) -> Option<Duration> {
        None
    }

    /// Counts a failed login.
    pub fn failed(&self, _account: &str, _address: IpAddr, _now: Instant) {}
}
