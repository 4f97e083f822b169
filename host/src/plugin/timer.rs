//! Timers of modules and the idle call of services. Their tasks hang on the instance and end with it; each firing takes
//! its turn in the service's mailbox, so a module never runs beside itself because of a timer.

use super::bridge::invoke::CallSpec;
use super::call::follow;
use super::core::Core;
use super::instance::Instance;
use super::lane::Work;
use super::registration::{Registered, What};
use super::services::BoxFuture;
use super::slot::LaneKey;
use moult_plugin_api::abi::v1::call;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Starts all timers of an instance that serves now.
pub fn start_all(core: &Arc<Core>, instance: &Arc<Instance>) {
    for registered in instance.context().registered() {
        start(core, instance, &registered);
    }
    watch_idle(core, instance);
}

/// Starts one timer; anything but a timer is none of its business.
pub fn start(core: &Arc<Core>, instance: &Arc<Instance>, registered: &Registered) {
    let What::Timer { interval, repeat } = registered.what else { return };
    let firing = Firing::new(core, instance, call::TIMER, registered.handler, registered.id);
    let task = core.runtime().handle().spawn(async move {
        loop {
            tokio::time::sleep(interval).await;
            if !firing.fire() {
                return;
            }
            if !repeat {
                firing.forget();
                return;
            }
        }
    });
    instance.keep_timer(registered.id, task);
}

/// Calls the service when no stanza has come for the time it named. Each stanza and each new time starts the watch anew.
pub fn watch_idle(core: &Arc<Core>, instance: &Arc<Instance>) {
    let (time, seen) = (instance.idle_ms(), instance.touched());
    if time == 0 {
        return;
    }
    let firing = Firing::new(core, instance, call::IDLE, 0, 0);
    let weak = Arc::downgrade(instance);
    let task = core.runtime().handle().spawn(async move {
        tokio::time::sleep(Duration::from_millis(time)).await;
        if weak.upgrade().is_some_and(|instance| instance.touched() == seen && instance.idle_ms() == time) {
            firing.fire();
        }
    });
    instance.replace_idle_watch(task);
}

struct Firing {
    core: Weak<Core>,
    instance: Weak<Instance>,
    kind: u32,
    handler: u64,
    id: u64,
}

impl Firing {
    fn new(core: &Arc<Core>, instance: &Arc<Instance>, kind: u32, handler: u64, id: u64) -> Self {
        Self { core: Arc::downgrade(core), instance: Arc::downgrade(instance), kind, handler, id }
    }

    /// Queues the call; `false` when there is nobody to call any more.
    fn fire(&self) -> bool {
        let (Some(core), Some(instance)) = (self.core.upgrade(), self.instance.upgrade()) else {
            return false;
        };
        if instance.gate().is_retired() {
            return false;
        }
        let slot = Arc::clone(&instance.context().slot);
        if slot.is_quarantined() {
            slot.stats.refused.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let lane = slot.lane(LaneKey::Mailbox, 1);
        let runtime = core.runtime().clone();
        let number = i64::try_from(self.id).unwrap_or(0);
        let due = Due { core, instance, kind: self.kind, handler: self.handler, number };
        if lane.push(Box::new(due), &runtime, slot.queued()).is_err() {
            tracing::debug!(module = %slot.key, "a timer was skipped: the module's mailbox is full");
        }
        true
    }

    /// It has fired for the last time: its registration is over.
    fn forget(&self) {
        if let Some(instance) = self.instance.upgrade() {
            instance.context().forget(self.id);
        }
    }
}

/// A call in the mailbox.
struct Due {
    core: Arc<Core>,
    instance: Arc<Instance>,
    kind: u32,
    handler: u64,
    number: i64,
}

impl Work for Due {
    fn begin(self: Box<Self>) -> Option<BoxFuture<()>> {
        Some(Box::pin(self.run()))
    }
}

impl Due {
    async fn run(self: Box<Self>) {
        let Self { core, instance, kind, handler, number } = *self;
        instance.gate().wait_thaw().await;
        // Retired meanwhile: its successor has timers of its own.
        let Ok(lease) = instance.gate().enter() else { return };
        let spec = CallSpec { kind, handler, number, ..CallSpec::default() };
        let deadline = instance.context().slot.limits().call_deadline;
        let called = instance.call(lease, &spec);
        match tokio::time::timeout(deadline, called.end()).await {
            Ok(end) => {
                super::call::account(&core, &instance, &end, None);
                let _ = follow(&core, &instance, &end);
            }
            Err(_) => {
                let slot = &instance.context().slot;
                super::call::timed_out(&core, slot, instance.generation(), kind, deadline);
            }
        }
    }
}
