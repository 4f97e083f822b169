//! JIDs (RFC 7622): parsed once, valid for ever.
//!
//! A [`Jid`] holds its canonical text in one shared allocation; cloning it and taking its bare form count a reference.
//! Two JIDs are equal exactly when their texts are. XEP-0106 escaping is not undone here: it is a matter of display.

use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::prep::{Part, prepare};

/// The most bytes any of the three parts may have (RFC 7622 section 3).
pub const MAX_PART_BYTES: usize = 1023;

/// An XMPP address: `localpart@domainpart/resourcepart`, the first and the last being optional.
#[derive(Clone)]
pub struct Jid {
    /// The canonical text of this JID, or of a full JID of which this is the bare form.
    text: Arc<str>,
    /// Bytes of the localpart; 0 when there is none.
    local: u16,
    /// Where the domainpart ends.
    domain_end: u16,
    /// How much of `text` is this JID's.
    end: u16,
}

/// Why a text is no JID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JidError {
    /// A separator stands there without the part that belongs to it.
    #[error("the {0} of the JID is empty")]
    Empty(&'static str),
    /// A part is longer than RFC 7622 allows.
    #[error("the {0} of the JID is longer than 1023 bytes")]
    TooLong(&'static str),
    /// A part holds something that its profile prohibits.
    #[error("the {0} of the JID holds a character or sequence that is not allowed there")]
    Prohibited(&'static str),
}

impl Jid {
    /// Parses and prepares an address (RFC 7622 section 3.1: the resourcepart starts at the first `/`, the localpart
    /// ends at the first `@` before it).
    pub fn parse(text: &str) -> Result<Self, JidError> {
        let (bare, resource) = match memchr::memchr(b'/', text.as_bytes()) {
            Some(slash) => (&text[..slash], Some(&text[slash + 1..])),
            None => (text, None),
        };
        let (local, domain) = match memchr::memchr(b'@', bare.as_bytes()) {
            Some(at) => (Some(&bare[..at]), &bare[at + 1..]),
            None => (None, bare),
        };
        let local = local.map(|text| checked(Part::Local, text)).transpose()?;
        let domain = checked(Part::Domain, domain)?;
        let resource = resource.map(|text| checked(Part::Resource, text)).transpose()?;
        let unchanged = |part: &Option<Cow<'_, str>>| !matches!(part, Some(Cow::Owned(_)));
        if unchanged(&local) && matches!(domain, Cow::Borrowed(_)) && unchanged(&resource) {
            return Ok(Self::over(text.into(), local.as_deref(), &domain));
        }
        Ok(Self::join(local.as_deref(), &domain, resource.as_deref()))
    }

    /// Makes an address of its parts, preparing each.
    pub fn from_parts(local: Option<&str>, domain: &str, resource: Option<&str>) -> Result<Self, JidError> {
        let local = local.map(|text| checked(Part::Local, text)).transpose()?;
        let domain = checked(Part::Domain, domain)?;
        let resource = resource.map(|text| checked(Part::Resource, text)).transpose()?;
        Ok(Self::join(local.as_deref(), &domain, resource.as_deref()))
    }

    /// Puts prepared parts together.
    fn join(local: Option<&str>, domain: &str, resource: Option<&str>) -> Self {
        let mut text = String::with_capacity(
            local.map_or(0, |l| l.len() + 1) + domain.len() + resource.map_or(0, |r| r.len() + 1),
        );
        if let Some(local) = local {
            text.push_str(local);
            text.push('@');
        }
        text.push_str(domain);
        if let Some(resource) = resource {
            text.push('/');
            text.push_str(resource);
        }
        Self::over(text.into(), local, domain)
    }

    /// A JID over its canonical text, which starts with the given parts.
    fn over(text: Arc<str>, local: Option<&str>, domain: &str) -> Self {
        let domain_start = local.map_or(0, |local| local.len() + 1);
        Self {
            local: offset(local.map_or(0, str::len)),
            domain_end: offset(domain_start + domain.len()),
            end: offset(text.len()),
            text,
        }
    }

    /// The whole address in canonical form.
    pub fn as_str(&self) -> &str {
        &self.text[..usize::from(self.end)]
    }

    /// The part before `@`: the user, room or node.
    pub fn localpart(&self) -> Option<&str> {
        (self.local > 0).then(|| &self.text[..usize::from(self.local)])
    }

    /// The domainpart, in Unicode form.
    pub fn domain(&self) -> &str {
        let start = if self.local > 0 { usize::from(self.local) + 1 } else { 0 };
        &self.text[start..usize::from(self.domain_end)]
    }

    /// The part after `/`.
    pub fn resource(&self) -> Option<&str> {
        (self.end > self.domain_end)
            .then(|| &self.text[usize::from(self.domain_end) + 1..usize::from(self.end)])
    }

    /// The address without its resourcepart. Shares the text of this one.
    pub fn bare(&self) -> Self {
        Self { end: self.domain_end, ..self.clone() }
    }

    /// The text of the address without its resourcepart, for look-ups that need no JID of their own.
    pub fn bare_str(&self) -> &str {
        &self.text[..usize::from(self.domain_end)]
    }

    /// The address of the domain alone.
    pub fn to_domain(&self) -> Self {
        Self::join(None, self.domain(), None)
    }

    /// Whether there is no resourcepart.
    pub fn is_bare(&self) -> bool {
        self.end == self.domain_end
    }

    /// Whether this is a domain alone, without localpart and resourcepart.
    pub fn is_domain(&self) -> bool {
        self.local == 0 && self.is_bare()
    }

    /// The same bare address with another resourcepart.
    pub fn with_resource(&self, resource: &str) -> Result<Self, JidError> {
        let resource = checked(Part::Resource, resource)?;
        Ok(Self::join(self.localpart(), self.domain(), Some(&resource)))
    }

    /// Whether both have the same bare form.
    pub fn same_bare(&self, other: &Self) -> bool {
        self.bare_str() == other.bare_str()
    }
}

fn checked(part: Part, text: &str) -> Result<Cow<'_, str>, JidError> {
    let name = match part {
        Part::Local => "localpart",
        Part::Domain => "domainpart",
        Part::Resource => "resourcepart",
    };
    if text.len() > MAX_PART_BYTES {
        return Err(JidError::TooLong(name));
    }
    if text.is_empty() {
        return Err(JidError::Empty(name));
    }
    let prepared = prepare(part, text).map_err(|_| JidError::Prohibited(name))?;
    if prepared.is_empty() {
        return Err(JidError::Empty(name));
    }
    if prepared.len() > MAX_PART_BYTES {
        return Err(JidError::TooLong(name));
    }
    Ok(prepared)
}

fn offset(value: usize) -> u16 {
    u16::try_from(value).expect("three parts of at most 1023 bytes and two separators fit into 16 bits")
}

impl PartialEq for Jid {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Jid {}

impl Hash for Jid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Ord for Jid {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for Jid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Lets a map keyed by JIDs be asked with canonical text.
impl Borrow<str> for Jid {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Jid {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jid({})", self.as_str())
    }
}

impl FromStr for Jid {
    type Err = JidError;

    fn from_str(text: &str) -> Result<Self, JidError> {
        Self::parse(text)
    }
}

impl TryFrom<&str> for Jid {
    type Error = JidError;

    fn try_from(text: &str) -> Result<Self, JidError> {
        Self::parse(text)
    }
}

impl Serialize for Jid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Jid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn jid(text: &str) -> Jid {
        Jid::parse(text).unwrap()
    }

    #[test]
    fn the_parts_of_a_full_jid_are_found() {
        let full = jid("juliet@example.com/balcony");
        assert_eq!(full.localpart(), Some("juliet"));
        assert_eq!(full.domain(), "example.com");
        assert_eq!(full.resource(), Some("balcony"));
        assert_eq!(full.bare(), jid("juliet@example.com"));
        assert_eq!(full.bare().resource(), None);
        assert_eq!(full.to_domain().as_str(), "example.com");
    }

    #[test]
    fn the_resource_starts_at_the_first_slash_and_may_hold_separators() {
        let odd = jid("example.com/a@b/c d");
        assert_eq!((odd.localpart(), odd.domain(), odd.resource()), (None, "example.com", Some("a@b/c d")));
        assert!(!odd.is_bare() && !odd.is_domain() && odd.bare().is_domain());
    }

    #[test]
    fn parts_are_compared_in_prepared_form() {
        assert_eq!(jid("Juliet@EXAMPLE.com/Balcony"), jid("juliet@example.com/Balcony"));
        assert_ne!(jid("juliet@example.com/Balcony"), jid("juliet@example.com/balcony"));
        assert_eq!(jid("a@xn--bcher-kva.example"), jid("a@bücher.example"));
        assert_eq!(jid("a@[2001:db8:0:0::1]/r").domain(), "[2001:db8::1]");
    }

    #[test]
    fn empty_parts_are_refused() {
        for text in ["", "@example.com", "juliet@", "juliet@/r", "example.com/", "/r", "@", "a@b@c"] {
            assert!(Jid::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(Jid::parse("a@b/"), Err(JidError::Empty("resourcepart")));
        assert_eq!(Jid::parse("\u{ad}@b"), Err(JidError::Empty("localpart")), "mapped to nothing");
    }

    #[test]
    fn parts_end_at_1023_bytes() {
        let longest = "a".repeat(MAX_PART_BYTES);
        let whole = jid(&format!("{longest}@example.com/{longest}"));
        assert_eq!(whole.resource().map(str::len), Some(MAX_PART_BYTES));
        assert_eq!(Jid::parse(&format!("{longest}a@example.com")), Err(JidError::TooLong("localpart")));
        assert_eq!(Jid::parse(&format!("example.com/{longest}a")), Err(JidError::TooLong("resourcepart")));
    }

    #[test]
    fn a_jid_stays_small() {
        assert_eq!(size_of::<Jid>(), 24);
        assert_eq!(size_of::<Option<Jid>>(), 24);
    }

    #[test]
    fn maps_answer_to_canonical_text() {
        let map = std::collections::HashMap::from([(jid("a@b/c").bare(), 1)]);
        assert_eq!(map.get("a@b"), Some(&1));
    }

    proptest! {
        #[test]
        fn parsing_is_stable(text in "[a-zA-ZäßÉ]{0,5}@?[a-zA-Zü.0-9]{0,8}/?\\PC{0,6}") {
            if let Ok(first) = Jid::parse(&text) {
                let second = Jid::parse(first.as_str()).expect("a canonical form parses");
                prop_assert_eq!(&first, &second);
                let parts = Jid::from_parts(first.localpart(), first.domain(), first.resource()).unwrap();
                prop_assert_eq!(&first, &parts);
                let json = serde_json::to_string(&first).unwrap();
                prop_assert_eq!(serde_json::from_str::<Jid>(&json).unwrap(), first);
            }
        }

        #[test]
        fn any_text_is_refused_or_splits_into_its_parts(text in ".{0,12}@?.{0,12}/?.{0,12}") {
            if let Ok(jid) = Jid::parse(&text) {
                let bare = jid.bare();
                prop_assert!(bare.is_bare() && bare.same_bare(&jid));
                let back = match jid.resource() {
                    Some(resource) => bare.with_resource(resource).unwrap(),
                    None => bare,
                };
                prop_assert_eq!(back, jid);
            }
        }

        #[test]
        fn order_is_that_of_the_text(a in "[a-c]{1,2}@[a-c]{1,2}", b in "[a-c]{1,2}@[a-c]{1,2}") {
            prop_assert_eq!(jid(&a).cmp(&jid(&b)), a.cmp(&b));
        }
    }
}
