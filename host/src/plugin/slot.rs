//! The place of one module on one vhost: what stays when generations come and go. Queues, counters, limits, quarantine.

use super::gate::Gate;
use super::lane::Lane;
use super::registration::IqTarget;
use super::stats::{Stats, StatsReport};
use crate::config::{Discipline, ModuleSettings};
use arc_swap::{ArcSwap, ArcSwapOption};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A slot's name: module id and vhost (or `global`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotKey {
    /// Module id.
    pub module: Arc<str>,
    /// Vhost, or [`GLOBAL`].
    pub vhost: Arc<str>,
}

/// The vhost name of instances that serve all vhosts.
pub const GLOBAL: &str = "global";

impl std::fmt::Display for SlotKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.module, self.vhost)
    }
}

/// What a lane is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LaneKey {
    /// IQs of one namespace and target.
    Iq(IqTarget, Arc<str>),
    /// Stanzas to the module's routes, its timers and casts: the mailbox of a service.
    Mailbox,
}

/// Limits of a slot, replaced as a whole by a reload.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Jobs waiting per lane.
    pub queue_length: usize,
    /// How long one call may take, its wait included.
    pub call_deadline: Duration,
    /// The operator's choice; wins over what the module asked for.
    pub discipline: Option<Discipline>,
}

impl Limits {
    /// The limits that the configuration sets.
    pub fn of(settings: &ModuleSettings) -> Self {
        Self {
            queue_length: settings.queue_length,
            call_deadline: settings.call_deadline,
            discipline: settings.discipline,
        }
    }
}

/// One module on one vhost.
pub struct Slot {
    /// Its name.
    pub key: SlotKey,
    /// What it has done.
    pub stats: Stats,
    limits: ArcSwap<Limits>,
    lanes: Mutex<HashMap<LaneKey, Arc<Lane>>>,
    queued: Arc<AtomicI64>,
    gates: Mutex<Gates>,
    quarantine: ArcSwapOption<String>,
    /// The same as a flag, for the way of every call.
    is_quarantined: AtomicBool,
}

/// The gates of the instances there are, which count their calls, and the calls of those that are gone.
#[derive(Default)]
struct Gates {
    open: Vec<Arc<Gate>>,
    past_calls: u64,
}

impl Slot {
    /// An idle slot.
    pub fn new(key: SlotKey, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            key,
            stats: Stats::default(),
            limits: ArcSwap::from_pointee(limits),
            lanes: Mutex::default(),
            queued: Arc::default(),
            gates: Mutex::default(),
            quarantine: ArcSwapOption::empty(),
            is_quarantined: AtomicBool::new(false),
        })
    }

    /// The limits that hold now.
    pub fn limits(&self) -> arc_swap::Guard<Arc<Limits>> {
        self.limits.load()
    }

    /// Replaces the limits; lanes follow when the registry is next built.
    pub fn set_limits(&self, limits: Limits) {
        self.limits.store(Arc::new(limits));
    }

    /// Work waiting over all lanes.
    pub fn queued(&self) -> &Arc<AtomicI64> {
        &self.queued
    }

    /// The gate of a new instance.
    pub fn new_gate(&self) -> Arc<Gate> {
        let gate = Arc::new(Gate::default());
        self.gates().open.push(Arc::clone(&gate));
        gate
    }

    /// Its instance has gone; its calls stay counted.
    pub fn forget_gate(&self, gone: &Arc<Gate>) {
        let mut gates = self.gates();
        let before = gates.open.len();
        gates.open.retain(|gate| !Arc::ptr_eq(gate, gone));
        if gates.open.len() != before {
            gates.past_calls += gone.ended();
        }
    }

    /// What it has done, and what waits.
    pub fn report(&self) -> StatsReport {
        let calls = {
            let gates = self.gates();
            gates.past_calls + gates.open.iter().map(|gate| gate.ended()).sum::<u64>()
        };
        StatsReport { calls, queued: self.depth(), ..self.stats.report() }
    }

    fn gates(&self) -> std::sync::MutexGuard<'_, Gates> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Work waiting over all lanes, as a number.
    pub fn depth(&self) -> i64 {
        self.queued.load(Ordering::Relaxed)
    }

    /// The lane for `key`, made or resized for `workers` at a time.
    pub fn lane(&self, key: LaneKey, workers: usize) -> Arc<Lane> {
        let bound = self.limits.load().queue_length;
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.entry(key).or_insert_with(|| Lane::new(workers, bound));
        lane.resize(workers, bound);
        Arc::clone(lane)
    }

    /// Why this slot gets no calls, if it is in quarantine.
    pub fn quarantined(&self) -> Option<Arc<String>> {
        self.quarantine.load_full()
    }

    /// Whether it is in quarantine.
    #[inline]
    pub fn is_quarantined(&self) -> bool {
        self.is_quarantined.load(Ordering::Acquire)
    }

    /// Stops all calls: what waits is dropped, so that its callers are answered at once, and lanes are made anew later,
    /// because a drainer may be stuck in this one.
    pub fn quarantine(&self, reason: String) {
        self.quarantine.store(Some(Arc::new(reason)));
        self.is_quarantined.store(true, Ordering::Release);
        let lanes = std::mem::take(&mut *self.lanes.lock().unwrap_or_else(PoisonError::into_inner));
        for lane in lanes.values() {
            lane.close(&self.queued);
        }
    }

    /// Lets calls in again, after another generation was published.
    pub fn lift_quarantine(&self) {
        self.quarantine.store(None);
        self.is_quarantined.store(false, Ordering::Release);
    }
}

/// How many jobs of a lane run at a time.
pub fn workers_of(discipline: Discipline, queue_length: usize) -> usize {
    match discipline {
        Discipline::NoQueue | Discipline::OneQueue => 1,
        Discipline::Parallel => queue_length.max(1),
        Discipline::ParallelN(n) => usize::try_from(n).unwrap_or(usize::MAX),
    }
}
