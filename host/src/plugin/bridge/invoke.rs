//! Calls into a module, and the future of a call that did not finish at once.
//!
//! Every entry is bracketed twice: by a lease of the instance's gate (nobody retires what is being called) and by
//! `Code::enter` (the thread is known to have been inside, and since when).

use super::cause;
use super::context::{HostContext, MAX_BACKGROUND_TASKS, Phase};
use super::reply::ReplyBuf;
use crate::plugin::gate::{Closed, Lease};
use crate::plugin::instance::Instance;
use crate::plugin::loader::Library;
use crate::plugin::threads::Entered;
use moult_plugin_api::abi::v1::{
    Call, InstanceInfo, InstancePtr, ModuleVt, PollRef, TaskPtr, call, reply, status,
};
use moult_plugin_api::abi_stable::std_types::{RSlice, RStr};
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

/// The code of a generation: its functions, and the library that holds them.
#[derive(Clone)]
pub struct Code {
    vt: ModuleVt,
    /// `None` for modules linked into a test.
    library: Option<Arc<Library>>,
}

impl Code {
    /// The code of a loaded library.
    pub fn of(library: &Arc<Library>) -> Self {
        Self { vt: *library.vt(), library: Some(Arc::clone(library)) }
    }

    /// Code that is part of this very binary.
    #[cfg(test)]
    pub fn linked(vt: &'static ModuleVt) -> Self {
        Self { vt: *vt, library: None }
    }

    /// The library, unless the code is linked in.
    pub fn library(&self) -> Option<&Arc<Library>> {
        self.library.as_ref()
    }

    #[inline]
    fn enter(&self) -> Option<Entered<'_>> {
        self.library.as_deref().map(Library::enter)
    }
}

/// One call in host types. What a kind leaves out is empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallSpec<'a> {
    /// One of `v1::call`.
    pub kind: u32,
    /// The module's number for the registration.
    pub handler: u64,
    /// Meaning by kind.
    pub target: u32,
    /// Meaning by kind.
    pub number: i64,
    /// Sender or caller.
    pub from: &'a str,
    /// Addressee.
    pub to: &'a str,
    /// Stanza id or method.
    pub id: &'a str,
    /// Namespace, hook, command, path, reason.
    pub name: &'a str,
    /// JSON.
    pub args: &'a str,
    /// Bytes.
    pub body: &'a [u8],
    /// Hops of the stanza the call is about.
    pub hops: u8,
}

/// How a call ended.
#[derive(Debug)]
pub struct CallEnd {
    /// One of `v1::status`, never PENDING.
    pub status: i32,
    /// What was answered.
    pub reply: ReplyBuf,
}

impl CallEnd {
    /// Whether the module answered at all.
    pub fn is_done(&self) -> bool {
        self.status == status::DONE
    }

    /// Whether it panicked.
    pub fn panicked(&self) -> bool {
        self.status == status::PANIC
    }

    /// Why it failed, in the module's words or ours.
    pub fn reason(&self) -> String {
        match self.status {
            _ if !self.reply.text.is_empty() => self.reply.text.clone(),
            status::UNSUPPORTED => "the module does not know this call".into(),
            status::PANIC => "the module panicked".into(),
            _ => "the module failed without a reason".into(),
        }
    }

    /// What it was called for.
    pub fn stage(&self) -> &'static str {
        stage_of(self.reply.about)
    }

    /// An end that the host has made.
    pub fn failed(text: &str) -> Self {
        let mut reply = ReplyBuf::new();
        reply.finish(reply::FAILED, 0, text, "");
        Self { status: status::ERROR, reply }
    }
}

/// A kind of call, in the word that logs use.
pub fn stage_of(kind: u32) -> &'static str {
    match kind {
        call::START => "start",
        call::STARTED => "started",
        call::RELOAD => "reload",
        call::TERMINATED => "terminated",
        call::STOP => "stop",
        call::EXPORT_STATE => "export",
        call::IMPORT_STATE => "import",
        call::IQ => "iq",
        call::STANZA => "stanza",
        call::HOOK => "hook",
        call::COMMAND => "command",
        call::HTTP => "http",
        call::TIMER => "timer",
        call::IDLE => "idle",
        call::REQUEST => "request",
        call::CAST => "cast",
        _ => "task",
    }
}

/// A call that has just been made.
pub enum Called {
    /// It is over.
    Done(CallEnd),
    /// It goes on as a task.
    Pending(ModuleTask),
}

impl Called {
    /// Waits for its end.
    pub async fn end(self) -> CallEnd {
        match self {
            Called::Done(end) => end,
            Called::Pending(task) => task.await,
        }
    }
}

/// The poll that `PollRef::ctx` points at.
pub(super) struct PollContext<'a, 'b> {
    pub(super) cx: &'a mut Context<'b>,
}

/// Ids that a thread takes from the common counter at once: one shared write in so many calls instead of one in each.
const TASK_IDS: u64 = 1024;
static NEXT_TASKS: AtomicU64 = AtomicU64::new(TASK_IDS);

