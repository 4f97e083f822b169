//! Commands about accounts.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::{Handlers, failures};
use crate::auth::{Accounts, Ban};
use crate::command::{Answer, Call, CommandError, CommandResult, ErrorKind};
use crate::server::account_life::AccountLife;
use crate::server::shared::Shared;
use crate::stanza::{Jid, StreamError, StreamErrorCondition};
use crate::storage::MAX_PAGE_ROWS;

pub(super) fn add(handlers: Handlers) -> Handlers {
    handlers
        .on("register", register)
        .on("unregister", unregister)
        .on("change_password", change_password)
        .on("check_account", check_account)
        .on("check_password", check_password)
        .on("ban_account", ban_account)
        .on("get_ban_details", get_ban_details)
        .on("unban_account", unban_account)
        .on("registered_users", registered_users)
        .on("registered_vhosts", registered_vhosts)
}

/// The account that `user` and `host` name.
pub(super) fn account(call: &Call) -> Result<Jid, CommandError> {
    let (user, host) = (call.args.text("user"), call.args.text("host"));
    Jid::from_parts(Some(user), host, None).map_err(|error| {
        CommandError::new(ErrorKind::BadArgument, format!("{user}@{host} cannot be an account: {error}."))
    })
}

async fn register(shared: Arc<Shared>, call: Call) -> CommandResult {
    let account = account(&call)?;
    let made = AccountLife::of(&shared).create(&account, call.args.text("password")).await;
    made.map_err(|error| failures::account(&error))?;
    Ok(Answer::value(format!("The account {account} was made.")))
}

async fn unregister(shared: Arc<Shared>, call: Call) -> CommandResult {
    let account = account(&call)?;
    let removed = AccountLife::of(&shared).remove(&account).await;
    let sessions = removed.map_err(|error| failures::account(&error))?;
    Ok(Answer::value(format!("The account {account} was removed, and its {sessions} sessions were ended.")))
}

async fn change_password(shared: Arc<Shared>, call: Call) -> CommandResult {
    let account = account(&call)?;
    let changed = AccountLife::of(&shared).set_password(&account, call.args.text("newpass")).await;
    changed.map_err(|error| failures::account(&error))?;
    Ok(Answer::ok())
}

async fn check_account(shared: Arc<Shared>, call: Call) -> CommandResult {
    let exists = AccountLife::of(&shared).exists(&account(&call)?).await;
    let exists = exists.map_err(|error| failures::account(&error))?;
    Ok(Answer::value(u8::from(!exists)))
}

async fn check_password(shared: Arc<Shared>, call: Call) -> CommandResult {
    let host = known_host(&shared, &call)?;
    let (user, password) = (call.args.text("user"), call.args.text("password"));
    let fits = shared.accounts.check_password(host, user, password).await;
    let fits = fits.map_err(|error| failures::auth(&error))?;
    // The right password of an account that is banned lets nobody in either.
    let is_banned = fits && banned(&shared, host, user).await?.is_some();
    Ok(Answer::value(u8::from(!fits || is_banned)))
}

async fn banned(shared: &Shared, host: &str, user: &str) -> Result<Option<Ban>, CommandError> {
    shared.accounts.banned(host, user).await.map_err(|error| failures::auth(&error))
}

async fn ban_account(shared: Arc<Shared>, call: Call) -> CommandResult {
    let (host, account) = (known_host(&shared, &call)?, account(&call)?);
    let reason = call.args.text("reason");
    let done = shared.accounts.ban(host, call.args.text("user"), reason).await;
    done.map_err(|error| failures::auth(&error))?;
    let told = if reason.is_empty() { "This account is banned." } else { reason };
    let told = StreamError::new(StreamErrorCondition::PolicyViolation, told);
    let sessions = shared.sessions.kick_account(&account, &told);
    tracing::warn!(jid = %account, sessions, reason, "account banned");
    Ok(Answer::ok())
}

async fn get_ban_details(shared: Arc<Shared>, call: Call) -> CommandResult {
    let host = known_host(&shared, &call)?;
    let ban = banned(&shared, host, call.args.text("user")).await?;
    Ok(Answer::value(ban.map_or_else(
        || json!({}),
        |ban| {
            let since = SystemTime::UNIX_EPOCH
                + Duration::from_micros(u64::try_from(ban.since_us).unwrap_or_default());
            json!({ "reason": ban.reason, "since": crate::stanza::date(since) })
        },
    )))
}

async fn unban_account(shared: Arc<Shared>, call: Call) -> CommandResult {
    let (host, account) = (known_host(&shared, &call)?, account(&call)?);
    let lifted = shared.accounts.unban(host, call.args.text("user")).await;
    if lifted.map_err(|error| failures::auth(&error))? {
        tracing::info!(jid = %account, "the ban of an account was lifted");
        return Ok(Answer::ok());
    }
    Err(CommandError::new(ErrorKind::NotFound, format!("{account} is not banned.")))
}

async fn registered_users(shared: Arc<Shared>, call: Call) -> CommandResult {
    let host = known_host(&shared, &call)?;
    Ok(Answer::value(all_users(&shared.accounts, host).await?))
}

async fn all_users(accounts: &Accounts, host: &str) -> Result<Vec<String>, CommandError> {
    let mut users: Vec<String> = Vec::new();
    loop {
        let page = accounts.list(host, users.last().map(String::as_str), MAX_PAGE_ROWS).await;
        let page = page.map_err(|error| failures::auth(&error))?;
        users.extend(page.keys);
        if !page.more {
            return Ok(users);
        }
    }
}

async fn registered_vhosts(shared: Arc<Shared>, _: Call) -> CommandResult {
    let vhosts: Vec<String> = shared.config().vhosts.keys().cloned().collect();
    Ok(Answer::value(vhosts))
}

/// The argument `host`, if it is one of ours.
pub(super) fn known_host<'a>(shared: &Shared, call: &'a Call) -> Result<&'a str, CommandError> {
    let host = call.args.text("host");
    if shared.has_vhost(host) { Ok(host) } else { Err(failures::no_vhost(host)) }
}
