//! Commands for administrators, with ejabberd's names.

use crate::Offline;
use moult_plugin_api::prelude::*;
use moult_plugin_api::serde::Deserialize;
use std::sync::Arc;

/// Registers them.
pub(crate) fn register(host: &Host) -> Result<(), HostError> {
    let count = CommandSpec::new("get_offline_count", "Tells how many messages are kept for a user")
        .arg("user", "user", "For whom")
        .arg("host", "host", "On which vhost")
        .result("The number");
    host.command(&count.tag("offline"), Offline::tell_count)?;
    let old = CommandSpec::new("delete_old_messages", "Gives up kept messages that are too old")
        .arg("days", "integer", "Older than so many days")
        .result("How many there were");
    host.command(&old.tag("offline"), Offline::delete_old)?;
    let expired = CommandSpec::new(
        "delete_expired_messages",
        "Gives up kept messages that are older than the option expire_days says",
    );
    host.command(&expired.result("How many there were").tag("offline"), Offline::delete_expired)?;
    Ok(())
}

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct AccountArgs {
    user: String,
    host: String,
}

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct DaysArgs {
    days: u32,
}

impl Offline {
    async fn tell_count(self: Arc<Self>, request: Request<'static>) -> Result<u64, CommandError> {
        let args: AccountArgs = request.args()?;
        let account = Jid::parse(&format!("{}@{}", args.user, args.host));
        let account =
            account.map_err(|error| CommandError::bad_request(format!("This is no user: {error}.")))?;
        if !self.host.account_exists(&account).await? {
            return Err(CommandError::not_found(format!("There is no account {account}.")));
        }
        Ok(self.count(account.as_str()).await?)
    }

    async fn delete_old(self: Arc<Self>, request: Request<'static>) -> Result<u64, CommandError> {
        let DaysArgs { days } = request.args()?;
        Ok(self.older_than(days).await?)
    }

    async fn delete_expired(self: Arc<Self>, _: Request<'static>) -> Result<u64, CommandError> {
        Ok(self.purge_expired().await?)
    }
}
