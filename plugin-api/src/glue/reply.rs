//! Answers in both directions: the host's buffer that a module writes into, and the module's buffer that the host
//! writes the answers of operations into.

use crate::abi::v1::{ReplyRef, ReplyVt, reply, status};
use abi_stable::std_types::{RSlice, RStr};
use std::cell::Cell;

/// The host's buffer for one call or poll. It is finished at most once.
pub(crate) struct Reply<'a> {
    raw: ReplyRef<'a>,
    finished: Cell<bool>,
}

impl<'a> Reply<'a> {
    /// # Safety
    /// `raw` must be valid for `'a`, and used by nobody else meanwhile.
    pub(crate) unsafe fn new(raw: ReplyRef<'a>) -> Self {
        Self { raw, finished: Cell::new(false) }
    }

    /// Appends to the body; `false` when it passes the host's limit.
    pub(crate) fn write(&self, bytes: &[u8]) -> bool {
        // SAFETY: valid by the contract of `new`; the host copies before it returns.
        bytes.is_empty()
            || unsafe { (self.raw.vt.write)(self.raw.ctx, RSlice::from_slice(bytes)) } == status::DONE
    }

    /// Ends the answer. A second time is ignored here, so that a late panic does not disturb an answer given.
    pub(crate) fn finish(&self, code: u32, number: i64, text: &str, extra: &str) {
        if !self.finished.replace(true) {
            // SAFETY: as in `write`.
            unsafe {
                (self.raw.vt.finish)(self.raw.ctx, code, number, RStr::from_str(text), RStr::from_str(extra))
            }
        }
    }

    /// Ends the answer as failed.
    pub(crate) fn fail(&self, reason: &str) -> i32 {
        self.finish(reply::FAILED, 0, reason, "");
        status::ERROR
    }
}

/// A buffer of this side that the other side answers into.
#[derive(Debug, Default)]
pub(crate) struct AnswerBuf {
    pub(crate) body: Vec<u8>,
    pub(crate) code: u32,
    pub(crate) number: i64,
    pub(crate) text: String,
    pub(crate) extra: String,
}

impl AnswerBuf {
    /// What the other side gets. Each callback borrows the buffer for itself alone.
    pub(crate) fn as_raw(&mut self) -> ReplyRef<'_> {
        ReplyRef { ctx: std::ptr::from_mut(self).cast(), vt: &VT }
    }
}

static VT: ReplyVt = ReplyVt { size: size_of::<ReplyVt>() as u32, write, finish };

unsafe extern "C" fn write(ctx: *mut u8, bytes: RSlice<'_, u8>) -> i32 {
    // SAFETY: `ctx` comes from `as_raw`, and the call it was made for still runs.
    let buf = unsafe { &mut *ctx.cast::<AnswerBuf>() };
    buf.body.extend_from_slice(bytes.as_slice());
    status::DONE
}

unsafe extern "C" fn finish(ctx: *mut u8, code: u32, number: i64, text: RStr<'_>, extra: RStr<'_>) {
    // SAFETY: as in `write`.
    let buf = unsafe { &mut *ctx.cast::<AnswerBuf>() };
    if buf.code == 0 {
        buf.code = code;
        buf.number = number;
        buf.text = text.as_str().to_owned();
        buf.extra = extra.as_str().to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_finished_once() {
        let mut buf = AnswerBuf::default();
        // SAFETY: the buffer outlives the reply, and nothing else touches it.
        let reply = unsafe { Reply::new(buf.as_raw()) };
        assert!(reply.write(b"ab") && reply.write(b"") && reply.write(b"c"));
        reply.finish(reply::IQ_RESULT, 7, "t", "e");
        assert_eq!(reply.fail("late"), status::ERROR);
        assert_eq!(
            (buf.code, buf.number, buf.text.as_str(), buf.extra.as_str()),
            (reply::IQ_RESULT, 7, "t", "e")
        );
        assert_eq!(buf.body, b"abc");
    }
}
