//! What a client sends in one HTTP request: a `<body/>` and what it wraps (XEP-0124 sections 6 and 7, XEP-0206).

use crate::stanza::ns;
use crate::stream::units::{STREAM_CLOSE, client_header, tag_end};
use crate::xml::{Element, FrameError, Limits, Scope, frame_whole};

/// No request id may be greater: some languages could not count on (section 14.1).
const MAX_RID: u64 = (1 << 53) - 1;

/// Nothing is in scope around a wrapper.
static SCOPE: Scope = Scope::with_default("");

/// One request of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BoshRequest {
    /// Its number in the session.
    pub(super) rid: u64,
    /// The session; `None` asks for a new one.
    pub(super) sid: Option<String>,
    /// What a new session is to be like.
    pub(super) wishes: Wishes,
    /// Addresses and language for a stream that begins or begins anew.
    pub(super) stream: Addresses,
    /// The stream begins anew, as after the login.
    pub(super) restart: bool,
    /// The session ends.
    pub(super) terminate: bool,
    /// For so many seconds nothing will come.
    pub(super) pause: Option<u64>,
    /// Up to which request the client has the answers.
    pub(super) ack: Option<u64>,
    /// The elements, each as it would stand in a stream.
    pub(super) payload: String,
    /// How much came over the wire.
    pub(super) bytes: usize,
}

/// What a request for a new session asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    /// Seconds that an answer may be held back.
    pub wait: Option<u64>,
    /// Requests that may be held back.
    pub hold: Option<u64>,
    /// The client's version of the protocol; who names none is of the old kind.
    pub ver: Option<(u32, u32)>,
    /// The type that all answers shall have.
    pub content: Option<String>,
}

/// Whom a stream is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    pub to: Option<String>,
    pub from: Option<String>,
    pub lang: Option<String>,
    pub version: Option<String>,
}

