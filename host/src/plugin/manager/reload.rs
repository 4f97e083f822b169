//! Another configuration for the same generations: options by `RELOAD` or restart, vhosts that come and go. All options are
//! checked before the first instance hears of it.

use super::prepare::{keys, options};
use super::{Manager, State};
use crate::config::diff::Effect;
use crate::config::{Config, Purge};
use crate::plugin::error::{ModuleError, Stage};
use crate::plugin::generation::Generation;
use crate::plugin::instance::{Instance, StopReason};
use crate::plugin::retirement::Leaving;
use crate::plugin::slot::{GLOBAL, SlotKey};
use crate::plugin::timer;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a reload did to one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reloaded {
    /// It took its new options.
    Applied,
    /// It does not take them while it runs, and was started anew with them.
    Restarted,
    /// It is new on this vhost.
    Started,
    /// It has gone from this vhost.
    Stopped,
    /// Its options are what they were; it was called all the same (SIGHUP).
    Called,
    /// It refused or failed, and goes on with its old options.
    Failed,
}

/// What a reload did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ReloadReport {
    /// By `module@vhost`.
    pub instances: BTreeMap<String, Reloaded>,
    /// Failures of single instances.
    pub errors: Vec<ModuleError>,
    /// Whether one of them is the refusal of new options, or of a place to serve at.
    #[serde(skip)]
    pub is_refused: bool,
}

impl Manager {
    /// Whether every loaded module would accept its options in `config`; nothing is changed.
    pub async fn check_config(&self, config: &Config) -> Vec<ModuleError> {
        let state = self.inner.state.lock().await;
        let all = state.loaded.values().flat_map(|generation| {
            keys(&generation.manifest, config).into_iter().map(move |key| (generation, key))
        });
        all.filter_map(|(generation, key)| options(&generation.manifest, &key, config).err()).collect()
    }

    /// What a changed option of a loaded module takes, as far as its manifest tells.
    pub async fn option_effect(&self, module: &str, option: &str) -> Effect {
        let state = self.inner.state.lock().await;
        let manifest = state.loaded.get(module).map(|generation| &generation.manifest);
        let declared = manifest.and_then(|m| Some((m, m.options.iter().find(|o| o.name == option)?)));
        match declared {
            // It is not loaded, or this is a key that the server itself reads, such as the length of the queues.
            None => Effect::Applied,
            Some((manifest, option)) => effect(manifest.reloads, option.boot_only),
        }
    }

    /// Lets `config` hold for all modules, or for none: when one refuses what is new to it, those that took it already are
    /// told their former options again. `call_all`: also tell those whose options are what they were (S4-2); what goes
    /// wrong there is told and refuses nothing.
    pub async fn apply_config(
        &self,
        config: Arc<Config>,
        call_all: bool,
    ) -> Result<ReloadReport, Vec<ModuleError>> {
        let errors = self.check_config(&config).await;
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut state = self.inner.state.lock().await;
        let before = self.inner.core.config();
        let report = self.spread(&mut state, &before, &config, call_all).await;
        self.inner.core.has_changed();
        if !report.is_refused {
            return Ok(report);
        }
        tracing::warn!("a module refuses its new options: the configuration before holds again");
        let back = self.spread(&mut state, &config, &before, false).await;
        Err(report.errors.into_iter().chain(back.errors).collect())
    }

    /// Lets a configuration hold, for one module after the other.
    async fn spread(
        &self,
        state: &mut State,
        before: &Config,
        config: &Arc<Config>,
        call_all: bool,
    ) -> ReloadReport {
        self.inner.core.set_config(Arc::clone(config));
        // New vhosts get their tables, changed disciplines their lanes.
        if let Err(conflict) = self.inner.core.republish() {
            tracing::error!(%conflict, "the tables could not be built for the new configuration");
        }
        let mut report = ReloadReport::default();
        let order = state.order.clone();
        for module in &order {
            if let Some(generation) = state.loaded.get_mut(module) {
                self.reload_module(generation, before, config, call_all, &mut report).await;
            }
        }
        report
    }

    /// Stops and starts one instance anew, out of the same generation, without handing state over.
    pub async fn restart_module(&self, vhost: &str, module: &str) -> Result<(), ModuleError> {
        let mut state = self.inner.state.lock().await;
        let config = self.inner.core.config();
        let key = SlotKey { module: module.into(), vhost: vhost.into() };
        let missing = || ModuleError::operator(key.to_string(), Stage::Notice, "it is not running there");
        let generation = state.loaded.get_mut(module).ok_or_else(missing)?;
        let old = generation.instances.get(&key).cloned().ok_or_else(missing)?;
        self.replace(generation, &key, Some(old), &config).await?;
        state.forget_failure(module);
        Ok(())
    }

