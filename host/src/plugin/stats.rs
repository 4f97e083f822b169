//! What one slot (module and vhost) has done: counters and a latency histogram that outlive generations. The calls
//! themselves are counted by the gates of its instances, see `Slot::report`.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the latency buckets in microseconds; a last one without bound follows.
pub const LATENCY_BOUNDS_US: [u64; 12] =
    [1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// Counters of one slot. All are updated without order between them.
#[derive(Debug, Default)]
pub struct Stats {
    /// Calls that ended in an error of the module's making (not a stanza error it chose to answer).
    pub errors: AtomicU64,
    /// Panics caught.
    pub panics: AtomicU64,
    /// Panics since the last call that went well.
    pub panics_in_a_row: AtomicU64,
    /// Calls that passed their deadline.
    pub timeouts: AtomicU64,
    /// Calls refused because a queue was full or the slot is in quarantine.
    pub refused: AtomicU64,
    latency: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
    latency_sum_us: AtomicU64,
}

/// A copy of [`Stats`] for reports.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StatsReport {
    /// Calls that entered the module and have ended.
    pub calls: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Panics caught.
    pub panics: u64,
    /// Calls that passed their deadline.
    pub timeouts: u64,
    /// Calls refused by a full queue or a quarantine.
    pub refused: u64,
    /// Work waiting in queues now.
    pub queued: i64,
    /// Calls per latency bucket, see [`LATENCY_BOUNDS_US`].
    pub latency: Vec<u64>,
    /// Sum of the measured latencies in microseconds.
    pub latency_sum_us: u64,
}

impl Stats {
    /// A call went well.
    #[inline]
    pub fn went_well(&self) {
        if self.panics_in_a_row.load(Ordering::Relaxed) != 0 {
            self.panics_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// Counts a call that failed.
    pub fn failed(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a panic; gives how many came in a row.
    pub fn panicked(&self) -> u64 {
        self.panics.fetch_add(1, Ordering::Relaxed);
        self.panics_in_a_row.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Records how long a call took.
    pub fn took(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < us);
        self.latency[bucket].fetch_add(1, Ordering::Relaxed);
        self.latency_sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// A copy for a report, without the calls and the queues, which are counted elsewhere.
    pub fn report(&self) -> StatsReport {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StatsReport {
            calls: 0,
            errors: get(&self.errors),
            panics: get(&self.panics),
            timeouts: get(&self.timeouts),
            refused: get(&self.refused),
            queued: 0,
            latency: self.latency.iter().map(get).collect(),
            latency_sum_us: get(&self.latency_sum_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_lands_in_the_first_bucket_that_holds_it() {
        let stats = Stats::default();
        stats.took(Duration::from_micros(1));
        stats.took(Duration::from_micros(51));
        stats.took(Duration::from_secs(100));
        let report = stats.report();
        assert_eq!(report.latency[0], 1);
        assert_eq!(report.latency[4], 1);
        assert_eq!(*report.latency.last().unwrap(), 1);
    }

    #[test]
    fn a_good_call_ends_a_row_of_panics() {
        let stats = Stats::default();
        assert_eq!((stats.panicked(), stats.panicked()), (1, 2));
        stats.went_well();
        assert_eq!(stats.panicked(), 1);
    }
}
