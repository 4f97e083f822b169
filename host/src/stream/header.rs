//! How a stream opens and closes (RFC 6120 sections 4.2, 4.4, 4.7, 4.8): the only place that reads and writes it.

use super::events::StreamHost;
use crate::stanza::{Jid, StreamError, StreamErrorCondition, ns};
use crate::xml::{StreamHeader, Writer};

/// What is said of language: every text of ours is English.
const LANGUAGE: &str = "en";

/// The longest language tag that anybody needs (RFC 5646 section 4.4.1).
const MAX_LANGUAGE_BYTES: usize = 35;

/// The end of our side of the stream.
pub(super) const CLOSE: &str = "</stream:stream>";

/// Whom a valid header is from and to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    /// The domain, prepared.
    pub to: String,
    /// The client's own idea of its address.
    pub from: Option<Jid>,
}

/// Checks a client's header. Errors come in the order in which a header stops making sense.
pub(super) fn check(header: &StreamHeader, host: &dyn StreamHost) -> Result<Addresses, StreamError> {
    use StreamErrorCondition as Condition;
    check_names(header)?;
    check_version(header)?;
    let to = header.to.as_deref().unwrap_or_default();
    let to = Jid::parse(to).ok().filter(Jid::is_domain).ok_or_else(|| {
        StreamError::new(
            Condition::ImproperAddressing,
            "The stream header has to say to which domain it goes.",
        )
    })?;
    if !host.serves(to.domain()) {
        return Err(StreamError::new(Condition::HostUnknown, "This domain is not served here."));
    }
    let from =
        header.from.as_deref().map(Jid::parse).transpose().map_err(|_| {
            StreamError::new(Condition::InvalidFrom, "The stream header's 'from' is not a JID.")
        })?;
    Ok(Addresses { to: to.domain().to_owned(), from })
}

/// The stream's language, if it looks like one (RFC 5646 section 2.1: subtags of letters and digits).
pub(super) fn language(header: &StreamHeader) -> Option<Box<str>> {
    let lang = header.lang.as_deref()?;
    let is_subtag =
        |tag: &str| (1..=8).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphanumeric());
    (lang.len() <= MAX_LANGUAGE_BYTES && lang.split('-').all(is_subtag)).then(|| lang.into())
}

fn check_names(header: &StreamHeader) -> Result<(), StreamError> {
    use StreamErrorCondition as Condition;
    if header.namespace != ns::STREAMS {
        return Err(StreamError::new(
            Condition::InvalidNamespace,
            "The stream's namespace is not that of XMPP.",
        ));
    }
    if header.name != "stream" {
        return Err(StreamError::new(Condition::BadFormat, "The root element has to be a stream."));
    }
    if header.prefix.as_deref() != Some("stream") {
        return Err(StreamError::new(
            Condition::BadNamespacePrefix,
            "The stream's prefix has to be 'stream'.",
        ));
    }
    if header.default_namespace.as_deref() != Some(ns::CLIENT) {
        let text = "The content namespace of a client's stream has to be 'jabber:client'.";
        return Err(StreamError::new(Condition::InvalidNamespace, text));
    }
    Ok(())
}

/// Everything from 1.0 on is answered with 1.0 (RFC 6120 section 4.7.5); no version means 0.9.
fn check_version(header: &StreamHeader) -> Result<(), StreamError> {
    let version = header.version.as_deref().unwrap_or("0.9");
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        // Numbers too large for us are still larger than 1.
        is_number.then(|| digits.parse::<u64>().unwrap_or(u64::MAX))
    };
    match (number(major), number(minor)) {
        (Some(1..), Some(_)) => Ok(()),
        _ => Err(StreamError::new(
            StreamErrorCondition::UnsupportedVersion,
            "This server speaks version 1.0 of XMPP.",
        )),
    }
}

/// Opens our side.
pub(super) fn write(out: &mut String, from: &str, to: Option<&Jid>, id: &str) {
    out.push_str("<?xml version='1.0'?>");
    // The writer closes what it opens, so the tag is written as an empty element and its end taken off again.
    let mut writer = Writer::new(out);
    writer.start("stream:stream").attribute("from", from).attribute("id", id);
    if let Some(to) = to {
        writer.attribute("to", to.as_str());
    }
    writer.attribute("version", "1.0").attribute("xml:lang", LANGUAGE);
    writer.attribute("xmlns", ns::CLIENT).attribute("xmlns:stream", ns::STREAMS).end();
    out.truncate(out.len() - "/>".len());
    out.push('>');
}

/// An id that nobody can guess (RFC 6120 section 4.7.3).
pub(super) fn random_id() -> String {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random)
        .expect("the operating system's random source does not fail after start");
    format!("{:032x}", u128::from_be_bytes(random))
}
