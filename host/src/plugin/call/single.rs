//! The functions of a hook called one by one, each with an answer of its own, where a chain would put them together: what
//! they keep of an account is asked of each, and a failure of one is a failure of the whole.

use super::{Entered, Modules, account, enter, reopened, timed_out};
use crate::plugin::bridge::invoke::{CallEnd, CallSpec};
use crate::plugin::hook::HookPoint;
use crate::plugin::instance::Instance;
use crate::plugin::registry::HookKey;
use crate::stanza::Jid;
use moult_plugin_api::abi::v1::{call, reply};
use std::sync::Arc;

/// A function of a hook. It stays the same over swaps of its module.
#[derive(Debug, Clone)]
pub struct HookFunction(HookKey);

impl HookFunction {
    /// Its module and vhost, for people.
    pub fn owner(&self) -> String {
        self.0.slot.to_string()
    }
}

/// What one function answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SingleAnswer {
    /// Whether it would have ended the chain.
    pub stopped: bool,
    /// What it wrote.
    pub body: Vec<u8>,
}

impl Modules {
    /// The functions of a hook on a vhost, in their order.
    pub fn hook_functions(&self, point: HookPoint, vhost: &str) -> Vec<HookFunction> {
        self.core.tables().hooks(point, vhost).iter().map(|entry| HookFunction(entry.key.clone())).collect()
    }

    /// Calls one function about an account. An error is a sentence; a function that is gone answers nothing.
    pub async fn hook_single(
        &self,
        point: HookPoint,
        function: &HookFunction,
        of: &Jid,
        args: &str,
        body: &[u8],
    ) -> Result<SingleAnswer, String> {
        loop {
            let Some((instance, handler)) = self.find_function(point, of.domain(), function) else {
                return Ok(SingleAnswer::default());
            };
            if instance.context().slot.is_quarantined() {
                return Err(format!("{} is in quarantine", function.owner()));
            }
            let spec = CallSpec {
                kind: call::HOOK,
                handler,
                name: point.name(),
                from: of.as_str(),
                args,
                body,
                ..CallSpec::default()
            };
            let deadline = instance.context().slot.limits().call_deadline;
            let late = || {
                let slot = &instance.context().slot;
                timed_out(&self.core, slot, instance.generation(), call::HOOK, deadline);
                format!("{} did not answer within {} ms", function.owner(), deadline.as_millis())
            };
            match enter(&instance, &spec) {
                Entered::Done(end) => {
                    account(&self.core, &instance, &end, None);
                    return answer(function, end);
                }
                Entered::Pending(task) => {
                    let end = tokio::time::timeout(deadline, task).await.map_err(|_| late())?;
                    account(&self.core, &instance, &end, None);
                    return answer(function, end);
                }
                // A swap is under way: the new build is asked.
                Entered::Closed(closed) => {
                    let opened = tokio::time::timeout(deadline, reopened(&instance, closed)).await;
                    opened.map_err(|_| late())?;
                }
            }
        }
    }

    fn find_function(
        &self,
        point: HookPoint,
        vhost: &str,
        function: &HookFunction,
    ) -> Option<(Arc<Instance>, u64)> {
        let tables = self.core.tables();
        let entry = tables.hooks(point, vhost).iter().find(|entry| entry.key == function.0)?;
        Some((Arc::clone(&entry.instance), entry.handler))
    }
}

fn answer(function: &HookFunction, end: CallEnd) -> Result<SingleAnswer, String> {
    if end.is_done() {
        return Ok(SingleAnswer { stopped: end.reply.code == reply::HOOK_STOP, body: end.reply.body });
    }
    Err(format!("{}: {}", function.owner(), end.reason()))
}