/// Why a request cannot be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadRequest {
    /// The body is not XML as BOSH allows it.
    #[error("the peer sent a BOSH request that is not one element: {0}")]
    Xml(#[from] FrameError),
    /// The element is another one.
    #[error("the peer sent a BOSH request that is no <body/> in the namespace of BOSH")]
    NoBody,
    /// There is no request id, or none that could be.
    #[error("the peer sent a BOSH request without a usable rid")]
    Rid,
    /// An attribute has a value that makes no sense.
    #[error("the peer sent a BOSH request whose attribute '{0}' makes no sense")]
    Attribute(&'static str),
}

impl BoshRequest {
    /// Reads one. What it wraps is looked at by the stream, under the limits that hold there.
    pub fn parse(text: &str) -> Result<Self, BadRequest> {
        let text = without_declaration(text);
        let limits = whole(text);
        let framed = frame_whole(text.as_bytes(), &limits, &SCOPE)?;
        if !framed.is("body", ns::HTTP_BIND) {
            return Err(BadRequest::NoBody);
        }
        let (tag, content) = split(framed.as_str());
        let body = Element::parse(&closed(tag), &limits)?;
        let payload = match content {
            _ if content.trim().is_empty() => String::new(),
            _ if stands_in_a_stream(tag) => content.to_owned(),
            _ => rewritten(&framed.to_element()),
        };
        let request = Self { payload, bytes: text.len(), ..Self::of(&body)? };
        Ok(request)
    }

    /// The session that is meant.
    pub fn sid(&self) -> Option<&str> {
        self.sid.as_deref()
    }

    fn of(body: &Element) -> Result<Self, BadRequest> {
        let text = |name: &str| body.attribute(name).map(str::to_owned);
        let rid = number(body, "rid")?.filter(|rid| (1..=MAX_RID).contains(rid)).ok_or(BadRequest::Rid)?;
        Ok(Self {
            rid,
            sid: text("sid"),
            wishes: Wishes {
                wait: number(body, "wait")?,
                hold: number(body, "hold")?,
                ver: body.attribute("ver").map(version).transpose()?,
                content: text("content"),
            },
            stream: Addresses {
                to: text("to"),
                from: text("from"),
                lang: body.attribute_ns("lang", ns::XML).map(str::to_owned),
                version: body.attribute_ns("version", ns::XBOSH).map(str::to_owned),
            },
            restart: matches!(body.attribute_ns("restart", ns::XBOSH), Some("true" | "1")),
            terminate: body.attribute("type") == Some("terminate"),
            pause: number(body, "pause")?,
            ack: number(body, "ack")?,
            ..Self::default()
        })
    }

    /// Whether it asks for nothing but answers.
    pub(super) fn is_empty(&self) -> bool {
        self.payload.is_empty() && !self.restart && !self.terminate && self.pause.is_none()
    }

    /// What it says on the stream. A restart may not say anything else (XEP-0206 section 5).
    pub(super) fn said(self, addresses: &Addresses) -> String {
        let mut said = match self.restart {
            true => addresses.header(),
            false => self.payload,
        };
        if self.terminate {
            said.push_str(STREAM_CLOSE);
        }
        said
    }
}

impl Addresses {
    /// The header of a stream between them.
    pub(super) fn header(&self) -> String {
        let attributes = [
            ("to", self.to.as_deref()),
            ("from", self.from.as_deref()),
            // What clients without this attribute speak as well (XEP-0206, schema).
            ("version", Some(self.version.as_deref().unwrap_or("1.0"))),
            ("xml:lang", self.lang.as_deref()),
        ];
        client_header(attributes.into_iter())
    }

    /// The same with what a restart says anew.
    pub(super) fn renewed(&self, by: &Addresses) -> Addresses {
        let newer = |new: &Option<String>, old: &Option<String>| new.clone().or_else(|| old.clone());
        Addresses {
            to: newer(&by.to, &self.to),
            // Who has logged in may say so; who said something before is not held to it.
            from: by.from.clone(),
            lang: newer(&by.lang, &self.lang),
            version: newer(&by.version, &self.version),
        }
    }
}

/// Limits of a wrapper as a whole: those of its elements hold in the stream.
fn whole(text: &str) -> Limits {
    let stanza_bytes = u32::try_from(text.len()).unwrap_or(u32::MAX);
    Limits { stanza_bytes, depth: Limits::MAX_DEPTH, ..Limits::default() }
}

/// An XML declaration may precede the element.
fn without_declaration(text: &str) -> &str {
    let text = text.trim_start();
    let declared = text.strip_prefix("<?xml ").and_then(|rest| rest.split_once("?>"));
    declared.map_or(text, |(_, rest)| rest)
}

/// The start tag of an element, and what is inside of it.
fn split(element: &str) -> (&str, &str) {
    let (tag, rest) = element.split_at(tag_end(element));
    let content = if tag.ends_with("/>") { "" } else { rest };
    (tag, content.rfind("</").map_or("", |end| &content[..end]))
}

/// A start tag as an element of its own.
fn closed(tag: &str) -> String {
    match tag.strip_suffix("/>") {
        Some(_) => tag.to_owned(),
        None => format!("{}/>", tag.trim_end_matches('>')),
    }
}

/// Whether what is below this tag means the same in a stream: it relies on no other declaration. The elements of
/// clients in the namespace of the wrapper count as those of `jabber:client` (XEP-0206 section 2).
fn stands_in_a_stream(tag: &str) -> bool {
    tag.match_indices("xmlns").all(|(at, name)| {
        let value = tag[at + name.len()..].trim_start().strip_prefix('=').map(str::trim_start);
        value.and_then(|value| value.get(1..)).is_some_and(|value| value.starts_with(ns::HTTP_BIND))
    })
}

/// Every child with the declarations that it needs.
fn rewritten(body: &Element) -> String {
    let mut payload = String::new();
    for child in body.children() {
        child.write(&mut payload, ns::HTTP_BIND);
    }
    payload
}

fn number(body: &Element, name: &'static str) -> Result<Option<u64>, BadRequest> {
    let parsed = body.attribute(name).map(|text| text.trim().parse().ok().ok_or(BadRequest::Attribute(name)));
    parsed.transpose()
}

/// Both parts are numbers of their own: 1.11 is later than 1.6.
fn version(text: &str) -> Result<(u32, u32), BadRequest> {
    let parts =
        text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    parts.ok_or(BadRequest::Attribute("ver"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(attributes: &str, content: &str) -> BoshRequest {
        let text = format!("<body rid='7' xmlns='{}' {attributes}>{content}</body>", ns::HTTP_BIND);
        BoshRequest::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_request_for_a_session_says_what_it_wants() {
        let request = parsed(
            "to='a.example' xml:lang='de' wait='60' hold='1' ver='1.11' ack='1' content='text/html' \
             xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh' from='j@a.example'",
            " ",
        );
        assert_eq!((request.rid, request.sid(), request.ack), (7, None, Some(1)));
        assert_eq!((request.wishes.wait, request.wishes.hold), (Some(60), Some(1)));
        assert_eq!(request.wishes.ver, Some((1, 11)));
        assert!(request.is_empty());
        let header = request.stream.header();
        assert!(
            header.contains("to='a.example' from='j@a.example' version='1.0' xml:lang='de'>"),
            "{header}"
        );
    }

    #[test]
    fn what_is_wrapped_is_said_on_the_stream_as_it_came() {
        let content = "<message to='b@c'><body>1 &gt; 0 ></body></message><a xmlns='urn:xmpp:sm:3' h='1'/>";
        let request = parsed("sid='s'", content);
        assert_eq!(request.payload, content);
        assert_eq!(
            parsed("sid='s' type='terminate'", content).said(&Addresses::default()),
            format!("{content}{STREAM_CLOSE}")
        );
        let restarted = parsed("sid='s' x:restart='1' xmlns:x='urn:xmpp:xbosh'", "<iq/>");
        let header = restarted.said(&Addresses { to: Some("a<".into()), ..Addresses::default() });
        assert!(header.ends_with("to='a&lt;' version='1.0'>") && !header.contains("<iq"), "{header}");
    }

    #[test]
    fn declarations_of_the_wrapper_go_with_what_relies_on_them() {
        let text = "<b:body xmlns:b='http://jabber.org/protocol/httpbind' rid='1' sid='s' xmlns='jabber:client' \
                    xmlns:x='urn:x'><message><body>hi</body><x:y/></message><b:presence/></b:body>";
        let payload = BoshRequest::parse(text).unwrap().payload;
        assert_eq!(
            payload,
            "<message xmlns='jabber:client'><body>hi</body><y xmlns='urn:x'/></message><presence/>"
        );
        let swapped =
            format!("<body xmlns='{}' xmlns:stream='urn:x' rid='1'><stream:a/></body>", ns::HTTP_BIND);
        assert_eq!(BoshRequest::parse(&swapped).unwrap().payload, "<a xmlns='urn:x'/>");
    }

    #[test]
    fn nonsense_is_told_from_requests() {
        let bind = ns::HTTP_BIND;
        for (text, wrong) in [
            (format!("<body rid='1' xmlns='{bind}'><message></body>"), None),
            (format!("<body rid='1' xmlns='{bind}'><!-- x --></body>"), None),
            (format!("<body rid='1' xmlns='{bind}'/><body/>"), None),
            (format!("<body rid='1' xmlns='{bind}'"), None),
            (format!("<!DOCTYPE body><body rid='1' xmlns='{bind}'/>"), None),
            (String::new(), None),
            ("<body rid='1'/>".to_owned(), Some(BadRequest::NoBody)),
            (format!("<head rid='1' xmlns='{bind}'/>"), Some(BadRequest::NoBody)),
            (format!("<body xmlns='{bind}'/>"), Some(BadRequest::Rid)),
            (format!("<body rid='0' xmlns='{bind}'/>"), Some(BadRequest::Rid)),
            (format!("<body rid='9007199254740992' xmlns='{bind}'/>"), Some(BadRequest::Rid)),
            (format!("<body rid='-1' xmlns='{bind}'/>"), Some(BadRequest::Attribute("rid"))),
            (format!("<body rid='1' wait='soon' xmlns='{bind}'/>"), Some(BadRequest::Attribute("wait"))),
            (format!("<body rid='1' ver='1' xmlns='{bind}'/>"), Some(BadRequest::Attribute("ver"))),
        ] {
            let error = BoshRequest::parse(&text).expect_err(&text);
            assert!(wrong.is_none_or(|wrong| wrong == error), "{text}: {error}");
        }
    }
}
