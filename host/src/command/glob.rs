//! Patterns with `*` (any text) and `?` (any character), for `help` and for permissions.

/// Whether `pattern` matches the whole of `text`.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where to go on when the text after the last star turns out not to fit: one character later.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_and_question_marks() {
        let yes = [
            ("*", ""),
            ("*", "abc"),
            ("up*", "update"),
            ("*_list", "module_list"),
            ("a?c", "abc"),
            ("a*b*c", "axbxbc"),
        ];
        let no = [("", "a"), ("?", ""), ("up", "update"), ("*_list", "list"), ("a*b", "abc"), ("ab", "a")];
        assert!(yes.iter().all(|(pattern, text)| matches(pattern, text)));
        assert!(no.iter().all(|(pattern, text)| !matches(pattern, text)));
    }

    #[test]
    fn many_stars_cost_no_more_than_pattern_times_text() {
        let pattern = "a*".repeat(50) + "b";
        assert!(!matches(&pattern, &"a".repeat(5_000)));
    }
}
