//! Durations and sizes as the file writes them: `"30s"`, `"64KiB"`.
//!
//! A duration is a sum of whole numbers with a unit: `ms`, `s`, `m`, `h`, `d` (`"1h30m"`). A size is one whole
//! number with a unit: `B`, `KiB`, `MiB`, `GiB`. There are no fractions and no decimal (`KB`) units, so that every
//! value has one meaning; a plain TOML integer counts seconds or bytes.

use std::time::Duration;

use serde::Serializer;

const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads a duration such as `"30s"`, `"5m"`, `"250ms"` or `"1h30m"`. `None` for anything else.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (count, after) = leading_number(rest)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let (_, millis) = DURATION_UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(count.checked_mul(*millis)?)?;
        rest = after;
    }
    Some(Duration::from_millis(total))
}

/// Reads a size such as `"64KiB"` or `"512B"` in bytes. `None` for anything else.
pub fn parse_size(text: &str) -> Option<u64> {
    let (count, unit) = leading_number(text.trim())?;
    let (_, bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    count.checked_mul(*bytes)
}

/// Writes a duration so that [`parse_duration`] reads the same value again.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (unit, millis) in DURATION_UNITS {
        if rest >= millis {
            text.push_str(&format!("{}{unit}", rest / millis));
            rest %= millis;
        }
    }
    text
}

/// Writes a size in the largest unit that divides it.
pub fn format_size(bytes: u64) -> String {
    let (unit, factor) =
        SIZE_UNITS.iter().find(|(_, f)| bytes >= *f && bytes.is_multiple_of(*f)).unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / factor)
}

pub(super) fn serialize_duration<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format_duration(*value))
}

pub(super) fn serialize_optional_duration<S: Serializer>(
    value: &Option<Duration>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(duration) => serialize_duration(duration, to),
        None => to.serialize_none(),
    }
}

pub(super) fn serialize_size<S: Serializer>(value: &usize, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format_size(*value as u64))
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_whole_numbers_with_units() {
        let cases =
            [("30s", 30_000), ("5m", 300_000), ("250ms", 250), ("1h30m", 5_400_000), ("1d", 86_400_000)];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn durations_without_a_known_unit_are_refused() {
        for text in
            ["", "5", "s", "1.5s", "-1s", "5 minutes", "5S", "99999999999999999999s", "999999999999999999d"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_one_number_with_a_binary_unit() {
        assert_eq!(parse_size("64KiB"), Some(65_536));
        assert_eq!(parse_size("512B"), Some(512));
        assert_eq!(parse_size("1 MiB"), Some(1 << 20));
        for text in ["", "64", "64KB", "1.5MiB", "KiB", "-1B", "99999999999GiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for millis in [0, 1, 999, 1_000, 61_000, 90_061_001] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }
        for bytes in [0, 1, 1023, 1024, 65_536, 1 << 30, (1 << 30) + 1] {
            assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
        }
    }
}
