//! Commands about bound sessions.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::accounts::{account, known_host};
use super::{Handlers, failures};
use crate::command::{Answer, Call, CommandError, CommandResult, ErrorKind};
use crate::server::shared::Shared;
use crate::session::Session;
use crate::stanza::{Jid, StreamError, StreamErrorCondition};

pub(super) fn add(handlers: Handlers) -> Handlers {
    handlers
        .on("connected_users", connected_users)
        .on("connected_users_number", connected_users_number)
        .on("user_resources", user_resources)
        .on("num_resources", num_resources)
        .on("user_sessions_info", user_sessions_info)
        .on("kick_session", kick_session)
        .on("kick_user", kick_user)
}

async fn connected_users(shared: Arc<Shared>, call: Call) -> CommandResult {
    let host = match call.args.optional_text("host") {
        Some(host) if !shared.has_vhost(host) => return Err(failures::no_vhost(host)),
        host => host,
    };
    let mut jids = Vec::new();
    shared.sessions.for_each(|session| {
        if host.is_none_or(|host| session.vhost() == host) {
            jids.push(session.full_jid().to_string());
        }
    });
    jids.sort_unstable();
    Ok(Answer::value(jids))
}

async fn connected_users_number(shared: Arc<Shared>, _: Call) -> CommandResult {
    Ok(Answer::value(shared.sessions.count_all()))
}

async fn user_resources(shared: Arc<Shared>, call: Call) -> CommandResult {
    let resources = sessions_of(&shared, &call)?.1;
    let names: Vec<&str> = resources.iter().map(|session| session.resource()).collect();
    Ok(Answer::value(json!(names)))
}

async fn num_resources(shared: Arc<Shared>, call: Call) -> CommandResult {
    Ok(Answer::value(sessions_of(&shared, &call)?.1.len()))
}

async fn user_sessions_info(shared: Arc<Shared>, call: Call) -> CommandResult {
    let resources = sessions_of(&shared, &call)?.1;
    let rows: Vec<Value> = resources.iter().map(|session| about(session)).collect();
    Ok(Answer::value(rows))
}

pub(super) fn about(session: &Session) -> Value {
    let (info, presence) = (session.info(), session.presence());
    let uptime = SystemTime::now().duration_since(info.since).unwrap_or_default();
    json!({
        "resource": session.resource(),
        "connection": info.connection,
        "ip": info.peer.map(|peer| peer.ip().to_canonical().to_string()),
        "port": info.peer.map(|peer| peer.port()),
        "priority": presence.as_ref().map(|presence| presence.priority),
        "status": presence.as_ref().map_or("unavailable", |presence| presence.show.as_str()),
        "statustext": presence.as_ref().map(|presence| presence.status.as_str()).unwrap_or_default(),
        "uptime": uptime.as_secs(),
        "mechanism": info.mechanism,
        "tls": info.tls,
        "stream": info.stream_id,
        "detached": session.is_detached(),
        "inactive": session.is_inactive(),
    })
}

async fn kick_session(shared: Arc<Shared>, call: Call) -> CommandResult {
    let account = account(&call)?;
    known_host(&shared, &call)?;
    let full = account.with_resource(call.args.text("resource")).map_err(|error| {
        CommandError::new(ErrorKind::BadArgument, format!("This cannot be a resource: {error}."))
    })?;
    let condition = call.args.optional_text("condition").and_then(StreamErrorCondition::from_name);
    if shared.sessions.kick(&full, &kicked(condition, call.args.text("reason"))) {
        return Ok(Answer::ok());
    }
    Err(CommandError::new(ErrorKind::NotFound, format!("There is no session {full}.")))
}

async fn kick_user(shared: Arc<Shared>, call: Call) -> CommandResult {
    let (account, _) = sessions_of(&shared, &call)?;
    let reason = kicked(None, "The session was ended by an administrator.");
    Ok(Answer::value(shared.sessions.kick_account(&account, &reason)))
}

fn kicked(condition: Option<StreamErrorCondition>, reason: &str) -> StreamError {
    let condition = condition.unwrap_or(StreamErrorCondition::PolicyViolation);
    if reason.is_empty() { condition.into() } else { StreamError::new(condition, reason) }
}

/// The account that a call names, and its sessions.
pub(super) fn sessions_of(
    shared: &Shared,
    call: &Call,
) -> Result<(Jid, crate::session::Resources), CommandError> {
    known_host(shared, call)?;
    let account = account(call)?;
    let sessions = shared.sessions.resources(&account);
    Ok((account, sessions))
}
