//! Hook chains: functions in sequence order, each of which may pass, replace or stop. A function that fails or panics is
//! skipped and counted, and so are those of a module in quarantine; the chain goes on.

use super::{Dispatch, Entered, Modules, account, enter, reopened, timed_out};
use crate::plugin::bridge::invoke::{CallEnd, CallSpec};
use crate::plugin::core::Core;
use crate::plugin::hook::HookPoint;
use crate::plugin::instance::Instance;
use crate::plugin::registry::{HookEntry, HookKey};
use crate::plugin::slot::SlotKey;
use crate::stanza::{Jid, Stanza};
use moult_plugin_api::abi::v1::{call, reply};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One run of a chain.
#[derive(Debug, Clone, Default)]
pub struct HookCall {
    /// Whom it concerns; the stanza's sender where absent.
    pub from: Option<Jid>,
    /// Who receives; the stanza's recipient where absent.
    pub to: Option<Jid>,
    /// JSON of the hook's own arguments.
    pub args: String,
    /// The stanza, where the hook has one.
    pub stanza: Option<Stanza>,
    /// The accumulator, where the hook has one instead.
    pub body: Vec<u8>,
    /// How often modules have passed on what this is about, where there is no stanza to tell.
    pub hops: u8,
}

/// A stanza on its way through a chain, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Passing<'a> {
    /// The stanza.
    pub stanza: &'a Stanza,
    /// Who receives; the stanza's recipient where absent.
    pub to: Option<&'a Jid>,
    /// JSON of the hook's own arguments.
    pub args: &'a str,
}

impl<'a> Passing<'a> {
    /// A stanza about which there is no more to say.
    pub fn of(stanza: &'a Stanza) -> Self {
        Self { stanza, to: None, args: "" }
    }

    /// The same, owned.
    pub fn owned(&self) -> HookCall {
        HookCall {
            to: self.to.cloned(),
            args: self.args.to_owned(),
            stanza: Some(self.stanza.clone()),
            ..HookCall::default()
        }
    }

    #[inline(always)]
    fn spec(&self, point: HookPoint, handler: u64) -> CallSpec<'a> {
        CallSpec {
            kind: call::HOOK,
            handler,
            name: point.name(),
            from: self.stanza.from().map_or("", Jid::as_str),
            to: self.to.or(self.stanza.to()).map_or("", Jid::as_str),
            args: self.args,
            body: self.stanza.bytes(),
            hops: self.stanza.hops(),
            ..CallSpec::default()
        }
    }
}

/// How a chain ended.
#[derive(Debug, Clone, Default)]
pub struct HookVerdict {
    /// The stanza as it is now; `None` if it was dropped or there was none.
    pub stanza: Option<Stanza>,
    /// The accumulator as it is now.
    pub body: Vec<u8>,
    /// Who ended the chain before its end, and why.
    pub stopped: Option<Stopped>,
}

/// A chain that one of its functions ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Whose function.
    pub by: SlotKey,
    /// Its words.
    pub reason: String,
}

impl Modules {
    /// Whether anybody hooked `point`: ask before building arguments.
    #[inline]
    pub fn is_hooked(&self, point: HookPoint) -> bool {
        self.core.tables().is_hooked(point)
    }

    /// Runs a chain. Ready at once when no function had to wait.
    pub fn hook(&self, point: HookPoint, vhost: &str, input: HookCall) -> Dispatch<HookVerdict> {
        let chain = Chain { point, state: input, after: None };
        self.run_chain(chain, vhost, self.core.tables().hooks(point, vhost))
    }

    /// Runs a chain over a stanza that most functions let pass as it is: `None` says that all did, or that there are none.
    /// Nothing is copied before one does otherwise.
    pub fn pass(&self, point: HookPoint, vhost: &str, passing: Passing<'_>) -> Option<Dispatch<HookVerdict>> {
        let tables = self.core.tables();
        let chain = tables.hooks(point, vhost);
        for (nth, entry) in chain.iter().enumerate() {
            if is_skipped(&entry.instance) {
                continue;
            }
            match enter(&entry.instance, &passing.spec(point, entry.handler)) {
                Entered::Done(end) if lets_pass(&end) => account(&self.core, &entry.instance, &end, None),
                entered => return Some(self.pass_on(chain, nth, entered, vhost, point, passing)),
            }
        }
        None
    }

