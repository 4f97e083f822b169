//! The end of an instance: its calls, its background tasks, `STOP`, `drop_instance`, in this order.
//!
//! Nothing of an instance is freed while anything of it is on a stack: every call, also one that has long passed its
//! deadline, holds a place in the gate, and `STOP` waits for the last of them. What does not end in time is told, and the
//! end can be asked for again later: it goes on where it stands.

use super::{Instance, Owned, StopReason};
use crate::plugin::bridge::context::Phase;
use crate::plugin::bridge::invoke::{self, CallEnd};
use crate::plugin::error::{ModuleError, Stage};
use moult_plugin_api::abi::v1::call;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinHandle;

/// `STOP` and `drop_instance` under way.
pub(super) type Ending = tokio::sync::Mutex<Option<JoinHandle<CallEnd>>>;

/// How much later than the module's own deadline the end of a `STOP` that is cut can be seen.
const TO_BE_CUT: Duration = Duration::from_millis(100);

impl Instance {
    /// Ends it, as far as that can be done in time: each step may take until `deadline`. An error tells what has not ended;
    /// then the instance stays, its library with it, and another `end` goes on from there.
    pub async fn end(self: &Arc<Self>, reason: StopReason, deadline: Duration) -> Result<(), ModuleError> {
        self.give_up();
        self.calls_ended(deadline).await?;
        self.background_ended(deadline).await?;
        self.stopped(reason, deadline).await
    }

    /// From now on the host takes nothing more from it and calls it no more, but for its end.
    pub fn give_up(self: &Arc<Self>) {
        self.context.set_phase(Phase::Ended);
        self.retire();
        self.timers.stop_all();
        self.context.ops.clear();
        drop(invoke::early_tasks(self));
    }

    async fn calls_ended(&self, deadline: Duration) -> Result<(), ModuleError> {
        let left = self.gate.wait_empty(deadline).await;
        left.map_err(|left| self.error(Stage::Retire, format!("{left} calls that do not return")))
    }

    async fn background_ended(&self, deadline: Duration) -> Result<(), ModuleError> {
        let wait = async {
            // The tasks were woken by the retirement; each of them ends at its next poll.
            while self.background_count() > 0 {
                self.context.wake_all();
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(deadline, wait).await.map_err(|_| {
            self.error(
                Stage::Retire,
                format!("{} of its background tasks do not end", self.background_count()),
            )
        })
    }

    async fn stopped(self: &Arc<Self>, reason: StopReason, deadline: Duration) -> Result<(), ModuleError> {
        let mut ending = self.ending.lock().await;
        if self.is_dropped() && ending.is_none() {
            return Ok(());
        }
        let begin = || self.runtime().spawn(stop_and_drop(Arc::clone(self), reason.word(), deadline));
        let running = ending.get_or_insert_with(begin);
        match tokio::time::timeout(deadline.saturating_add(TO_BE_CUT), running).await {
            Ok(ended) => {
                ending.take();
                let end = ended.map_err(|_| self.error(Stage::Retire, "its stop was cancelled"))?;
                self.tell_of_panic(&end);
                Ok(())
            }
            Err(_) => Err(self.error(
                Stage::Retire,
                format!("its stop does not return; it had {} ms and was cut", deadline.as_millis()),
            )),
        }
    }

    fn tell_of_panic(&self, end: &CallEnd) {
        if end.panicked() {
            let generation = self.generation();
            tracing::warn!(module = %self.key, generation, stage = "stop", reason = end.reason(), "a module panicked");
        }
    }
}

/// The last calls: past the retired gate, alone. A `STOP` that waits is dropped at its deadline; one that holds its thread
/// is waited for, for its instance is under its feet.
async fn stop_and_drop(instance: Arc<Instance>, reason: &'static str, deadline: Duration) -> CallEnd {
    let spec = Owned { kind: call::STOP, name: reason.to_owned(), ..Owned::default() };
    let stopping = invoke::call_last(&instance, &spec.borrowed());
    let end = tokio::time::timeout(deadline, stopping.end()).await;
    if !instance.dropped.swap(true, Ordering::AcqRel) {
        invoke::drop_instance(&instance.code, instance.pointer);
    }
    end.unwrap_or_else(|_| CallEnd::failed("it did not stop in time and was cut"))
}
