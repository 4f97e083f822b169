//! Taking elements in as stanzas: what they are, whether they may be that, and who sent them.

use super::canonical::write;
use super::{IqType, Jid, Kind, Stanza, StanzaError, StanzaErrorCondition, StanzaFault, StanzaType, ns};
use crate::xml::{Framed, Limits, RawAttribute, Scope, frame_whole};

/// Who sent an element, and what its stream adds to it.
#[derive(Clone, Copy, Debug)]
pub struct Ingress<'a> {
    /// The session's full JID, or what stands for it before there is one.
    pub from: &'a Jid,
    /// The `xml:lang` of the stream, for stanzas that have none (RFC 6120 8.1.5).
    pub lang: Option<&'a str>,
}

/// What stanzas rely on that stand outside of any stream.
pub(super) static CLIENT_SCOPE: Scope = Scope::with_default(ns::CLIENT);

/// For text that was checked before, or that the server or its modules wrote.
pub(super) const NO_LIMITS: Limits = Limits {
    stanza_bytes: Limits::MAX_STANZA_BYTES,
    depth: Limits::MAX_DEPTH,
    attributes: u16::MAX,
    token_bytes: u32::MAX,
    declarations: u16::MAX,
};

/// Takes a stanza off the stream of a session.
pub(super) fn from_session(framed: &Framed<'_>, ingress: Ingress<'_>) -> Result<Stanza, StanzaFault> {
    let arrival = Arrival::recognise(framed)?;
    let session = ingress.from;
    arrival.check_sender(session)?;
    let to = match arrival.address("to", arrival.attributes.to) {
        Ok(to) => to,
        Err(error) => return Err(arrival.refusal(error, &session.to_domain(), session)),
    };
    if let Err(error) = arrival.check() {
        return Err(arrival.refusal(error, &to.unwrap_or_else(|| session.bare()), session));
    }
    let stamped = match arrival.type_ {
        // RFC 6121 3.1.2: subscriptions belong to accounts.
        Some(StanzaType::Presence(presence)) if presence.is_subscription() => session.bare(),
        _ => session.clone(),
    };
    write(&arrival, Some(stamped), to, ingress.lang)
}

/// Takes a stanza as it is, with the addresses that it has.
pub(super) fn from_text(bytes: &[u8]) -> Result<Stanza, StanzaFault> {
    let framed = frame_whole(bytes, &NO_LIMITS, &CLIENT_SCOPE)?;
    let arrival = Arrival::recognise(&framed)?;
    arrival.check().map_err(refused)?;
    arrival.write_as_it_is()
}

/// Takes a stanza with other addresses than it has; those in the text are not even looked at.
pub(super) fn from_text_between(bytes: &[u8], from: Jid, to: Jid) -> Result<Stanza, StanzaFault> {
    let framed = frame_whole(bytes, &NO_LIMITS, &CLIENT_SCOPE)?;
    let arrival = Arrival::recognise(&framed)?;
    arrival.check().map_err(refused)?;
    write(&arrival, Some(from), Some(to), None)
}

/// Takes an answer that the server wrote itself. It has no id when what it answers had none.
pub(super) fn from_answer(bytes: &[u8]) -> Result<Stanza, StanzaFault> {
    let framed = frame_whole(bytes, &NO_LIMITS, &CLIENT_SCOPE)?;
    Arrival::recognise(&framed)?.write_as_it_is()
}

fn refused(error: StanzaError) -> StanzaFault {
    StanzaFault::Refused { error: Box::new(error), reply: None }
}

/// An element that is a stanza.
pub(super) struct Arrival<'w, 'f> {
    pub framed: &'w Framed<'f>,
    pub attributes: Attributes,
    pub kind: Kind,
    /// Nothing when the kind has no such type.
    pub type_: Option<StanzaType>,
}

impl<'w, 'f> Arrival<'w, 'f> {
    /// Tells what kind of stanza the element is, or why it is none.
    pub(super) fn recognise(framed: &'w Framed<'f>) -> Result<Self, StanzaFault> {
        let attributes = Attributes::of(framed);
        let name = framed.name();
        let Some(kind) = Kind::from_name(name) else {
            return Err(StanzaFault::NotAStanza {
                name: excerpt(name),
                namespace: excerpt(&framed.namespace()),
            });
        };
        let content = content_namespace(framed);
        let says_nothing = attributes.default_namespace.is_none() && framed.prefix().is_none();
        if !(says_nothing && framed.outer_default() == content) {
            check_namespace(framed, content)?;
        }
        let type_ = attributes.type_.map(|attribute| framed.value(&attribute));
        Ok(Self { framed, attributes, kind, type_: StanzaType::from_name(kind, type_.as_deref()) })
    }

