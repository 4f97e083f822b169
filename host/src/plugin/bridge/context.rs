//! What `HostRef::ctx` points at: the host as one instance sees it. It lives from before `create` until the library of its
//! generation is gone, so that a late call from a thread of the module finds a closed door and not freed memory.

use super::ops::Ops;
use crate::plugin::instance::Instance;
use crate::plugin::registration::{Registered, What};
use crate::plugin::services::{BoxFuture, HostServices, OpError, OpReply, OpRequest, Origin};
use crate::plugin::slot::Slot;
use moult_plugin_api::abi::v1::TaskPtr;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Waker;
use tokio::runtime::Handle;

/// What an instance's context needs of the module manager.
pub trait Hub: Send + Sync + 'static {
    /// Whether `what` may be registered by `origin`; the error is a sentence for the module's author.
    fn admit(&self, origin: &Origin, what: &What) -> Result<(), String>;

    /// A serving instance changed its registrations: publish them.
    fn registrations_changed(&self) -> Result<(), String>;

    /// A timer of a serving instance is to be started.
    fn timer_added(&self, instance: &Arc<Instance>, registered: &Registered);

    /// The rest of the server.
    fn services(&self) -> &dyn HostServices;

    /// An operation that the plugin room answers itself, or `None`.
    fn own_op(&self, origin: &Origin, request: &OpRequest) -> Option<BoxFuture<Result<OpReply, OpError>>>;

    /// Where plugin code runs.
    fn modules_runtime(&self) -> Handle;

    /// Whether the server is still starting: then `fatal` ends it; later it only fails the swap.
    fn is_starting(&self) -> bool;
}

/// How far an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// `create` or `START` runs: registrations are noted, not published.
    Preparing,
    /// It serves.
    Live,
    /// It is being ended: the host takes nothing more from it.
    Ended,
}

/// The capabilities that the host asks about when a module uses them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Granted {
    /// `fatal`: ending the server.
    pub fatal: bool,
    /// `commands`: running commands of the one command table.
    pub commands: bool,
}

impl Granted {
    /// What a manifest asks for.
    pub fn by(capabilities: &[String]) -> Self {
        let has = |name: &str| capabilities.iter().any(|capability| capability == name);
        Self { fatal: has("fatal"), commands: has("commands") }
    }
}

/// The host as one instance sees it.
pub struct HostContext {
    /// Who this is.
    pub origin: Origin,
    /// Its slot.
    pub slot: Arc<Slot>,
    /// Its operations.
    pub ops: Ops,
    /// Counters and gauges it keeps for the metrics.
    pub metrics: Mutex<HashMap<String, i64>>,
    /// What its manifest asked to be allowed.
    pub granted: Granted,
    hub: Weak<dyn Hub>,
    phase: AtomicU8,
    next_id: AtomicU64,
    registered: Mutex<Vec<Registered>>,
    wakers: Mutex<HashMap<u64, Waker>>,
    /// Tasks handed over before the instance serves: they start with it.
    early_tasks: Mutex<Vec<(u64, TaskPtr)>>,
    instance: OnceLock<Weak<Instance>>,
}

/// More registrations than this by one instance are refused.
const MAX_REGISTRATIONS: usize = 4096;
/// More background tasks than this by one instance are refused.
pub const MAX_BACKGROUND_TASKS: usize = 1024;
/// More metrics than this by one instance are ignored.
const MAX_METRICS: usize = 256;

impl HostContext {
    /// A context for an instance that is about to be created.
    pub fn new(origin: Origin, slot: Arc<Slot>, hub: Weak<dyn Hub>, granted: Granted) -> Arc<Self> {
        Arc::new(Self {
            origin,
            slot,
            ops: Ops::default(),
            metrics: Mutex::default(),
            granted,
            hub,
            phase: AtomicU8::new(Phase::Preparing as u8),
            next_id: AtomicU64::new(0),
            registered: Mutex::default(),
            wakers: Mutex::default(),
            early_tasks: Mutex::default(),
            instance: OnceLock::new(),
        })
    }

    /// The manager, while the server lives.
    pub fn hub(&self) -> Option<Arc<dyn Hub>> {
        self.hub.upgrade()
    }

