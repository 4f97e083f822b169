//! State from the old instances of a transaction to the new ones: all of them, or none.

use super::forward::Outdated;
use crate::config::Config;
use crate::plugin::error::{ModuleError, Stage};
use crate::plugin::generation::Generation;
use crate::plugin::instance::Instance;
use moult_plugin_api::manifest::Manifest;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A call of one module of the transaction may wait for a hook of another one that is frozen already: then neither moves
/// until the first is thawed. So the freeze is first tried for a short time, and all go on in between.
const SHORT_TRIES: usize = 2;
const SHORT_PATIENCE: Duration = Duration::from_millis(200);
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Old instances held still. Dropped without `done`, it lets all of them go on.
#[derive(Default)]
pub(super) struct Frozen {
    instances: Vec<(Arc<Instance>, Instant)>,
}

impl Frozen {
    /// The new instances serve: the old ones are never to be thawed. Gives the longest pause in microseconds.
    pub(super) fn done(mut self) -> u64 {
        let pauses = self.instances.drain(..).map(|(_, since)| since.elapsed().as_micros());
        pauses.max().and_then(|us| u64::try_from(us).ok()).unwrap_or(0)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for (instance, _) in &self.instances {
            instance.thaw();
        }
    }
}

/// Checks, before anything is frozen, that each new generation reads what its predecessor writes.
pub(super) fn check(old: &Generation, new: &Generation) -> Result<(), ModuleError> {
    check_manifests(&old.manifest, &new.manifest)
}

/// The same of manifests alone, for a dry run.
pub(super) fn check_manifests(old: &Manifest, new: &Manifest) -> Result<(), ModuleError> {
    let (Some(writes), Some(reads)) = (old.state, new.state) else { return Ok(()) };
    if reads.reads(writes.writes) {
        return Ok(());
    }
    Err(ModuleError::module(
        &new.id,
        Stage::Import,
        format!(
            "it reads state schemas {} to {}, and version {} that serves writes schema {}",
            reads.reads_from, reads.reads_to, old.version, writes.writes
        ),
    ))
}

/// Old instances held still, and those of them that hand state over, with their successors.
pub(super) struct Held<'a> {
    pub(super) frozen: Frozen,
    still: Vec<Pair<'a>>,
}

impl Held<'_> {
    /// State goes from the old instances to the new ones.
    pub(super) async fn hand_over(&self, config: &Config) -> Result<(), ModuleError> {
        for (old, new) in &self.still {
            let deadline = config.modules.freeze_deadline;
            let Some(state) = old.export(config.modules.state_limit, deadline).await? else { continue };
            new.import(&state, deadline).await?;
        }
        Ok(())
    }
}

/// Freezes the old instance of every pair that hands state over, and those whose stores are to be brought forward.
/// `give_up`: one whose calls do not end is replaced without its state, instead of refusing the whole.
pub(super) async fn hold<'a>(
    pairs: &[(&'a Generation, &'a Generation)],
    outdated: &[Outdated],
    config: &Config,
    give_up: bool,
) -> Result<Held<'a>, ModuleError> {
    let with_state = |old: &Generation, new: &Generation| {
        old.manifest.state.is_some() && new.manifest.state.is_some() && check(old, new).is_ok()
    };
    let mut concerned = Vec::new();
    for (old, new) in pairs {
        for pair in same_slot(&old.instances, &new.instances) {
            let is_outdated = outdated.iter().any(|one| one.key() == pair.0.key());
            let has_state = with_state(old, new);
            if has_state || is_outdated {
                concerned.push(Concerned { pair, has_state, is_outdated });
            }
        }
    }
    for _ in 0..SHORT_TRIES {
        let patience = SHORT_PATIENCE.min(config.modules.freeze_deadline);
        if let Ok(held) = freeze_all(&concerned, patience, false).await {
            return Ok(held);
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
    freeze_all(&concerned, config.modules.freeze_deadline, give_up).await
}

type Pair<'a> = (&'a Arc<Instance>, &'a Arc<Instance>);

/// An instance that must be held still, with its successor.
struct Concerned<'a> {
    pair: Pair<'a>,
    has_state: bool,
    is_outdated: bool,
}

/// Freezes one after the other. Stores are only changed under an instance that is really still.
async fn freeze_all<'a>(
    concerned: &[Concerned<'a>],
    patience: Duration,
    give_up: bool,
) -> Result<Held<'a>, ModuleError> {
    let mut held = Held { frozen: Frozen::default(), still: Vec::new() };
    for one in concerned {
        match freeze(one.pair.0, patience, &mut held.frozen).await {
            Ok(()) if one.has_state => held.still.push(one.pair),
            Ok(()) => {}
            Err(error) if give_up && !one.is_outdated => tracing::warn!("{error}; its state is given up"),
            Err(error) => return Err(error),
        }
    }
    Ok(held)
}

async fn freeze(old: &Arc<Instance>, deadline: Duration, frozen: &mut Frozen) -> Result<(), ModuleError> {
    frozen.instances.push((Arc::clone(old), Instant::now()));
    old.freeze(deadline).await.map_err(|left| {
        let reason = format!("{left} of its calls did not end within {} ms", deadline.as_millis());
        ModuleError::module(old.key().to_string(), Stage::Freeze, reason)
    })
}

fn same_slot<'a, K: Ord>(
    old: &'a BTreeMap<K, Arc<Instance>>,
    new: &'a BTreeMap<K, Arc<Instance>>,
) -> impl Iterator<Item = (&'a Arc<Instance>, &'a Arc<Instance>)> {
    old.iter().filter_map(|(key, old)| Some((old, new.get(key)?)))
}
