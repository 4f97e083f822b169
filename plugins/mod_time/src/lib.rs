//! Entity time (XEP-0202): the server's UTC time and the offset of its time zone.

use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::utc_offset;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The module on one vhost.
#[derive(Debug)]
pub struct Time;

impl Module for Time {
    type Options = ();

    fn start(host: &Host, (): ()) -> Result<Started<Self>, Stop> {
        host.on_iq(ns::TIME, Self::answer)?;
        Started::running(Self)
    }
}

impl Time {
    fn answer(&self, iq: &Iq<'_>) -> Result<Element, StanzaError> {
        iq.require_get()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Element::new("time")
            .with_ns(ns::TIME)
            .with_child(Element::new("tzo").with_text(zone(utc_offset())))
            .with_child(Element::new("utc").with_text(date_time(now))))
    }
}

/// A time zone of XEP-0082: `+02:00`.
fn zone(seconds: i64) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

/// A point in time of XEP-0082: `2026-11-20T17:58:35Z`.
fn date_time(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// The Gregorian date so many days after 1 January 1970.
fn date(days: u64) -> (u64, u64, u64) {
    // Counted from 1 March of the year 0, so that a leap day is the last day of its year; the calendar repeats itself
    // every 400 years, which are 146,097 days.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

export_module! {
    module: Time,
    xeps: ["0202" "2.0", "0082" "1.1"],
}

#[cfg(test)]
mod tests {
    use super::*;
    use moult_plugin_api::testing::FakeHost;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_166_551_115, "2006-12-19T17:58:35Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(date_time(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn zones_lie_on_both_sides_of_greenwich() {
        assert_eq!((zone(0), zone(7200), zone(-12_600)), ("+00:00".into(), "+02:00".into(), "-03:30".into()));
    }

    #[test]
    fn a_get_is_answered_and_a_set_is_not_allowed() {
        let host = FakeHost::new("example.org");
        let module = host.start::<Time>("{}");
        let ask = "<time xmlns='urn:xmpp:time'/>";
        let answer = module.iq_get("a@example.org/x", "example.org", ask).unwrap().unwrap();
        assert!(answer.is("time", ns::TIME));
        assert_eq!(answer.subtag_text("utc").len(), "2006-12-19T17:58:35Z".len());
        assert_eq!(answer.subtag_text("tzo").len(), "-06:00".len());
        assert_eq!(
            module.iq_set("a@example.org/x", "example.org", ask).unwrap_err().condition,
            Condition::NotAllowed
        );
    }
}
