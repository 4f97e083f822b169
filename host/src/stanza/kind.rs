//! The three kinds of stanza and their types.

/// The three stanzas (RFC 6120 section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `<message/>`
    Message,
    /// `<presence/>`
    Presence,
    /// `<iq/>`
    Iq,
}

impl Kind {
    /// The name of the element.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Presence => "presence",
            Self::Iq => "iq",
        }
    }

    /// Reads the name of an element.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "message" => Some(Self::Message),
            "presence" => Some(Self::Presence),
            "iq" => Some(Self::Iq),
            _ => None,
        }
    }
}

/// The type of a message (RFC 6121 5.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum MessageType {
    Normal,
    Chat,
    Groupchat,
    Headline,
    Error,
}

/// The type of a presence (RFC 6121 4.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum PresenceType {
    /// No `type` attribute.
    Available,
    Unavailable,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
    Probe,
    Error,
}

impl PresenceType {
    /// Whether it manages a subscription, so that it speaks for the account and not for a resource (RFC 6121 3).
    pub fn is_subscription(self) -> bool {
        matches!(self, Self::Subscribe | Self::Subscribed | Self::Unsubscribe | Self::Unsubscribed)
    }
}

/// The type of an IQ (RFC 6120 8.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum IqType {
    Get,
    Set,
    Result,
    Error,
}

/// Kind and type of a stanza in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StanzaType {
    /// A message; types unknown to RFC 6121 count as `Normal`, as it demands.
    Message(MessageType),
    /// A presence.
    Presence(PresenceType),
    /// An IQ.
    Iq(IqType),
}

impl StanzaType {
    /// Which of the three stanzas.
    pub fn kind(self) -> Kind {
        match self {
            Self::Message(_) => Kind::Message,
            Self::Presence(_) => Kind::Presence,
            Self::Iq(_) => Kind::Iq,
        }
    }

    /// Whether the type is `error`.
    pub fn is_error(self) -> bool {
        matches!(
            self,
            Self::Message(MessageType::Error) | Self::Presence(PresenceType::Error) | Self::Iq(IqType::Error)
        )
    }

    /// Whether it asks for an answer: an IQ of type `get` or `set`.
    pub fn is_request(self) -> bool {
        matches!(self, Self::Iq(IqType::Get | IqType::Set))
    }

    /// Whether an error may be sent in reply (RFC 6120 8.3.1): never to errors nor to results.
    pub fn may_be_answered(self) -> bool {
        !self.is_error() && self != Self::Iq(IqType::Result)
    }

    /// Reads the value of a `type` attribute; nothing when the kind has no such type.
    pub fn from_name(kind: Kind, name: Option<&str>) -> Option<Self> {
        match kind {
            Kind::Message => Some(Self::Message(message_type(name))),
            Kind::Presence => presence_type(name).map(Self::Presence),
            Kind::Iq => iq_type(name).map(Self::Iq),
        }
    }
}

/// RFC 6121 5.2.2: absent and unknown types are `normal`.
fn message_type(name: Option<&str>) -> MessageType {
    match name {
        Some("chat") => MessageType::Chat,
        Some("groupchat") => MessageType::Groupchat,
        Some("headline") => MessageType::Headline,
        Some("error") => MessageType::Error,
        _ => MessageType::Normal,
    }
}

fn presence_type(name: Option<&str>) -> Option<PresenceType> {
    match name {
        None => Some(PresenceType::Available),
        Some("unavailable") => Some(PresenceType::Unavailable),
        Some("subscribe") => Some(PresenceType::Subscribe),
        Some("subscribed") => Some(PresenceType::Subscribed),
        Some("unsubscribe") => Some(PresenceType::Unsubscribe),
        Some("unsubscribed") => Some(PresenceType::Unsubscribed),
        Some("probe") => Some(PresenceType::Probe),
        Some("error") => Some(PresenceType::Error),
        Some(_) => None,
    }
}

fn iq_type(name: Option<&str>) -> Option<IqType> {
    match name {
        Some("get") => Some(IqType::Get),
        Some("set") => Some(IqType::Set),
        Some("result") => Some(IqType::Result),
        Some("error") => Some(IqType::Error),
        _ => None,
    }
}
