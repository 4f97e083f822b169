//! The host's side of an answer: a buffer that a module writes into through `ReplyVt`.

use moult_plugin_api::abi::v1::{self, ReplyRef, ReplyVt, reply, status};
use moult_plugin_api::abi_stable::std_types::{RSlice, RStr};

/// What a module answered. Nothing in it points into the module.
#[derive(Debug, Default)]
pub struct ReplyBuf {
    /// Bytes written.
    pub body: Vec<u8>,
    /// One of `v1::reply`, 0 before `finish`.
    pub code: u32,
    /// Meaning by code.
    pub number: i64,
    /// Meaning by code.
    pub text: String,
    /// Meaning by code.
    pub extra: String,
    /// What the module was called for: one of `v1::call`, 0 for a task of its own.
    pub about: u32,
    limit: usize,
    overflowed: bool,
}

/// The largest answer to anything but an export of state.
pub const REPLY_LIMIT: usize = 4 << 20;

impl ReplyBuf {
    /// An empty answer of at most `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// An empty answer of the usual size.
    pub fn new() -> Self {
        Self::with_limit(REPLY_LIMIT)
    }

    /// Whether the module wrote more than it may.
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// What a module gets to answer into. It must not outlive the borrow; the callee uses it during its call only.
    pub fn as_abi(&mut self) -> ReplyRef<'_> {
        ReplyRef { ctx: std::ptr::from_mut(self).cast(), vt: &VT }
    }

    /// Empties it for another poll of the same task, keeping the limit.
    pub fn finish(&mut self, code: u32, number: i64, text: &str, extra: &str) {
        if self.code != 0 {
            tracing::warn!(code, "a module finished an answer twice; the second one is ignored");
            return;
        }
        self.code = code;
        self.number = number;
        // Empty strings do not allocate: the usual answer costs its body and nothing else.
        if !text.is_empty() {
            self.text = text.to_owned();
        }
        if !extra.is_empty() {
            self.extra = extra.to_owned();
        }
    }

    fn write(&mut self, bytes: &[u8]) -> i32 {
        if self.code != 0 || self.body.len() + bytes.len() > self.limit {
            self.overflowed |= self.code == 0;
            return status::ERROR;
        }
        if self.body.is_empty() {
            // The usual answer comes in one piece, and takes no more memory than that.
            self.body = bytes.to_vec();
        } else {
            self.body.extend_from_slice(bytes);
        }
        status::DONE
    }
}

static VT: ReplyVt = ReplyVt { size: size_of::<ReplyVt>() as u32, write: reply_write, finish: reply_finish };

/// Answers an operation or registration into a module's own reply (the host calls the module's buffer here).
pub fn answer_ok(reply: ReplyRef<'_>, number: i64, text: &str, body: &[u8]) -> i32 {
    // SAFETY: `reply` is valid for this call by the contract of the function it was given to; its table is the
    // module's, loaded as long as the module runs this very call.
    unsafe {
        if !body.is_empty() && (reply.vt.write)(reply.ctx, RSlice::from_slice(body)) != status::DONE {
            return status::ERROR;
        }
        (reply.vt.finish)(reply.ctx, reply::OP_OK, number, RStr::from_str(text), RStr::from_str(""));
    }
    status::DONE
}

/// Refuses an operation or registration with a condition and a sentence.
pub fn answer_error(reply: ReplyRef<'_>, condition: &str, text: &str) -> i32 {
    // SAFETY: as in `answer_ok`.
    unsafe {
        (reply.vt.finish)(reply.ctx, v1::reply::OP_ERROR, 0, RStr::from_str(condition), RStr::from_str(text));
    }
    status::ERROR
}

unsafe extern "C" fn reply_write(ctx: *mut u8, bytes: RSlice<'_, u8>) -> i32 {
    // SAFETY: `ctx` comes from `as_abi`, whose exclusive borrow lasts for the call that this write is part of.
    let buf = unsafe { &mut *ctx.cast::<ReplyBuf>() };
    buf.write(bytes.as_slice())
}

unsafe extern "C" fn reply_finish(ctx: *mut u8, code: u32, number: i64, text: RStr<'_>, extra: RStr<'_>) {
    // SAFETY: as in `reply_write`.
    let buf = unsafe { &mut *ctx.cast::<ReplyBuf>() };
    buf.finish(code, number, text.as_str(), extra.as_str());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_copied_and_finished_once() {
        let mut buf = ReplyBuf::new();
        let abi = buf.as_abi();
        answer_ok(abi, 7, "text", b"body");
        answer_error(abi, "bad-request", "too late");
        assert_eq!((buf.code, buf.number), (reply::OP_OK, 7));
        assert_eq!((buf.text.as_str(), buf.body.as_slice()), ("text", b"body".as_slice()));
        assert!(buf.extra.is_empty());
    }

    #[test]
    fn an_answer_past_the_limit_is_refused_and_remembered() {
        let mut buf = ReplyBuf::with_limit(3);
        assert_eq!(buf.write(b"abc"), status::DONE);
        assert_eq!(buf.write(b"d"), status::ERROR);
        assert!(buf.overflowed());
        assert_eq!(buf.body, b"abc");
    }
}
