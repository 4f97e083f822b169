//! The rate limit of one connection: a token bucket, as ejabberd's shapers are.
//!
//! Reading is never refused, only put off: the peer's TCP notices. What is counted are bytes on the wire.

use std::time::{Duration, Instant};

/// The smallest read that is worth a system call, even when the bucket is nearly empty.
const LEAST_READ: usize = 512;

/// Rate and burst of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Bytes per second in the long run; at least 1.
    pub bytes_per_second: u32,
    /// Bytes that may come at once.
    pub burst: u32,
}

/// What one connection may still read.
#[derive(Debug)]
pub(super) struct TokenBucket {
    rate: Rate,
    /// Negative after a read that was larger than what was left.
    tokens: i64,
    /// Up to when tokens were poured in.
    filled: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        let rate = Rate { bytes_per_second: rate.bytes_per_second.max(1), ..rate };
        Self { rate, tokens: i64::from(rate.burst), filled: now }
    }

    /// How much may be read at once: what is in the bucket, but not a ridiculously small amount.
    pub(super) fn allowance(&mut self, now: Instant) -> usize {
        self.fill(now);
        usize::try_from(self.tokens).unwrap_or(0).max(LEAST_READ)
    }

    /// Takes out what was read. The moment at which reading may go on, if it may not at once.
    pub(super) fn take(&mut self, bytes: usize, now: Instant) -> Option<Instant> {
        self.fill(now);
        self.tokens -= i64::try_from(bytes).unwrap_or(i64::MAX);
        if self.tokens > 0 {
            return None;
        }
        let missing = (1 - self.tokens) as u64;
        let wait = missing.saturating_mul(1_000_000).div_ceil(u64::from(self.rate.bytes_per_second));
        Some(now + Duration::from_micros(wait))
    }

    /// Pours in what has dripped since the last time, in whole tokens, so that no fraction gets lost.
    fn fill(&mut self, now: Instant) {
        let rate = u128::from(self.rate.bytes_per_second);
        let elapsed = now.saturating_duration_since(self.filled).as_nanos();
        let new = elapsed * rate / 1_000_000_000;
        let room = u128::try_from(i64::from(self.rate.burst) - self.tokens).unwrap_or(0);
        if new >= room {
            self.tokens += room as i64;
            self.filled = now;
            return;
        }
        self.tokens += new as i64;
        self.filled += Duration::from_nanos((new * 1_000_000_000 / rate) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(bytes_per_second: u32, burst: u32) -> (TokenBucket, Instant) {
        let now = Instant::now();
        (TokenBucket::new(Rate { bytes_per_second, burst }, now), now)
    }

    #[test]
    fn a_burst_passes_and_what_goes_beyond_waits_as_long_as_it_takes_to_drip() {
        let (mut bucket, now) = bucket(1_000, 5_000);
        assert_eq!(bucket.allowance(now), 5_000);
        assert_eq!(bucket.take(4_000, now), None);
        assert_eq!(bucket.allowance(now), 1_000);
        let resume = bucket.take(3_000, now).unwrap();
        assert_eq!(resume - now, Duration::from_micros(2_001_000));
        assert_eq!(bucket.allowance(now), LEAST_READ);
    }

    #[test]
    fn the_long_run_is_the_rate_whatever_the_size_of_the_reads() {
        for read in [1, 7, 512, 3_000] {
            let (mut bucket, start) = bucket(10_000, 2_000);
            let (mut now, mut total) = (start, 0);
            while total < 100_000 {
                total += read;
                if let Some(resume) = bucket.take(read, now) {
                    now = resume;
                }
            }
            let seconds = (now - start).as_secs_f64();
            let expected = (total as f64 - 2_000.0) / 10_000.0;
            assert!((seconds - expected).abs() < 0.4, "{read}: {seconds} instead of {expected}");
        }
    }

    #[test]
    fn a_bucket_never_holds_more_than_its_burst() {
        let (mut bucket, now) = bucket(1_000, 2_000);
        bucket.take(1, now + Duration::from_secs(1_000_000));
        assert_eq!(bucket.allowance(now), 1_999);
    }

    #[test]
    fn time_that_goes_backwards_does_no_harm() {
        let (mut bucket, now) = bucket(1_000, 2_000);
        bucket.take(1_000, now + Duration::from_secs(1));
        assert!(bucket.take(500, now).is_none());
    }
}
