//! Commands about accounts.

use std::sync::Arc;

use super::{Handlers, failures};
use crate::auth::Accounts;
use crate::command::{Answer, Call, CommandError, CommandResult, ErrorKind};
use crate::server::account_life::AccountLife;
use crate::server::shared::Shared;
use crate::stanza::Jid;
use crate::storage::MAX_PAGE_ROWS;

pub(super) fn add(handlers: Handlers) -> Handlers {
    handlers
        .on("register", register)
        .on("unregister", unregister)
        .on("change_password", change_password)
        .on("check_account", check_account)
        .on("check_password", check_password)
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
    Ok(Answer::value(u8::from(!fits)))
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
