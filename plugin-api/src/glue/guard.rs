//! No panic crosses the boundary: it becomes a status, a log line and the text of the answer.

use super::panics;
use super::reply::Reply;
use crate::abi::v1::{level, reply, status};
use crate::sdk::Host;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `f`. Unwind safety is asserted because the host drops or distrusts an instance after a panic, and says so.
#[inline]
pub(crate) fn guarded(host: &Host, answer: &Reply<'_>, f: impl FnOnce() -> i32) -> i32 {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(status) => status,
        Err(payload) => panicked(host, Some(answer), payload),
    }
}

/// Runs `f` where nobody waits for an answer.
pub(crate) fn contained(host: &Host, f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        panicked(host, None, payload);
    }
}

#[cold]
fn panicked(host: &Host, answer: Option<&Reply<'_>>, payload: Box<dyn Any + Send>) -> i32 {
    let text = describe(payload);
    host.raw().log(level::ERROR, "", &format!("panicked: {text}"));
    if let Some(answer) = answer {
        answer.finish(reply::FAILED, 0, &text, "");
    }
    status::PANIC
}

/// The text of a panic, with its place if the hook of this library saw it. Ends the payload, whose own `Drop` may panic.
pub(crate) fn describe(payload: Box<dyn Any + Send>) -> String {
    let message = panics::message(&*payload).to_owned();
    let text = panics::take_seen(&message).unwrap_or(message);
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // It would panic without end: leaking it is the lesser harm.
        std::mem::forget(second);
    }
    text
}