    /// Starts a loaded module on a vhost where it does not run, whatever the configuration says; it stays until a reload
    /// finds that it is not wanted there.
    pub async fn start_on(&self, vhost: &str, module: &str) -> Result<(), ModuleError> {
        let mut state = self.inner.state.lock().await;
        let config = self.inner.core.config();
        let key = SlotKey { module: module.into(), vhost: vhost.into() };
        let refuse = |reason: &str| ModuleError::operator(key.to_string(), Stage::Notice, reason);
        let generation = state.loaded.get_mut(module).ok_or_else(|| refuse("it is not loaded"))?;
        let is_place =
            if generation.manifest.global { vhost == GLOBAL } else { config.vhosts.contains_key(vhost) };
        if !is_place {
            return Err(refuse(if generation.manifest.global {
                "it runs once for the whole server, as its instance 'global'"
            } else {
                "this server has no such vhost"
            }));
        }
        if generation.instances.contains_key(&key) {
            return Err(ModuleError::operator(key.to_string(), Stage::Start, "it runs there already"));
        }
        self.replace(generation, &key, None, &config).await?;
        match generation.instances.contains_key(&key) {
            true => {
                state.forget_failure(module);
                Ok(())
            }
            false => Err(ModuleError::module(key.to_string(), Stage::Start, "it has nothing to do there")),
        }
    }

    /// Stops a module on one vhost; elsewhere it goes on. It stays away until it is started there, updated, or called by
    /// SIGHUP.
    pub async fn stop_on(&self, vhost: &str, module: &str) -> Result<(), ModuleError> {
        let mut state = self.inner.state.lock().await;
        let key = SlotKey { module: module.into(), vhost: vhost.into() };
        let missing = || ModuleError::operator(key.to_string(), Stage::Notice, "it is not running there");
        let generation = state.loaded.get_mut(module).ok_or_else(missing)?;
        if !generation.instances.contains_key(&key) {
            return Err(missing());
        }
        self.stop_one(generation, &key, StopReason::Unload).await;
        let why = ModuleError::operator(key.to_string(), Stage::Retire, "the operator has stopped it here");
        generation.stopped.insert(key.clone(), why);
        generation.ignored.push(key);
        Ok(())
    }

