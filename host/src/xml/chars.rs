//! Character classes of XML 1.0 (sections 2.2 and 2.3) and the checks that rest on them.

use super::FrameError;

/// Whether XML can carry the character at all.
pub(super) fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// White space as XML defines it: form feed and its like are none.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The position of the first byte from `at` on that is no white space.
pub(super) fn skip_space(data: &[u8], at: usize) -> usize {
    let rest = data.get(at..).unwrap_or_default();
    at + rest.iter().position(|&b| !is_space(b)).unwrap_or(rest.len())
}

/// Decodes `bytes`, which must be UTF-8 made of characters that XML allows.
pub(super) fn check_text(bytes: &[u8]) -> Result<&str, FrameError> {
    let text = simdutf8::basic::from_utf8(bytes).map_err(|_| FrameError::NotUtf8)?;
    if has_control(bytes) || has_noncharacter(bytes) { Err(FrameError::BadCharacter) } else { Ok(text) }
}

/// Looks at every byte without branching, which lets the compiler use vector instructions.
fn has_control(bytes: &[u8]) -> bool {
    let bad = |b: u8| (b < 0x20) & (b != b'\t') & (b != b'\n') & (b != b'\r');
    bytes.iter().fold(false, |found, &b| found | bad(b))
}

/// Looks for U+FFFE and U+FFFF in UTF-8.
fn has_noncharacter(bytes: &[u8]) -> bool {
    memchr::memchr_iter(0xEF, bytes).any(|at| matches!(bytes.get(at + 1..at + 3), Some([0xBF, 0xBE | 0xBF])))
}

const START: u8 = 1;
const CONTINUE: u8 = 2;

/// Classes of the bytes of names. Bytes above ASCII count as both, until [`check_wide_name`] looks closer.
static NAME_CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        if b.is_ascii_alphabetic() || b == b'_' || b >= 128 {
            table[byte] = START | CONTINUE;
        } else if b.is_ascii_digit() || b == b'-' || b == b'.' {
            table[byte] = CONTINUE;
        }
        byte += 1;
    }
    table
};

/// Whether a name or the part after its colon may start with this byte.
pub(super) fn starts_name(byte: u8) -> bool {
    NAME_CLASS[usize::from(byte)] & START != 0
}

/// The position of the first byte from `at` on that continues no name, and whether there are bytes above ASCII before
/// it. A colon does not continue a name.
pub(super) fn skip_name(data: &[u8], at: usize) -> (usize, bool) {
    let rest = data.get(at..).unwrap_or_default();
    let mut all = 0;
    for (length, &byte) in rest.iter().enumerate() {
        if NAME_CLASS[usize::from(byte)] & CONTINUE == 0 {
            return (at + length, all >= 128);
        }
        all |= byte;
    }
    (data.len().max(at), all >= 128)
}

/// Checks a name or part of a name, without colon, that has characters above ASCII.
///
/// XML 1.0 also allows U+FDF0 to U+FFFD to start a name. They are refused here, because parsers that follow the
/// errata differently, the oracle of our tests among them, would end the stream of whoever receives such a name.
pub(super) fn check_wide_name(name: &[u8]) -> Result<(), FrameError> {
    let name = std::str::from_utf8(name).map_err(|_| FrameError::NotUtf8)?;
    let mut chars = name.chars();
    let sound = chars.next().is_some_and(starts_wide_name) && chars.all(continues_wide_name);
    if sound { Ok(()) } else { Err(FrameError::BadName) }
}

fn starts_wide_name(c: char) -> bool {
    match u8::try_from(c) {
        Ok(byte) if byte < 128 => starts_name(byte),
        _ => matches!(c,
            '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}' | '\u{370}'..='\u{37d}'
            | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}' | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}'
            | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{10000}'..='\u{effff}'),
    }
}

fn continues_wide_name(c: char) -> bool {
    match u8::try_from(c) {
        Ok(byte) if byte < 128 => NAME_CLASS[usize::from(byte)] & CONTINUE != 0,
        _ => starts_wide_name(c) || matches!(c, '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_noncharacters_are_found() {
        for text in ["\u{0}", "a\u{b}", "\u{1f}b", "x\u{fffe}", "\u{ffff}"] {
            assert_eq!(check_text(text.as_bytes()), Err(FrameError::BadCharacter), "{text:?}");
        }
        for text in ["", "\t\r\n", "\u{7f}\u{85}", "\u{fffd}\u{ff01}", "\u{10ffff}"] {
            assert_eq!(check_text(text.as_bytes()), Ok(text));
        }
        assert_eq!(check_text(b"a\xC0\x80"), Err(FrameError::NotUtf8));
    }

    #[test]
    fn the_fast_check_and_the_definition_agree_on_every_character() {
        for c in '\0'..=char::MAX {
            assert_eq!(check_text(c.encode_utf8(&mut [0; 4]).as_bytes()).is_ok(), is_allowed(c), "{c:?}");
        }
    }

    #[test]
    fn names_above_ascii_are_checked_by_character() {
        for name in ["é", "aé", "名前", "a\u{b7}", "a\u{300}"] {
            assert_eq!(check_wide_name(name.as_bytes()), Ok(()), "{name:?}");
        }
        for name in ["×", "a÷", "\u{b7}a", "a\u{2000}", "\u{300}", "a\u{37e}", "\u{fdf0}"] {
            assert_eq!(check_wide_name(name.as_bytes()), Err(FrameError::BadName), "{name:?}");
        }
    }
}
