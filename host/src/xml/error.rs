//! What can be wrong with a peer's XML: one variant per rule.

/// What kind of trouble a [`FrameError`] is; it decides the stream error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameErrorClass {
    /// Violates XML 1.0 or Namespaces in XML 1.0.
    NotWellFormed,
    /// Well-formed, but nothing that may stand at this place of a stream.
    BadFormat,
    /// XML that XMPP forbids (RFC 6120 11.1).
    Restricted,
    /// Not UTF-8 (RFC 6120 11.6).
    Encoding,
    /// A limit of this server (RFC 6120 13.12).
    Limit,
}

/// Why a framer refused its input. Every variant is the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FrameError {
    /// A top-level element or the stream header is too large.
    #[error("the peer sent an element of more than {0} bytes")]
    ElementTooLong(u32),
    /// Too many elements are open.
    #[error("the peer nested elements more than {0} deep")]
    TooDeep(u16),
    /// Too many attributes in one tag.
    #[error("the peer sent a tag with more than {0} attributes")]
    TooManyAttributes(u16),
    /// A name or an attribute value is too long.
    #[error("the peer sent a name or attribute value of more than {0} bytes")]
    TokenTooLong(u32),
    /// Too many namespace prefixes are in scope.
    #[error("the peer declared more than {0} namespace prefixes")]
    TooManyDeclarations(u16),

    /// A comment.
    #[error("the peer sent an XML comment")]
    Comment,
    /// A processing instruction.
    #[error("the peer sent a processing instruction")]
    ProcessingInstruction,
    /// A document type or another markup declaration.
    #[error("the peer sent a document type declaration")]
    MarkupDeclaration,
    /// A reference to an entity that XML does not predefine.
    #[error("the peer referred to an entity that is not predefined in XML")]
    EntityReference,

    /// Bytes that are not UTF-8.
    #[error("the peer sent bytes that are not UTF-8")]
    NotUtf8,
    /// An XML declaration naming another encoding.
    #[error("the peer declared an encoding other than UTF-8")]
    UnsupportedEncoding,

    /// Text or CDATA between stanzas.
    #[error("the peer sent text between stanzas")]
    TextBetweenElements,
    /// Anything after the end of the stream.
    #[error("the peer sent data after the end of its stream")]
    DataAfterEnd,

    /// Something else than an element where the stream should start.
    #[error("the peer sent something else than a stream header")]
    NoHeader,
    /// An XML declaration that breaks the rules, or one of XML 1.1.
    #[error("the peer sent a malformed XML declaration or one of a version other than 1.0")]
    BadDeclaration,
    /// A character that XML does not allow.
    #[error("the peer sent a character that XML does not allow")]
    BadCharacter,
    /// A name that is none.
    #[error("the peer sent a malformed element or attribute name")]
    BadName,
    /// A tag whose attributes are not written as XML demands.
    #[error("the peer sent a malformed tag")]
    BadTag,
    /// A reference without an end, or to a character that XML does not allow.
    #[error("the peer sent a malformed character or entity reference")]
    BadReference,
    /// The end mark of a CDATA section in plain text.
    #[error("the peer sent ']]>' outside a CDATA section")]
    CdataEndInText,
    /// An end tag that does not close the open element.
    #[error("the peer sent an end tag that does not match its start tag")]
    MismatchedEndTag,
    /// The same attribute twice, by name or by namespace.
    #[error("the peer sent an attribute twice in one tag")]
    DuplicateAttribute,
    /// A prefix that no element in scope declares.
    #[error("the peer used a namespace prefix that it did not declare")]
    UndeclaredPrefix,
    /// A prefix bound to the empty namespace.
    #[error("the peer bound a namespace prefix to the empty name")]
    EmptyPrefixBinding,
    /// The prefixes `xml` and `xmlns`, or their namespaces, bound otherwise than XML does.
    #[error("the peer rebound a reserved namespace prefix or name")]
    ReservedNamespace,
}

impl FrameError {
    /// What kind of trouble this is.
    pub fn class(self) -> FrameErrorClass {
        match self {
            Self::ElementTooLong(_)
            | Self::TooDeep(_)
            | Self::TooManyAttributes(_)
            | Self::TokenTooLong(_)
            | Self::TooManyDeclarations(_) => FrameErrorClass::Limit,
            Self::Comment | Self::ProcessingInstruction | Self::MarkupDeclaration | Self::EntityReference => {
                FrameErrorClass::Restricted
            }
            Self::NotUtf8 | Self::UnsupportedEncoding => FrameErrorClass::Encoding,
            Self::TextBetweenElements | Self::DataAfterEnd => FrameErrorClass::BadFormat,
            _ => FrameErrorClass::NotWellFormed,
        }
    }
}