    async fn reload_module(
        &self,
        generation: &mut Generation,
        before: &Config,
        config: &Config,
        call_all: bool,
        report: &mut ReloadReport,
    ) {
        let wanted = keys(&generation.manifest, config);
        let gone: Vec<SlotKey> =
            generation.instances.keys().filter(|key| !wanted.contains(key)).cloned().collect();
        for key in gone {
            self.stop_one(generation, &key, StopReason::Unload).await;
            report.instances.insert(key.to_string(), Reloaded::Stopped);
        }
        for key in wanted {
            let old = generation.instances.get(&key).cloned();
            let is_new = match &old {
                Some(instance) => {
                    options(&generation.manifest, &key, config).ok() != Some(instance.options())
                }
                // What could not be started there before either is no news.
                None => {
                    !keys(&generation.manifest, before).contains(&key)
                        || options(&generation.manifest, &key, before).ok()
                            != options(&generation.manifest, &key, config).ok()
                }
            };
            let done = match old {
                Some(instance) => self.reload_instance(generation, &instance, config, call_all).await,
                None if generation.ignored.contains(&key) && !call_all => continue,
                None => self.replace(generation, &key, None, config).await.map(|()| Some(Reloaded::Started)),
            };
            match done {
                Ok(Some(what)) => drop(report.instances.insert(key.to_string(), what)),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!("{error}");
                    report.instances.insert(key.to_string(), Reloaded::Failed);
                    report.is_refused |= is_new;
                    report.errors.push(error);
                }
            }
        }
    }

    async fn reload_instance(
        &self,
        generation: &mut Generation,
        instance: &Arc<Instance>,
        config: &Config,
        call_all: bool,
    ) -> Result<Option<Reloaded>, ModuleError> {
        let key = instance.key().clone();
        let new = options(&generation.manifest, &key, config)?;
        let changed = new != instance.options();
        if !changed && !call_all {
            return Ok(None);
        }
        let reloaded = instance.reload(&new, config.modules.start_deadline).await?;
        match (reloaded, changed) {
            (true, true) => Ok(Some(Reloaded::Applied)),
            (true, false) => Ok(Some(Reloaded::Called)),
            (false, false) => Ok(None),
            (false, true) => {
                tracing::warn!(module = %key, "does not take its new options while it runs: it is started anew with them");
                self.replace(generation, &key, Some(Arc::clone(instance)), config).await?;
                Ok(Some(Reloaded::Restarted))
            }
        }
    }

    /// Starts an instance in place of `old`, or where there was none; published in one step, so nobody misses an answer.
    async fn replace(
        &self,
        generation: &mut Generation,
        key: &SlotKey,
        old: Option<Arc<Instance>>,
        config: &Config,
    ) -> Result<(), ModuleError> {
        generation.ignored.retain(|ignored| ignored != key);
        let stopped = generation.stopped.remove(key);
        // On an error nothing was put in its place: the old one serves on.
        if let Err(error) = self.start_instance(generation, key, config, old.is_some()).await {
            generation.stopped.extend(stopped.map(|_| (key.clone(), error.clone())));
            return Err(error);
        }
        let new =
            generation.instances.get(key).filter(|new| old.as_ref().is_none_or(|old| !Arc::ptr_eq(new, old)));
        let new = new.cloned();
        let outdated = match &new {
            // A vhost on which the module was not enabled when its stores were brought forward elsewhere.
            Some(new) if old.is_none() => self.if_outdated(&generation.manifest, new).await?,
            _ => None,
        };
        let outdated: Vec<_> = outdated.into_iter().collect();
        let forward = match self.bring_forward(&outdated, config, false).await {
            Ok(()) => self.decide(&outdated).await,
            error => error,
        };
        if let Err(error) = forward {
            self.take_back(&outdated).await;
            self.undo(generation, key, new, old).await;
            return Err(error);
        }
        self.no_way_back(&outdated).await;
        if let Some(new) = &new {
            new.set_live();
        }
        let changes = BTreeMap::from([(key.clone(), new.clone())]);
        if let Err(conflict) = self.inner.core.publish(&changes) {
            self.undo(generation, key, new, old).await;
            return Err(ModuleError::module(key.to_string(), Stage::Publish, conflict.to_string()));
        }
        if let Some(new) = &new {
            new.run_early_tasks();
            new.context().slot.lift_quarantine();
            timer::start_all(&self.inner.core, new);
            if let Err(error) = new.started(config.modules.start_deadline).await {
                self.put_back(generation, key, Arc::clone(new), old).await;
                return Err(error);
            }
        }
        if let Some(old) = old {
            self.end_one(generation.number, old, StopReason::Restart, config.modules.purge).await;
        }
        Ok(())
    }

    /// What was published does not want to serve: what was there before does so again.
    async fn put_back(
        &self,
        generation: &mut Generation,
        key: &SlotKey,
        new: Arc<Instance>,
        old: Option<Arc<Instance>>,
    ) {
        if let Err(conflict) = self.inner.core.publish(&BTreeMap::from([(key.clone(), old.clone())])) {
            tracing::error!(%conflict, "putting an instance back met a conflict: this is a bug of the server");
        }
        self.undo(generation, key, Some(new), old).await;
    }

    async fn undo(
        &self,
        generation: &mut Generation,
        key: &SlotKey,
        new: Option<Arc<Instance>>,
        old: Option<Arc<Instance>>,
    ) {
        match old {
            Some(old) => drop(generation.instances.insert(key.clone(), old)),
            None => drop(generation.instances.remove(key)),
        }
        if let Some(new) = new {
            self.end_one(generation.number, new, StopReason::Failed, Purge::Brutal).await;
        }
    }

    /// Takes one instance out of service; its generation stays.
    pub(super) async fn stop_one(&self, generation: &mut Generation, key: &SlotKey, reason: StopReason) {
        let Some(instance) = generation.instances.remove(key) else { return };
        if let Err(conflict) = self.inner.core.publish(&BTreeMap::from([(key.clone(), None)])) {
            tracing::error!(%conflict, "stopping an instance met a conflict: this is a bug of the server");
        }
        let purge = self.inner.core.config().modules.purge;
        self.end_one(generation.number, instance, reason, purge).await;
    }

    pub(super) async fn end_one(
        &self,
        generation: u64,
        instance: Arc<Instance>,
        reason: StopReason,
        purge: Purge,
    ) {
        let module = instance.key().module.to_string();
        let leaving = Leaving { module, generation, instances: vec![instance], library: None, reason, purge };
        let is_asker = super::asker::is_asker(&leaving.module);
        let ending = self.inner.retirements.begin(leaving);
        if !is_asker {
            let _ = ending.await;
        }
    }
}

/// `reloads`: whether the module says that it takes options while it runs.
fn effect(reloads: Option<bool>, boot_only: bool) -> Effect {
    match (reloads, boot_only) {
        (_, true) | (Some(false), _) => Effect::NeedsModuleRestart,
        (Some(true), _) => Effect::Applied,
        (None, _) => Effect::AppliedOrModuleRestart,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_says_of_itself_decides_what_its_options_take() {
        assert_eq!(effect(Some(true), false), Effect::Applied);
        assert_eq!(effect(Some(true), true), Effect::NeedsModuleRestart);
        assert_eq!(effect(Some(false), false), Effect::NeedsModuleRestart);
        assert_eq!(effect(None, true), Effect::NeedsModuleRestart);
        assert_eq!(effect(None, false), Effect::AppliedOrModuleRestart);
    }
}