    /// RFC 6120 8.1.2.1: a client may name its own full or bare JID as sender, and no other.
    fn check_sender(&self, session: &Jid) -> Result<(), StanzaFault> {
        let Some(from) = self.attributes.from else { return Ok(()) };
        let own = |text: &str| text == session.as_str() || text == session.bare_str();
        if own(from.value.text(self.framed.as_str())) {
            return Ok(());
        }
        let from = self.framed.value(&from);
        if Jid::parse(&from).is_ok_and(|from| own(from.as_str())) {
            return Ok(());
        }
        Err(StanzaFault::InvalidFrom { session: session.clone(), from: excerpt(&from) })
    }

    fn address(&self, name: &str, attribute: Option<RawAttribute>) -> Result<Option<Jid>, StanzaError> {
        let Some(attribute) = attribute else { return Ok(None) };
        Jid::parse(&self.framed.value(&attribute)).map(Some).map_err(|error| {
            let text = format!("The '{name}' address is malformed: {error}.");
            StanzaError::new(StanzaErrorCondition::JidMalformed, text)
        })
    }

    /// RFC 6120 8.2.3 for IQs, RFC 6121 4.7.1 for presence.
    fn check(&self) -> Result<(), StanzaError> {
        let wrong = match self.type_ {
            None if self.kind == Kind::Iq => "An IQ needs a type: get, set, result or error.",
            None => "There is no presence of this type.",
            Some(StanzaType::Iq(_)) if self.attributes.id.is_none() => "An IQ needs an id.",
            Some(StanzaType::Iq(IqType::Get | IqType::Set)) if self.framed.child_count() != 1 => {
                "An IQ of type get or set needs exactly one child element."
            }
            Some(_) => return Ok(()),
        };
        Err(StanzaError::new(StanzaErrorCondition::BadRequest, wrong))
    }

    /// Refuses the stanza, with a reply to its sender unless it must not be answered.
    fn refusal(&self, error: StanzaError, from: &Jid, sender: &Jid) -> StanzaFault {
        let error = Box::new(error);
        if self.type_.is_some_and(|type_| !type_.may_be_answered()) {
            return StanzaFault::Refused { error, reply: None };
        }
        let id = self.attributes.id.map(|id| self.framed.value(&id));
        let reply = super::reply::error(self.kind, Some(from), Some(sender), id.as_deref(), &error);
        StanzaFault::Refused { error, reply: reply.map(Box::new) }
    }

    fn write_as_it_is(&self) -> Result<Stanza, StanzaFault> {
        let from = self.address("from", self.attributes.from).map_err(refused)?;
        let to = self.address("to", self.attributes.to).map_err(refused)?;
        write(self, from, to, None)
    }
}

/// As much of what a peer wrote as a log can do with.
fn excerpt(text: &str) -> String {
    text.chars().take(128).collect()
}

fn check_namespace(framed: &Framed<'_>, content: &str) -> Result<(), StanzaFault> {
    let (name, namespace) = (framed.name(), framed.namespace());
    if namespace != content {
        return Err(StanzaFault::WrongNamespace { name: name.into(), namespace: excerpt(&namespace) });
    }
    match framed.prefix() {
        Some(prefix) if framed.default_inside() != content => {
            Err(StanzaFault::UnsupportedPrefix { prefix: excerpt(prefix), name: name.into() })
        }
        _ => Ok(()),
    }
}

/// The namespace of the stanzas of a stream (RFC 6120 4.8.2): its default namespace, or that of clients when the
/// stream leaves it to each stanza to declare it.
fn content_namespace<'a>(framed: &Framed<'a>) -> &'a str {
    match framed.outer_default() {
        default @ (ns::CLIENT | ns::SERVER | ns::COMPONENT_ACCEPT) => default,
        _ => ns::CLIENT,
    }
}

/// The attributes of a stanza that the server itself understands.
#[derive(Default)]
pub(super) struct Attributes {
    pub from: Option<RawAttribute>,
    pub to: Option<RawAttribute>,
    pub id: Option<RawAttribute>,
    pub type_: Option<RawAttribute>,
    pub lang: Option<RawAttribute>,
    pub default_namespace: Option<RawAttribute>,
    /// Whether there are more.
    pub others: bool,
}

impl Attributes {
    fn of(framed: &Framed<'_>) -> Self {
        let mut found = Self::default();
        for attribute in &framed.facts().top.attributes {
            match attribute.name.whole().text(framed.as_str()) {
                "from" => found.from = Some(*attribute),
                "to" => found.to = Some(*attribute),
                "id" => found.id = Some(*attribute),
                "type" => found.type_ = Some(*attribute),
                "xml:lang" => found.lang = Some(*attribute),
                "xmlns" => found.default_namespace = Some(*attribute),
                _ => found.others = true,
            }
        }
        found
    }
}
