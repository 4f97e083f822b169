//! IQ requests: in the caller's task or through a lane.

use super::queued::Answering;
use super::{Dispatch, Entered, IqOutcome, Modules, account, enter, id_of, refused, reopened, timed_out};
use crate::plugin::bridge::invoke::{Arguments, CallEnd, CallSpec, Called, ModuleTask};
use crate::plugin::core::Core;
use crate::plugin::gate::Closed;
use crate::plugin::instance::Instance;
use crate::plugin::lane::{Lane, Work};
use crate::plugin::registration::IqTarget;
use crate::plugin::registry::IqEntry;
use crate::plugin::services::BoxFuture;
use crate::plugin::slot::Slot;
use crate::stanza::{IqType, Jid, Stanza, StanzaError, StanzaErrorCondition, StanzaType};
use moult_plugin_api::abi::v1::{call, reply};
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
        let id = id_of(request.stanza);
        let mut call = Arguments::new(&spec(entry.handler, request.ns, request.stanza, &id));
        // Written here and now, see `Arguments`.
        std::hint::black_box(&mut call);
        let Ok(lease) = instance.gate().enter() else { return self.iq_later(entry, request) };
        let started = lease.is_sample().then(Instant::now);
        match instance.call_with(lease, &call) {
            Called::Done(end) if end.is_done() && end.reply.code == reply::IQ_RESULT => {
                account(&self.core, instance, &end, started);
                Dispatch::Ready(IqOutcome::Result(end.reply.body))
            }
            called => self.iq_unusual(instance, called, started),
        }
    }

    /// All but a result at once. Apart from it, so that the usual answer is not copied through a place for both.
    #[inline(never)]
    fn iq_unusual(
        &self,
        instance: &Arc<Instance>,
        called: Called,
        started: Option<Instant>,
    ) -> Dispatch<IqOutcome> {
        match called {
            Called::Done(end) => {
                account(&self.core, instance, &end, started);
                Dispatch::Ready(IqOutcome::of(end))
            }
            Called::Pending(task) => Dispatch::Later(self.iq_pending(instance, task)),
        }
    }

    fn iq_pending(&self, instance: &Arc<Instance>, task: ModuleTask) -> BoxFuture<IqOutcome> {
        let (core, instance) = (Arc::clone(&self.core), Arc::clone(instance));
        let deadline = instance.context().slot.limits().call_deadline;
        Box::pin(async move {
            match tokio::time::timeout(deadline, task).await {
                Ok(end) => {
                    account(&core, &instance, &end, None);
                    IqOutcome::of(end)
                }
                Err(_) => {
                    let slot = &instance.context().slot;
                    IqOutcome::Error(timed_out(&core, slot, instance.generation(), call::IQ, deadline))
                }
            }
        })
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
        let work = Request {
            core: Arc::clone(&self.core),
            slot: Arc::clone(slot),
            request: Owned::of(entry, request),
            answering: Arc::clone(&answering),
        };
        if lane.push(Box::new(work), self.core.runtime(), slot.queued()).is_err() {
            return Dispatch::Ready(IqOutcome::Error(refused(slot)));
        }
        entry.overdue.watch(&self.core, slot, entry.instance.generation(), &answering);
        Dispatch::Queued(answering.queued())
    }
}

/// A request in a lane.
struct Request {
    core: Arc<Core>,
    slot: Arc<Slot>,
    request: Owned,
    answering: Arc<Answering>,
}

impl Work for Request {
    fn begin(self: Box<Self>) -> Option<BoxFuture<()>> {
        // The deadline may have answered already: then the work is not worth doing.
        if self.answering.is_over() {
            return None;
        }
        match self.request.attempt(&self.core) {
            Attempt::Over(outcome) => {
                self.answering.answer(|| outcome);
                None
            }
            unfinished => Some(Box::pin(self.go_on(unfinished))),
        }
    }
}

impl Request {
    async fn go_on(self: Box<Self>, unfinished: Attempt) {
        let deadline = self.slot.limits().call_deadline;
        match tokio::time::timeout(deadline, self.request.go_on(&self.core, unfinished)).await {
            Ok(outcome) => self.answering.answer(|| outcome),
            Err(_) => self
                .answering
                .answer(|| IqOutcome::Error(timed_out(&self.core, &self.slot, 0, call::IQ, deadline))),
        }
    }
}

/// Nobody is left without an answer when the work is dropped with its lane or runtime.
impl Drop for Request {
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
        self.go_on(core, self.attempt(core)).await
    }

    async fn go_on(&self, core: &Core, mut attempt: Attempt) -> IqOutcome {
        loop {
            match attempt {
                Attempt::Over(outcome) => return outcome,
                Attempt::Pending { instance, task, started } => {
                    let end = task.await;
                    account(core, &instance, &end, started);
                    return IqOutcome::of(end);
                }
                Attempt::Closed { instance, closed } => reopened(&instance, closed).await,
            }
            attempt = self.attempt(core);
        }
    }

    fn attempt(&self, core: &Core) -> Attempt {
        let found = {
            let tables = core.tables();
            tables.iq(&self.vhost, self.target, &self.ns).map(|e| (Arc::clone(&e.instance), e.handler))
        };
        let Some((instance, handler)) = found else { return Attempt::Over(IqOutcome::Error(gone())) };
        let started = Some(Instant::now());
        match enter(&instance, &spec(handler, &self.ns, &self.stanza, &id_of(&self.stanza))) {
            Entered::Done(end) => {
                account(core, &instance, &end, started);
                Attempt::Over(IqOutcome::of(end))
            }
            Entered::Pending(task) => Attempt::Pending { instance, task, started },
            Entered::Closed(closed) => Attempt::Closed { instance, closed },
        }
    }
}

/// What came of one try.
enum Attempt {
    Over(IqOutcome),
    Pending { instance: Arc<Instance>, task: BoxFuture<CallEnd>, started: Option<Instant> },
    Closed { instance: Arc<Instance>, closed: Closed },
}

pub(super) fn gone() -> StanzaError {
    StanzaError::new(StanzaErrorCondition::ServiceUnavailable, "")
}

#[inline(always)]
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
