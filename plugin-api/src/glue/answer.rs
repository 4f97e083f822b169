//! Handlers' answers, written into the host's buffer.

use super::reply::Reply;
use crate::abi::v1::{reply as code, status};
use crate::sdk::handler::Answer;
use crate::sdk::{CommandError, Flow, HttpResponse, IqReply, Verdict};
use serde_json::Value;
use std::time::Duration;

/// Writes it and gives the status that goes with it.
#[inline]
pub(super) fn write(answer: Answer, reply: &Reply<'_>) -> i32 {
    match answer {
        Answer::Iq(answer) => iq(answer, reply),
        Answer::Flow(answer) => flow(answer, reply),
        Answer::Hook(verdict) => hook(&verdict, reply),
        Answer::Command(answer) => command(answer, reply),
        Answer::Http(response) => http(&response, reply),
        Answer::Done => status::DONE,
        Answer::Failed(why) => reply.fail(&why.0),
    }
}

fn with_body(reply: &Reply<'_>, body: &[u8], finish: impl FnOnce(&Reply<'_>)) -> i32 {
    if !reply.write(body) {
        return reply.fail("the answer is larger than the server takes");
    }
    finish(reply);
    status::DONE
}

#[inline]
fn iq(answer: IqReply, reply: &Reply<'_>) -> i32 {
    match answer {
        IqReply::Result(payload) => with_body(reply, &payload, |r| r.finish(code::IQ_RESULT, 0, "", "")),
        IqReply::Error(error) => {
            reply.finish(code::IQ_ERROR, error.kind as i64, error.condition.name(), &error.text);
            status::DONE
        }
        IqReply::Ignore => {
            reply.finish(code::IQ_IGNORE, 0, "", "");
            status::DONE
        }
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn flow(answer: Flow, reply: &Reply<'_>) -> i32 {
    match answer {
        Flow::Continue => reply.finish(code::FLOW_CONTINUE, 0, "", ""),
        Flow::ContinueAfter(idle) => reply.finish(code::FLOW_CONTINUE_AFTER, millis(idle), "", ""),
        Flow::Stop(reason) => reply.finish(code::FLOW_STOP, 0, &reason, ""),
    }
    status::DONE
}

fn hook(verdict: &Verdict, reply: &Reply<'_>) -> i32 {
    let number = if verdict.stop { code::HOOK_STOP } else { code::HOOK_CONTINUE };
    with_body(reply, verdict.body.as_deref().unwrap_or_default(), |r| {
        r.finish(number, 0, &verdict.reason, "")
    })
}

fn command(answer: Result<Value, CommandError>, reply: &Reply<'_>) -> i32 {
    match answer {
        Ok(value) => {
            with_body(reply, value.to_string().as_bytes(), |r| r.finish(code::COMMAND_OK, 0, "", ""))
        }
        Err(error) => {
            reply.finish(code::COMMAND_ERROR, error.code.into(), &error.text, "");
            status::DONE
        }
    }
}

fn http(response: &HttpResponse, reply: &Reply<'_>) -> i32 {
    let headers = serde_json::to_string(&response.headers).unwrap_or_default();
    with_body(reply, &response.body, |r| r.finish(code::HTTP_RESPONSE, response.status.into(), "", &headers))
}
