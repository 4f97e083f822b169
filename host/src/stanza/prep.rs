//! String preparation of the three parts of a JID.
//!
//! The profiles are those of RFC 3920 (nodeprep, resourceprep) and IDNA, because that is what the servers in the
//! field compare by; RFC 7622 asks for PRECIS. The choice is hidden behind [`prepare`], so that changing it touches
//! this file alone. Whatever is returned is stable: preparing it again yields the same text, so an account can never
//! be known under two names.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use stringprep::tables;
use unicode_normalization::UnicodeNormalization;

/// Which part of a JID is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Local,
    Domain,
    Resource,
}

/// Why a part is not acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it holds a character or sequence that is not allowed there")]
pub(super) struct Prohibited;

/// Brings one part into the form in which it is compared and stored.
pub(super) fn prepare(part: Part, text: &str) -> Result<Cow<'_, str>, Prohibited> {
    match part {
        Part::Local if is_plain_local(text) => Ok(Cow::Borrowed(text)),
        Part::Domain if is_plain_domain(text) => Ok(Cow::Borrowed(text)),
        Part::Resource if is_plain_resource(text) => Ok(Cow::Borrowed(text)),
        Part::Local => stable(text, nodeprep),
        Part::Domain => stable(text, domain),
        Part::Resource => stable(text, resourceprep),
    }
}

/// Applies `profile` and insists that a second application changes nothing.
fn stable<'a>(
    text: &str,
    profile: fn(&str) -> Result<String, Prohibited>,
) -> Result<Cow<'a, str>, Prohibited> {
    let once = profile(text)?;
    if profile(&once)? == once { Ok(Cow::Owned(once)) } else { Err(Prohibited) }
}

// === The fast paths: texts on which the profile is the identity ===

fn is_plain_local(text: &str) -> bool {
    text.bytes().all(
        |b| matches!(b, b'!' | b'#'..=b'%' | b'('..=b'.' | b'0'..=b'9' | b';' | b'=' | b'?' | b'['..=b'~'),
    )
}

fn is_plain_resource(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b' '..=b'~'))
}

/// Lower-case LDH labels (and underscores, which container networks hand out as host names) without anything that
/// IDNA would look into.
fn is_plain_domain(text: &str) -> bool {
    text.len() <= 253 && text.as_bytes().split(|&b| b == b'.').all(is_plain_label)
}

fn is_plain_label(bytes: &[u8]) -> bool {
    let alphabet = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(alphabet)
        && bytes[0] != b'-'
        && bytes[bytes.len() - 1] != b'-'
        && bytes.get(2..4) != Some(b"--")
}

// === The profiles ===

/// Nodeprep (RFC 3920 appendix A). Code points that Unicode 3.2 did not assign are refused, because a localpart is a
/// stored string in the sense of RFC 3454 section 7.
fn nodeprep(text: &str) -> Result<String, Prohibited> {
    let mapped = text.chars().filter(|&c| !tables::commonly_mapped_to_nothing(c));
    let prepared: String = mapped.flat_map(tables::case_fold_for_nfkc).nfkc().collect();
    let refused = |c| {
        prohibited_everywhere(c)
            || tables::ascii_space_character(c)
            || tables::unassigned_code_point(c)
            || matches!(c, '"' | '&' | '\'' | '/' | ':' | '<' | '>' | '@')
    };
    finish(prepared, refused)
}

/// Resourceprep (RFC 3920 appendix B). Code points unassigned in Unicode 3.2 are let through as in a query string
/// (RFC 3454 section 7): emoji in resources and room nicknames are everyday, and PRECIS allows them.
fn resourceprep(text: &str) -> Result<String, Prohibited> {
    let prepared: String = text.chars().filter(|&c| !tables::commonly_mapped_to_nothing(c)).nfkc().collect();
    finish(prepared, prohibited_everywhere)
}

fn finish(prepared: String, refused: impl Fn(char) -> bool) -> Result<String, Prohibited> {
    let acceptable = !prepared.chars().any(refused) && bidirectional_text_is_sound(&prepared);
    if acceptable { Ok(prepared) } else { Err(Prohibited) }
}

/// The tables that both profiles prohibit: C.1.2, C.2 to C.9 of RFC 3454.
fn prohibited_everywhere(c: char) -> bool {
    tables::non_ascii_space_character(c)
        || tables::ascii_control_character(c)
        || tables::non_ascii_control_character(c)
        || tables::private_use(c)
        || tables::non_character_code_point(c)
        || tables::inappropriate_for_plain_text(c)
        || tables::inappropriate_for_canonical_representation(c)
        || tables::change_display_properties_or_deprecated(c)
        || tables::tagging_character(c)
}

/// RFC 3454 section 6: right-to-left text is not mixed with left-to-right text, and starts and ends as what it is.
fn bidirectional_text_is_sound(text: &str) -> bool {
    if !text.chars().any(tables::bidi_r_or_al) {
        return true;
    }
    let first_and_last = [text.chars().next(), text.chars().next_back()];
    !text.chars().any(tables::bidi_l) && first_and_last.into_iter().flatten().all(tables::bidi_r_or_al)
}

