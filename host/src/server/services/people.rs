//! Sessions and accounts, as modules see them.

use std::sync::Arc;

use moult_plugin_api::abi::v1::op;
use serde::Deserialize;
use serde_json::json as value;

use super::args::{self, json, malformed, number, read};
use super::{Answer, DEADLINE, Desk, within};
use crate::plugin::services::{BoxFuture, OpError, OpRequest, Origin};
use crate::plugin::slot::GLOBAL;
use crate::server::account_life::AccountLife;
use crate::server::shared::Shared;
use crate::session::{Session, Show};
use crate::stanza::Jid;

/// JIDs in one answer.
const PAGE: usize = 1000;

/// `SESSIONS_OF`.
pub(super) fn sessions_of(shared: &Arc<Shared>, request: &OpRequest) -> Result<BoxFuture<Answer>, OpError> {
    let account = args::jid(&request.args)?;
    let sessions = shared.router.sessions().resources(&account);
    let shown: Vec<_> = sessions.iter().map(|session| shown(session)).collect();
    ready(json(&value!(shown)))
}

fn shown(session: &Session) -> serde_json::Value {
    let presence = session.presence();
    let show = match presence.as_ref().map(|presence| presence.show) {
        None | Some(Show::Online) => "",
        Some(show) => show.as_str(),
    };
    value!({
        "jid": session.full_jid().as_str(),
        "priority": presence.as_ref().map_or(0, |presence| presence.priority),
        "show": show,
        "available": presence.is_some(),
        "detached": session.is_detached(),
    })
}

#[derive(Deserialize)]
#[serde(default)]
struct AllArgs {
    host: String,
    after: String,
    limit: usize,
}

impl Default for AllArgs {
    fn default() -> Self {
        Self { host: String::new(), after: String::new(), limit: PAGE }
    }
}

/// `SESSIONS_ALL`.
pub(super) fn sessions_all(shared: &Arc<Shared>, request: &OpRequest) -> Result<BoxFuture<Answer>, OpError> {
    let AllArgs { host, after, limit } = read(&request.args)?;
    if !shared.router.is_vhost(&host) {
        return Err(OpError::new("item-not-found", format!("\"{host}\" is no vhost of this server.")));
    }
    let after = match after.as_str() {
        "" => None,
        text => Some(Jid::parse(text).map_err(|error| malformed(text, &error))?),
    };
    let page = shared.router.sessions().page(&host, after.as_ref(), limit.min(PAGE));
    let jids: Vec<&str> = page.iter().map(|session| session.full_jid().as_str()).collect();
    ready(json(&value!(jids)))
}

/// `ACCOUNT_EXISTS`, `ACCOUNT_CREATE`, `ACCOUNT_SET_PASSWORD`, `ACCOUNT_REMOVE`. An instance changes accounts of its own
/// vhost only; the global one those of all. A change goes on to its end whoever waits for it.
pub(super) fn account(
    shared: &Arc<Shared>,
    desk: &Desk,
    origin: &Origin,
    request: &OpRequest,
) -> Result<BoxFuture<Answer>, OpError> {
    let account = args::jid(&request.args)?;
    let (kind, life) = (request.kind, AccountLife::of(shared));
    if kind == op::ACCOUNT_EXISTS {
        return Ok(within(DEADLINE, async move {
            let exists = life.exists(&account).await.map_err(|error| args::of_account(&error))?;
            Ok(number(i64::from(exists)))
        }));
    }
    check_own(origin, &account)?;
    let password = request.args["password"].as_str().unwrap_or_default().to_owned();
    let changing = desk.detached(async move {
        let changed = match kind {
            op::ACCOUNT_CREATE => life.create(&account, &password).await,
            op::ACCOUNT_SET_PASSWORD => life.set_password(&account, &password).await,
            _ => life.remove(&account).await.map(drop),
        };
        changed.map(|()| number(0)).map_err(|error| args::of_account(&error))
    });
    Ok(within(DEADLINE, changing))
}

pub(super) fn check_own(origin: &Origin, account: &Jid) -> Result<(), OpError> {
    if &*origin.vhost == GLOBAL || &*origin.vhost == account.domain() {
        return Ok(());
    }
    let text = format!("The instance of {} on {} may not change {account}.", origin.module, origin.vhost);
    Err(OpError::new("forbidden", text))
}

fn ready(reply: crate::plugin::services::OpReply) -> Result<BoxFuture<Answer>, OpError> {
    Ok(Box::pin(std::future::ready(Ok(reply))))
}
