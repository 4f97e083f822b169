//! The functions a module may call. Each of them finds its context, catches panics of our own (one that crossed
//! `extern "C"` would abort the server) and keeps nothing it was lent.

use super::cause;
use super::context::HostContext;
use super::invoke::{self, PollContext};
use super::reply::{answer_error, answer_ok};
use crate::plugin::registration;
use crate::plugin::reserve::share_woken;
use crate::plugin::services::{BoxFuture, OpError, OpReply, OpRequest};
use crate::plugin::threads;
use crate::stanza::{Jid, Stanza};
use crate::wake;
use moult_plugin_api::abi::v1::{
    HostRef, HostVt, PollRef, Registration, ReplyRef, TaskPtr, level, op, status,
};
use moult_plugin_api::abi_stable::std_types::{RSlice, RStr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::runtime::{Handle, RuntimeFlavor};

static VT: HostVt = HostVt {
    size: size_of::<HostVt>() as u32,
    log: host_log,
    log_enabled: host_log_enabled,
    register: host_register,
    unregister: host_unregister,
    route: host_route,
    op_start: host_op_start,
    op_poll: host_op_poll,
    op_wait: host_op_wait,
    op_cancel: host_op_cancel,
    task_wake: host_task_wake,
    spawn: host_spawn,
    fatal: host_fatal,
    counter_add: host_counter_add,
    gauge_set: host_gauge_set,
};

/// What an instance is given as its host. The caller keeps `context` alive until the library is gone.
pub(super) fn host_ref(context: &Arc<HostContext>) -> HostRef {
    HostRef { ctx: Arc::as_ptr(context).cast(), vt: &VT }
}

/// Runs `body` with the context behind `ctx`; a panic of ours becomes `otherwise`.
fn with<T>(ctx: *const u8, otherwise: T, body: impl FnOnce(&HostContext) -> T) -> T {
    // SAFETY: `ctx` comes from `host_ref`, and its generation keeps the context alive until its library is unmapped,
    // after which no code that could call here exists.
    let context = unsafe { &*ctx.cast::<HostContext>() };
    catch_unwind(AssertUnwindSafe(|| body(context))).unwrap_or_else(|_| {
        tracing::error!(origin = %context.origin, "a host function failed for a module: this is a bug of the server");
        otherwise
    })
}

/// The same for functions that may wake a task.
fn waking<T>(ctx: *const u8, otherwise: T, body: impl FnOnce(&HostContext) -> T) -> T {
    with(ctx, otherwise, |context| {
        let answer = body(context);
        share_woken();
        answer
    })
}

/// The same for one that mostly wakes mailboxes, which can wait until the module returns.
fn mailing<T>(ctx: *const u8, otherwise: T, body: impl FnOnce(&HostContext) -> T) -> T {
    with(ctx, otherwise, |context| {
        let answer = body(context);
        if wake::take_noted() {
            share_woken();
        }
        answer
    })
}

unsafe extern "C" fn host_log(ctx: *const u8, level: u32, component: RStr<'_>, message: RStr<'_>) {
    with(ctx, (), |context| {
        crate::plugin::log::line(&context.origin, level, component.as_str(), message.as_str())
    });
}

unsafe extern "C" fn host_log_enabled(ctx: *const u8, level: u32) -> bool {
    with(ctx, true, |context| crate::plugin::log::enabled(&context.origin, level))
}

unsafe extern "C" fn host_register(ctx: *const u8, what: &Registration<'_>, reply: ReplyRef<'_>) -> i32 {
    waking(ctx, status::ERROR, |context| {
        let registered = registration::from_abi(what).and_then(|typed| context.register(typed, what.handler));
        match registered {
            Ok(id) => answer_ok(reply, i64::try_from(id).unwrap_or(i64::MAX), "", &[]),
            Err(reason) => answer_error(reply, "not-acceptable", &reason),
        }
    })
}

unsafe extern "C" fn host_unregister(ctx: *const u8, id: u64) -> i32 {
    waking(ctx, status::ERROR, |context| match context.unregister(id) {
        Ok(()) => status::DONE,
        Err(reason) => {
            crate::plugin::log::line(&context.origin, level::DEBUG, "", &reason);
            status::ERROR
        }
    })
}

unsafe extern "C" fn host_route(
    ctx: *const u8,
    from: RStr<'_>,
    to: RStr<'_>,
    stanza: RSlice<'_, u8>,
    reply: ReplyRef<'_>,
) -> i32 {
    mailing(ctx, status::ERROR, |context| {
        match route(context, from.as_str(), to.as_str(), stanza.as_slice()) {
            Ok(()) => answer_ok(reply, 0, "", &[]),
            Err(error) => answer_error(reply, error.condition, &error.text),
        }
    })
}

fn route(context: &HostContext, from: &str, to: &str, bytes: &[u8]) -> Result<(), OpError> {
    let hub = context.hub().ok_or_else(|| OpError::new("service-unavailable", "the server is ending"))?;
    let jid = |text: &str, which: &str| {
        Jid::parse(text).map_err(|e| OpError::new("jid-malformed", format!("{which} '{text}': {e}")))
    };
    let (to, from) = (jid(to, "to")?, jid(from, "from")?);
    let parsed = Stanza::parse_between(bytes, from, to);
    let stanza = parsed.map_err(|e| OpError::new("bad-request", e.to_string()))?;
    let stanza = stanza.with_hops(cause::hops().saturating_add(1));
    hub.services().route(&context.origin, stanza)
}

unsafe extern "C" fn host_op_start(
    ctx: *const u8,
    kind: u32,
    number: i64,
    args: RStr<'_>,
    body: RSlice<'_, u8>,
) -> u64 {
    waking(ctx, 0, |context| {
        let Some(hub) = context.hub() else { return 0 };
        // Timers and tasks of the operation need a runtime around the first poll.
        let runtime = hub.modules_runtime();
        let _entered = runtime.enter();
        context.ops.start(begin(context, kind, number, args.as_str(), body.as_slice()))
    })
}

fn begin(
    context: &HostContext,
    kind: u32,
    number: i64,
    args: &str,
    body: &[u8],
) -> BoxFuture<Result<OpReply, OpError>> {
    let args = match serde_json::from_str(if args.is_empty() { "{}" } else { args }) {
        Ok(args) => args,
        Err(e) => return failed("bad-request", format!("the operation's arguments are not JSON: {e}")),
    };
    if kind == op::SLEEP {
        let time = Duration::from_millis(u64::try_from(number).unwrap_or(0));
        return Box::pin(async move {
            tokio::time::sleep(time).await;
            Ok(OpReply::default())
        });
    }
    if matches!(kind, op::COMMAND | op::COMMANDS_FOR) && !context.granted.commands {
        return failed(
            "forbidden",
            "the module's manifest does not ask for the capability 'commands'".into(),
        );
    }
    let Some(hub) = context.hub() else {
        return failed("service-unavailable", "the server is ending".into());
    };
    let request = OpRequest { kind, number, args, body: body.to_vec() };
    hub.own_op(&context.origin, &request).unwrap_or_else(|| hub.services().start_op(&context.origin, request))
}

fn failed(condition: &'static str, text: String) -> BoxFuture<Result<OpReply, OpError>> {
    Box::pin(std::future::ready(Err(OpError::new(condition, text))))
}

unsafe extern "C" fn host_op_poll(ctx: *const u8, id: u64, poll: PollRef, reply: ReplyRef<'_>) -> i32 {
    waking(ctx, status::ERROR, |context| {
        let polled = if poll.ctx.is_null() {
            context.ops.poll(id, &mut Context::from_waker(Waker::noop()))
        } else {
            // SAFETY: a `PollRef` that is not null comes from `invoke`, and the contract lends it for that poll, on
            // this thread, which is where we are.
            let poll = unsafe { &mut *poll.ctx.cast::<PollContext<'_, '_>>() };
            context.ops.poll(id, poll.cx)
        };
        match polled {
            Some(Poll::Ready(answer)) => give(reply, answer),
            Some(Poll::Pending) => status::PENDING,
            None => answer_error(reply, "item-not-found", "there is no such operation under way"),
        }
    })
}

unsafe extern "C" fn host_op_wait(ctx: *const u8, id: u64, timeout_ms: u64, reply: ReplyRef<'_>) -> i32 {
    waking(ctx, status::ERROR, |context| {
        let (Some(future), Some(hub)) = (context.ops.take(id), context.hub()) else {
            return answer_error(reply, "item-not-found", "there is no such operation under way");
        };
        match wait(&hub.modules_runtime(), future, Duration::from_millis(timeout_ms)) {
            Ok(answer) => give(reply, answer),
            Err(text) => answer_error(reply, "remote-server-timeout", &text),
        }
    })
}

fn wait<T>(runtime: &Handle, future: BoxFuture<T>, timeout: Duration) -> Result<T, String> {
    // It is the host that is waited for, which has its own deadlines: the watchdog must not count this time against the
    // module, and whom the module has written to may be the one that it waits for.
    let _outside = threads::outside();
    let _at_once = wake::pause();
    let bounded = async { tokio::time::timeout(timeout, future).await };
    let waited = match Handle::try_current().map(|here| here.runtime_flavor()) {
        // Lets the runtime move its other work to another thread meanwhile.
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(|| runtime.block_on(bounded)),
        Ok(_) => return Err("a module may not wait on this thread".into()),
        Err(_) => runtime.block_on(bounded),
    };
    waited.map_err(|_| format!("no answer within {} ms", timeout.as_millis()))
}

fn give(reply: ReplyRef<'_>, answer: Result<OpReply, OpError>) -> i32 {
    match answer {
        Ok(answer) => answer_ok(reply, answer.number, &answer.text, &answer.body),
        Err(error) => answer_error(reply, error.condition, &error.text),
    }
}

unsafe extern "C" fn host_op_cancel(ctx: *const u8, id: u64) {
    waking(ctx, (), |context| context.ops.cancel(id));
}

unsafe extern "C" fn host_task_wake(ctx: *const u8, task: u64) {
    waking(ctx, (), |context| context.wake(task));
}

unsafe extern "C" fn host_spawn(ctx: *const u8, task: TaskPtr) -> u64 {
    waking(ctx, 0, |context| invoke::spawn(context, task))
}

unsafe extern "C" fn host_fatal(ctx: *const u8, message: RStr<'_>) -> i32 {
    with(ctx, status::ERROR, |context| {
        let Some(hub) = context.hub() else { return status::ERROR };
        if !context.granted.fatal {
            let line = "asked to end the server without the capability 'fatal': refused";
            crate::plugin::log::line(&context.origin, level::ERROR, "", line);
            return status::ERROR;
        }
        if !hub.is_starting() {
            crate::plugin::log::line(&context.origin, level::CRITICAL, "", message.as_str());
            return status::ERROR;
        }
        hub.services().fatal(&context.origin, message.as_str())
    })
}

unsafe extern "C" fn host_counter_add(ctx: *const u8, name: RStr<'_>, delta: u64) {
    let delta = i64::try_from(delta).unwrap_or(i64::MAX);
    with(ctx, (), |context| context.metric(name.as_str(), |value| value.saturating_add(delta)));
}

unsafe extern "C" fn host_gauge_set(ctx: *const u8, name: RStr<'_>, value: i64) {
    with(ctx, (), |context| context.metric(name.as_str(), |_| value));
}
