//! The end of a generation: drain its calls, stop its instances, unmap its library. It runs beside the server, never in the
//! way of an update, and each step has a deadline; what does not end is listed with its reason.

use super::bridge::context::HostContext;
use super::core::Core;
use super::generation::Generation;
use super::instance::{Instance, StopReason};
use super::loader::Library;
use super::remains::{Again, Code, Remains, waits_for_calls};
use super::report::DrainReport;
use super::retire::{Outcome, Retained, RetainedInfo, RetainedSet, RetireLimits, retire};
use crate::config::{Config, Purge};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex as AsyncMutex;

/// How long those who merely hold an old table may take to let go of it.
const LET_GO: Duration = Duration::from_secs(2);
/// How long cut calls may take to end.
const AFTER_CUT: Duration = Duration::from_secs(1);

/// All generations that are on their way out.
pub struct Retirements {
    core: Arc<Core>,
    draining: Mutex<BTreeMap<(String, u64), String>>,
    retained: AsyncMutex<RetainedSet>,
    remains: AsyncMutex<Remains>,
    /// Contexts that code still mapped may use.
    kept: Mutex<BTreeMap<u64, Vec<Arc<HostContext>>>>,
    limits: RetireLimits,
}

/// What is ended, and how.
pub struct Leaving {
    /// Module id.
    pub module: String,
    /// Its generation.
    pub generation: u64,
    /// Instances to end.
    pub instances: Vec<Arc<Instance>>,
    /// The library, unless other instances still use it.
    pub library: Option<(Arc<Library>, Vec<Arc<HostContext>>)>,
    /// What the instances are told.
    pub reason: StopReason,
    /// What happens to calls that do not end.
    pub purge: Purge,
}

impl Leaving {
    /// A whole generation.
    pub fn all_of(generation: Generation, reason: StopReason, purge: Purge) -> Self {
        Self {
            module: generation.module().to_owned(),
            generation: generation.number,
            instances: generation.instances.into_values().collect(),
            library: Some((generation.library, generation.contexts)),
            reason,
            purge,
        }
    }
}

impl Retirements {
    /// None yet; at most `cap` generations of a module may stay mapped before its swaps are refused.
    pub fn new(core: Arc<Core>, cap: usize) -> Arc<Self> {
        Arc::new(Self {
            core,
            draining: Mutex::default(),
            retained: AsyncMutex::new(RetainedSet::new(cap)),
            remains: AsyncMutex::default(),
            kept: Mutex::default(),
            limits: RetireLimits::default(),
        })
    }

    /// Ends a generation beside everything else. The handle gives whether its code is gone.
    pub fn begin(self: &Arc<Self>, leaving: Leaving) -> tokio::task::JoinHandle<bool> {
        for instance in &leaving.instances {
            instance.retire();
        }
        self.note(&leaving.module, leaving.generation, "its calls to end");
        let this = Arc::clone(self);
        tokio::spawn(async move { this.run(leaving).await })
    }

    /// What still drains.
    pub fn draining(&self) -> Vec<DrainReport> {
        let report = |((module, generation), waits_for): (&(String, u64), &String)| DrainReport {
            module: module.clone(),
            generation: *generation,
            waits_for: waits_for.clone(),
        };
        lock(&self.draining).iter().map(report).collect()
    }

    /// What stays mapped.
    pub async fn retained(&self) -> Vec<RetainedInfo> {
        let mut all = self.retained.lock().await.infos();
        all.extend(self.remains.lock().await.infos());
        all
    }

    /// Why another swap of this module must be refused, if it must.
    pub async fn refusal(&self, module: &str) -> Option<String> {
        let remaining = self.remains.lock().await.count(module);
        self.retained.lock().await.refusal(module, remaining)
    }

    /// Tries again to unmap what stayed mapped; gives what went.
    pub async fn sweep(&self) -> Vec<RetainedInfo> {
        let handles = self.core.runtimes();
        self.sweep_remains().await;
        // What is not ready is not waited for: an update asks for this lock too.
        let gone = self.retained.lock().await.sweep(&handles, &RetireLimits::brief()).await;
        for info in &gone {
            lock(&self.kept).remove(&info.generation);
            tracing::info!(module = info.module, generation = info.generation, "unloaded, late");
        }
        gone
    }

    /// What can be ended by now. A library that is free then has its turn in the sweep proper, where it is counted.
    async fn sweep_remains(&self) {
        let mut remains = self.remains.lock().await;
        for key in remains.keys() {
            match remains.again(&key, &self.core).await {
                Again::No => {}
                Again::Ended => drop(lock(&self.draining).remove(&key)),
                Again::Free(library, contexts) => {
                    let retained = Retained::waiting(library);
                    lock(&self.kept).insert(key.1, contexts);
                    self.retained.lock().await.add(retained);
                }
            }
        }
    }

