//! The way from a stanza, hook, command or request into a module: look up, lease, lane, deadline, outcome.
//!
//! Every caller gets exactly one outcome, also when the module is being swapped, is slow, panics or has gone: a frozen
//! instance is waited for, a retired one looked up again, and what is left of the deadline bounds it all.

mod command;
mod disco;
mod hooks;
mod iq;
mod mailbox;
mod outcome;
mod queued;
mod single;

pub use command::{CommandFailure, HttpRequest, HttpResponse};
pub use hooks::{HookCall, HookVerdict, Passing, Stopped};
pub use iq::IqCall;
pub use mailbox::RouteTable;
pub(super) use mailbox::follow;
pub use outcome::IqOutcome;
pub use queued::{Overdue, Queued};
pub use single::{HookFunction, SingleAnswer};

use super::bridge::invoke::{Arguments, CallEnd, CallSpec, stage_of};
use super::core::{Core, Incident};
use super::gate::Closed;
use super::instance::Instance;
use super::services::BoxFuture;
use super::slot::Slot;
use crate::stanza::{Stanza, StanzaError, StanzaErrorCondition};
use moult_plugin_api::abi::v1::status;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The modules as the rest of the server calls them. Cheap to clone.
#[derive(Clone)]
pub struct Modules {
    core: Arc<Core>,
}

/// An answer that may be there already.
pub enum Dispatch<T> {
    /// It is there.
    Ready(T),
    /// It runs in the caller's task, who waits for it and so keeps the order of its session; within the deadline.
    Later(BoxFuture<T>),
    /// It has its place in a queue of the module: the caller may go on; within the deadline.
    Queued(Queued<T>),
}

impl<T: Send + 'static> Dispatch<T> {
    /// Waits for it.
    pub async fn wait(self) -> T {
        match self {
            Dispatch::Ready(answer) => answer,
            Dispatch::Later(answer) => answer.await,
            Dispatch::Queued(answer) => answer.wait().await,
        }
    }
}

/// So many panics without one good call between them, and a slot goes into quarantine.
const PANICS_TO_QUARANTINE: u64 = 10;

impl Modules {
    /// The callers' side of `core`.
    pub fn of(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core) }
    }

    /// The tables of this moment, for the way of a stanza.
    #[inline]
    pub fn tables(&self) -> super::lookup::Tables {
        self.core.tables()
    }

    /// The tables of this moment, for those who only look.
    pub fn snapshot(&self) -> arc_swap::Guard<Arc<super::registry::Snapshot>> {
        self.core.snapshot()
    }
}

/// One attempt to call: a finished or pending call, or the reason why it could not enter.
enum Entered {
    Done(CallEnd),
    Pending(BoxFuture<CallEnd>),
    Closed(Closed),
}

/// Enters `instance` once.
#[inline]
fn enter(instance: &Arc<Instance>, spec: &CallSpec<'_>) -> Entered {
    let mut call = Arguments::new(spec);
    // Written here and now, see `Arguments`.
    std::hint::black_box(&mut call);
    match instance.gate().enter() {
        Err(closed) => Entered::Closed(closed),
        Ok(lease) => match instance.call_with(lease, &call) {
            super::bridge::invoke::Called::Done(end) => Entered::Done(end),
            super::bridge::invoke::Called::Pending(task) => Entered::Pending(Box::pin(task)),
        },
    }
}

/// The id a module is told; empty where the stanza has none.
fn id_of(stanza: &Stanza) -> Cow<'_, str> {
    stanza.id().unwrap_or_default()
}

/// Waits until it is worth while to look the handler up again.
async fn reopened(instance: &Instance, closed: Closed) {
    match closed {
        Closed::Frozen => instance.gate().wait_thaw().await,
        // The publication that retired it was stored before: the next look-up sees it. Let others run between two looks.
        Closed::Retired => tokio::task::yield_now().await,
    }
}

/// Keeps the books of a call that has ended.
#[inline(always)]
pub(super) fn account(core: &Core, instance: &Instance, end: &CallEnd, started: Option<Instant>) {
    let slot = &instance.context().slot;
    if let Some(started) = started {
        slot.stats.took(started.elapsed());
    }
    if end.is_done() {
        slot.stats.went_well();
        return;
    }
    if end.panicked() {
        panicked(core, instance, end);
    } else {
        failed(core, instance, end);
    }
}

#[cold]
fn panicked(core: &Core, instance: &Instance, end: &CallEnd) {
    let slot = &instance.context().slot;
    let in_a_row = slot.stats.panicked();
    let (generation, stage, reason) = (instance.generation(), end.stage(), end.reason());
    tracing::error!(module = %slot.key, generation, stage, reason, "a module panicked");
    failure(core, instance, reason, true);
    if in_a_row >= PANICS_TO_QUARANTINE && !slot.is_quarantined() {
        tracing::error!(module = %slot.key, "quarantined: {in_a_row} panics in a row");
        slot.quarantine(format!("{in_a_row} panics in a row"));
    }
}

#[cold]
fn failed(core: &Core, instance: &Instance, end: &CallEnd) {
    let slot = &instance.context().slot;
    slot.stats.failed();
    let (generation, stage, reason) = (instance.generation(), end.stage(), end.reason());
    if end.status != status::UNSUPPORTED {
        tracing::warn!(module = %slot.key, generation, stage, reason, "a call of a module failed");
    }
    failure(core, instance, reason, false);
}

#[cold]
fn failure(core: &Core, instance: &Instance, what: String, panic: bool) {
    let (slot, generation) = (instance.key().clone(), instance.generation());
    core.report(Incident::Failure { slot, generation, what, panic });
}

/// A call of `slot` of that kind passed its deadline.
#[cold]
pub(super) fn timed_out(
    core: &Core,
    slot: &Slot,
    generation: u64,
    kind: u32,
    deadline: Duration,
) -> StanzaError {
    slot.stats.timeouts.fetch_add(1, Ordering::Relaxed);
    let what = format!("no answer within {} ms", deadline.as_millis());
    tracing::warn!(module = %slot.key, generation, stage = stage_of(kind), "{what}");
    core.report(Incident::Failure { slot: slot.key.clone(), generation, what, panic: false });
    StanzaError::new(StanzaErrorCondition::RemoteServerTimeout, "The module did not answer in time.")
}

/// A call of `slot` is not even tried.
#[cold]
fn refused(slot: &Slot) -> StanzaError {
    slot.stats.refused.fetch_add(1, Ordering::Relaxed);
    let text = match slot.quarantined() {
        Some(_) => "This feature is out of service at the moment.",
        None => "This feature has too much to do at the moment.",
    };
    StanzaError::new(StanzaErrorCondition::ResourceConstraint, text)
}
