//! Escaping and unescaping of character data.
//!
//! Escaping always yields well-formed XML: characters that XML cannot carry at all become U+FFFD.

use std::borrow::Cow;

/// Escapes text for use between tags.
pub fn escape_text(text: &str) -> Cow<'_, str> {
    escape(text, text_replacement)
}

/// Escapes text for use in an attribute value within either kind of quotes.
pub fn escape_attribute(text: &str) -> Cow<'_, str> {
    escape(text, attribute_replacement)
}

/// Decodes the value of a validated attribute: references, and white space as XML 1.0 section 3.3.3 normalises it.
pub fn unescape_attribute(raw: &str) -> Cow<'_, str> {
    unescape(raw, |c| matches!(c, b'\t' | b'\n' | b'\r').then_some(' '))
}

/// Decodes validated text: references, and line ends as XML 1.0 section 2.11 normalises them.
pub fn unescape_text(raw: &str) -> Cow<'_, str> {
    unescape(raw, |c| (c == b'\r').then_some('\n'))
}

/// Appends `text`, escaped for use between tags.
pub(crate) fn push_text(out: &mut String, text: &str) {
    push_escaped(out, text, text_replacement);
}

/// Appends `text`, escaped for use in an attribute value.
pub(crate) fn push_attribute(out: &mut String, text: &str) {
    push_escaped(out, text, attribute_replacement);
}

/// The character that the reference `&name;` stands for, if it is one that XML predefines or a character reference
/// to a character that XML allows.
pub(super) fn resolve_reference(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hex) if hex.bytes().all(|b| b.is_ascii_hexdigit()) => {
                    u32::from_str_radix(hex, 16).ok()?
                }
                None if number.bytes().all(|b| b.is_ascii_digit()) => number.parse().ok()?,
                _ => return None,
            };
            char::from_u32(code).filter(|&c| super::chars::is_allowed(c))
        }
    }
}

fn text_replacement(c: char) -> Option<&'static str> {
    match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '\r' => Some("&#13;"),
        c if !super::chars::is_allowed(c) => Some("\u{fffd}"),
        _ => None,
    }
}

fn attribute_replacement(c: char) -> Option<&'static str> {
    match c {
        '\'' => Some("&apos;"),
        '"' => Some("&quot;"),
        '\t' => Some("&#9;"),
        '\n' => Some("&#10;"),
        c => text_replacement(c),
    }
}

type Replacement = fn(char) -> Option<&'static str>;

fn escape(text: &str, replacement: Replacement) -> Cow<'_, str> {
    if is_plain(text) || !text.chars().any(|c| replacement(c).is_some()) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    push_escaped(&mut out, text, replacement);
    Cow::Owned(out)
}

/// Whether there is nothing but ASCII that never needs escaping. Looks at every byte without branching, which lets the
/// compiler use vector instructions.
fn is_plain(text: &str) -> bool {
    let special = |b: u8| matches!(b, b'&' | b'<' | b'>' | b'\'' | b'"') | !(b' '..=b'~').contains(&b);
    !text.bytes().fold(false, |found, b| found | special(b))
}

fn push_escaped(out: &mut String, text: &str, replacement: Replacement) {
    if is_plain(text) {
        return out.push_str(text);
    }
    let mut copied = 0;
    for (at, c) in text.char_indices() {
        if let Some(replacement) = replacement(c) {
            out.push_str(&text[copied..at]);
            out.push_str(replacement);
            copied = at + c.len_utf8();
        }
    }
    out.push_str(&text[copied..]);
}

/// Decodes references and replaces white space as `space` says; a CR LF pair counts as one character.
fn unescape(raw: &str, space: fn(u8) -> Option<char>) -> Cow<'_, str> {
    if !raw.bytes().fold(false, |found, b| found | (b == b'&') | (b < b' ')) {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.bytes().position(|b| b == b'&' || space(b).is_some()) {
        out.push_str(&rest[..at]);
        let (decoded, used) = unescape_one(&rest[at..], space);
        out.push(decoded);
        rest = &rest[at + used..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Decodes the reference or white space that `rest` starts with, and says how many bytes it took.
fn unescape_one(rest: &str, space: fn(u8) -> Option<char>) -> (char, usize) {
    if let Some(after) = rest.strip_prefix('&') {
        let reference =
            after.split_once(';').and_then(|(name, _)| Some((resolve_reference(name)?, name.len() + 2)));
        return reference.unwrap_or(('&', 1));
    }
    let used = if rest.starts_with("\r\n") { 2 } else { 1 };
    (rest.bytes().next().and_then(space).unwrap_or(' '), used)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_five_specials_are_escaped() {
        assert_eq!(escape_text("a<b>&\"'"), "a&lt;b&gt;&amp;\"'");
        assert_eq!(escape_attribute("a<b>&\"'\n"), "a&lt;b&gt;&amp;&quot;&apos;&#10;");
        assert!(matches!(escape_text("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn what_xml_cannot_carry_is_replaced() {
        assert_eq!(escape_text("a\u{0}b\u{ffff}"), "a\u{fffd}b\u{fffd}");
    }

    #[test]
    fn references_and_white_space_are_decoded() {
        assert_eq!(unescape_text("&#x41;&#66;&amp;lt;\r\n\r"), "AB&lt;\n\n");
        assert_eq!(unescape_attribute("a\tb\r\nc&#10;"), "a b c\n");
    }

    #[test]
    fn references_to_forbidden_characters_do_not_resolve() {
        for name in
            ["#0", "#xD800", "#x110000", "#xFFFE", "#+65", "#x+41", "#", "#x", "#X41", "nbsp", "", "Amp"]
        {
            assert_eq!(resolve_reference(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn unescape_undoes_escape(text in "[\\PC\\t\\n\\r]{0,40}") {
            let clean: String = text.chars().filter(|&c| super::super::chars::is_allowed(c)).collect();
            let (text, attribute) = (escape_text(&clean).into_owned(), escape_attribute(&clean).into_owned());
            prop_assert_eq!(unescape_text(&text), clean.as_str());
            prop_assert_eq!(unescape_attribute(&attribute), clean.as_str());
        }
    }
}