    /// Goes on from the function at `nth`, which did not simply let the stanza pass.
    #[inline(never)]
    fn pass_on(
        &self,
        entries: &[HookEntry],
        nth: usize,
        entered: Entered,
        vhost: &str,
        point: HookPoint,
        passing: Passing<'_>,
    ) -> Dispatch<HookVerdict> {
        let after = nth.checked_sub(1).map(|before| entries[before].key.clone());
        let mut chain = Chain { point, state: passing.owned(), after };
        if let Err(ended) = self.take_in(&mut chain, &entries[nth], entered, vhost) {
            return ended;
        }
        self.run_chain(chain, vhost, &entries[nth + 1..])
    }

    fn run_chain(&self, mut chain: Chain, vhost: &str, entries: &[HookEntry]) -> Dispatch<HookVerdict> {
        for entry in entries {
            if is_skipped(&entry.instance) {
                continue;
            }
            let entered = enter(&entry.instance, &chain.spec(entry.handler));
            if let Err(ended) = self.take_in(&mut chain, entry, entered, vhost) {
                return ended;
            }
        }
        Dispatch::Ready(chain.pass())
    }

    /// Takes in what came of one function; `Err` is the end of this run, or its way to it.
    #[allow(
        clippy::result_large_err,
        reason = "the large case is the end of the chain and is handed on at once"
    )]
    fn take_in(
        &self,
        chain: &mut Chain,
        entry: &HookEntry,
        entered: Entered,
        vhost: &str,
    ) -> Result<(), Dispatch<HookVerdict>> {
        let pending = match entered {
            Entered::Done(end) => {
                account(&self.core, &entry.instance, &end, None);
                return chain.take(&entry.key, end).map_or(Ok(()), |verdict| Err(Dispatch::Ready(verdict)));
            }
            Entered::Pending(task) => Some((task, Arc::clone(&entry.instance), entry.key.clone())),
            Entered::Closed(_) => None,
        };
        let point = chain.point;
        let chain = std::mem::replace(chain, Chain { point, state: HookCall::default(), after: None });
        Err(self.hook_later(chain, vhost, pending))
    }

    fn hook_later(&self, chain: Chain, vhost: &str, pending: Option<PendingStep>) -> Dispatch<HookVerdict> {
        let (core, vhost) = (Arc::clone(&self.core), vhost.to_owned());
        Dispatch::Later(Box::pin(async move { chain.go_on(&core, &vhost, pending).await }))
    }
}

/// Whether a function changed nothing.
fn lets_pass(end: &CallEnd) -> bool {
    end.is_done() && end.reply.code != reply::HOOK_STOP && end.reply.body.is_empty()
}

/// A slot in quarantine gets no calls: one that does not return would take a thread of the server with each of them.
fn is_skipped(instance: &Instance) -> bool {
    let slot = &instance.context().slot;
    let is_skipped = slot.is_quarantined();
    if is_skipped {
        slot.stats.refused.fetch_add(1, Ordering::Relaxed);
    }
    is_skipped
}

type PendingStep = (crate::plugin::services::BoxFuture<CallEnd>, Arc<Instance>, HookKey);

struct Chain {
    point: HookPoint,
    state: HookCall,
    /// The last function that ran: after a swap in the middle of a chain, the next one is looked up behind it.
    after: Option<HookKey>,
}