/// A domainpart: an IPv6 literal in brackets, or a name in Unicode form (RFC 7622 section 3.2: U-labels). A final dot
/// is dropped. IPv4 addresses are names of four numeric labels here and need no rule of their own.
fn domain(text: &str) -> Result<String, Prohibited> {
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().map_err(|_| Prohibited)?;
        return Ok(format!("[{address}]"));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let lower = name.to_ascii_lowercase();
    if is_plain_domain(&lower) {
        return Ok(lower);
    }
    unicode_domain(name)
}

/// The U-label form of an internationalised name, after a check that its A-label form is a DNS name.
fn unicode_domain(name: &str) -> Result<String, Prohibited> {
    let uts46 = Uts46::new();
    let ascii = uts46
        .to_ascii(name.as_bytes(), DOMAIN_DENY_LIST, Hyphens::CheckFirstLast, DnsLength::Verify)
        .map_err(|_| Prohibited)?;
    let (unicode, outcome) = uts46.to_unicode(ascii.as_bytes(), DOMAIN_DENY_LIST, Hyphens::CheckFirstLast);
    outcome.map_err(|_| Prohibited)?;
    Ok(unicode.into_owned())
}

/// Everything in ASCII but letters, digits, hyphen, dot and underscore.
const DOMAIN_DENY_LIST: AsciiDenyList = AsciiDenyList::new(true, " !\"#$%&'()*+,/:;<=>?@[\\]^`{|}~");

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(part: Part, text: &str) -> Option<String> {
        prepare(part, text).ok().map(Cow::into_owned)
    }

    #[test]
    fn localparts_are_folded_to_lower_case() {
        assert_eq!(prepared(Part::Local, "Juliet").as_deref(), Some("juliet"));
        assert_eq!(prepared(Part::Local, "STRAßE").as_deref(), Some("strasse"));
        assert_eq!(prepared(Part::Local, "ΒΑΣΙΛΙΣΣΑ").as_deref(), Some("βασιλισσα"));
    }

    #[test]
    fn localparts_refuse_what_nodeprep_refuses() {
        for text in [
            "a b",
            "a\"b",
            "a&b",
            "a'b",
            "a/b",
            "a:b",
            "a<b",
            "a>b",
            "a@b",
            "a\u{7f}",
            "a\u{a0}b",
            "\u{1f4f1}",
        ] {
            assert_eq!(prepared(Part::Local, text), None, "{text:?}");
        }
    }

    #[test]
    fn every_plain_local_byte_is_what_nodeprep_leaves_alone() {
        for byte in 0u8..128 {
            let text = char::from(byte).to_string();
            let identity = nodeprep(&text).is_ok_and(|prepared| prepared == text);
            assert_eq!(is_plain_local(&text), identity, "{text:?}");
        }
    }

    #[test]
    fn every_plain_resource_byte_is_what_resourceprep_leaves_alone() {
        for byte in 0u8..128 {
            let text = char::from(byte).to_string();
            let identity = resourceprep(&text).is_ok_and(|prepared| prepared == text);
            assert_eq!(is_plain_resource(&text), identity, "{text:?}");
        }
    }

    #[test]
    fn resources_keep_case_and_take_emoji() {
        assert_eq!(prepared(Part::Resource, "Balcony é").as_deref(), Some("Balcony é"));
        assert_eq!(prepared(Part::Resource, "\u{1f4f1} Phone").as_deref(), Some("\u{1f4f1} Phone"));
        assert_eq!(prepared(Part::Resource, "tab\there"), None);
    }

    #[test]
    fn domains_come_out_in_unicode_and_lower_case() {
        assert_eq!(prepared(Part::Domain, "Example.COM.").as_deref(), Some("example.com"));
        assert_eq!(prepared(Part::Domain, "xn--bcher-kva.example").as_deref(), Some("bücher.example"));
        assert_eq!(prepared(Part::Domain, "BÜCHER.example").as_deref(), Some("bücher.example"));
        assert_eq!(prepared(Part::Domain, "192.0.2.7").as_deref(), Some("192.0.2.7"));
        assert_eq!(prepared(Part::Domain, "[2001:DB8:0::1]").as_deref(), Some("[2001:db8::1]"));
    }

    #[test]
    fn domains_refuse_what_is_no_name() {
        let long_label = "a".repeat(64);
        for text in [
            "",
            ".",
            "a..b",
            "-a",
            "a-",
            "a b",
            "a@b",
            "a'b",
            "[::1",
            "::1",
            "[1.2.3.4]",
            "xn--a",
            &long_label,
        ] {
            assert_eq!(prepared(Part::Domain, text), None, "{text:?}");
        }
    }

    #[test]
    fn mixed_directions_are_refused() {
        assert_eq!(prepared(Part::Resource, "\u{5d0}a"), None);
        assert_eq!(prepared(Part::Resource, "\u{5d0}\u{5d1}").as_deref(), Some("\u{5d0}\u{5d1}"));
    }
}
