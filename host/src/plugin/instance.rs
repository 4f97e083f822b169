//! One instance: a module's code on one vhost, from `create` to `drop_instance`.
//!
//! States as operators see them: starting, running, draining, failed; the library's own states are those of its
//! generation. An instance is made and ended on the modules runtime, each step with a deadline; whoever calls it holds a
//! lease of its gate.

use super::bridge::context::{HostContext, Phase};
use super::bridge::invoke::{self, CallEnd, CallSpec, Called, Code, ModuleTask};
use super::bridge::reply::{REPLY_LIMIT, ReplyBuf};
use super::error::{ModuleError, Stage};
use super::gate::{Gate, Lease};
use super::slot::SlotKey;
use moult_plugin_api::abi::v1::{InstancePtr, call, reply, status};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// How a start ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// It serves; with an idle time if it asked for one.
    Running(Option<Duration>),
    /// It has nothing to do on this vhost.
    Ignored,
}

/// Why an instance is ended, in the words of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Its module is unloaded.
    Unload,
    /// Another generation serves.
    Swap,
    /// The server ends.
    Shutdown,
    /// It asked for it, or its start failed.
    Failed,
    /// It is started anew.
    Restart,
}

impl StopReason {
    fn word(self) -> &'static str {
        match self {
            StopReason::Unload => "unload",
            StopReason::Swap => "swap",
            StopReason::Shutdown => "shutdown",
            StopReason::Failed => "failed",
            StopReason::Restart => "restart",
        }
    }
}

/// State as exported: schema number and bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Schema.
    pub schema: u32,
    /// Bytes.
    pub bytes: Vec<u8>,
}

/// A module's code on one vhost.
pub struct Instance {
    key: SlotKey,
    code: Code,
    pointer: InstancePtr,
    context: Arc<HostContext>,
    gate: Arc<Gate>,
    /// Where it was created.
    runtime: Handle,
    /// The options it was given, JSON.
    options: Mutex<Arc<str>>,
    background: AtomicUsize,
    timers: Mutex<Vec<JoinHandle<()>>>,
    idle_watch: Mutex<Option<JoinHandle<()>>>,
    idle_ms: AtomicU64,
    last_stanza: AtomicU64,
    /// Whether `STOP` was called.
    stopping: AtomicBool,
    dropped: AtomicBool,
}

impl Instance {
    /// Creates an instance: `create` runs on the modules runtime, within `deadline`.
    pub async fn create(
        code: Code,
        context: Arc<HostContext>,
        options: Arc<str>,
        runtime: Handle,
        deadline: Duration,
    ) -> Result<Arc<Self>, ModuleError> {
        let module = context.origin.module.to_string();
        let key = context.slot.key.clone();
        let making = runtime.spawn({
            let (runtime, options) = (runtime.clone(), options.clone());
            async move {
                let pointer = invoke::create(&code, &context, &options)?;
                let gate = context.slot.new_gate();
                let instance = Arc::new(Self {
                    key,
                    code,
                    pointer,
                    context,
                    gate,
                    runtime,
                    options: Mutex::new(options),
                    background: AtomicUsize::new(0),
                    timers: Mutex::default(),
                    idle_watch: Mutex::default(),
                    idle_ms: AtomicU64::new(0),
                    last_stanza: AtomicU64::new(0),
                    stopping: AtomicBool::new(false),
                    dropped: AtomicBool::new(false),
                });
                instance.context.set_instance(&instance);
                Ok::<_, CallEnd>(instance)
            }
        });
        match tokio::time::timeout(deadline, making).await {
            Ok(Ok(Ok(instance))) => Ok(instance),
            Ok(Ok(Err(end))) => Err(ModuleError::module(module, Stage::Start, end.reason())),
            Ok(Err(_)) => Err(ModuleError::server(module, Stage::Start, "its creation was cancelled")),
            Err(_) => Err(ModuleError::module(
                module,
                Stage::Start,
                format!("its constructor did not return within {} ms", deadline.as_millis()),
            )),
        }
    }

    /// The slot it serves.
    pub fn key(&self) -> &SlotKey {
        &self.key
    }

    /// Its code.
    pub fn code(&self) -> &Code {
        &self.code
    }

