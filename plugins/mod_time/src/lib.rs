//! Entity time (XEP-0202): the server's UTC time and the offset of its time zone.

use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::date_time;
use moult_plugin_api::sdk::utc_offset;
use std::time::{SystemTime, UNIX_EPOCH};

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

export_module! {
    module: Time,
    xeps: ["0202" "2.0", "0082" "1.1"],
}

#[cfg(test)]
mod tests {
    use super::*;
    use moult_plugin_api::testing::FakeHost;
    use std::time::Duration;

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
