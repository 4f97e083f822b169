//! Single numbers, by ejabberd's names.

use std::sync::Arc;

use super::accounts::known_host;
use super::{Handlers, failures};
use crate::command::{Answer, Call, CommandError, CommandResult, ErrorKind};
use crate::server::shared::Shared;

pub(super) fn add(handlers: Handlers) -> Handlers {
    handlers
        .on("stats", stats)
        .on("stats_host", stats_host)
        .on("incoming_s2s_number", no_federation)
        .on("outgoing_s2s_number", no_federation)
}

/// There is no federation yet, so there are no such streams.
async fn no_federation(_: Arc<Shared>, _: Call) -> CommandResult {
    Ok(Answer::value(0))
}

async fn stats(shared: Arc<Shared>, call: Call) -> CommandResult {
    let number = match call.args.text("name") {
        "registeredusers" => {
            let mut sum = 0;
            for vhost in shared.config().vhosts.keys() {
                sum += registered(&shared, vhost).await?;
            }
            sum
        }
        "onlineusers" | "onlineusersnode" => shared.sessions.count_all() as u64,
        "uptimeseconds" => shared.started.elapsed().as_secs(),
        // What a process is to Erlang, a task is here.
        "processes" => tokio::runtime::Handle::current().metrics().num_alive_tasks() as u64,
        other => return Err(unknown(other)),
    };
    Ok(Answer::value(number))
}

async fn stats_host(shared: Arc<Shared>, call: Call) -> CommandResult {
    let host = known_host(&shared, &call)?;
    let number = match call.args.text("name") {
        "registeredusers" => registered(&shared, host).await?,
        "onlineusers" => shared.sessions.count(host) as u64,
        other => return Err(unknown(other)),
    };
    Ok(Answer::value(number))
}

async fn registered(shared: &Shared, vhost: &str) -> Result<u64, CommandError> {
    shared.accounts.count(vhost).await.map_err(|error| failures::auth(&error))
}

/// The table has checked the name against the declared choices.
fn unknown(name: &str) -> CommandError {
    CommandError::new(ErrorKind::Bug, format!("The number \"{name}\" is declared and not counted."))
}
