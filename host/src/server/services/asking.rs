//! IQ requests that modules send, and commands that they run.

use std::sync::Arc;
use std::time::Duration;

use moult_plugin_api::hooks::{OfferedArg, OfferedCommand};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::args::{bad_request, json, malformed, read};
use super::{Answer, Desk, LONG_DEADLINE, within};
use crate::command::{ArgKind, Caller, CommandError, CommandSpec, ErrorKind, FrontEnd, Input, Table};
use crate::config::vhost::normalised_domain;
use crate::iq::PendingError;
use crate::plugin::bridge::cause;
use crate::plugin::manager::asked_by;
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
    #[serde(default, rename = "as")]
    caller: Option<String>,
}

/// `COMMAND`. That the module has the capability was checked where its manifest is known; it counts as an admin, so that
/// commands for the control socket alone stay closed to it.
pub(super) fn run_command(
    shared: &Arc<Shared>,
    desk: &Desk,
    origin: &Origin,
    request: &OpRequest,
) -> Result<BoxFuture<Answer>, OpError> {
    let CommandArgs { name, args, full, caller } = read(&request.args)?;
    let table = table(shared)?;
    let caller = match caller {
        Some(jid) => by_xmpp(shared, &jid, vhost_in(&table, &name, args.as_ref()).as_deref())?,
        None => Caller { from: FrontEnd::Module, admin: true, jid: None, who: origin.to_string() },
    };
    // On the core runtime: an update must not depend on the threads of modules.
    let module = Arc::clone(&origin.module);
    let running = desk.detached(async move {
        let input = Input::Json(args.unwrap_or_default());
        match asked_by(module, table.run(&name, input, caller)).await {
            Ok(answer) if full => Ok(json(&serde_json::json!({ "value": answer.value }))),
            Ok(answer) => Ok(json(&answer.value)),
            Err(error) if full => Ok(json(&in_full(&error))),
            Err(error) => Err(of_command(&error)),
        }
    });
    Ok(within(LONG_DEADLINE, running))
}

/// The vhost that a command is about: its admins may give it.
fn vhost_in(table: &Table, name: &str, args: Option<&Map<String, Value>>) -> Option<String> {
    vhost_of(&*table.spec(name)?, args?)
}

fn vhost_of(spec: &CommandSpec, args: &Map<String, Value>) -> Option<String> {
    Some(args.get(&*spec.vhost_arg()?.name)?.as_str()?.to_owned())
}

fn in_full(error: &CommandError) -> Value {
    let (code, text) = (error.kind.status(), &error.message);
    serde_json::json!({ "error": { "code": code, "text": text, "details": error.details } })
}

fn table(shared: &Shared) -> Result<Arc<Table>, OpError> {
    let table = shared.table.get().and_then(std::sync::Weak::upgrade);
    table.ok_or_else(|| OpError::new("service-unavailable", "The server takes no commands now."))
}

/// A JID that calls by XMPP. Admins of the server are admins; those of a vhost are for commands about that vhost.
fn by_xmpp(shared: &Shared, jid: &str, host: Option<&str>) -> Result<Caller, OpError> {
    let jid = Jid::parse(jid).map_err(|error| malformed(jid, &error))?.bare();
    let config = shared.config();
    let is_among = |admins: &[String]| admins.iter().any(|admin| admin == jid.as_str());
    let of_host =
        host.and_then(normalised_domain).and_then(|host| Some(is_among(&config.vhosts.get(&host)?.admins)));
    let admin = is_among(&config.server.admins) || of_host.unwrap_or_default();
    Ok(Caller { from: FrontEnd::Xmpp, admin, jid: Some(jid.to_string()), who: jid.to_string() })
}

/// `COMMANDS_FOR`. An admin of a vhost sees what needs one of its own.
pub(super) fn commands_for(shared: &Arc<Shared>, request: &OpRequest) -> Result<BoxFuture<Answer>, OpError> {
    let jid = request.args["as"].as_str().unwrap_or_default();
    let (table, anywhere) = (table(shared)?, by_xmpp(shared, jid, None)?);
    let own = shared
        .config()
        .vhosts
        .keys()
        .map(|vhost| by_xmpp(shared, jid, Some(vhost)))
        .find(|caller| caller.as_ref().is_ok_and(|caller| caller.admin));
    let own = own.transpose()?;
    let may_call = |spec: &CommandSpec| {
        let takes_host = || spec.vhost_arg().is_some();
        table.may_call(spec, &anywhere).is_ok()
            || own.as_ref().is_some_and(|own| takes_host() && table.may_call(spec, own).is_ok())
    };
    let offered: Vec<_> =
        table.specs().iter().filter(|spec| may_call(spec)).map(|spec| offered(spec)).collect();
    Ok(Box::pin(std::future::ready(Ok(json(&serde_json::json!(offered))))))
}

fn offered(spec: &CommandSpec) -> OfferedCommand {
    let args = spec.args.iter().filter(|arg| !arg.local_only).map(|arg| {
        let choices = match &arg.kind {
            ArgKind::Choice(choices) => choices.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        };
        OfferedArg {
            name: arg.name.to_string(),
            kind: arg.kind.name().to_owned(),
            choices,
            optional: arg.optional,
            secret: arg.secret,
            doc: arg.doc.to_string(),
        }
    });
    OfferedCommand { name: spec.name.to_string(), summary: spec.summary.to_string(), args: args.collect() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admins_of_a_contacts_vhost_are_no_admins_of_the_roster() {
        let spec = CommandSpec::new("add_rosteritem", "roster", "Adds a contact.")
            .arg("localhost", ArgKind::Host, "Whose.")
            .arg("host", ArgKind::String, "The contact's.");
        let args = serde_json::json!({"localhost": "theirs.example", "host": "own.example"});
        let args = args.as_object().unwrap();
        assert_eq!(vhost_of(&spec, args).as_deref(), Some("theirs.example"));
        let all = CommandSpec::new("process_rosteritems", "roster", "On all vhosts.");
        assert_eq!(vhost_of(&all, args), None);
    }
}
