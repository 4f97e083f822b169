//! The update transaction: for the whole set of modules named, or not at all.
//!
//! prepare all (copy, probe, load, start) -> check (dependencies, schemas, conflicts) -> freeze the stateful old ones,
//! export, import -> publish with one pointer store: the point of no return -> drain and retire the old ones. Whatever
//! fails before that store is undone, and the old set goes on serving.

use super::asker::is_asker;
use super::handover;
use super::started::{Otherwise, Starting};
use super::{Manager, State};
use crate::config::{Config, Purge};
use crate::plugin::core::Core;
use crate::plugin::error::{ModuleError, Stage};
use crate::plugin::folder::{FolderRules, FolderScanner, Found};
use crate::plugin::generation::Generation;
use crate::plugin::history::{Build, Entry, now};
use crate::plugin::instance::{Instance, StopReason};
use crate::plugin::plan::{self, Plan, Selection};
use crate::plugin::report::{StageTime, UpdateReport};
use crate::plugin::retirement::{Leaving, discard};
use crate::plugin::slot::SlotKey;
use crate::plugin::timer;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How long an update waits for the old code to be gone before it reports it as unpurged.
const PURGE_PATIENCE: Duration = Duration::from_secs(5);

/// What is asked of an update.
#[derive(Debug, Clone)]
pub struct UpdateRequest {
    /// Which modules.
    pub selection: Selection,
    /// What happens to old calls; the configuration says so where absent.
    pub purge: Option<Purge>,
    /// Update even where state cannot be handed over: it is given up.
    pub force: bool,
    /// What caused it, for log and history.
    pub trigger: &'static str,
}

impl UpdateRequest {
    /// Everything that differs.
    pub fn all(trigger: &'static str) -> Self {
        Self { selection: Selection::All, purge: None, force: false, trigger }
    }

    /// These modules.
    pub fn named(names: impl IntoIterator<Item = String>, trigger: &'static str) -> Self {
        Self { selection: Selection::Named(names.into_iter().collect()), ..Self::all(trigger) }
    }
}

/// A set of new generations, not yet visible.
#[derive(Default)]
struct Prepared {
    new: Vec<Generation>,
}

/// What a transaction put in place of what.
struct Committed {
    /// Module, build before, build after.
    changes: Vec<(String, Option<Build>, Option<Build>)>,
    retiring: Vec<(String, JoinHandle<bool>)>,
    pause_us: u64,
}

/// The clock of the stages.
struct Stages {
    times: Vec<StageTime>,
    since: Instant,
}

impl Stages {
    fn begin() -> Self {
        Self { times: Vec::new(), since: Instant::now() }
    }

    fn end(&mut self, transaction: u64, stage: &'static str) {
        let ms = self.since.elapsed().as_secs_f64() * 1e3;
        tracing::debug!(transaction, stage, ms, "update");
        // Whole microseconds: more digits would promise what no clock holds.
        self.times.push(StageTime { stage, ms: (ms * 1e3).round() / 1e3 });
        self.since = Instant::now();
    }
}

impl Manager {
    /// Brings what serves in line with the folder.
    pub async fn update(&self, request: UpdateRequest) -> UpdateReport {
        let mut stages = Stages::begin();
        let mut state = self.inner.state.lock().await;
        let transaction = super::lock(&self.inner.history).next_transaction();
        let config = self.inner.core.config();
        let scan = self.scan().await;
        let candidates = plan::candidates(&scan, &state.loaded, &state.memory, &config);
        let plan = plan::plan(&request.selection, candidates);
        stages.end(transaction, "files");
        let outcome = self.carry_out(&mut state, plan, &request, transaction, stages).await;
        self.finish(outcome, state, &request).await
    }

