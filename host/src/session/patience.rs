//! How long the senders of one session may be held up because a receiver's mailbox is full.
//!
//! A held-up connection reads nothing, so waiting for one receiver holds up what the same client sends to others. That is right
//! for a burst and wrong for receivers that are slow for good, so a session has a small stock of patience: a full second, of
//! which one wait takes a quarter at most, and which grows back at a tenth of real time. When it is used up, stanzas come
//! back at once.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const LONGEST_WAIT: Duration = Duration::from_millis(250);
const STOCK: Duration = Duration::from_secs(1);
const REGROWTH: u64 = 10;

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The stock of one session.
#[derive(Debug, Default)]
pub struct Patience {
    /// When all of it has grown back, in microseconds.
    whole_at: AtomicU64,
}

impl Patience {
    /// How long it may wait now.
    pub fn left(&self) -> Duration {
        self.left_at(EPOCH.elapsed())
    }

    /// It has waited so long.
    pub fn spend(&self, waited: Duration) {
        self.spend_at(EPOCH.elapsed(), waited);
    }

    fn left_at(&self, now: Duration) -> Duration {
        let missing = self.whole_at.load(Ordering::Relaxed).saturating_sub(micros(now)) / REGROWTH;
        STOCK.saturating_sub(Duration::from_micros(missing)).min(LONGEST_WAIT)
    }

    fn spend_at(&self, now: Duration, waited: Duration) {
        let cost = micros(waited).saturating_mul(REGROWTH);
        let spent = |whole_at: u64| Some(whole_at.max(micros(now)).saturating_add(cost));
        // The closure always gives a value.
        let _ = self.whole_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stock_lasts_for_some_waits_and_grows_back_slowly() {
        let (patience, now) = (Patience::default(), Duration::from_secs(5));
        for _ in 0..4 {
            assert_eq!(patience.left_at(now), LONGEST_WAIT);
            patience.spend_at(now, LONGEST_WAIT);
        }
        assert_eq!(patience.left_at(now), Duration::ZERO);
        assert_eq!(patience.left_at(now + Duration::from_secs(1)), Duration::from_millis(100));
        assert_eq!(patience.left_at(now + Duration::from_secs(10)), LONGEST_WAIT);
        patience.spend_at(now, Duration::MAX);
        assert_eq!(patience.left_at(now + Duration::from_secs(1_000)), Duration::ZERO);
    }
}
