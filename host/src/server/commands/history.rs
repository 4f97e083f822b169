//! What was updated when, and moments as people and programs read them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::command::{Answer, Call, CommandResult};
use crate::plugin::history::{Build, Entry};
use crate::plugin::retire::RetainedInfo;
use crate::server::shared::Shared;

/// Rows where the caller does not say.
const DEFAULT_LIMIT: usize = 20;

pub(super) async fn update_history(shared: Arc<Shared>, call: Call) -> CommandResult {
    let limit = call.args.integer("limit").map(|limit| usize::try_from(limit).unwrap_or_default());
    let entries = shared.manager.update_history(None);
    let rows: Vec<Value> = entries.iter().take(limit.unwrap_or(DEFAULT_LIMIT)).map(row).collect();
    Ok(Answer::value(rows))
}

fn row(entry: &Entry) -> Value {
    json!({
        "id": entry.transaction,
        "time": date(UNIX_EPOCH + Duration::from_secs(entry.at)),
        "trigger": entry.trigger,
        "module": entry.module,
        "result": entry.outcome,
        "from": entry.from.as_ref().map(shown),
        "to": entry.to.as_ref().map(shown),
        "reason": entry.reason,
    })
}

/// `1.2.0 (1f3a90bc)`: either part names the build to `rollback`.
fn shown(build: &Build) -> String {
    let digits = build.hash.get(..8).unwrap_or(&build.hash);
    format!("{} ({digits})", build.version)
}

/// Old generations that stay mapped, their moments as dates.
pub(super) fn retained(old: &[RetainedInfo]) -> Value {
    let dated = |old: &RetainedInfo| {
        let mut value = json!(old);
        value["since"] = date(old.since).into();
        value
    };
    old.iter().map(dated).collect::<Vec<_>>().into()
}

/// A moment as XEP-0082 writes it: `2026-01-31T23:59:59Z`.
pub(super) fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day counted from 1 January 1970, in the Gregorian calendar: whole cycles of 400 years, then
/// years that begin in March, so that the day a leap year adds is the last one.
fn civil(days_since_1970: u64) -> (u64, u64, u64) {
    const CYCLE: u64 = 146_097;
    // From 1 March of the year 0 to 1 January 1970.
    let days = days_since_1970 + 719_468;
    let (cycle, day_of_cycle) = (days / CYCLE, days % CYCLE);
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / (CYCLE - 1)) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (cycle * 400 + year_of_cycle + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(date(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}
