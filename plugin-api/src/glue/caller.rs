//! The host's side of the boundary in miniature, for the fake host of unit tests: drives a module's table of functions and
//! offers the host's, both without `unsafe` for its user.

use super::reply::AnswerBuf;
use crate::abi::v1::{
    self, Call, HostRef, HostVt, InstanceInfo, InstancePtr, ModuleVt, PollRef, ReplyRef, TaskPtr, status,
};
use crate::sdk::{HostError, Module};
use abi_stable::std_types::{RSlice, RStr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

/// What the host does when a module calls it.
#[allow(missing_docs, reason = "each function is documented at its namesake in `HostVt`")]
pub trait HostSide: Send + Sync + 'static {
    fn log(&self, level: u32, component: &str, message: &str);
    fn log_enabled(&self, level: u32) -> bool;
    fn register(&self, what: &v1::Registration<'_>) -> Result<u64, HostError>;
    fn unregister(&self, id: u64) -> bool;
    fn route(&self, from: &str, to: &str, stanza: &[u8]) -> Result<(), HostError>;
    fn op_start(&self, kind: u32, number: i64, args: &str, body: &[u8]) -> u64;
    /// `task` is the task that is being polled, if any.
    fn op_poll(&self, op: u64, task: Option<u64>) -> OpStatus;
    fn op_wait(&self, op: u64, timeout: Duration) -> OpStatus;
    fn op_cancel(&self, op: u64);
    fn task_wake(&self, task: u64);
    /// The task's number, 0 to refuse it.
    fn spawn(&self, task: TaskHandle) -> u64;
    /// Whether the server ends.
    fn fatal(&self, message: &str) -> bool;
    fn counter_add(&self, name: &str, delta: u64);
    fn gauge_set(&self, name: &str, value: i64);
}

/// Where an operation stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpStatus {
    /// It has answered.
    Done(OpReply),
    /// It has failed.
    Failed(HostError),
    /// It has not answered yet.
    Pending,
}

/// An operation's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpReply {
    /// Count or time.
    pub number: i64,
    /// JSON.
    pub text: String,
    /// Bytes.
    pub body: Vec<u8>,
}

/// What a call or poll came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answered {
    /// One of [`v1::status`].
    pub status: i32,
    /// One of [`v1::reply`].
    pub code: u32,
    /// Meaning by code.
    pub number: i64,
    /// Meaning by code.
    pub text: String,
    /// Meaning by code.
    pub extra: String,
    /// Bytes.
    pub body: Vec<u8>,
}

impl Answered {
    fn new(status: i32, buf: AnswerBuf) -> Self {
        let AnswerBuf { body, code, number, text, extra } = buf;
        Self { status, code, number, text, extra, body }
    }
}

/// One instance, driven through its table. Ends it when dropped, after its last task.
#[derive(Clone)]
pub struct Caller(Arc<Inner>);

struct Inner {
    vt: &'static ModuleVt,
    side: Arc<dyn HostSide>,
    instance: OnceLock<InstancePtr>,
    /// For tasks that the module spawns; gone while the instance is being dropped.
    me: Weak<Inner>,
}

/// A task of the module, ended when dropped.
pub struct TaskHandle {
    task: TaskPtr,
    /// Keeps the instance.
    owner: Arc<Inner>,
}

/// What a call came to.
pub enum Called {
    /// It was answered.
    Answered(Answered),
    /// It goes on as a task.
    Task(TaskHandle),
}

/// The table of a module that is linked in.
pub fn linked_table<M: Module>() -> &'static ModuleVt {
    const { &super::table::<M>(super::create::<M>) }
}

impl Caller {
    /// Makes an instance. The error is what `create` answered.
    ///
    /// # Safety
    /// `vt` must be the table of a module of this API version whose library stays loaded while anything made here lives.
    pub unsafe fn create(
        vt: &'static ModuleVt,
        module: &str,
        vhost: &str,
        options: &str,
        generation: u64,
        side: Arc<dyn HostSide>,
    ) -> Result<Self, Answered> {
        let inner = Arc::new_cyclic(|me| Inner { vt, side, instance: OnceLock::new(), me: me.clone() });
        let host = HostRef { ctx: Arc::as_ptr(&inner).cast(), vt: &HOST };
        let info = InstanceInfo {
            module: RStr::from_str(module),
            vhost: RStr::from_str(vhost),
            options: RStr::from_str(options),
            generation,
        };
        let (mut buf, mut instance) = (AnswerBuf::default(), InstancePtr { ptr: std::ptr::null_mut() });
        // SAFETY: the caller vouches for the table; `host` points into the Arc, which outlives the instance.
        let status = unsafe { (vt.create)(&info, host, buf.as_raw(), &mut instance) };
        if status != status::DONE || inner.instance.set(instance).is_err() {
            return Err(Answered::new(status, buf));
        }
        Ok(Self(inner))
    }

