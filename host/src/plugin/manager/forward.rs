//! Stores of an older schema, brought forward by a newer build before it serves; or put back, row by row, when it cannot.
//!
//! A manifest names the schema of the module's stores; the server keeps, for each module and vhost, the schema that they
//! have. A build that knows less than that is refused when its instance is to start. One that knows more gets the stores to
//! itself while the old instance is held still, batch by batch, within `modules.migration_deadline`. The new number is
//! committed right before the publication; whatever fails before that is undone by the store, also when the server dies.
//! There is no way back afterwards: going back to the former build is then refused like any other build that knows less.

use super::Manager;
use crate::config::Config;
use crate::plugin::error::{ModuleError, Stage};
use crate::plugin::generation::Generation;
use crate::plugin::instance::Instance;
use crate::plugin::services::{BoxFuture, StoreStep};
use crate::plugin::slot::SlotKey;
use moult_plugin_api::manifest::{Manifest, StoreSchema};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Without anybody waiting, as at the start of the server, a migration may take its time.
const WITHOUT_CALLERS: Duration = Duration::from_secs(3600);
/// How often, and after what time, an undo is tried again that the store refused.
const UNDO_TRIES: usize = 10;
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// An instance whose stores have an older schema than its build, or none yet.
pub(super) struct Outdated {
    pub(super) instance: Arc<Instance>,
    /// The schema they have; `None` where there are none.
    from: Option<u32>,
    to: u32,
}

impl Outdated {
    pub(super) fn key(&self) -> &SlotKey {
        self.instance.key()
    }
}

impl Manager {
    /// Refuses a build that does not know the schema of the stores in this slot.
    pub(super) async fn check_stores(&self, manifest: &Manifest, key: &SlotKey) -> Result<(), ModuleError> {
        let Some(stored) = self.schema_of(key).await? else { return Ok(()) };
        let refuse = |reason| Err(ModuleError::module(key.to_string(), Stage::Migrate, reason));
        let StoreSchema { schema, from } = manifest.store_schema();
        if stored > schema {
            return refuse(format!(
                "its stores have schema {stored}, to which a later build has brought them, and version {} knows schemas up \
                 to {schema}: load a build that knows schema {stored}, or restore a backup of before",
                manifest.version
            ));
        }
        if stored < from {
            return refuse(format!(
                "its stores have schema {stored}, and version {} brings them forward from schema {from} on: load a build \
                 in between first",
                manifest.version
            ));
        }
        Ok(())
    }

    /// Which of these instances have older stores than their build.
    pub(super) async fn outdated(&self, new: &[Generation]) -> Result<Vec<Outdated>, ModuleError> {
        let mut all = Vec::new();
        for generation in new {
            for instance in generation.instances.values() {
                all.extend(self.if_outdated(&generation.manifest, instance).await?);
            }
        }
        Ok(all)
    }

    /// The same of one.
    pub(super) async fn if_outdated(
        &self,
        manifest: &Manifest,
        instance: &Arc<Instance>,
    ) -> Result<Option<Outdated>, ModuleError> {
        // Who says nothing of a schema has the first, and so have its stores.
        let Some(StoreSchema { schema: to, .. }) = manifest.store else { return Ok(None) };
        let from = self.schema_of(instance.key()).await?;
        let is_current = from.map_or(to == StoreSchema::FIRST.schema, |from| from == to);
        Ok((!is_current).then(|| Outdated { instance: Arc::clone(instance), from, to }))
    }

    /// Brings the stores forward and commits their numbers. An error means that every row is as it was before. `end` must
    /// follow a publication, `take_back` a refusal of it.
    pub(super) async fn bring_forward(
        &self,
        outdated: &[Outdated],
        config: &Config,
        has_callers: bool,
    ) -> Result<(), ModuleError> {
        if outdated.is_empty() {
            return Ok(());
        }
        let keys = keys(outdated);
        self.step(StoreStep::Begin(keys), &outdated[0]).await?;
        let patience = if has_callers { config.modules.migration_deadline } else { WITHOUT_CALLERS };
        let until = Instant::now() + patience;
        for one in outdated {
            if let Err(error) = migrate(one, until, patience, config.modules.start_deadline).await {
                self.take_back(outdated).await;
                return Err(error);
            }
        }
        Ok(())
    }

    /// The stores have their new numbers from here on, also if the server dies.
    pub(super) async fn decide(&self, outdated: &[Outdated]) -> Result<(), ModuleError> {
        let Some(first) = outdated.first() else { return Ok(()) };
        let numbers = outdated.iter().map(|one| (one.key().clone(), one.to)).collect();
        self.step(StoreStep::Decide(numbers), first).await
    }

    /// The new builds serve.
    pub(super) async fn no_way_back(&self, outdated: &[Outdated]) {
        let Some(first) = outdated.first() else { return };
        if let Err(error) = self.step(StoreStep::End, first).await {
            // What is left of the way back goes away when the file is opened the next time.
            tracing::warn!("{error}");
        }
    }

    /// The new builds do not serve: nothing is taken from them any more, and every row is put back.
    pub(super) async fn take_back(&self, outdated: &[Outdated]) {
        let Some(first) = outdated.first() else { return };
        outdated.iter().for_each(|one| one.instance.give_up());
        for _ in 0..UNDO_TRIES {
            match self.step(StoreStep::Undo(keys(outdated)), first).await {
                Ok(()) => return,
                Err(error) => tracing::error!("{error}; its stores are not yet as they were"),
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
        tracing::error!("the stores of {} are put back when the server starts the next time", first.key());
    }

    async fn schema_of(&self, key: &SlotKey) -> Result<Option<u32>, ModuleError> {
        let Some(services) = self.inner.core.connected() else { return Ok(None) };
        let asked: BoxFuture<_> = services.schema_of(key);
        asked.await.map_err(|error| ModuleError::server(key.to_string(), Stage::Migrate, error.text))
    }

    async fn step(&self, step: StoreStep, of: &Outdated) -> Result<(), ModuleError> {
        let Some(services) = self.inner.core.connected() else { return Ok(()) };
        let done = services.store_step(step).await;
        done.map_err(|error| ModuleError::server(of.key().to_string(), Stage::Migrate, error.text))
    }
}

/// Batch after batch, each with the deadline of a start, all of them until `until`.
async fn migrate(
    outdated: &Outdated,
    until: Instant,
    patience: Duration,
    batch: Duration,
) -> Result<(), ModuleError> {
    let Outdated { instance, from, to } = outdated;
    // Where nothing is, nothing is brought forward: the number is noted.
    let Some(from) = *from else { return Ok(()) };
    let (mut cursor, mut batches, began) = (String::new(), 0_u64, Instant::now());
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let reason = format!(
                "its stores were not brought forward from schema {from} to {to} within {} ms \
                 (modules.migration_deadline), after {batches} batches",
                patience.as_millis()
            );
            return Err(ModuleError::module(instance.key().to_string(), Stage::Migrate, reason));
        }
        batches += 1;
        match instance.migrate(from, &cursor, batch.min(left)).await? {
            Some(next) => cursor = next,
            None => break,
        }
    }
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(module = %instance.key(), from, to, batches, ms, "stores were brought forward");
    Ok(())
}

fn keys(outdated: &[Outdated]) -> Vec<SlotKey> {
    outdated.iter().map(|one| one.key().clone()).collect()
}