    /// Goes back to the build that served before, or to the one that `build` names (a version, or how its hash begins),
    /// out of the store of kept files.
    pub async fn rollback(&self, module: &str, build: Option<&str>, trigger: &'static str) -> UpdateReport {
        let stages = Stages::begin();
        let mut state = self.inner.state.lock().await;
        let transaction = super::lock(&self.inner.history).next_transaction();
        let request = UpdateRequest { trigger, ..UpdateRequest::named([module.to_owned()], trigger) };
        let plan = match self.plan_rollback(module, build, &state) {
            Ok(found) => Plan { load: vec![found], ..Plan::default() },
            Err(error) => Plan { errors: vec![error], ..Plan::default() },
        };
        if plan.errors.is_empty()
            && let Some(serving) = state.loaded.get(module)
        {
            let rejected = serving.hash;
            state.memory.rejected.insert(module.to_owned(), rejected);
        }
        let outcome = self.carry_out(&mut state, plan, &request, transaction, stages).await;
        self.finish(outcome, state, &request).await
    }

    /// Takes modules out of service; their files stay.
    pub async fn unload(&self, modules: Vec<String>, force: bool) -> UpdateReport {
        let stages = Stages::begin();
        let mut state = self.inner.state.lock().await;
        let transaction = super::lock(&self.inner.history).next_transaction();
        let mut plan = Plan::default();
        for module in &modules {
            if state.loaded.contains_key(module) {
                plan.unload.push(module.clone());
            } else {
                plan.errors.push(ModuleError::operator(module, Stage::Notice, "it is not loaded"));
            }
        }
        let request = UpdateRequest { force, ..UpdateRequest::named(modules.clone(), "ctl") };
        let outcome = self.carry_out(&mut state, plan, &request, transaction, stages).await;
        if outcome.report.errors.is_empty() {
            state.memory.unloaded.extend(modules);
        }
        self.finish(outcome, state, &request).await
    }

    fn plan_rollback(&self, module: &str, build: Option<&str>, state: &State) -> Result<Found, ModuleError> {
        let refuse = |reason: String| ModuleError::operator(module, Stage::Notice, reason);
        let serving = state.loaded.get(module).map(|g| g.hash.to_string()).unwrap_or_default();
        let former = super::lock(&self.inner.history).former(module, &serving, build);
        let (build, path) = former
            .map_err(|error| refuse(format!("the history of updates cannot be read: {error}")))?
            .ok_or_else(|| refuse(none_kept(build)))?;
        let folder = path.parent().ok_or_else(|| refuse(format!("{} has no folder", path.display())))?;
        // Several builds of one module lie there, which in the plugin folder itself would be a collision.
        let found = FolderScanner::new(folder, FolderRules::default()).find(&path).map_err(refuse)?;
        if found.hash.to_string() != build.hash {
            return Err(refuse(format!("{} is not what was kept", path.display())));
        }
        Ok(found)
    }

    async fn carry_out(
        &self,
        state: &mut State,
        plan: Plan,
        request: &UpdateRequest,
        transaction: u64,
        mut stages: Stages,
    ) -> Outcome {
        let asked: Vec<String> =
            plan.load.iter().map(|f| f.id().to_owned()).chain(plan.unload.clone()).collect();
        if !plan.errors.is_empty() {
            return self.refused(state, request, transaction, plan.errors, stages);
        }
        for skipped in &plan.skipped {
            tracing::warn!(transaction, trigger = request.trigger, "{skipped}; it is left out");
            state.memory.failed.insert(skipped.module.clone(), skipped.clone());
        }
        let (unchanged, skipped) = (plan.unchanged.clone(), plan.skipped.clone());
        if plan.is_empty() {
            return Outcome::well(transaction, unchanged, skipped, stages);
        }
        tracing::info!(transaction, trigger = request.trigger, modules = asked.join(","), "update begins");
        match self.try_it(state, &plan, request, transaction, &mut stages).await {
            Ok(committed) => {
                let outcome = Outcome::well(transaction, unchanged, skipped, stages);
                self.committed(state, request, committed, outcome)
            }
            Err(error) => {
                let mut outcome = self.refused(state, request, transaction, vec![error], stages);
                outcome.report.skipped = skipped;
                outcome
            }
        }
    }