impl Chain {
    fn spec(&self, handler: u64) -> CallSpec<'_> {
        let stanza = self.state.stanza.as_ref();
        CallSpec {
            kind: call::HOOK,
            handler,
            name: self.point.name(),
            from: self.state.from.as_ref().or(stanza.and_then(Stanza::from)).map_or("", Jid::as_str),
            to: self.state.to.as_ref().or(stanza.and_then(Stanza::to)).map_or("", Jid::as_str),
            args: &self.state.args,
            body: stanza.map_or(&self.state.body, |stanza| stanza.bytes()),
            hops: stanza.map_or(self.state.hops, Stanza::hops),
            ..CallSpec::default()
        }
    }

    /// Takes a function's answer in; the verdict, if it ended the chain.
    fn take(&mut self, key: &HookKey, end: CallEnd) -> Option<HookVerdict> {
        self.after = Some(key.clone());
        if !end.is_done() {
            return None;
        }
        let stops = end.reply.code == reply::HOOK_STOP;
        let replaced = !end.reply.body.is_empty();
        if replaced {
            self.replace(key, end.reply.body);
        } else if stops {
            self.state.stanza = None;
        }
        stops.then(|| HookVerdict {
            stanza: self.state.stanza.take(),
            body: std::mem::take(&mut self.state.body),
            stopped: Some(Stopped { by: key.slot.clone(), reason: end.reply.text }),
        })
    }

    fn replace(&mut self, key: &HookKey, bytes: Vec<u8>) {
        if self.state.stanza.is_none() {
            self.collect(key, bytes);
            return;
        }
        let hops = self.state.stanza.as_ref().map_or(0, Stanza::hops);
        match Stanza::parse(&bytes) {
            Ok(stanza) => self.state.stanza = Some(stanza.with_hops(hops)),
            Err(fault) => tracing::warn!(
                module = %key.slot,
                hook = self.point.name(),
                %fault,
                "a hook replaced a stanza by something that is none; the stanza stays as it was"
            ),
        }
    }

    /// Another accumulator, if it is one.
    fn collect(&mut self, key: &HookKey, bytes: Vec<u8>) {
        match super::disco::check_accumulator(self.point, &bytes) {
            Ok(()) => self.state.body = bytes,
            Err(fault) => tracing::warn!(
                module = %key.slot,
                hook = self.point.name(),
                %fault,
                "a hook answered something that is no answer; it stays as it was"
            ),
        }
    }

    fn pass(self) -> HookVerdict {
        HookVerdict { stanza: self.state.stanza, body: self.state.body, stopped: None }
    }

    async fn go_on(mut self, core: &Arc<Core>, vhost: &str, pending: Option<PendingStep>) -> HookVerdict {
        if let Some((task, instance, key)) = pending
            && let Some(verdict) = self.finish(core, task, &instance, &key).await
        {
            return verdict;
        }
        while let Some((instance, handler, key)) = self.next(core, vhost) {
            if is_skipped(&instance) {
                self.after = Some(key);
                continue;
            }
            match enter(&instance, &self.spec(handler)) {
                Entered::Done(end) => {
                    account(core, &instance, &end, None);
                    if let Some(verdict) = self.take(&key, end) {
                        return verdict;
                    }
                }
                Entered::Pending(task) => {
                    if let Some(verdict) = self.finish(core, task, &instance, &key).await {
                        return verdict;
                    }
                }
                Entered::Closed(closed) => {
                    let deadline = instance.context().slot.limits().call_deadline;
                    if tokio::time::timeout(deadline, reopened(&instance, closed)).await.is_err() {
                        timed_out(
                            core,
                            &instance.context().slot,
                            instance.generation(),
                            call::HOOK,
                            deadline,
                        );
                        self.after = Some(key);
                    }
                }
            }
        }
        self.pass()
    }

    async fn finish(
        &mut self,
        core: &Arc<Core>,
        task: crate::plugin::services::BoxFuture<CallEnd>,
        instance: &Arc<Instance>,
        key: &HookKey,
    ) -> Option<HookVerdict> {
        let slot = &instance.context().slot;
        let deadline = slot.limits().call_deadline;
        match tokio::time::timeout(deadline, task).await {
            Ok(end) => {
                account(core, instance, &end, None);
                self.take(key, end)
            }
            Err(_) => {
                timed_out(core, slot, instance.generation(), call::HOOK, deadline);
                self.after = Some(key.clone());
                None
            }
        }
    }

    fn next(&self, core: &Core, vhost: &str) -> Option<(Arc<Instance>, u64, HookKey)> {
        let tables = core.tables();
        let mut chain = tables.hooks(self.point, vhost).iter();
        let entry = chain.find(|entry| self.after.as_ref().is_none_or(|after| entry.key > *after))?;
        Some((Arc::clone(&entry.instance), entry.handler, entry.key.clone()))
    }
}