    /// Makes an instance of a module that is linked in.
    pub fn linked<M: Module>(
        module: &str,
        vhost: &str,
        options: &str,
        generation: u64,
        side: Arc<dyn HostSide>,
    ) -> Result<Self, Answered> {
        // SAFETY: the table is of this very build, and what is linked in stays.
        unsafe { Self::create(linked_table::<M>(), module, vhost, options, generation, side) }
    }

    /// Makes one call.
    pub fn call(&self, call: &Call<'_>) -> Called {
        let inner = &self.0;
        let Some(&instance) = inner.instance.get() else {
            return Called::Answered(Answered { status: status::ERROR, ..Answered::default() });
        };
        let (mut buf, mut task) = (AnswerBuf::default(), TaskPtr { ptr: std::ptr::null_mut() });
        // SAFETY: the instance lives as long as `inner`; everything borrowed outlives the call.
        let status = unsafe { (inner.vt.call)(instance, call, buf.as_raw(), &mut task) };
        if status == status::PENDING {
            return Called::Task(TaskHandle { task, owner: Arc::clone(inner) });
        }
        Called::Answered(Answered::new(status, buf))
    }
}

impl TaskHandle {
    /// Polls under this number; `None` while it has not finished. It must not be polled again afterwards.
    pub fn poll(&mut self, id: u64) -> Option<Answered> {
        let mut buf = AnswerBuf::default();
        let poll = PollRef { ctx: (&raw const id).cast_mut().cast() };
        // SAFETY: the task is ours until it is dropped, and `&mut` makes this the only poll; `poll` and the buffer outlive
        // the call.
        let status = unsafe { (self.owner.vt.task_poll)(self.task, id, poll, buf.as_raw()) };
        (status != status::PENDING).then(|| Answered::new(status, buf))
    }
}

impl Drop for TaskHandle {
    fn drop(&mut self) {
        // SAFETY: the task is ours, and this is its end.
        unsafe { (self.owner.vt.task_drop)(self.task) }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(&instance) = self.instance.get() {
            // SAFETY: made by `create`; no call is under way, since each holds the Arc, and no task is left, since each
            // does too.
            unsafe { (self.vt.drop_instance)(instance) }
        }
    }
}

static HOST: HostVt = HostVt {
    size: size_of::<HostVt>() as u32,
    log,
    log_enabled,
    register,
    unregister,
    route,
    op_start,
    op_poll,
    op_wait,
    op_cancel,
    task_wake,
    spawn,
    fatal,
    counter_add,
    gauge_set,
};

/// Runs `f` with the host; a panic of the fake host gives `otherwise` and stays on this side.
fn with<R>(ctx: *const u8, otherwise: R, f: impl FnOnce(&Inner) -> R) -> R {
    // SAFETY: `ctx` is the Arc's content, which lives until `drop_instance` has returned, and modules use it no longer.
    let inner = unsafe { &*ctx.cast::<Inner>() };
    catch_unwind(AssertUnwindSafe(|| f(inner))).unwrap_or(otherwise)
}

fn finish(reply: ReplyRef<'_>, code: u32, number: i64, text: &str, extra: &str) {
    // SAFETY: `reply` is valid for the call that this function serves.
    unsafe { (reply.vt.finish)(reply.ctx, code, number, RStr::from_str(text), RStr::from_str(extra)) }
}

fn refuse(reply: ReplyRef<'_>, error: &HostError) -> i32 {
    finish(reply, v1::reply::OP_ERROR, 0, &error.condition, &error.text);
    status::ERROR
}

