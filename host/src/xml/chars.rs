//! Character classes of XML 1.0 (section 2.2 and 2.3).

/// Whether XML can carry the character at all.
pub(super) fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}
