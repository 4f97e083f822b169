//! IQ requests that modules send, and commands that they run.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::args::{bad_request, json, read};
use super::{Answer, Desk, LONG_DEADLINE, within};
use crate::command::{Caller, CommandError, ErrorKind, FrontEnd, Input};
use crate::iq::PendingError;
use crate::plugin::bridge::cause;
use crate::plugin::services::{BoxFuture, OpError, OpReply, OpRequest, Origin};
use crate::plugin::slot::GLOBAL;
use crate::router::RequestError;
use crate::server::shared::Shared;
use crate::stanza::{Jid, Stanza};

/// How long an IQ may wait for its answer where the module does not say.
const IQ_DEADLINE: Duration = Duration::from_secs(30);
/// The longest a module may ask for.
const LONGEST_IQ_DEADLINE: Duration = Duration::from_secs(600);

/// `SEND_IQ`. The stanza is on its way when this returns; hops are those of what the module is being called about.
pub(super) fn send_iq(
    shared: &Arc<Shared>,
    origin: &Origin,
    request: &OpRequest,
) -> Result<BoxFuture<Answer>, OpError> {
    let stanza = with_sender(with_id(&request.body)?, origin)?;
    let stanza = stanza.with_hops(cause::hops().saturating_add(1));
    let pending = shared.router.request(stanza, timeout(request.number)).map_err(not_sent)?;
    Ok(Box::pin(async move {
        let answer = pending.answer().await.map_err(unanswered)?;
        Ok(OpReply { body: answer.bytes().to_vec(), ..OpReply::default() })
    }))
}

fn timeout(millis: i64) -> Duration {
    match u64::try_from(millis) {
        Ok(millis) if millis > 0 => Duration::from_millis(millis).min(LONGEST_IQ_DEADLINE),
        _ => IQ_DEADLINE,
    }
}

/// A request without sender comes from the vhost.
fn with_sender(stanza: Stanza, origin: &Origin) -> Result<Stanza, OpError> {
    if stanza.from().is_some() {
        return Ok(stanza);
    }
    if &*origin.vhost == GLOBAL {
        return Err(bad_request("The module's request needs a sender: its instance belongs to no vhost."));
    }
    let vhost = Jid::parse(&origin.vhost)
        .map_err(|error| OpError::new("internal-server-error", format!("{}: {error}", origin.vhost)))?;
    Ok(stanza.with_from(&vhost))
}

/// The request as a stanza. One without id, which would be none, gets an id that nobody can guess.
fn with_id(request: &[u8]) -> Result<Stanza, OpError> {
    let fault = match Stanza::parse(request) {
        Ok(stanza) => return Ok(stanza),
        Err(fault) => fault,
    };
    let name_ends = request.iter().position(|byte| byte.is_ascii_whitespace() || b"/>".contains(byte));
    let (name, rest) = request.split_at(name_ends.unwrap_or(request.len()));
    let id = format!(" id='{}'", random_id()?);
    // Where something else was wrong, or an id was there, this is refused as well.
    Stanza::parse(&[name, id.as_bytes(), rest].concat())
        .map_err(|_| bad_request(format!("The module's request is no stanza: {fault}.")))
}

fn random_id() -> Result<String, OpError> {
    let mut random = [0; 8];
    match aws_lc_rs::rand::fill(&mut random) {
        Ok(()) => Ok(format!("{:016x}", u64::from_le_bytes(random))),
        Err(_) => Err(OpError::new("internal-server-error", "The system gave no random bytes.")),
    }
}

fn not_sent(error: RequestError) -> OpError {
    match error {
        RequestError::Pending(error) => unanswered(error),
        RequestError::Rejected(rejected) => OpError::new(rejected.condition().as_str(), rejected.to_string()),
    }
}

fn unanswered(error: PendingError) -> OpError {
    let condition = match error {
        PendingError::NoRequest => "bad-request",
        PendingError::Duplicate(_) => "conflict",
        PendingError::Full(_) => "resource-constraint",
        PendingError::TimedOut(_) => "remote-server-timeout",
    };
    OpError::new(condition, error.to_string())
}

#[derive(Deserialize)]
struct CommandArgs {
    name: String,
    #[serde(default)]
    args: Option<Map<String, Value>>,
    #[serde(default)]
    full: bool,
}

/// `COMMAND`. That the module has the capability was checked where its manifest is known; it counts as an admin, so that
/// commands for the control socket alone stay closed to it.
pub(super) fn run_command(
    shared: &Arc<Shared>,
    desk: &Desk,
    origin: &Origin,
    request: &OpRequest,
) -> Result<BoxFuture<Answer>, OpError> {
    let CommandArgs { name, args, full } = read(&request.args)?;
    let table = shared.table.get().and_then(std::sync::Weak::upgrade);
    let table =
        table.ok_or_else(|| OpError::new("service-unavailable", "The server takes no commands now."))?;
    let caller = Caller { from: FrontEnd::Module, admin: true, jid: None, who: origin.to_string() };
    // On the core runtime: an update must not depend on the threads of modules.
    let running = desk.detached(async move {
        let input = Input::Json(args.unwrap_or_default());
        match table.run(&name, input, caller).await {
            Ok(answer) if full => Ok(json(&serde_json::json!({ "value": answer.value }))),
            Ok(answer) => Ok(json(&answer.value)),
            Err(error) if full => Ok(json(&in_full(&error))),
            Err(error) => Err(of_command(&error)),
        }
    });
    Ok(within(LONG_DEADLINE, running))
}

fn in_full(error: &CommandError) -> Value {
    let (code, text) = (error.kind.status(), &error.message);
    serde_json::json!({ "error": { "code": code, "text": text, "details": error.details } })
}

fn of_command(error: &CommandError) -> OpError {
    let condition = match error.kind {
        ErrorKind::BadArgument => "bad-request",
        ErrorKind::BadCredentials => "not-authorized",
        ErrorKind::Denied | ErrorKind::DeniedArgument => "forbidden",
        ErrorKind::UnknownCommand | ErrorKind::NotFound => "item-not-found",
        ErrorKind::Conflict => "conflict",
        ErrorKind::Timeout => "remote-server-timeout",
        ErrorKind::Busy => "resource-constraint",
        ErrorKind::Failed | ErrorKind::Bug => "internal-server-error",
    };
    OpError::new(condition, error.message.clone())
}