fn answer(reply: ReplyRef<'_>, op: OpStatus) -> i32 {
    match op {
        OpStatus::Pending => status::PENDING,
        OpStatus::Failed(error) => refuse(reply, &error),
        OpStatus::Done(OpReply { number, text, body }) => {
            // SAFETY: as in `finish`.
            unsafe { (reply.vt.write)(reply.ctx, RSlice::from_slice(&body)) };
            finish(reply, v1::reply::OP_OK, number, &text, "");
            status::DONE
        }
    }
}

unsafe extern "C" fn log(ctx: *const u8, level: u32, component: RStr<'_>, message: RStr<'_>) {
    with(ctx, (), |inner| inner.side.log(level, component.as_str(), message.as_str()));
}

unsafe extern "C" fn log_enabled(ctx: *const u8, level: u32) -> bool {
    with(ctx, false, |inner| inner.side.log_enabled(level))
}

unsafe extern "C" fn register(ctx: *const u8, what: &v1::Registration<'_>, reply: ReplyRef<'_>) -> i32 {
    with(ctx, status::ERROR, |inner| match inner.side.register(what) {
        Ok(id) => answer(reply, OpStatus::Done(OpReply { number: id.cast_signed(), ..OpReply::default() })),
        Err(error) => refuse(reply, &error),
    })
}

unsafe extern "C" fn unregister(ctx: *const u8, id: u64) -> i32 {
    with(ctx, status::ERROR, |inner| if inner.side.unregister(id) { status::DONE } else { status::ERROR })
}

unsafe extern "C" fn route(
    ctx: *const u8,
    from: RStr<'_>,
    to: RStr<'_>,
    stanza: RSlice<'_, u8>,
    reply: ReplyRef<'_>,
) -> i32 {
    with(ctx, status::ERROR, |inner| match inner.side.route(from.as_str(), to.as_str(), stanza.as_slice()) {
        Ok(()) => answer(reply, OpStatus::Done(OpReply::default())),
        Err(error) => refuse(reply, &error),
    })
}

unsafe extern "C" fn op_start(
    ctx: *const u8,
    kind: u32,
    number: i64,
    args: RStr<'_>,
    body: RSlice<'_, u8>,
) -> u64 {
    with(ctx, 0, |inner| inner.side.op_start(kind, number, args.as_str(), body.as_slice()))
}

unsafe extern "C" fn op_poll(ctx: *const u8, op: u64, poll: PollRef, reply: ReplyRef<'_>) -> i32 {
    // SAFETY: null, or the number that `TaskHandle::poll` lends for the poll under way.
    let task = unsafe { poll.ctx.cast::<u64>().as_ref() }.copied();
    with(ctx, status::ERROR, |inner| answer(reply, inner.side.op_poll(op, task)))
}

unsafe extern "C" fn op_wait(ctx: *const u8, op: u64, timeout_ms: u64, reply: ReplyRef<'_>) -> i32 {
    with(ctx, status::ERROR, |inner| answer(reply, inner.side.op_wait(op, Duration::from_millis(timeout_ms))))
}

unsafe extern "C" fn op_cancel(ctx: *const u8, op: u64) {
    with(ctx, (), |inner| inner.side.op_cancel(op));
}

unsafe extern "C" fn task_wake(ctx: *const u8, task_id: u64) {
    with(ctx, (), |inner| inner.side.task_wake(task_id));
}

unsafe extern "C" fn spawn(ctx: *const u8, task: TaskPtr) -> u64 {
    with(ctx, 0, |inner| {
        let Some(owner) = inner.me.upgrade() else {
            // SAFETY: the task was handed over, so ending it is ours.
            unsafe { (inner.vt.task_drop)(task) };
            return 0;
        };
        inner.side.spawn(TaskHandle { task, owner })
    })
}

unsafe extern "C" fn fatal(ctx: *const u8, message: RStr<'_>) -> i32 {
    with(
        ctx,
        status::ERROR,
        |inner| if inner.side.fatal(message.as_str()) { status::DONE } else { status::ERROR },
    )
}

unsafe extern "C" fn counter_add(ctx: *const u8, name: RStr<'_>, delta: u64) {
    with(ctx, (), |inner| inner.side.counter_add(name.as_str(), delta));
}

unsafe extern "C" fn gauge_set(ctx: *const u8, name: RStr<'_>, value: i64) {
    with(ctx, (), |inner| inner.side.gauge_set(name.as_str(), value));
}
