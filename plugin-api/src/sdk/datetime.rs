//! Points in time as XMPP writes them (XEP-0082): `2026-11-20T17:58:35Z`, in UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400_000;

/// Milliseconds since 1970 by the system's clock.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A point in time, to the second.
pub fn date_time(since_1970: Duration) -> String {
    let (date, second) = parts(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX));
    format!("{date}T{:02}:{:02}:{:02}Z", second / 3_600_000, second / 60_000 % 60, second / 1000 % 60)
}

/// A point in time given in milliseconds since 1970, to the millisecond: two messages of one second differ.
pub fn date_time_ms(ms: i64) -> String {
    let (date, of_day) = parts(ms);
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
    format!("{date}T{hour:02}:{minute:02}:{second:02}.{:03}Z", of_day % 1000)
}

/// Reads a point in time, with or without a fraction, in UTC or with an offset; gives milliseconds since 1970.
pub fn parse_date_time(text: &str) -> Option<i64> {
    let (date, time) = text.trim().split_once('T')?;
    let [year, month, day] = numbers(date, '-')?;
    let (time, offset) = split_zone(time)?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let [hour, minute, second] = numbers(time, ':')?;
    let is_date = (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    // A leap second counts as the one before the next minute.
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let of_day = (hour * 3_600 + minute * 60 + second.min(59)) * 1000 + milliseconds(fraction)?;
    Some(days(year, month, day) * DAY + of_day - offset)
}

fn parts(ms: i64) -> (String, i64) {
    let (year, month, day) = civil(ms.div_euclid(DAY));
    (format!("{year:04}-{month:02}-{day:02}"), ms.rem_euclid(DAY))
}

/// The Gregorian date so many days after 1 January 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    // Counted from 1 March of the year 0, so that a leap day is the last day of its year; the calendar repeats itself
    // every 400 years, which are 146,097 days.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Days from 1 January 1970 to a Gregorian date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn numbers(text: &str, between: char) -> Option<[i64; 3]> {
    let mut parts = text.split(between).map(|part| {
        let digits = !part.is_empty() && part.len() <= 4 && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse::<i64>().ok()).flatten()
    });
    let three = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(three)
}

/// The time without its zone, and the zone's offset in milliseconds.
fn split_zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, 0));
    }
    let (time, zone) = time.split_at(time.find(['+', '-'])?);
    let [hours, minutes, _] = numbers(&format!("{}:0", zone.get(1..)?), ':')?;
    let offset = (hours * 60 + minutes) * 60_000;
    let is_zone = hours < 24 && minutes < 60;
    is_zone.then_some((time, if zone.starts_with('-') { -offset } else { offset }))
}

fn milliseconds(fraction: &str) -> Option<i64> {
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let three: String = fraction.chars().chain("000".chars()).take(3).collect();
    three.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read_again() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(date_time_ms(ms), text);
            assert_eq!(parse_date_time(text), Some(ms));
        }
        assert_eq!(date_time(Duration::from_millis(1_763_661_515_999)), "2025-11-20T17:58:35Z");
    }

    #[test]
    fn fractions_and_zones_are_understood() {
        let noon = parse_date_time("2026-11-20T12:00:00Z").unwrap();
        for (text, difference) in [
            ("2026-11-20T14:00:00+02:00", 0),
            ("2026-11-20T06:30:00-05:30", 0),
            ("2026-11-20T12:00:00.5Z", 500),
            ("2026-11-20T12:00:00.123456Z", 123),
        ] {
            assert_eq!(parse_date_time(text), Some(noon + difference), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026-11-20",
            "2026-11-20T12:00:00",
            "2026-13-20T12:00:00Z",
            "2026-11-20T24:00:00Z",
            "2026-11-20T12:00Z",
            "2026-11-20T12:00:00.xZ",
            "2026-11-20T12:00:00+2Z",
            "20261-11-20T12:00:00Z",
            "a-b-cTd:e:fZ",
            "2026-11-20T12:00:00+99:00",
        ] {
            assert_eq!(parse_date_time(text), None, "{text}");
        }
    }
}
