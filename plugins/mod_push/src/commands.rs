//! The commands: which services an account has, and those that have not been heard of for long go.

use crate::Push;
use crate::registration::Registration;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::{date_time_ms, now_ms};
use moult_plugin_api::serde::{Deserialize, Serialize};
use std::sync::Arc;

const DAY_MS: i64 = 86_400_000;

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct Whose {
    user: String,
    host: String,
}

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct Old {
    days: u32,
}

/// A service as it is shown. What it is told with each notification is between it and the app.
#[derive(Serialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct Row {
    service: String,
    node: String,
    resource: String,
    since: String,
    failures: u32,
}

pub fn register(host: &Host) -> Result<(), HostError> {
    let list = CommandSpec::new("list_push_services", "Shows the push services of a user")
        .tag("push")
        .arg("user", "user", "Whose")
        .arg("host", "host", "On which vhost")
        .result("The services");
    host.command(&list, Push::list)?;
    let old = CommandSpec::new(
        "delete_old_push_services",
        "Disables push services that were enabled before so many days",
    )
    .tag("push")
    .arg("host", "host", "On which vhost")
    .arg("days", "integer", "How long ago")
    .result("How many were disabled");
    host.command(&old, Push::delete_old)?;
    Ok(())
}

impl Push {
    async fn list(self: Arc<Self>, request: Request<'static>) -> Result<Vec<Row>, CommandError> {
        let Whose { user, host } = request.args()?;
        let account = Jid::parse(&format!("{user}@{host}"));
        let account =
            account.map_err(|error| CommandError::bad_request(format!("The user is no JID: {error}.")))?;
        let row = |registration: Registration| Row {
            service: registration.service,
            node: registration.node,
            resource: registration.resource,
            since: date_time_ms(registration.since),
            failures: registration.failures,
        };
        Ok(self.of(account.as_str()).into_iter().map(row).collect())
    }

    async fn delete_old(self: Arc<Self>, request: Request<'static>) -> Result<usize, CommandError> {
        let Old { days } = request.args()?;
        let before = now_ms() - i64::from(days) * DAY_MS;
        let accounts: Vec<String> = self.state().registrations.keys().cloned().collect();
        let mut count = 0;
        for account in accounts {
            let _turn = self.turns.take(&account).await;
            let mut all = self.of(&account);
            let had = all.len();
            all.retain(|registration| registration.since > before);
            if all.len() != had {
                count += had - all.len();
                self.keep(&account, all).await?;
            }
        }
        Ok(count)
    }
}
