//! The commands: reports are listed, newest first, and deleted.

use crate::report::Report;
use crate::{ALL, Reports};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::{date_time_ms, now_ms};
use moult_plugin_api::sdk::store::{Item, Query};
use moult_plugin_api::serde::{Deserialize, Serialize};
use moult_plugin_api::serde_json;
use std::sync::Arc;

/// Reports shown where no number is asked for, and at most.
const USUAL: usize = 50;
const MOST: usize = 1000;
const DAY_MS: i64 = 86_400_000;

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct ListArgs {
    #[serde(default)]
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct DeleteArgs {
    id: String,
}

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct OldArgs {
    days: u32,
}

/// A report as it is shown.
#[derive(Serialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct Row {
    id: String,
    at: String,
    #[serde(flatten)]
    report: Report,
}

pub fn register(host: &Host) -> Result<(), HostError> {
    let spec = |name: &str, doc: &str| {
        CommandSpec::new(name, doc).tag("reports").arg("host", "host", "On which vhost")
    };
    host.command(
        &spec("list_reports", "Lists reports of spam and abuse, newest first")
            .optional("limit", "integer", "At most so many; 50 without it")
            .result("The reports"),
        Reports::list,
    )?;
    host.command(
        &spec("delete_report", "Deletes one report").arg("id", "string", "Its id, as list_reports shows it"),
        Reports::delete,
    )?;
    host.command(
        &spec("delete_old_reports", "Deletes reports that are older than so many days")
            .arg("days", "integer", "How old")
            .result("How many were deleted"),
        Reports::delete_old,
    )?;
    Ok(())
}

impl Reports {
    async fn list(self: Arc<Self>, request: Request<'static>) -> Result<Vec<Row>, CommandError> {
        let ListArgs { limit } = request.args()?;
        let limit = limit.unwrap_or(USUAL).min(MOST);
        let query = Query { limit: Some(limit), reverse: true, ..Query::default() };
        let page = self.archive().query(ALL, &query).await?;
        Ok(page.items.into_iter().rev().filter_map(row).collect())
    }

    async fn delete(self: Arc<Self>, request: Request<'static>) -> Result<(), CommandError> {
        let DeleteArgs { id } = request.args()?;
        match self.archive().remove(ALL, std::slice::from_ref(&id)).await? {
            0 => Err(CommandError::not_found(format!("There is no report \"{id}\"."))),
            _ => Ok(()),
        }
    }

    async fn delete_old(self: Arc<Self>, request: Request<'static>) -> Result<u64, CommandError> {
        let OldArgs { days } = request.args()?;
        Ok(self.archive().delete(ALL, now_ms() - i64::from(days) * DAY_MS).await?)
    }
}

fn row(item: Item) -> Option<Row> {
    let report = serde_json::from_slice(&item.body).ok()?;
    Some(Row { id: item.id, at: date_time_ms(item.at_ms), report })
}