    async fn try_it(
        &self,
        state: &mut State,
        plan: &Plan,
        request: &UpdateRequest,
        transaction: u64,
        stages: &mut Stages,
    ) -> Result<Committed, ModuleError> {
        let config = self.inner.core.config();
        let mut prepared = Prepared::default();
        let tried =
            self.until_publish(state, plan, request, &config, &mut prepared, transaction, stages).await;
        match tried {
            Ok((pause_us, order)) => {
                Ok(self.put_in_place(state, prepared, plan, request, &config, pause_us, order))
            }
            Err(error) => {
                discard(&self.inner.retirements, prepared.new).await;
                Err(error)
            }
        }
    }

    /// Everything up to and including the publication. An error leaves nothing but `prepared` to be thrown away.
    #[allow(clippy::too_many_arguments, reason = "one transaction, told what it is about")]
    async fn until_publish(
        &self,
        state: &State,
        plan: &Plan,
        request: &UpdateRequest,
        config: &Config,
        prepared: &mut Prepared,
        transaction: u64,
        stages: &mut Stages,
    ) -> Result<(u64, Vec<String>), ModuleError> {
        for found in &plan.load {
            prepared.new.push(self.load_library(found).await?);
        }
        let order = order_after(state, &prepared.new, plan, request.force)?;
        prepared.new.sort_by_key(|new| order.iter().position(|id| id == new.module()));
        for new in &mut prepared.new {
            let on_swap = state.loaded.contains_key(new.module());
            self.start_instances(new, config, on_swap).await?;
        }
        stages.end(transaction, "prepare");
        let changes = changes(state, &prepared.new, plan);
        self.inner.core.rehearse(&changes).map_err(clash)?;
        let pairs: Vec<(&Generation, &Generation)> =
            prepared.new.iter().filter_map(|new| Some((state.loaded.get(new.module())?, new))).collect();
        if !request.force {
            pairs.iter().try_for_each(|(old, new)| handover::check(old, new))?;
        }
        stages.end(transaction, "check");
        let outdated = self.outdated(&prepared.new).await?;
        // What a sick generation holds and does not give back, nobody can use: the former build serves without it.
        let give_up = request.force || request.purge == Some(Purge::Brutal) || request.trigger == "health";
        let held = handover::hold(&pairs, &outdated, config, give_up).await?;
        self.bring_forward(&outdated, config, !pairs.is_empty()).await?;
        let passed_on = async {
            held.hand_over(config).await?;
            self.decide(&outdated).await?;
            stages.end(transaction, "handover");
            publish(&self.inner.core, &prepared.new, &changes)
        };
        if let Err(error) = passed_on.await {
            // The old instances are still held: nobody sees stores that are half-way back.
            self.take_back(&outdated).await;
            return Err(error);
        }
        let pause_us = held.frozen.done();
        self.no_way_back(&outdated).await;
        stages.end(transaction, "publish");
        Ok((pause_us, order))
    }

    /// The new set serves: the old one is retired beside it.
    #[allow(clippy::too_many_arguments, reason = "one transaction, told what it is about")]
    fn put_in_place(
        &self,
        state: &mut State,
        prepared: Prepared,
        plan: &Plan,
        request: &UpdateRequest,
        config: &Config,
        pause_us: u64,
        order: Vec<String>,
    ) -> Committed {
        let purge = request.purge.unwrap_or(config.modules.purge);
        let mut committed = Committed { changes: Vec::new(), retiring: Vec::new(), pause_us };
        for new in prepared.new {
            let module = new.module().to_owned();
            let to = Some(build(&new));
            let old = state.loaded.insert(module.clone(), new);
            committed.changes.push((module.clone(), old.as_ref().map(build), to));
            state.memory.failed.remove(&module);
            state.memory.unloaded.remove(&module);
            if let Some(old) = old {
                let leaving = Leaving::all_of(old, StopReason::Swap, purge);
                committed.retiring.push((module, self.inner.retirements.begin(leaving)));
            }
        }
        for module in &plan.unload {
            let Some(old) = state.loaded.remove(module) else { continue };
            committed.changes.push((module.clone(), Some(build(&old)), None));
            let leaving = Leaving::all_of(old, StopReason::Unload, purge);
            committed.retiring.push((module.clone(), self.inner.retirements.begin(leaving)));
        }
        state.order = order;
        committed
    }