    /// The module's token for it.
    pub fn pointer(&self) -> InstancePtr {
        self.pointer
    }

    /// The host as it sees it.
    pub fn context(&self) -> &Arc<HostContext> {
        &self.context
    }

    /// Its gate.
    #[inline]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Number of its generation.
    pub fn generation(&self) -> u64 {
        self.context.origin.generation
    }

    /// The options it runs with, JSON.
    pub fn options(&self) -> Arc<str> {
        self.options.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Calls it on this thread. The usual way in; `call` decides which instance and which lane.
    pub fn call(self: &Arc<Self>, lease: Lease<'_>, spec: &CallSpec<'_>) -> Called {
        invoke::call(self, lease, spec, ReplyBuf::new())
    }

    /// `START`: registrations are collected, nothing is published.
    pub async fn start(self: &Arc<Self>, on_swap: bool, deadline: Duration) -> Result<Started, ModuleError> {
        let spec = Owned { kind: call::START, number: i64::from(on_swap), ..Owned::default() };
        let end = self.lifecycle(spec, REPLY_LIMIT, Stage::Start, deadline).await?;
        match (end.status, end.reply.code) {
            (status::DONE, reply::START_RUNNING) => Ok(Started::Running(None)),
            (status::DONE, reply::START_RUNNING_AFTER) => {
                self.set_idle(end.reply.number);
                Ok(Started::Running(Some(millis(end.reply.number))))
            }
            (status::DONE, reply::START_IGNORE) => Ok(Started::Ignored),
            _ => Err(self.error(Stage::Start, end.reason())),
        }
    }

    /// From now on what it registers is published by itself.
    pub fn set_live(&self) {
        self.context.set_phase(Phase::Live);
    }

    /// It serves: the tasks it asked for while it started begin.
    pub fn run_early_tasks(self: &Arc<Self>) {
        for task in invoke::early_tasks(self) {
            self.run_in_background(task);
        }
    }

    /// `STARTED`: it serves.
    pub async fn started(self: &Arc<Self>, deadline: Duration) -> Result<(), ModuleError> {
        let spec = Owned { kind: call::STARTED, ..Owned::default() };
        let end = self.lifecycle(spec, REPLY_LIMIT, Stage::Started, deadline).await?;
        match end.status {
            status::DONE | status::UNSUPPORTED => Ok(()),
            _ => Err(self.error(Stage::Started, end.reason())),
        }
    }

    /// `RELOAD` with its options. `Ok(false)`: it cannot, and wants a restart.
    pub async fn reload(self: &Arc<Self>, options: &str, deadline: Duration) -> Result<bool, ModuleError> {
        let changed = *options != *self.options();
        let spec = Owned {
            kind: call::RELOAD,
            number: i64::from(changed),
            args: options.to_owned(),
            ..Owned::default()
        };
        let end = self.lifecycle(spec, REPLY_LIMIT, Stage::Reload, deadline).await?;
        match end.status {
            status::DONE => {
                *self.options.lock().unwrap_or_else(PoisonError::into_inner) = options.into();
                Ok(true)
            }
            status::UNSUPPORTED => Ok(false),
            _ => Err(self.error(Stage::Reload, end.reason())),
        }
    }

    /// `EXPORT_STATE`, with the gate frozen and empty. `None`: it has no state.
    pub async fn export(
        self: &Arc<Self>,
        limit: usize,
        deadline: Duration,
    ) -> Result<Option<State>, ModuleError> {
        let spec = Owned { kind: call::EXPORT_STATE, ..Owned::default() };
        let end = self.lifecycle(spec, limit, Stage::Export, deadline).await?;
        match end.status {
            _ if end.reply.overflowed() => {
                Err(self.error(Stage::Export, format!("its state is larger than the limit of {limit} bytes")))
            }
            status::UNSUPPORTED => Ok(None),
            status::DONE if end.reply.code == reply::STATE => {
                let schema = u32::try_from(end.reply.number)
                    .map_err(|_| self.error(Stage::Export, "its schema number is out of range"))?;
                Ok(Some(State { schema, bytes: end.reply.body }))
            }
            status::DONE => Err(self.error(Stage::Export, "it wrote no state and gave no reason")),
            _ => Err(self.error(Stage::Export, end.reason())),
        }
    }

    /// `IMPORT_STATE`.
    pub async fn import(self: &Arc<Self>, state: &State, deadline: Duration) -> Result<(), ModuleError> {
        let spec = Owned {
            kind: call::IMPORT_STATE,
            number: i64::from(state.schema),
            body: state.bytes.clone(),
            ..Owned::default()
        };
        let end = self.lifecycle(spec, REPLY_LIMIT, Stage::Import, deadline).await?;
        match end.status {
            status::DONE => Ok(()),
            status::UNSUPPORTED => Err(self.error(Stage::Import, "it takes no state over")),
            _ => Err(self.error(Stage::Import, end.reason())),
        }
    }

    /// `TERMINATED`: the server ends.
    pub async fn terminated(self: &Arc<Self>, error: bool, deadline: Duration) -> Result<(), ModuleError> {
        let spec = Owned { kind: call::TERMINATED, number: i64::from(error), ..Owned::default() };
        let end = self.lifecycle(spec, REPLY_LIMIT, Stage::Terminated, deadline).await?;
        match end.status {
            status::DONE | status::UNSUPPORTED => Ok(()),
            _ => Err(self.error(Stage::Terminated, end.reason())),
        }
    }

    /// Holds callers back and waits until the last one has left; the number of those left otherwise.
    pub async fn freeze(&self, deadline: Duration) -> Result<(), u64> {
        self.gate.freeze();
        self.gate.wait_empty(deadline).await
    }

    /// Lets callers and tasks go on.
    pub fn thaw(&self) {
        self.gate.thaw();
        self.context.wake_all();
    }

    /// Out of service for ever: what waits looks elsewhere.
    pub fn retire(&self) {
        self.gate.retire();
        self.context.wake_all();
    }

    /// Ends unfinished tasks with errors.
    pub fn cut(&self) {
        self.gate.cut();
        self.context.wake_all();
    }

    /// Ends it: background tasks and timers, operations, `STOP`, `drop_instance`. The gate must be retired and empty.
    /// An error tells what could not be ended in time; then the instance stays, and its library with it.
    pub async fn end(self: &Arc<Self>, reason: StopReason, deadline: Duration) -> Result<(), ModuleError> {
        self.context.set_phase(Phase::Ended);
        self.retire();
        self.stop_timers();
        self.context.ops.clear();
        drop(invoke::early_tasks(self));
        self.background_ended(deadline).await?;
        if self.stopping.swap(true, Ordering::AcqRel) {
            // Tried again: the stop of the first time may have come back meanwhile.
            let waits = || self.error(Stage::Retire, "its stop has not come back");
            return self.is_dropped().then_some(()).ok_or_else(waits);
        }
        let this = Arc::clone(self);
        let word = reason.word();
        let ending = self.runtime().spawn(async move {
            let spec = Owned { kind: call::STOP, name: word.to_owned(), ..Owned::default() };
            let end = this.enter_last(&spec).await;
            if !this.dropped.swap(true, Ordering::AcqRel) {
                invoke::drop_instance(&this.code, this.pointer);
            }
            end
        });
        match tokio::time::timeout(deadline, ending).await {
            Ok(Ok(end)) if end.panicked() => {
                let generation = self.generation();
                tracing::warn!(module = %self.key, generation, stage = "stop", reason = end.reason(), "a module panicked");
                Ok(())
            }
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(self.error(Stage::Retire, "its stop was cancelled")),
            Err(_) => Err(self.error(
                Stage::Retire,
                format!("it did not stop within {} ms and was cut", deadline.as_millis()),
            )),
        }
    }

    /// Whether `drop_instance` has run.
    pub fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }

    /// How many background tasks run.
    pub fn background_count(&self) -> usize {
        self.background.load(Ordering::Acquire)
    }

    /// Drives a task of the module's own until it is done or the instance ends.
    pub fn run_in_background(self: &Arc<Self>, task: ModuleTask) {
        self.background.fetch_add(1, Ordering::AcqRel);
        let this = Arc::clone(self);
        self.runtime().spawn(async move {
            let end = task.await;
            this.background.fetch_sub(1, Ordering::AcqRel);
            if end.panicked() {
                this.context.slot.stats.panicked();
                let generation = this.generation();
                tracing::error!(module = %this.key, generation, stage = "task", reason = end.reason(), "a module panicked");
            }
        });
    }

    /// Keeps a timer's task, to be stopped with the instance.
    pub fn keep_timer(&self, timer: JoinHandle<()>) {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner).push(timer);
    }

    /// Keeps the watch over its idle time instead of the one before.
    pub fn replace_idle_watch(&self, watch: JoinHandle<()>) {
        let before = self.idle_watch.lock().unwrap_or_else(PoisonError::into_inner).replace(watch);
        if let Some(before) = before {
            before.abort();
        }
    }

    /// The idle time it asked for last, in milliseconds; 0 for none.
    pub fn idle_ms(&self) -> u64 {
        self.idle_ms.load(Ordering::Relaxed)
    }

    /// Sets the idle time.
    pub fn set_idle(&self, milliseconds: i64) {
        self.idle_ms.store(u64::try_from(milliseconds).unwrap_or(0), Ordering::Relaxed);
    }

    /// Counts a stanza; the idle timer starts again.
    pub fn touch(&self) {
        self.last_stanza.fetch_add(1, Ordering::Relaxed);
    }

    /// Stanzas seen so far: unchanged means idle.
    pub fn touched(&self) -> u64 {
        self.last_stanza.load(Ordering::Relaxed)
    }

    fn stop_timers(&self) {
        let timers = std::mem::take(&mut *self.timers.lock().unwrap_or_else(PoisonError::into_inner));
        timers.iter().for_each(JoinHandle::abort);
        if let Some(watch) = self.idle_watch.lock().unwrap_or_else(PoisonError::into_inner).take() {
            watch.abort();
        }
    }

    async fn background_ended(&self, deadline: Duration) -> Result<(), ModuleError> {
        let wait = async {
            // The tasks were woken by the cut; each of them ends at its next poll.
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

    /// The last call: past the retired gate, alone.
    async fn enter_last(self: &Arc<Self>, spec: &Owned) -> CallEnd {
        invoke::call_last(self, &spec.borrowed()).end().await
    }

    /// A lifecycle call on the modules runtime with a deadline. It passes a frozen gate, because the swap that froze it
    /// is the one that calls.
    fn lifecycle(
        self: &Arc<Self>,
        spec: Owned,
        limit: usize,
        stage: Stage,
        deadline: Duration,
    ) -> impl Future<Output = Result<CallEnd, ModuleError>> + Send + use<> {
        let this = Arc::clone(self);
        async move {
            let running = this.runtime().spawn({
                let this = Arc::clone(&this);
                async move { invoke::call_privileged(&this, &spec.borrowed(), limit).end().await }
            });
            match tokio::time::timeout(deadline, running).await {
                Ok(Ok(end)) => Ok(end),
                Ok(Err(_)) => Err(this.error(stage, "the call was cancelled")),
                Err(_) => Err(this.error(stage, format!("no answer within {} ms", deadline.as_millis()))),
            }
        }
    }

    /// The modules runtime of this moment: the one it was created on may have been replaced, and gone since.
    fn runtime(&self) -> Handle {
        self.context.hub().map_or_else(|| self.runtime.clone(), |hub| hub.modules_runtime())
    }

    fn error(&self, stage: Stage, reason: impl AsRef<str>) -> ModuleError {
        ModuleError::module(self.key.to_string(), stage, reason)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.context.slot.forget_gate(&self.gate);
        if !self.dropped.load(Ordering::Acquire) {
            // Leaked on purpose: its library is kept by the manager too, so nothing dangles.
            tracing::error!(module = %self.key, "an instance was let go without being ended: this is a bug of the server");
        }
    }
}

/// A call's arguments, owned: for calls that run on another task than the one that asks.
#[derive(Debug, Clone, Default)]
struct Owned {
    kind: u32,
    number: i64,
    name: String,
    args: String,
    body: Vec<u8>,
}

impl Owned {
    fn borrowed(&self) -> CallSpec<'_> {
        CallSpec {
            kind: self.kind,
            number: self.number,
            name: &self.name,
            args: &self.args,
            body: &self.body,
            ..CallSpec::default()
        }
    }
}

fn millis(number: i64) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or(0))
}
