//! Typed JIDs (RFC 7622), borrowed where a stanza has them already.

use std::borrow::Cow;
use std::fmt;

/// A JID: `localpart@domain/resource`. The host hands out normalised ones; [`Jid::parse`] checks the shape and folds the
/// ASCII case of localpart and domain, and leaves everything beyond ASCII to the host, which normalises once more
/// whatever it is given.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Jid<'a>(Cow<'a, str>);

/// Why a text is no JID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JidError {
    /// A part is empty where it must not be.
    Empty(&'static str),
    /// A part has more than 1023 bytes.
    TooLong(&'static str),
    /// A part has a character that it must not have.
    Character(&'static str, char),
}

impl fmt::Display for JidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JidError::Empty(part) => write!(f, "its {part} is empty"),
            JidError::TooLong(part) => write!(f, "its {part} has more than 1023 bytes"),
            JidError::Character(part, c) => write!(f, "its {part} contains {c:?}"),
        }
    }
}

impl std::error::Error for JidError {}

const PART_LIMIT: usize = 1023;

impl<'a> Jid<'a> {
    /// What the host said; it has checked it.
    pub(crate) fn trusted(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// Reads and checks a JID.
    pub fn parse(text: &str) -> Result<Jid<'static>, JidError> {
        let (bare, resource) = split_resource(text);
        let (local, domain) = split_local(bare);
        if let Some(local) = local {
            check("localpart", local, |c| "\"&'/:<>@".contains(c))?;
        }
        check("domain", domain, |c| "\"&'/<>@".contains(c))?;
        if let Some(resource) = resource {
            check("resource", resource, |c| c.is_control() && c != '\u{200d}')?;
        }
        let mut text = text.to_owned();
        text[..bare.len()].make_ascii_lowercase();
        Ok(Jid(Cow::Owned(text)))
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Before the `@` (the sources' «user»).
    pub fn localpart(&self) -> Option<&str> {
        split_local(split_resource(&self.0).0).0
    }

    /// The domain (the sources' «server»).
    pub fn domain(&self) -> &str {
        split_local(split_resource(&self.0).0).1
    }

    /// After the `/`.
    pub fn resource(&self) -> Option<&str> {
        split_resource(&self.0).1
    }

    /// Without the resource.
    pub fn bare(&self) -> Jid<'_> {
        Jid(Cow::Borrowed(split_resource(&self.0).0))
    }

    /// Whether there is no resource.
    pub fn is_bare(&self) -> bool {
        self.resource().is_none()
    }

    /// Whether there is nothing: a stanza without that address.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same bare JID with this resource.
    pub fn with_resource(&self, resource: &str) -> Result<Jid<'static>, JidError> {
        Jid::parse(&format!("{}/{resource}", self.bare()))
    }

    /// One that borrows nothing.
    pub fn into_owned(self) -> Jid<'static> {
        Jid(Cow::Owned(self.0.into_owned()))
    }

    /// One that borrows this one.
    pub fn borrowed(&self) -> Jid<'_> {
        Jid(Cow::Borrowed(&self.0))
    }
}

fn split_resource(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((bare, resource)) => (bare, Some(resource)),
        None => (text, None),
    }
}

fn split_local(bare: &str) -> (Option<&str>, &str) {
    match bare.split_once('@') {
        Some((local, domain)) => (Some(local), domain),
        None => (None, bare),
    }
}

fn check(part: &'static str, text: &str, forbidden: impl Fn(char) -> bool) -> Result<(), JidError> {
    if text.is_empty() {
        return Err(JidError::Empty(part));
    }
    if text.len() > PART_LIMIT {
        return Err(JidError::TooLong(part));
    }
    let blank = |c: char| part != "resource" && (c.is_whitespace() || c.is_control());
    match text.chars().find(|&c| forbidden(c) || blank(c)) {
        Some(c) => Err(JidError::Character(part, c)),
        None => Ok(()),
    }
}

impl fmt::Display for Jid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Jid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jid({})", self.0)
    }
}

impl PartialEq<str> for Jid<'_> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Jid<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl std::str::FromStr for Jid<'static> {
    type Err = JidError;
    fn from_str(text: &str) -> Result<Self, JidError> {
        Jid::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found() {
        for (text, local, domain, resource) in [
            ("example", None, "example", None),
            ("a@example", Some("a"), "example", None),
            ("a@example/r", Some("a"), "example", Some("r")),
            ("example/r@x/y", None, "example", Some("r@x/y")),
        ] {
            let jid = Jid::parse(text).unwrap();
            assert_eq!((jid.localpart(), jid.domain(), jid.resource()), (local, domain, resource), "{text}");
            assert_eq!(Jid::parse(jid.as_str()).unwrap(), jid);
        }
    }

    #[test]
    fn case_is_folded_but_not_in_the_resource() {
        assert_eq!(Jid::parse("Alice@Example/Home").unwrap(), "alice@example/Home");
        assert_eq!(Jid::parse("a@b/c").unwrap().bare(), "a@b");
    }

    #[test]
    fn what_is_no_jid_is_refused_with_a_reason() {
        assert_eq!(Jid::parse(""), Err(JidError::Empty("domain")));
        assert_eq!(Jid::parse("@b"), Err(JidError::Empty("localpart")));
        assert_eq!(Jid::parse("a@b/"), Err(JidError::Empty("resource")));
        assert_eq!(Jid::parse("a b@c"), Err(JidError::Character("localpart", ' ')));
        assert_eq!(Jid::parse("a@b@c"), Err(JidError::Character("domain", '@')));
        assert_eq!(Jid::parse(&"x".repeat(1024)), Err(JidError::TooLong("domain")));
    }
}
