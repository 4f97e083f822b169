//! One instance: a module's code on one vhost, from `create` to `drop_instance`.
//!
//! States as operators see them: starting, running, draining, failed; the library's own states are those of its
//! generation. An instance is made and ended on the modules runtime, each step with a deadline; whoever calls it holds a
//! lease of its gate.

mod ending;
mod timers;

use super::bridge::context::{HostContext, Phase};
use super::bridge::invoke::{self, Arguments, CallEnd, CallSpec, Called, Code, ModuleTask};
use super::bridge::reply::{REPLY_LIMIT, ReplyBuf};
use super::error::{ModuleError, Stage};
use super::gate::{Gate, Lease};
use super::slot::SlotKey;
use moult_plugin_api::abi::v1::{InstancePtr, call, reply, status};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
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
    timers: timers::Timers,
    idle_ms: AtomicU64,
    last_stanza: AtomicU64,
    ending: ending::Ending,
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
        let (made, mut waiting) = oneshot::channel();
        runtime.spawn({
            let runtime = runtime.clone();
            async move {
                let unheard = made.send(Self::make(code, context, options, runtime));
                if let Err(Ok(late)) = unheard {
                    late.end_unheard(deadline).await;
                }
            }
        });
        let answer = match tokio::time::timeout(deadline, &mut waiting).await {
            Ok(answer) => answer.ok(),
            Err(_) => {
                waiting.close();
                // It may have come in the very last moment.
                waiting.try_recv().ok()
            }
        };
        match answer {
            Some(Ok(instance)) => Ok(instance),
            Some(Err(end)) => Err(ModuleError::module(module, Stage::Start, end.reason())),
            None => Err(ModuleError::module(
                module,
                Stage::Start,
                format!("its constructor did not return within {} ms", deadline.as_millis()),
            )),
        }
    }

    fn make(
        code: Code,
        context: Arc<HostContext>,
        options: Arc<str>,
        runtime: Handle,
    ) -> Result<Arc<Self>, CallEnd> {
        let pointer = invoke::create(&code, &context, &options)?;
        let gate = context.slot.new_gate();
        let instance = Arc::new(Self {
            key: context.slot.key.clone(),
            code,
            pointer,
            context,
            gate,
            runtime,
            options: Mutex::new(options),
            background: AtomicUsize::new(0),
            timers: timers::Timers::default(),
            idle_ms: AtomicU64::new(0),
            last_stanza: AtomicU64::new(0),
            ending: ending::Ending::default(),
            dropped: AtomicBool::new(false),
        });
        instance.context.set_instance(&instance);
        Ok(instance)
    }

    /// Its constructor came back when nobody waited for it any more.
    async fn end_unheard(self: Arc<Self>, deadline: Duration) {
        if let Err(error) = self.end(StopReason::Failed, deadline).await {
            tracing::error!("{error}");
            // It keeps its library, which is told of as one that cannot go.
            std::mem::forget(self);
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
        lock(&self.options).clone()
    }

    /// Calls it on this thread. The usual way in; `call` decides which instance and which lane.
    #[inline(always)]
    pub fn call(self: &Arc<Self>, lease: Lease<'_>, spec: &CallSpec<'_>) -> Called {
        invoke::call(self, lease, &Arguments::new(spec), ReplyBuf::new())
    }

    /// The same with a call that was put together before.
    #[inline(always)]
    pub fn call_with(self: &Arc<Self>, lease: Lease<'_>, call: &Arguments<'_>) -> Called {
        invoke::call(self, lease, call, ReplyBuf::new())
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
                *lock(&self.options) = options.into();
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

    /// `MIGRATE`: one batch of bringing its stores forward. Gives where the next one begins; `None` at the end.
    pub async fn migrate(
        self: &Arc<Self>,
        from: u32,
        cursor: &str,
        deadline: Duration,
    ) -> Result<Option<String>, ModuleError> {
        let args = serde_json::json!({ "cursor": cursor }).to_string();
        let spec = Owned { kind: call::MIGRATE, number: i64::from(from), args, ..Owned::default() };
        let end = self.lifecycle(spec, REPLY_LIMIT, Stage::Migrate, deadline).await?;
        let answer: serde_json::Value = match (end.status, end.reply.code) {
            (status::DONE, reply::COMMAND_OK) => serde_json::from_slice(&end.reply.body).unwrap_or_default(),
            (status::UNSUPPORTED, _) => return Err(self.error(Stage::Migrate, "it brings no stores forward")),
            _ => return Err(self.error(Stage::Migrate, end.reason())),
        };
        match &answer["next"] {
            serde_json::Value::Null if answer.is_object() => Ok(None),
            serde_json::Value::String(next) => Ok(Some(next.clone())),
            _ => Err(self.error(Stage::Migrate, "it does not say how far it came")),
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

    /// Whether `drop_instance` has run.
    pub fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }

    /// How many background tasks run.
    pub fn background_count(&self) -> usize {
        self.background.load(Ordering::Acquire)
    }

    /// Timers and tasks of it that run.
    pub fn running(&self) -> (usize, usize) {
        (self.timers.count(), self.background_count().max(self.context.tasks()))
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

    /// Keeps the task of the timer `id`, to be stopped with the instance.
    pub fn keep_timer(&self, id: u64, timer: JoinHandle<()>) {
        self.timers.keep(id, timer, &self.gate);
    }

    /// Stops the timer `id`.
    pub fn stop_timer(&self, id: u64) {
        self.timers.stop(id);
    }

    /// Keeps the watch over its idle time instead of the one before.
    pub fn replace_idle_watch(&self, watch: JoinHandle<()>) {
        self.timers.keep_watch(watch, &self.gate);
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

    /// A lifecycle call on the modules runtime with a deadline. It passes a frozen gate, because the swap that froze it
    /// is the one that calls, but not a retired one: what is being ended is called no more.
    ///
    /// Its place in the gate is taken before its task exists and is given back when the call has really come back,
    /// however late: until then nothing of the instance is freed. One that waits is dropped at the deadline.
    fn lifecycle(
        self: &Arc<Self>,
        spec: Owned,
        limit: usize,
        stage: Stage,
        deadline: Duration,
    ) -> impl Future<Output = Result<CallEnd, ModuleError>> + Send + use<> {
        let this = Arc::clone(self);
        async move {
            let place = Place::take(&this).ok_or_else(|| this.error(stage, "it has been ended"))?;
            let mut running = this
                .runtime()
                .spawn(async move { invoke::call_privileged(&place.0, &spec.borrowed(), limit).end().await });
            match tokio::time::timeout(deadline, &mut running).await {
                Ok(Ok(end)) => Ok(end),
                Ok(Err(_)) => Err(this.error(stage, "the call was cancelled")),
                Err(_) => {
                    running.abort();
                    Err(this.error(stage, format!("no answer within {} ms", deadline.as_millis())))
                }
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

/// A place in the gate of an instance for a call of its life that another task makes.
struct Place(Arc<Instance>);

impl Place {
    /// `None` when the instance is being ended. The count and the flag are one word: either this sees the end, or the
    /// end sees this.
    fn take(instance: &Arc<Instance>) -> Option<Self> {
        std::mem::forget(instance.gate.enter_privileged());
        let place = Self(Arc::clone(instance));
        (!instance.gate.is_retired()).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.gate.leave();
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(number: i64) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or(0))
}
