//! Commands that look at all sessions: who is there, and with what presence.

use std::cmp::Reverse;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Handlers;
use super::accounts::known_host;
use super::sessions::{about, sessions_of};
use crate::command::{Answer, Call, CommandResult};
use crate::server::shared::Shared;
use crate::session::Session;

pub(super) fn add(handlers: Handlers) -> Handlers {
    handlers
        .on("connected_users_info", connected_users_info)
        .on("connected_users_vhost", connected_users_vhost)
        .on("status_list", status_list)
        .on("status_list_host", status_list_host)
        .on("status_num", status_num)
        .on("status_num_host", status_num_host)
        .on("get_presence", get_presence)
}

async fn connected_users_info(shared: Arc<Shared>, _: Call) -> CommandResult {
    let row = |session: &Session| {
        let mut row = about(session);
        row["jid"] = session.full_jid().to_string().into();
        Some(row)
    };
    Ok(Answer::value(sorted(&shared, row)))
}

async fn connected_users_vhost(shared: Arc<Shared>, call: Call) -> CommandResult {
    let host = known_host(&shared, &call)?;
    let row = |session: &Session| (session.vhost() == host).then(|| session.full_jid().to_string().into());
    Ok(Answer::value(sorted(&shared, row)))
}

async fn status_list(shared: Arc<Shared>, call: Call) -> CommandResult {
    Ok(Answer::value(with_status(&shared, call.args.text("status"), None)))
}

async fn status_list_host(shared: Arc<Shared>, call: Call) -> CommandResult {
    let host = known_host(&shared, &call)?;
    Ok(Answer::value(with_status(&shared, call.args.text("status"), Some(host))))
}

async fn status_num(shared: Arc<Shared>, call: Call) -> CommandResult {
    Ok(Answer::value(with_status(&shared, call.args.text("status"), None).len()))
}

async fn status_num_host(shared: Arc<Shared>, call: Call) -> CommandResult {
    let host = known_host(&shared, &call)?;
    Ok(Answer::value(with_status(&shared, call.args.text("status"), Some(host)).len()))
}

/// As ejabberd answers: of several sessions the one of the highest priority, and `unavailable` for nobody.
async fn get_presence(shared: Arc<Shared>, call: Call) -> CommandResult {
    let (account, sessions) = sessions_of(&shared, &call)?;
    let present = sessions.iter().filter_map(|session| Some((session, session.presence()?)));
    let best = present.max_by_key(|(session, presence)| (presence.priority, Reverse(session.id())));
    Ok(Answer::value(match best {
        Some((session, presence)) => json!({
            "jid": session.full_jid().to_string(),
            "show": presence.show.as_str(),
            "status": presence.status,
        }),
        None => json!({ "jid": account.to_string(), "show": "unavailable", "status": "" }),
    }))
}

fn with_status(shared: &Shared, wanted: &str, host: Option<&str>) -> Vec<Value> {
    sorted(shared, |session| {
        let presence = session.presence();
        let status = presence.as_ref().map_or("unavailable", |presence| presence.show.as_str());
        let is_meant =
            (wanted == "all" || wanted == status) && host.is_none_or(|host| host == session.vhost());
        is_meant.then(|| {
            json!({
                "user": session.bare_jid().localpart(),
                "host": session.vhost(),
                "resource": session.resource(),
                "priority": presence.as_ref().map(|presence| presence.priority),
                "status": status,
                "statustext": presence.as_ref().map_or("", |presence| &presence.status),
            })
        })
    })
}

/// What `row` makes of the sessions, in the order of their full JIDs.
fn sorted(shared: &Shared, row: impl Fn(&Session) -> Option<Value>) -> Vec<Value> {
    let mut rows: Vec<(String, Value)> = Vec::new();
    shared.sessions.for_each(|session| {
        if let Some(row) = row(session) {
            rows.push((session.full_jid().to_string(), row));
        }
    });
    rows.sort_by(|one, other| one.0.cmp(&other.0));
    rows.into_iter().map(|(_, row)| row).collect()
}
