//! JSON text that is built by the compiler.

/// A text under construction. It counts what is pushed and keeps what fits: a first run with `N = 0` learns the length,
/// a second one with that `N` has the bytes.
#[derive(Debug, Clone, Copy)]
pub struct Text<const N: usize> {
    /// What was pushed, as far as it fits.
    pub bytes: [u8; N],
    /// How much was pushed.
    pub len: usize,
}

impl<const N: usize> Text<N> {
    /// Nothing yet.
    #[allow(clippy::new_without_default, reason = "Default is no const trait")]
    pub const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    const fn push(&mut self, byte: u8) {
        if self.len < N {
            self.bytes[self.len] = byte;
        }
        self.len += 1;
    }

    /// Appends as it is.
    pub const fn raw(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            self.push(bytes[i]);
            i += 1;
        }
    }

    /// Appends a JSON string, quoted and escaped.
    pub const fn string(&mut self, text: &str) {
        self.push(b'"');
        let bytes = text.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            self.escaped(bytes[i]);
            i += 1;
        }
        self.push(b'"');
    }

    /// Appends a doc comment as one JSON string: its lines joined by single blanks.
    pub const fn doc(&mut self, text: &str) {
        self.push(b'"');
        let bytes = text.as_bytes();
        let (mut i, mut blank, mut begun) = (0, false, false);
        while i < bytes.len() {
            if bytes[i] <= b' ' {
                blank = begun;
            } else {
                if blank {
                    self.push(b' ');
                }
                (blank, begun) = (false, true);
                self.escaped(bytes[i]);
            }
            i += 1;
        }
        self.push(b'"');
    }

    const fn escaped(&mut self, byte: u8) {
        match byte {
            b'"' | b'\\' => {
                self.push(b'\\');
                self.push(byte);
            }
            0..=0x1f => {
                self.raw("\\u00");
                self.push(hex(byte >> 4));
                self.push(hex(byte & 15));
            }
            _ => self.push(byte),
        }
    }

    /// Appends a number.
    pub const fn number(&mut self, value: i64) {
        if value < 0 {
            self.push(b'-');
        }
        let mut digits = [0u8; 20];
        let (mut rest, mut n) = (value.unsigned_abs(), 0);
        loop {
            digits[n] = b'0' + (rest % 10) as u8;
            rest /= 10;
            n += 1;
            if rest == 0 {
                break;
            }
        }
        while n > 0 {
            n -= 1;
            self.push(digits[n]);
        }
    }

    /// Appends `true` or `false`.
    pub const fn boolean(&mut self, value: bool) {
        self.raw(if value { "true" } else { "false" });
    }
}

const fn hex(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(build: impl Fn(&mut Text<256>)) -> String {
        let mut text = Text::new();
        build(&mut text);
        String::from_utf8(text.bytes[..text.len].to_vec()).unwrap()
    }

    #[test]
    fn strings_are_escaped_so_that_a_json_reader_gives_them_back() {
        for original in ["", "plain", "q\"uo\\te", "tab\tnew\nline\u{1}", "Ünïcode ☃"] {
            let json = text(|t| t.string(original));
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), original, "{json}");
        }
    }

    #[test]
    fn numbers_have_all_their_digits() {
        for n in [0, 7, -1, 1000, i64::MAX, i64::MIN] {
            assert_eq!(text(|t| t.number(n)), n.to_string());
        }
    }

    #[test]
    fn doc_comments_become_one_line() {
        assert_eq!(text(|t| t.doc(" First line\n second \"line\".\n")), r#""First line second \"line\".""#);
    }

    #[test]
    fn a_counting_run_gives_the_length_of_the_real_one() {
        let mut counted = Text::<0>::new();
        counted.string("a\"b");
        assert_eq!(counted.len, 6);
    }
}