    fn committed(
        &self,
        state: &State,
        request: &UpdateRequest,
        committed: Committed,
        mut outcome: Outcome,
    ) -> Outcome {
        let Committed { changes, retiring, pause_us } = committed;
        let transaction = outcome.report.transaction;
        for (module, from, _) in &changes {
            outcome.starting.extend(self.serves_now(state, module, from.is_some(), request.trigger));
        }
        let updated: Vec<String> = changes.iter().map(|(module, _, _)| module.clone()).collect();
        tracing::info!(transaction, modules = updated.join(","), pause_us, "update published");
        self.note(changes.into_iter().map(|change| entry(request, transaction, change)).collect());
        outcome.report.updated = updated;
        outcome.report.pause_us = pause_us;
        outcome.retiring = retiring;
        outcome
    }

    /// Timers, the health window; gives who is to be told that it serves.
    fn serves_now(
        &self,
        state: &State,
        module: &str,
        is_swap: bool,
        trigger: &'static str,
    ) -> Option<Starting> {
        let generation = state.loaded.get(module)?;
        let instances: Vec<Arc<Instance>> = generation.instances.values().cloned().collect();
        for instance in &instances {
            instance.context().slot.lift_quarantine();
            timer::start_all(&self.inner.core, instance);
        }
        if trigger == "start" {
            return None;
        }
        self.watch_health(module, generation.number, trigger);
        let otherwise = match trigger {
            "health" | "rollback" => Otherwise::Leave,
            _ if is_swap => Otherwise::GoBack,
            _ => Otherwise::TakeOut,
        };
        Some(Starting { module: module.to_owned(), generation: generation.number, instances, otherwise })
    }

    fn refused(
        &self,
        state: &mut State,
        request: &UpdateRequest,
        transaction: u64,
        errors: Vec<ModuleError>,
        stages: Stages,
    ) -> Outcome {
        for error in &errors {
            tracing::error!(transaction, trigger = request.trigger, "{error}; nothing was changed");
            let module = error.module.split('@').next().unwrap_or_default().to_owned();
            state.memory.failed.insert(module, error.clone());
        }
        self.note(errors.iter().map(|error| failed_entry(request, transaction, error)).collect());
        let report = UpdateReport { status: "error", transaction, errors, ..UpdateReport::default() };
        Outcome { report, retiring: Vec::new(), starting: Vec::new(), stages }
    }
}

/// A transaction that is over, but for the old code it left behind and the new one's first words.
pub(super) struct Outcome {
    pub(super) report: UpdateReport,
    retiring: Vec<(String, JoinHandle<bool>)>,
    pub(super) starting: Vec<Starting>,
    stages: Stages,
}

impl Outcome {
    fn well(transaction: u64, unchanged: Vec<String>, skipped: Vec<ModuleError>, stages: Stages) -> Self {
        let status = if skipped.is_empty() { "ok" } else { "partly" };
        let report = UpdateReport { status, transaction, unchanged, skipped, ..UpdateReport::default() };
        Self { report, retiring: Vec::new(), starting: Vec::new(), stages }
    }

    /// Waits a while for the old code to go.
    async fn purged(mut self) -> UpdateReport {
        let until = tokio::time::Instant::now() + PURGE_PATIENCE;
        for (module, retiring) in self.retiring {
            if is_asker(&module) {
                // Its retirement runs on by itself, with the deadlines of every other.
                self.report.purged_after_answer.push(module);
                continue;
            }
            let gone = tokio::time::timeout_at(until, retiring).await;
            if !matches!(gone, Ok(Ok(true))) {
                self.report.unpurged.push(module);
            }
        }
        self.stages.end(self.report.transaction, "retire");
        self.report.stages = self.stages.times;
        self.report
    }
}

