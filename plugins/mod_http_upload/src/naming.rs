//! Names of files in addresses: percent-encoded there, and never a name on the disk.

/// The longest name, in bytes.
pub const MAX_NAME: usize = 255;

/// Whether it is a name: something without a slash or a control character.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME
        && name != "."
        && name != ".."
        && !name.chars().any(|c| c == '/' || c == '\\' || c.is_control())
}

/// As a segment of a path (RFC 3986).
pub fn encoded(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A segment of a path as it was before.
pub fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_their_encoding() {
        for name in ["a.png", "très bien?.jpg", "100%.txt", "🦀", "a b&c=d#e"] {
            let segment = encoded(name);
            assert!(segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)), "{segment}");
            assert_eq!(decoded(&segment).as_deref(), Some(name));
        }
        for broken in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(decoded(broken), None);
        }
    }

    #[test]
    fn what_could_be_a_path_is_no_name() {
        for name in ["", ".", "..", "a/b", "a\\b", "a\0b", "a\nb", &"x".repeat(256)] {
            assert!(!is_name(name), "{name:?}");
        }
        assert!(is_name("..."));
    }
}