    async fn run(self: Arc<Self>, leaving: Leaving) -> bool {
        let Leaving { module, generation, instances, library, reason, purge } = leaving;
        let config = self.core.config();
        let (mut left, mut why) = (Vec::new(), String::new());
        for instance in instances {
            if let Err(waits) = self.end_instance(&module, &instance, reason, purge, &config).await {
                left.push((instance, reason));
                why = waits;
            }
        }
        if left.is_empty() {
            return match library {
                Some(code) => self.unload(module, generation, code).await,
                None => {
                    lock(&self.draining).remove(&(module, generation));
                    true
                }
            };
        }
        // Its library must stay as long as anything of it runs.
        self.keep(module, generation, left, library, why).await;
        false
    }

    /// The reason, if it cannot be ended now.
    async fn end_instance(
        &self,
        module: &str,
        instance: &Arc<Instance>,
        reason: StopReason,
        purge: Purge,
        config: &Config,
    ) -> Result<(), String> {
        let generation = instance.generation();
        if let Err(left) = self.drain(module, instance, purge, config).await {
            let waits = waits_for_calls(left);
            tracing::warn!(module = %instance.key(), generation, "old generation stays: {waits}");
            self.note(module, generation, &waits);
            return Err(waits);
        }
        instance.end(reason, stop_deadline(instance, config)).await.map_err(|error| {
            tracing::warn!(generation, "{error}");
            self.note(module, generation, &error.reason);
            error.reason
        })?;
        self.core.has_ended(instance);
        Ok(())
    }

    /// Keeps what could not be ended. With its library it is retained, and drains no more.
    async fn keep(
        &self,
        module: String,
        generation: u64,
        left: Vec<(Arc<Instance>, StopReason)>,
        code: Option<Code>,
        why: String,
    ) {
        let (key, is_whole) = ((module, generation), code.is_some());
        self.remains.lock().await.add(key.clone(), left, code, why);
        if is_whole {
            lock(&self.draining).remove(&key);
        }
    }

    async fn drain(
        &self,
        module: &str,
        instance: &Instance,
        purge: Purge,
        config: &Config,
    ) -> Result<(), u64> {
        let patience = match purge {
            Purge::Brutal => Duration::ZERO,
            Purge::Drain => config.modules.drain_deadline,
            // As long as any call may take: each of them has a deadline of its own.
            Purge::Soft => Duration::from_secs(24 * 3600),
        };
        let Err(left) = instance.gate().wait_empty(patience).await else { return Ok(()) };
        self.note(module, instance.generation(), &format!("{left} calls that are being cut"));
        instance.cut();
        instance.gate().wait_empty(AFTER_CUT).await
    }

    async fn unload(&self, module: String, generation: u64, code: Code) -> bool {
        let key = (module.clone(), generation);
        // What remains of it, an instance that never served, holds its library: no need to wait for that here.
        let joined = self.remains.lock().await.join(&key, code);
        let Err((library, contexts)) = joined else {
            lock(&self.draining).remove(&key);
            return false;
        };
        self.note(&module, generation, "its library to be unmapped");
        let library = match last_of(library).await {
            Ok(library) => library,
            Err(library) => {
                let why = "a call into it does not return";
                tracing::warn!(module, generation, "stays mapped: {why}");
                self.keep(module, generation, Vec::new(), Some((library, contexts)), why.to_owned()).await;
                return false;
            }
        };
        let outcome = retire(library, &self.core.runtimes(), &self.limits).await;
        let gone = match outcome {
            Outcome::Unloaded => {
                tracing::debug!(module, generation, "unloaded");
                true
            }
            Outcome::Retained(retained) => {
                let reasons = retained.info().reasons.join("; ");
                tracing::warn!(module, generation, "the old generation stays mapped: {reasons}");
                lock(&self.kept).insert(generation, contexts);
                self.retained.lock().await.add(retained);
                false
            }
        };
        lock(&self.draining).remove(&(module, generation));
        gone
    }

    fn note(&self, module: &str, generation: u64, waits_for: &str) {
        lock(&self.draining).insert((module.to_owned(), generation), waits_for.to_owned());
    }
}

/// What the module asked for, but no more than the operator allows.
fn stop_deadline(instance: &Instance, config: &Config) -> Duration {
    let asked = instance.code().library().map(|library| library.manifest().policy.shutdown_ms);
    asked.map_or(Duration::MAX, Duration::from_millis).min(config.modules.stop_deadline)
}

/// The library itself, once nobody else refers to it: readers of an old table let go within one stanza.
async fn last_of(mut library: Arc<Library>) -> Result<Library, Arc<Library>> {
    let deadline = tokio::time::Instant::now() + LET_GO;
    loop {
        match Arc::try_unwrap(library) {
            Ok(library) => return Ok(library),
            Err(shared) if tokio::time::Instant::now() > deadline => return Err(shared),
            Err(shared) => library = shared,
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

/// Ends what was prepared and will not serve: a refused update.
pub async fn discard(retirements: &Arc<Retirements>, generations: Vec<Generation>) {
    let leaving = generations.into_iter().map(|g| Leaving::all_of(g, StopReason::Failed, Purge::Brutal));
    let ending: Vec<_> = leaving.map(|leaving| retirements.begin(leaving)).collect();
    for end in ending {
        let _ = end.await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