impl Manager {
    /// With the state free for others: tells the new instances that they serve, and waits for the old code to go.
    async fn finish(
        &self,
        mut outcome: Outcome,
        state: tokio::sync::MutexGuard<'_, State>,
        request: &UpdateRequest,
    ) -> UpdateReport {
        drop(state);
        self.tell_started(&mut outcome, request).await;
        outcome.stages.end(outcome.report.transaction, "started");
        outcome.purged().await
    }
}

fn publish(
    core: &Core,
    new: &[Generation],
    changes: &BTreeMap<SlotKey, Option<Arc<Instance>>>,
) -> Result<(), ModuleError> {
    // Before the store: from now on a registration of theirs is published by itself.
    let instances = || new.iter().flat_map(|generation| generation.instances.values());
    instances().for_each(|instance| instance.set_live());
    let gone = core.publish(changes).map_err(clash)?;
    // The point of no return is behind us: whoever waits at an old gate looks the new instance up.
    gone.iter().for_each(|old| old.retire());
    instances().for_each(|instance| instance.run_early_tasks());
    Ok(())
}

/// The order in which all modules would have started, were they started now.
fn order_after(
    state: &State,
    new: &[Generation],
    plan: &Plan,
    force: bool,
) -> Result<Vec<String>, ModuleError> {
    let gone: BTreeSet<&String> = plan.unload.iter().collect();
    let kept = state.loaded.iter().filter(|(id, _)| !gone.contains(id));
    let mut manifests: BTreeMap<String, _> = kept.map(|(id, g)| (id.clone(), &*g.manifest)).collect();
    manifests.extend(new.iter().map(|g| (g.module().to_owned(), &*g.manifest)));
    match plan::start_order(&manifests) {
        Err(_) if force => Ok(manifests.into_keys().collect()),
        order => order,
    }
}

/// Which slot is to be served by what.
fn changes(state: &State, new: &[Generation], plan: &Plan) -> BTreeMap<SlotKey, Option<Arc<Instance>>> {
    let mut changes = BTreeMap::new();
    let leaving = new.iter().map(Generation::module).chain(plan.unload.iter().map(String::as_str));
    for old in leaving.filter_map(|module| state.loaded.get(module)) {
        changes.extend(old.instances.keys().map(|key| (key.clone(), None)));
    }
    for generation in new {
        let serve = generation.instances.iter();
        changes.extend(serve.map(|(key, instance)| (key.clone(), Some(Arc::clone(instance)))));
    }
    changes
}

fn none_kept(build: Option<&str>) -> String {
    match build {
        None => "no former build of it was kept".into(),
        Some(build) => format!("no former build of it with the version or hash '{build}' was kept"),
    }
}

fn clash(conflict: crate::plugin::registry::Conflict) -> ModuleError {
    let module = conflict.asker.clone();
    ModuleError::module(module, Stage::Publish, conflict.to_string())
}

fn build(generation: &Generation) -> Build {
    Build::new(&generation.manifest.version, generation.hash)
}

fn entry(
    request: &UpdateRequest,
    transaction: u64,
    (module, from, to): (String, Option<Build>, Option<Build>),
) -> Entry {
    let outcome = match (&from, &to) {
        (_, None) => "unloaded",
        _ if matches!(request.trigger, "rollback" | "health") => "rolled_back",
        (None, _) => "loaded",
        _ => "updated",
    };
    let (trigger, outcome) = (request.trigger.to_owned(), outcome.to_owned());
    Entry { at: now(), transaction, trigger, module, outcome, from, to, reason: None }
}

pub(super) fn failed_entry(request: &UpdateRequest, transaction: u64, error: &ModuleError) -> Entry {
    Entry {
        at: now(),
        transaction,
        trigger: request.trigger.to_owned(),
        module: error.module.clone(),
        outcome: "failed".into(),
        from: None,
        to: None,
        reason: Some(error.to_string()),
    }
}
