//! IQ requests: in the caller's task or through a lane.

use super::queued::Answering;
use super::{Dispatch, Entered, IqOutcome, Modules, account, enter, id_of, refused, reopened, timed_out};
use crate::plugin::bridge::invoke::{CallSpec, Called};
use crate::plugin::core::Core;
use crate::plugin::instance::Instance;
use crate::plugin::lane::Lane;
use crate::plugin::registration::IqTarget;
use crate::plugin::registry::IqEntry;
use crate::plugin::slot::Slot;
use crate::stanza::{IqType, Jid, Stanza, StanzaError, StanzaErrorCondition, StanzaType};
use moult_plugin_api::abi::v1::call;
use std::sync::Arc;
use std::time::Instant;

/// An IQ get or set that has been checked: it has one payload, in `ns`.
#[derive(Debug, Clone, Copy)]
pub struct IqCall<'a> {
    /// The vhost it is for.
    pub vhost: &'a str,
    /// To the vhost itself or to an account on it.
    pub target: IqTarget,
    /// Namespace of its payload.
    pub ns: &'a str,
    /// All of it.
    pub stanza: &'a Stanza,
}

impl Modules {
    /// Gives the request to its handler; `None` where there is none.
    pub fn iq(&self, request: IqCall<'_>) -> Option<Dispatch<IqOutcome>> {
        let tables = self.core.tables();
        let entry = tables.iq(request.vhost, request.target, request.ns)?;
        if entry.instance.context().slot.is_quarantined() {
            return Some(Dispatch::Ready(IqOutcome::Error(refused(&entry.instance.context().slot))));
        }
        Some(match &entry.lane {
            None => self.iq_inline(entry, request),
            Some(lane) => self.iq_queued(entry, lane, request),
        })
    }

    fn iq_inline(&self, entry: &IqEntry, request: IqCall<'_>) -> Dispatch<IqOutcome> {
        let instance = &entry.instance;
        let Ok(lease) = instance.gate().enter() else { return self.iq_later(entry, request) };
        let started = lease.is_sample().then(Instant::now);
        let id = id_of(request.stanza);
        match instance.call(lease, &spec(entry.handler, request.ns, request.stanza, &id)) {
            Called::Done(end) => {
                account(&self.core, instance, &end, started);
                Dispatch::Ready(IqOutcome::of(end))
            }
            Called::Pending(task) => {
                let (core, instance) = (Arc::clone(&self.core), Arc::clone(instance));
                let deadline = instance.context().slot.limits().call_deadline;
                Dispatch::Later(Box::pin(async move {
                    match tokio::time::timeout(deadline, task).await {
                        Ok(end) => {
                            account(&core, &instance, &end, None);
                            IqOutcome::of(end)
                        }
                        Err(_) => IqOutcome::Error(timed_out(
                            &core,
                            &instance.context().slot,
                            instance.generation(),
                            call::IQ,
                            deadline,
                        )),
                    }
                }))
            }
        }
    }

    /// For a request that met a closed gate: waits in its own future.
    fn iq_later(&self, entry: &IqEntry, request: IqCall<'_>) -> Dispatch<IqOutcome> {
        let deadline = entry.instance.context().slot.limits().call_deadline;
        let slot = Arc::clone(&entry.instance.context().slot);
        let generation = entry.instance.generation();
        let (core, owned) = (Arc::clone(&self.core), Owned::of(entry, request));
        Dispatch::Later(Box::pin(async move {
            match tokio::time::timeout(deadline, owned.run(&core)).await {
                Ok(outcome) => outcome,
                Err(_) => IqOutcome::Error(timed_out(&core, &slot, generation, call::IQ, deadline)),
            }
        }))
    }