    /// How far the instance is.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Preparing,
            1 => Phase::Live,
            _ => Phase::Ended,
        }
    }

    /// Moves on to `phase`.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Ties the context to its instance, once.
    pub fn set_instance(&self, instance: &Arc<Instance>) {
        // A second call would be our bug and changes nothing.
        let _ = self.instance.set(Arc::downgrade(instance));
    }

    /// The instance, from the end of `create` on.
    pub fn instance(&self) -> Option<Arc<Instance>> {
        self.instance.get()?.upgrade()
    }

    /// A copy of what is registered.
    pub fn registered(&self) -> Vec<Registered> {
        lock(&self.registered).clone()
    }

    /// Registers; the error is a sentence for the module's author.
    pub fn register(&self, what: What, handler: u64) -> Result<u64, String> {
        let hub = self.open_hub()?;
        hub.admit(&self.origin, &what)?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let registered = Registered { id, handler, what };
        {
            let mut all = lock(&self.registered);
            if all.len() >= MAX_REGISTRATIONS {
                return Err(format!("an instance may register at most {MAX_REGISTRATIONS} things"));
            }
            all.push(registered.clone());
        }
        if self.phase() == Phase::Live {
            self.publish_late(&*hub, &registered)?;
        }
        Ok(id)
    }

    /// Takes a registration back.
    pub fn unregister(&self, id: u64) -> Result<(), String> {
        let hub = self.open_hub()?;
        let taken = self.forget(id).ok_or_else(|| {
            format!("registration {id} is not one of this instance, or a timer that has fired")
        })?;
        match taken.what {
            What::Timer { .. } => {
                if let Some(instance) = self.instance() {
                    instance.stop_timer(id);
                }
                Ok(())
            }
            _ if self.phase() == Phase::Live => hub.registrations_changed(),
            _ => Ok(()),
        }
    }

    /// Strikes a registration off the list, and gives it if it was there.
    pub fn forget(&self, id: u64) -> Option<Registered> {
        let mut all = lock(&self.registered);
        let place = all.iter().position(|registered| registered.id == id)?;
        Some(all.remove(place))
    }

    /// Remembers who is to be woken for a task.
    pub fn set_waker(&self, task: u64, waker: &Waker) {
        let mut wakers = lock(&self.wakers);
        match wakers.get_mut(&task) {
            Some(known) => known.clone_from(waker),
            None => drop(wakers.insert(task, waker.clone())),
        }
    }

    /// Forgets a task.
    pub fn forget_waker(&self, task: u64) {
        let forgotten = lock(&self.wakers).remove(&task);
        drop(forgotten);
    }

    /// How many tasks can be woken: those that have been polled and are not over.
    pub fn tasks(&self) -> usize {
        lock(&self.wakers).len()
    }

    /// Polls a task again soon; unknown ones are ignored.
    pub fn wake(&self, task: u64) {
        let waker = lock(&self.wakers).get(&task).cloned();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Polls all tasks again: the gate has changed.
    pub fn wake_all(&self) {
        let all: Vec<Waker> = lock(&self.wakers).values().cloned().collect();
        all.into_iter().for_each(Waker::wake);
    }

    /// Keeps a task until the instance serves; gives it back when there are too many or the instance has ended.
    pub fn keep_early(&self, id: u64, task: TaskPtr) -> Result<(), TaskPtr> {
        let mut early = lock(&self.early_tasks);
        if early.len() >= MAX_BACKGROUND_TASKS || self.phase() == Phase::Ended {
            return Err(task);
        }
        early.push((id, task));
        Ok(())
    }

    /// The tasks kept for the start of service.
    pub fn take_early(&self) -> Vec<(u64, TaskPtr)> {
        std::mem::take(&mut *lock(&self.early_tasks))
    }

    /// Changes a metric of the module by `change`.
    pub fn metric(&self, name: &str, change: impl FnOnce(i64) -> i64) {
        let mut metrics = lock(&self.metrics);
        if let Some(value) = metrics.get_mut(name) {
            *value = change(*value);
        } else if metrics.len() < MAX_METRICS {
            metrics.insert(name.to_owned(), change(0));
        }
    }

    fn open_hub(&self) -> Result<Arc<dyn Hub>, String> {
        if self.phase() == Phase::Ended {
            return Err("this instance has ended: the host takes nothing more from it".into());
        }
        self.hub().ok_or_else(|| "the server is ending".into())
    }

    /// A registration of an instance that serves: it holds at once, or not at all. Timers stand in no table.
    fn publish_late(&self, hub: &dyn Hub, registered: &Registered) -> Result<(), String> {
        if let What::Timer { .. } = registered.what {
            if let Some(instance) = self.instance() {
                hub.timer_added(&instance, registered);
            }
            return Ok(());
        }
        hub.registrations_changed().inspect_err(|_| drop(self.forget(registered.id)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