thread_local! {
    /// The next id of this thread; at a multiple of `TASK_IDS` its supply is used up.
    static NEXT_TASK: Cell<u64> = const { Cell::new(0) };
}

#[inline]
fn next_task_id() -> u64 {
    NEXT_TASK.with(|next| {
        let mut id = next.get();
        if id.is_multiple_of(TASK_IDS) {
            id = NEXT_TASKS.fetch_add(TASK_IDS, Ordering::Relaxed) + 1;
        }
        next.set(id + 1);
        id
    })
}

/// Makes an instance in the module. `options` is a JSON object.
pub fn create(code: &Code, context: &Arc<HostContext>, options: &str) -> Result<InstancePtr, CallEnd> {
    let info = InstanceInfo {
        module: RStr::from_str(&context.origin.module),
        vhost: RStr::from_str(&context.origin.vhost),
        options: RStr::from_str(options),
        generation: context.origin.generation,
    };
    let mut out = InstancePtr { ptr: std::ptr::null_mut() };
    let mut reply = ReplyBuf::new();
    let _inside = code.enter();
    // SAFETY: the function belongs to the library that `code` keeps loaded; all arguments are borrowed for the call, and
    // the context outlives the instance (see `host_vt::host_ref`).
    let status =
        unsafe { (code.vt.create)(&info, super::host_vt::host_ref(context), reply.as_abi(), &mut out) };
    if status == status::DONE && !out.ptr.is_null() { Ok(out) } else { Err(CallEnd { status, reply }) }
}

/// Ends an instance in the module.
///
/// The caller must have seen to it that its gate is retired and empty and that it never calls again: `Instance` does so.
pub fn drop_instance(code: &Code, pointer: InstancePtr) {
    let _inside = code.enter();
    // SAFETY: the pointer came from `create` of the same code, nobody is inside (retired gate at zero) and nobody can
    // enter again, and `Instance` calls this once.
    unsafe { (code.vt.drop_instance)(pointer) }
}

/// A call as the module will read it.
///
/// Best made some nanoseconds before it is used: the module loads in one piece what was stored here in two, and a processor
/// waits with that until the stores have reached its cache.
pub struct Arguments<'a> {
    abi: Call<'a>,
    hops: u8,
}

impl<'a> Arguments<'a> {
    /// Puts it together.
    #[inline(always)]
    pub fn new(spec: &CallSpec<'a>) -> Self {
        let abi = Call {
            kind: spec.kind,
            target: spec.target,
            handler: spec.handler,
            number: spec.number,
            task_id: next_task_id(),
            from: RStr::from_str(spec.from),
            to: RStr::from_str(spec.to),
            id: RStr::from_str(spec.id),
            name: RStr::from_str(spec.name),
            args: RStr::from_str(spec.args),
            body: RSlice::from_slice(spec.body),
        };
        Self { abi, hops: spec.hops }
    }
}

/// One call into `instance`. The lease is given back when the call is over, at once or with its task.
#[inline(always)]
pub fn call(instance: &Arc<Instance>, lease: Lease<'_>, call: &Arguments<'_>, reply: ReplyBuf) -> Called {
    enter(instance, lease, call, reply, Holds::Lease)
}

#[inline(always)]
fn enter(
    instance: &Arc<Instance>,
    lease: Lease<'_>,
    call: &Arguments<'_>,
    mut reply: ReplyBuf,
    holds: Holds,
) -> Called {
    let task_id = call.abi.task_id;
    reply.about = call.abi.kind;
    let code = instance.code();
    let mut task = TaskPtr { ptr: std::ptr::null_mut() };
    let status = {
        let _inside = code.enter();
        let _cause = cause::acting_for(call.hops);
        // SAFETY: the lease keeps the instance from being retired, the code keeps its library loaded, and every argument
        // is borrowed for the call only.
        unsafe { (code.vt.call)(instance.pointer(), &call.abi, reply.as_abi(), &mut task) }
    };
    if status == status::PENDING && !task.ptr.is_null() {
        // The task takes the place inside over; it leaves when it ends.
        std::mem::forget(lease);
        let mut pending = ModuleTask::new(instance, task, task_id, reply, holds);
        pending.hops = call.hops;
        return Called::Pending(pending);
    }
    match holds {
        Holds::Lease => lease.end(),
        // Lifecycle calls are not counted among what the module is asked.
        Holds::Privileged | Holds::Nothing => drop(lease),
    }
    Called::Done(CallEnd { status: if status == status::PENDING { status::ERROR } else { status }, reply })
}

/// A lifecycle call: enters even a frozen gate, because whoever froze it is the one that calls.
pub fn call_privileged(instance: &Arc<Instance>, spec: &CallSpec<'_>, limit: usize) -> Called {
    let call = Arguments::new(spec);
    enter(instance, instance.gate().enter_privileged(), &call, ReplyBuf::with_limit(limit), Holds::Privileged)
}

/// The very last call, `STOP`: past a retired gate that is empty.
pub fn call_last(instance: &Arc<Instance>, spec: &CallSpec<'_>) -> Called {
    call_privileged(instance, spec, super::reply::REPLY_LIMIT)
}

