//! Commands by ejabberd's names.

use crate::{END_OF_TIME, Mam};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::now_ms;
use moult_plugin_api::sdk::store::Query;
use moult_plugin_api::serde::Deserialize;
use moult_plugin_api::serde_json::{Value, json};
use std::sync::Arc;

const DAY_MS: i64 = 86_400_000;

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct Old {
    r#type: String,
    days: i64,
    #[serde(default)]
    host: Option<String>,
}

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct Whose {
    user: String,
    host: String,
}

pub fn register(host: &Host) -> Result<(), HostError> {
    let old = CommandSpec::new(
        "delete_old_mam_messages",
        "Deletes archived messages that are older than so many days",
    )
    .arg("type", "string", "Of which kind: chat, or all; groupchat messages are kept by rooms")
    .arg("days", "integer", "How old")
    .optional("host", "host", "On which vhost; without it on all of them");
    host.command(&old.result("How many were deleted").tag("mam"), Mam::delete_old)?;
    let of = |name: &str, doc: &str| {
        CommandSpec::new(name, doc).tag("mam").arg("user", "user", "Whose").arg(
            "host",
            "host",
            "On which vhost",
        )
    };
    let remove = of("remove_mam_for_user", "Deletes the whole archive of a user");
    host.command(&remove.result("How many messages were deleted"), Mam::remove_all)?;
    let count = of("get_mam_count", "Counts the archived messages of a user");
    host.command(&count.result("The number of messages"), Mam::count)?;
    Ok(())
}

impl Mam {
    /// The command comes to one instance; without a vhost it sends it to all of them.
    async fn delete_old(self: Arc<Self>, request: Request<'static>) -> Result<u64, CommandError> {
        let old: Old = request.args()?;
        match old.r#type.as_str() {
            "chat" | "all" => {}
            "groupchat" => return Ok(0),
            other => {
                return Err(CommandError::bad_request(format!(
                    "\"{other}\" is neither chat, groupchat nor all."
                )));
            }
        }
        if old.days < 0 {
            return Err(CommandError::bad_request("The number of days cannot be negative."));
        }
        if old.host.is_some() {
            let before = now_ms().saturating_sub(old.days.saturating_mul(DAY_MS));
            return Ok(self.archive().delete("", before).await?);
        }
        let vhosts = self.host.run_command("registered_vhosts", &json!({})).await?;
        let mut deleted = 0;
        for vhost in vhosts.as_array().into_iter().flatten().filter_map(Value::as_str) {
            let args = json!({"type": old.r#type, "days": old.days, "host": vhost});
            match self.host.run_command("delete_old_mam_messages", &args).await {
                Ok(count) => deleted += count.as_u64().unwrap_or_default(),
                // The module need not be enabled on each vhost.
                Err(error) if error.condition == "item-not-found" => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(deleted)
    }

    async fn remove_all(self: Arc<Self>, request: Request<'static>) -> Result<u64, CommandError> {
        Ok(self.archive().delete(&account(&request)?, END_OF_TIME).await?)
    }

    async fn count(self: Arc<Self>, request: Request<'static>) -> Result<u64, CommandError> {
        let query = Query { limit: Some(0), ..Query::default() };
        let page = self.archive().query(&account(&request)?, &query).await?;
        Ok(page.count.unwrap_or_default())
    }
}

fn account(request: &Request<'_>) -> Result<String, CommandError> {
    let whose: Whose = request.args()?;
    let account = Jid::parse(&format!("{}@{}", whose.user, whose.host));
    let account =
        account.map_err(|error| CommandError::bad_request(format!("This is no account: {error}.")))?;
    Ok(account.as_str().to_owned())
}
