//! What follows when an instance faults or stops by itself: the restart policy of its manifest (S0-7).
//!
//! `temporary`, the default: nothing is started again; a handler that panicked has answered its caller with an error, and the
//! instance goes on or, if it asked for it, is gone. `transient`: a panic starts it anew. `permanent`: so does its own stop. More
//! restarts within a minute than the manifest allows, and it stays down.

use crate::plugin::slot::SlotKey;
use moult_plugin_api::manifest::{Policy, Restart};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time over which restarts are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// What ended or hurt an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A call panicked.
    Panic,
    /// It asked to be stopped.
    Stop,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Leave it as it is.
    Leave,
    /// Start it anew.
    Restart,
    /// Take it out of service.
    Stop,
}

/// The restarts of the last minute.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    recent: Mutex<BTreeMap<SlotKey, VecDeque<Instant>>>,
}

impl Restarts {
    /// Judges a fault of the instance in `slot`; a restart is counted.
    pub(super) fn judge(&self, slot: &SlotKey, policy: Policy, fault: Fault, now: Instant) -> Verdict {
        let restarts = match policy.restart {
            Restart::Temporary => false,
            Restart::Transient => fault == Fault::Panic,
            Restart::Permanent => true,
        };
        match (restarts, fault) {
            (true, _) if self.count(slot, policy.max_restarts, now) => Verdict::Restart,
            (true, _) | (false, Fault::Stop) => Verdict::Stop,
            (false, Fault::Panic) => Verdict::Leave,
        }
    }

    fn count(&self, slot: &SlotKey, most: u32, now: Instant) -> bool {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let times = recent.entry(slot.clone()).or_default();
        times.retain(|at| now.duration_since(*at) < WINDOW);
        let allowed = times.len() < usize::try_from(most).unwrap_or(usize::MAX);
        if allowed {
            times.push_back(now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(restart: Restart, fault: Fault) -> Verdict {
        let policy = Policy { restart, max_restarts: 2, ..Policy::default() };
        Restarts::default().judge(&slot(), policy, fault, Instant::now())
    }

    fn slot() -> SlotKey {
        SlotKey { module: "m".into(), vhost: "v".into() }
    }

    #[test]
    fn each_policy_has_its_verdicts() {
        assert_eq!(judge(Restart::Temporary, Fault::Panic), Verdict::Leave);
        assert_eq!(judge(Restart::Temporary, Fault::Stop), Verdict::Stop);
        assert_eq!(judge(Restart::Transient, Fault::Panic), Verdict::Restart);
        assert_eq!(judge(Restart::Transient, Fault::Stop), Verdict::Stop);
        assert_eq!(judge(Restart::Permanent, Fault::Stop), Verdict::Restart);
    }

    #[test]
    fn too_many_restarts_within_a_minute_are_the_end() {
        let (restarts, begin) = (Restarts::default(), Instant::now());
        let policy = Policy { restart: Restart::Transient, max_restarts: 2, ..Policy::default() };
        let at =
            |seconds| restarts.judge(&slot(), policy, Fault::Panic, begin + Duration::from_secs(seconds));
        assert_eq!([at(0), at(1), at(2)], [Verdict::Restart, Verdict::Restart, Verdict::Stop]);
        assert_eq!(at(61), Verdict::Restart);
    }
}