    fn iq_queued(&self, entry: &IqEntry, lane: &Arc<Lane>, request: IqCall<'_>) -> Dispatch<IqOutcome> {
        let slot = &entry.instance.context().slot;
        let answering = Arc::new(Answering::default());
        let work = Work {
            core: Arc::clone(&self.core),
            slot: Arc::clone(slot),
            request: Owned::of(entry, request),
            answering: Arc::clone(&answering),
        };
        if lane.push(Box::pin(work.run()), self.core.runtime(), slot.queued()).is_err() {
            return Dispatch::Ready(IqOutcome::Error(refused(slot)));
        }
        entry.overdue.watch(&self.core, slot, entry.instance.generation(), &answering);
        Dispatch::Queued(answering.queued())
    }
}

/// A request in a lane.
struct Work {
    core: Arc<Core>,
    slot: Arc<Slot>,
    request: Owned,
    answering: Arc<Answering>,
}

impl Work {
    async fn run(self) {
        // The deadline may have answered already: then the work is not worth doing.
        if self.answering.is_over() {
            return;
        }
        let deadline = self.slot.limits().call_deadline;
        match tokio::time::timeout(deadline, self.request.run(&self.core)).await {
            Ok(outcome) => self.answering.answer(|| outcome),
            Err(_) => self
                .answering
                .answer(|| IqOutcome::Error(timed_out(&self.core, &self.slot, 0, call::IQ, deadline))),
        }
    }
}

/// Nobody is left without an answer when the work is dropped with its lane or runtime.
impl Drop for Work {
    fn drop(&mut self) {
        if self.answering.is_over() {
            return;
        }
        self.answering.answer(|| {
            IqOutcome::Error(if self.slot.is_quarantined() {
                refused(&self.slot)
            } else {
                StanzaError::new(StanzaErrorCondition::InternalServerError, "The request was dropped.")
            })
        });
    }
}

/// A request that outlives its caller's borrow.
struct Owned {
    vhost: Arc<str>,
    target: IqTarget,
    ns: Arc<str>,
    stanza: Stanza,
}

impl Owned {
    fn of(entry: &IqEntry, request: IqCall<'_>) -> Self {
        let own = entry.instance.key();
        let vhost = if *own.vhost == *request.vhost { Arc::clone(&own.vhost) } else { request.vhost.into() };
        Self { vhost, target: request.target, ns: Arc::clone(&entry.ns), stanza: request.stanza.clone() }
    }

    /// Runs on whichever generation is current, as often as it finds a closed gate.
    async fn run(&self, core: &Core) -> IqOutcome {
        loop {
            let found = {
                let tables = core.tables();
                tables.iq(&self.vhost, self.target, &self.ns).map(|e| (Arc::clone(&e.instance), e.handler))
            };
            let Some((instance, handler)) = found else { return IqOutcome::Error(gone()) };
            if let Some(outcome) = self.attempt(core, &instance, handler).await {
                return outcome;
            }
        }
    }

    async fn attempt(&self, core: &Core, instance: &Arc<Instance>, handler: u64) -> Option<IqOutcome> {
        let started = Some(Instant::now());
        let entered = enter(instance, &spec(handler, &self.ns, &self.stanza, &id_of(&self.stanza)));
        let end = match entered {
            Entered::Done(end) => end,
            Entered::Pending(task) => task.await,
            Entered::Closed(closed) => {
                reopened(instance, closed).await;
                return None;
            }
        };
        account(core, instance, &end, started);
        Some(IqOutcome::of(end))
    }
}

pub(super) fn gone() -> StanzaError {
    StanzaError::new(StanzaErrorCondition::ServiceUnavailable, "")
}

fn spec<'a>(handler: u64, ns: &'a str, stanza: &'a Stanza, id: &'a str) -> CallSpec<'a> {
    CallSpec {
        kind: call::IQ,
        handler,
        number: i64::from(stanza.type_() == StanzaType::Iq(IqType::Set)),
        from: stanza.from().map_or("", Jid::as_str),
        to: stanza.to().map_or("", Jid::as_str),
        id,
        name: ns,
        body: stanza.bytes(),
        hops: stanza.hops(),
        ..CallSpec::default()
    }
}