/// Takes a background task of a module over; gives its id, or 0 after dropping it.
pub(super) fn spawn(context: &HostContext, task: TaskPtr) -> u64 {
    let id = next_task_id();
    if context.phase() == Phase::Preparing {
        return match context.keep_early(id, task) {
            Ok(()) => id,
            Err(task) => refuse(context, task),
        };
    }
    match context.instance() {
        Some(instance)
            if context.phase() == Phase::Live && instance.background_count() < MAX_BACKGROUND_TASKS =>
        {
            instance.run_in_background(ModuleTask::new(&instance, task, id, ReplyBuf::new(), Holds::Nothing));
            id
        }
        _ => refuse(context, task),
    }
}

fn refuse(context: &HostContext, task: TaskPtr) -> u64 {
    if let Some(instance) = context.instance() {
        drop(ModuleTask::new(&instance, task, next_task_id(), ReplyBuf::new(), Holds::Nothing));
    }
    0
}

/// Wraps the tasks that were handed over before the instance served.
pub fn early_tasks(instance: &Arc<Instance>) -> Vec<ModuleTask> {
    let early = instance.context().take_early();
    early
        .into_iter()
        .map(|(id, task)| ModuleTask::new(instance, task, id, ReplyBuf::new(), Holds::Nothing))
        .collect()
}

/// Whether a task counts as a call in flight for its whole life, or only while it is being polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// A call: ends with an error when the gate cuts.
    Lease,
    /// A lifecycle call: not even a cut ends it, only its deadline does.
    Privileged,
    /// A background task: waits while the gate is frozen, ends when it retires.
    Nothing,
}

/// A handler that has not finished. Dropping it ends the handler in the module.
pub struct ModuleTask {
    instance: Arc<Instance>,
    task: Option<TaskPtr>,
    id: u64,
    reply: ReplyBuf,
    holds: Holds,
    hops: u8,
}

impl ModuleTask {
    fn new(instance: &Arc<Instance>, task: TaskPtr, id: u64, reply: ReplyBuf, holds: Holds) -> Self {
        Self { instance: Arc::clone(instance), task: Some(task), id, reply, holds, hops: cause::hops() }
    }

    /// Ends the handler in the module and gives the lease back. Whether it was given up does not count as an end.
    fn end(&mut self, has_ended: bool) {
        let Some(task) = self.task.take() else { return };
        let code = self.instance.code();
        {
            let _inside = code.enter();
            // SAFETY: the task came from this code, was taken out of `self` and so is dropped once; the library is
            // loaded, because the instance keeps it, and the instance is not dropped before its tasks are
            // (leased ones hold the gate, background ones are awaited before).
            unsafe { (code.vt.task_drop)(task) }
        }
        self.instance.context().forget_waker(self.id);
        match (self.holds, has_ended) {
            (Holds::Nothing, _) => {}
            (Holds::Lease, true) => self.instance.gate().leave_ended(),
            (Holds::Lease, false) | (Holds::Privileged, _) => self.instance.gate().leave(),
        }
    }

    fn poll_module(&mut self, task: TaskPtr, cx: &mut Context<'_>) -> i32 {
        let code = self.instance.code();
        let mut poll = PollContext { cx };
        let poll_ref = PollRef { ctx: std::ptr::from_mut(&mut poll).cast() };
        let _inside = code.enter();
        let _cause = cause::acting_for(self.hops);
        // SAFETY: the task is unfinished and ours alone (`&mut self`); the poll context lives on this stack until the
        // function returns, as the contract says.
        unsafe { (code.vt.task_poll)(task, self.id, poll_ref, self.reply.as_abi()) }
    }
}

impl Future for ModuleTask {
    type Output = CallEnd;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CallEnd> {
        let this = self.get_mut();
        let Some(task) = this.task else { return Poll::Ready(CallEnd::failed("the task is over")) };
        // Before anything else, so that a wake from now on is not lost.
        this.instance.context().set_waker(this.id, cx.waker());
        let instance = Arc::clone(&this.instance);
        let polling = match this.holds {
            Holds::Privileged => None,
            Holds::Lease if instance.gate().is_cut() => {
                this.end(true);
                return Poll::Ready(CallEnd::failed("cut: the old generation had to end"));
            }
            Holds::Lease => None,
            Holds::Nothing => match instance.gate().enter() {
                Ok(lease) => Some(lease),
                // A thaw or retirement wakes all tasks again.
                Err(Closed::Frozen) => return Poll::Pending,
                Err(Closed::Retired) => {
                    this.end(true);
                    return Poll::Ready(CallEnd::failed("the instance has ended"));
                }
            },
        };
        let status = this.poll_module(task, cx);
        drop(polling);
        if status == status::PENDING {
            return Poll::Pending;
        }
        let reply = std::mem::take(&mut this.reply);
        this.end(true);
        Poll::Ready(CallEnd { status, reply })
    }
}

impl Drop for ModuleTask {
    fn drop(&mut self) {
        self.end(false);
    }
}
