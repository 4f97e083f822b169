//! The host's functions, made safe: nothing is called after the instance has ended.

use super::gate::{Gate, Pass};
use super::reply::AnswerBuf;
use super::task::task_drop;
use crate::abi::v1::{self, HostRef, HostVt, PollRef, TaskPtr, reply, status};
use crate::sdk::HostError;
use abi_stable::std_types::{RSlice, RStr};
use std::time::Duration;

/// The host as one instance sees it.
pub(crate) struct RawHost {
    host: HostRef,
    gate: Gate,
}

/// What an operation answered.
#[derive(Debug, Default)]
pub(crate) struct OpAnswer {
    pub(crate) number: i64,
    pub(crate) text: String,
    pub(crate) body: Vec<u8>,
}

/// An answer, or not yet.
#[derive(Debug)]
pub(crate) enum OpPoll {
    Ready(Result<OpAnswer, HostError>),
    Pending,
}

impl RawHost {
    /// # Safety
    /// `host` must stay valid until [`RawHost::close`] has returned.
    pub(crate) unsafe fn new(host: HostRef) -> Self {
        Self { host, gate: Gate::default() }
    }

    /// Ends all use of the host; returns when the last call has left it.
    pub(crate) fn close(&self) {
        self.gate.close();
    }

    /// The host's table, while it may be used.
    fn enter(&self) -> Option<(&'static HostVt, *const u8, Pass<'_>)> {
        let pass = self.gate.enter()?;
        Some((self.host.vt, self.host.ctx, pass))
    }

    pub(crate) fn log(&self, level: u32, component: &str, message: &str) {
        if let Some((vt, ctx, _pass)) = self.enter() {
            // SAFETY: the gate is open, so the host is valid; it copies what it is given.
            unsafe { (vt.log)(ctx, level, RStr::from_str(component), RStr::from_str(message)) }
        }
    }

    pub(crate) fn log_enabled(&self, level: u32) -> bool {
        match self.enter() {
            // SAFETY: as in `log`.
            Some((vt, ctx, _pass)) => unsafe { (vt.log_enabled)(ctx, level) },
            None => false,
        }
    }

    pub(crate) fn register(&self, what: &v1::Registration<'_>) -> Result<u64, HostError> {
        let (vt, ctx, _pass) = self.enter().ok_or_else(HostError::gone)?;
        let mut buf = AnswerBuf::default();
        // SAFETY: as in `log`; the buffer outlives the call.
        let status = unsafe { (vt.register)(ctx, what, buf.as_raw()) };
        answered(status, buf).map(|answer| u64::try_from(answer.number).unwrap_or_default())
    }

    pub(crate) fn unregister(&self, id: u64) -> bool {
        match self.enter() {
            // SAFETY: as in `log`.
            Some((vt, ctx, _pass)) => unsafe { (vt.unregister)(ctx, id) == status::DONE },
            None => false,
        }
    }

    pub(crate) fn route(&self, from: &str, to: &str, stanza: &[u8]) -> Result<(), HostError> {
        let (vt, ctx, _pass) = self.enter().ok_or_else(HostError::gone)?;
        let mut buf = AnswerBuf::default();
        // SAFETY: as in `log`; the buffer outlives the call.
        let status = unsafe {
            (vt.route)(
                ctx,
                RStr::from_str(from),
                RStr::from_str(to),
                RSlice::from_slice(stanza),
                buf.as_raw(),
            )
        };
        answered(status, buf).map(|_| ())
    }

    /// The operation's id, 0 when the host refuses, `None` when it is gone.
    pub(crate) fn op_start(&self, kind: u32, number: i64, args: &str, body: &[u8]) -> Option<u64> {
        let (vt, ctx, _pass) = self.enter()?;
        // SAFETY: as in `log`.
        Some(unsafe { (vt.op_start)(ctx, kind, number, RStr::from_str(args), RSlice::from_slice(body)) })
    }

    pub(crate) fn op_poll(&self, op: u64, poll: PollRef) -> OpPoll {
        let Some((vt, ctx, _pass)) = self.enter() else { return OpPoll::Ready(Err(HostError::gone())) };
        let mut buf = AnswerBuf::default();
        // SAFETY: as in `log`; `poll` belongs to the poll under way, because only its scope gives it out.
        let status = unsafe { (vt.op_poll)(ctx, op, poll, buf.as_raw()) };
        polled(status, buf)
    }

    pub(crate) fn op_wait(&self, op: u64, timeout: Duration) -> OpPoll {
        let Some((vt, ctx, _pass)) = self.enter() else { return OpPoll::Ready(Err(HostError::gone())) };
        let mut buf = AnswerBuf::default();
        let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        // SAFETY: as in `log`; the buffer outlives the call.
        let status = unsafe { (vt.op_wait)(ctx, op, ms, buf.as_raw()) };
        polled(status, buf)
    }

    pub(crate) fn op_cancel(&self, op: u64) {
        if let Some((vt, ctx, _pass)) = self.enter() {
            // SAFETY: as in `log`.
            unsafe { (vt.op_cancel)(ctx, op) }
        }
    }

    pub(crate) fn task_wake(&self, task: u64) {
        if let Some((vt, ctx, _pass)) = self.enter() {
            // SAFETY: as in `log`; unknown ids are ignored.
            unsafe { (vt.task_wake)(ctx, task) }
        }
    }

    /// Hands a task over, or ends it when the host is gone. The host's number for it, 0 when it refused and ended it;
    /// `None` when it is gone.
    pub(crate) fn spawn(&self, task: TaskPtr) -> Option<u64> {
        let Some((vt, ctx, _pass)) = self.enter() else {
            // SAFETY: the host has not seen the task, so this is its only and last use.
            unsafe { task_drop(task) };
            return None;
        };
        // SAFETY: as in `log`; the host owns the task from here on.
        Some(unsafe { (vt.spawn)(ctx, task) })
    }

    pub(crate) fn fatal(&self, message: &str) {
        if let Some((vt, ctx, _pass)) = self.enter() {
            // SAFETY: as in `log`.
            unsafe { (vt.fatal)(ctx, RStr::from_str(message)) };
        }
    }

    pub(crate) fn counter_add(&self, name: &str, delta: u64) {
        if let Some((vt, ctx, _pass)) = self.enter() {
            // SAFETY: as in `log`.
            unsafe { (vt.counter_add)(ctx, RStr::from_str(name), delta) }
        }
    }

    pub(crate) fn gauge_set(&self, name: &str, value: i64) {
        if let Some((vt, ctx, _pass)) = self.enter() {
            // SAFETY: as in `log`.
            unsafe { (vt.gauge_set)(ctx, RStr::from_str(name), value) }
        }
    }
}

fn polled(status: i32, buf: AnswerBuf) -> OpPoll {
    if status == status::PENDING { OpPoll::Pending } else { OpPoll::Ready(answered(status, buf)) }
}

fn answered(status: i32, buf: AnswerBuf) -> Result<OpAnswer, HostError> {
    match (status, buf.code) {
        (_, reply::OP_ERROR) => Err(HostError { condition: buf.text, text: buf.extra }),
        (status::DONE, _) => Ok(OpAnswer { number: buf.number, text: buf.text, body: buf.body }),
        (status::UNSUPPORTED, _) => {
            Err(HostError::new("feature-not-implemented", "this server does not know that"))
        }
        _ => Err(HostError::new("internal-server-error", "the server refused without a reason")),
    }
}
