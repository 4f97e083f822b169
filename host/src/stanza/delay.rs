//! Moments as XEP-0082 writes them, and stanzas that tell when they came (XEP-0203).

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Kind, Stanza, ns};
use crate::xml::Writer;

impl Stanza {
    /// The same message with the moment at which `by` began to hold it back. What carries such a mark of `by` already,
    /// and what is no message, stays as it is.
    pub fn with_delay(&self, by: &str, since: SystemTime) -> Self {
        if self.kind() != Kind::Message || self.is_error() || self.is_delayed_by(by) {
            return self.clone();
        }
        let mut mark = String::new();
        let mut writer = Writer::new(&mut mark);
        writer.start("delay").attribute("xmlns", ns::DELAY);
        writer.attribute("from", by).attribute("stamp", &date(since)).end();
        let text = self.as_str();
        let marked = match text.strip_suffix("/>") {
            Some(start) if self.child_count() == 0 => format!("{start}>{mark}</message>"),
            _ => match text.strip_suffix("</message>") {
                Some(start) => format!("{start}{mark}</message>"),
                None => return self.clone(),
            },
        };
        // What was a stanza before is one with another child as well.
        Self::parse(marked.as_bytes()).map_or_else(|_| self.clone(), |marked| marked.with_hops(self.hops()))
    }

    fn is_delayed_by(&self, by: &str) -> bool {
        let element = self.to_element();
        let delay = element.child("delay", ns::DELAY);
        delay.is_some_and(|delay| delay.attribute("from").is_some_and(|from| from == by))
    }
}

/// A moment as XEP-0082 writes it: `2026-01-31T23:59:59Z`.
pub fn date(time: SystemTime) -> String {
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
    use std::time::Duration;

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

    #[test]
    fn messages_are_marked_once_by_each_who_holds_them_back() {
        let mark = "<delay xmlns='urn:xmpp:delay' from='a.example' stamp='1970-01-01T00:00:00Z'/>";
        let marked = |xml: &str| {
            let stanza = Stanza::parse(xml.as_bytes()).unwrap();
            stanza.with_delay("a.example", UNIX_EPOCH).as_str().to_owned()
        };
        assert_eq!(marked("<message id='1'/>"), format!("<message id='1'>{mark}</message>"));
        let once = marked("<message><body>a &gt; b</body></message>");
        assert_eq!(once, format!("<message><body>a &gt; b</body>{mark}</message>"));
        assert_eq!(marked(&once), once);
        let other = once.replace("a.example", "b.example");
        assert!(marked(&other).contains("b.example") && marked(&other).contains(mark));
        for untouched in ["<presence/>", "<message type='error' id='1'/>"] {
            assert_eq!(marked(untouched), untouched);
        }
    }
}
