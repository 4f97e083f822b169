//! A line of the live prompt as words, with the quotes of a shell.

/// Splits at white space; `'...'` and `"..."` keep it, `\` takes the next character as it is (not inside `'`).
pub(super) fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let next = chars.next().ok_or("The line ends with a backslash.")?;
                word.get_or_insert_default().push(next);
            }
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("A quote is not closed.".to_owned());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_and_quotes() {
        let cases: [(&str, &[&str]); 6] = [
            ("", &[]),
            ("  a  b ", &["a", "b"]),
            ("send 'a b' \"c 'd'\"", &["send", "a b", "c 'd'"]),
            ("a'b'c \"\" ''", &["abc", "", ""]),
            (r#"a\ b "c\"d" 'e\f'"#, &["a b", "c\"d", r"e\f"]),
            ("ö\tü", &["ö", "ü"]),
        ];
        for (line, words) in cases {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
        assert!(split("a 'b").is_err() && split("a\\").is_err());
    }
}
