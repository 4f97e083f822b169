//! The schemas of what modules store, and the transaction in which they rise.
//!
//! Before what the stores hold is noted, and before it is put back, the operations that the module has begun come to their
//! end: none of them happens on the wrong side of the line.

use std::sync::Arc;
use std::time::Duration;

use super::args::of_storage;
use super::{Desk, STORE_OPS_PER_MODULE};
use crate::plugin::services::{BoxFuture, OpError, StoreStep};
use crate::plugin::slot::{GLOBAL, SlotKey};
use crate::server::shared::Shared;
use crate::storage::{Migration, Space};

/// How long the operations of a module that is held still may take to end.
const QUIET_WITHIN: Duration = Duration::from_secs(5);

/// The schema of a module's stores on a vhost; `None` where nothing is stored.
pub(super) fn schema_of(shared: &Arc<Shared>, slot: &SlotKey) -> BoxFuture<Result<Option<u32>, OpError>> {
    let (storage, space) = (shared.storage.clone(), space(slot));
    Box::pin(async move { storage.schema_of(&space).await.map_err(|error| of_storage(&error)) })
}

/// A step of the one migration.
pub(super) fn step(shared: &Arc<Shared>, desk: &Desk, step: StoreStep) -> BoxFuture<Result<(), OpError>> {
    let storage = shared.storage.clone();
    let concerned: &[SlotKey] = match &step {
        StoreStep::Begin(slots) | StoreStep::Undo(slots) => slots,
        StoreStep::Decide(_) | StoreStep::End => &[],
    };
    let places: Vec<_> =
        concerned.iter().map(|slot| (slot.clone(), desk.store_places(&slot.module))).collect();
    Box::pin(async move {
        for (slot, places) in places {
            let all = places.acquire_many_owned(STORE_OPS_PER_MODULE as u32);
            let all = tokio::time::timeout(QUIET_WITHIN, all).await;
            let late =
                || OpError::new("resource-constraint", format!("The operations of {slot} do not end."));
            // Of a module with several vhosts the places are one and the same: they are given back at once.
            drop(all.ok().and_then(Result::ok).ok_or_else(late)?);
        }
        storage.migration(of_storage_room(step)).await.map_err(|error| of_storage(&error))
    })
}

fn of_storage_room(step: StoreStep) -> Migration {
    match step {
        StoreStep::Begin(slots) => Migration::Begin(slots.iter().map(space).collect()),
        StoreStep::Decide(slots) => {
            Migration::Decide(slots.iter().map(|(slot, schema)| (space(slot), *schema)).collect())
        }
        StoreStep::End => Migration::End,
        StoreStep::Undo(_) => Migration::Undo,
    }
}

fn space(slot: &SlotKey) -> Space {
    let vhost = if &*slot.vhost == GLOBAL { "" } else { &*slot.vhost };
    Space::module(vhost, &slot.module)
}
