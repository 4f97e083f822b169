//! Checks that run in the compiler: a wrong id or default is an error of the module's build, not of its load.

/// Whether this can be a module's id: a lower-case letter, then lower-case letters, digits and underscores, at most 64.
pub const fn is_module_id(id: &str) -> bool {
    let bytes = id.as_bytes();
    if bytes.is_empty() || bytes.len() > 64 || !bytes[0].is_ascii_lowercase() {
        return false;
    }
    let mut i = 0;
    while i < bytes.len() {
        if !(bytes[i].is_ascii_lowercase() || bytes[i].is_ascii_digit() || bytes[i] == b'_') {
            return false;
        }
        i += 1;
    }
    true
}

/// Whether `text` is one JSON value. Written for literals in source code: it does not limit depth.
pub const fn is_json(text: &str) -> bool {
    let bytes = text.as_bytes();
    match value(bytes, blanks(bytes, 0)) {
        Some(end) => blanks(bytes, end) == bytes.len(),
        None => false,
    }
}

const fn at(bytes: &[u8], i: usize) -> u8 {
    if i < bytes.len() { bytes[i] } else { 0 }
}

const fn blanks(bytes: &[u8], mut i: usize) -> usize {
    while matches!(at(bytes, i), b' ' | b'\n' | b'\t' | b'\r') {
        i += 1;
    }
    i
}

const fn value(bytes: &[u8], i: usize) -> Option<usize> {
    match at(bytes, i) {
        b'"' => string(bytes, i),
        b'[' => sequence(bytes, i, b']', false),
        b'{' => sequence(bytes, i, b'}', true),
        b't' => word(bytes, i, b"true"),
        b'f' => word(bytes, i, b"false"),
        b'n' => word(bytes, i, b"null"),
        b'-' => digits(bytes, i + 1),
        _ => digits(bytes, i),
    }
}

const fn word(bytes: &[u8], i: usize, word: &[u8]) -> Option<usize> {
    let mut n = 0;
    while n < word.len() {
        if at(bytes, i + n) != word[n] {
            return None;
        }
        n += 1;
    }
    Some(i + n)
}

const fn digits(bytes: &[u8], start: usize) -> Option<usize> {
    let mut i = start;
    while at(bytes, i).is_ascii_digit() {
        i += 1;
    }
    let whole = i;
    if whole == start || (whole > start + 1 && bytes[start] == b'0') {
        return None;
    }
    if at(bytes, i) != b'.' {
        return Some(i);
    }
    i += 1;
    while at(bytes, i).is_ascii_digit() {
        i += 1;
    }
    if i == whole + 1 { None } else { Some(i) }
}

const fn string(bytes: &[u8], start: usize) -> Option<usize> {
    let mut i = start + 1;
    while i < bytes.len() {
        match bytes[i] {
            b'"' => return Some(i + 1),
            b'\\' => match at(bytes, i + 1) {
                b'"' | b'\\' | b'/' | b'n' | b't' | b'r' | b'b' | b'f' => i += 2,
                _ => return None,
            },
            0..=0x1f => return None,
            _ => i += 1,
        }
    }
    None
}

const fn sequence(bytes: &[u8], start: usize, end: u8, keyed: bool) -> Option<usize> {
    let mut i = blanks(bytes, start + 1);
    if at(bytes, i) == end {
        return Some(i + 1);
    }
    loop {
        if keyed {
            let Some(key) = string(bytes, i) else { return None };
            let colon = blanks(bytes, key);
            if at(bytes, i) != b'"' || at(bytes, colon) != b':' {
                return None;
            }
            i = blanks(bytes, colon + 1);
        }
        let Some(next) = value(bytes, i) else { return None };
        i = blanks(bytes, next);
        match at(bytes, i) {
            b',' => i = blanks(bytes, i + 1),
            byte if byte == end => return Some(i + 1),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked() {
        assert!(is_module_id("mod_echo") && is_module_id("m2"));
        let long = "a".repeat(65);
        for bad in ["", "Mod", "mod-echo", "2mod", "_mod", "mod echo", "modé", long.as_str()] {
            assert!(!is_module_id(bad), "{bad}");
        }
    }

    #[test]
    fn literals_of_json_are_told_from_those_of_rust() {
        for good in
            ["1", "-12", "0.5", "true", "null", "\"a\\n\"", "[]", "[\"a\", \"b\"]", "{\"a\": [1, {}]}", " 0 "]
        {
            assert!(is_json(good) && serde_json::from_str::<serde_json::Value>(good).is_ok(), "{good}");
        }
        for bad in
            ["", "None", "1u8", "01", "1.", "'a'", "\"\\x41\"", "[1,]", "{a: 1}", "{\"a\"}", "1 2", "vec![]"]
        {
            assert!(!is_json(bad), "{bad}");
        }
    }
}
