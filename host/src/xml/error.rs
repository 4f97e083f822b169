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

/// Why XML is refused. Every variant is the fault of who wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FrameError {
    /// A top-level element or the stream header is too large.
    #[error("an element may not have more than {0} bytes")]
    ElementTooLong(u32),
    /// Too many elements are open.
    #[error("elements may not be nested more than {0} deep")]
    TooDeep(u16),
    /// Too many attributes in one tag.
    #[error("a tag may not have more than {0} attributes")]
    TooManyAttributes(u16),
    /// A name or an attribute value is too long.
    #[error("a name or attribute value may not have more than {0} bytes")]
    TokenTooLong(u32),
    /// Too many namespace prefixes are in scope.
    #[error("no more than {0} namespace prefixes may be declared")]
    TooManyDeclarations(u16),

    /// What the stream header declares is too long to be repeated in stanzas that rely on it.
    #[error("the namespace declarations of a stream header may not have more than {0} bytes")]
    DeclarationsTooLong(u32),

    /// A comment.
    #[error("comments are not allowed")]
    Comment,
    /// A processing instruction.
    #[error("processing instructions are not allowed")]
    ProcessingInstruction,
    /// A document type or another markup declaration.
    #[error("document type and other markup declarations are not allowed")]
    MarkupDeclaration,
    /// A reference to an entity that XML does not predefine.
    #[error("only the five entities that XML predefines are allowed")]
    EntityReference,

    /// Bytes that are not UTF-8.
    #[error("the bytes are not UTF-8")]
    NotUtf8,
    /// An XML declaration naming another encoding.
    #[error("no encoding other than UTF-8 is supported")]
    UnsupportedEncoding,

    /// Text or CDATA between stanzas.
    #[error("text is not allowed between the elements of a stream")]
    TextBetweenElements,
    /// Anything after the end of the stream.
    #[error("there is data after the end of the stream or element")]
    DataAfterEnd,

    /// Something else than an element where the stream should start.
    #[error("the data does not start with a stream header")]
    NoHeader,
    /// An XML declaration that breaks the rules, or one of XML 1.1.
    #[error("the XML declaration is malformed or of a version other than 1.0")]
    BadDeclaration,
    /// A character that XML does not allow.
    #[error("a character is not allowed in XML")]
    BadCharacter,
    /// The data ends before the element does. Only whole elements are refused for it; a stream may go on.
    #[error("the element is not complete")]
    Incomplete,
    /// A name that is none.
    #[error("an element or attribute name is malformed")]
    BadName,
    /// A tag whose attributes are not written as XML demands.
    #[error("a tag is malformed")]
    BadTag,
    /// A reference without an end, or to a character that XML does not allow.
    #[error("a character or entity reference is malformed")]
    BadReference,
    /// The end mark of a CDATA section in plain text.
    #[error("']]>' stands outside a CDATA section")]
    CdataEndInText,
    /// An end tag that does not close the open element.
    #[error("an end tag does not match its start tag")]
    MismatchedEndTag,
    /// The same attribute twice, by name or by namespace.
    #[error("an attribute stands twice in one tag")]
    DuplicateAttribute,
    /// A prefix that no element in scope declares.
    #[error("a namespace prefix is not declared")]
    UndeclaredPrefix,
    /// A prefix bound to the empty namespace.
    #[error("a namespace prefix is bound to the empty name")]
    EmptyPrefixBinding,
    /// The prefixes `xml` and `xmlns`, or their namespaces, bound otherwise than XML does.
    #[error("a reserved namespace prefix or name is bound anew")]
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
            | Self::TooManyDeclarations(_)
            | Self::DeclarationsTooLong(_) => FrameErrorClass::Limit,
            Self::Comment | Self::ProcessingInstruction | Self::MarkupDeclaration | Self::EntityReference => {
                FrameErrorClass::Restricted
            }
            Self::NotUtf8 | Self::UnsupportedEncoding => FrameErrorClass::Encoding,
            Self::TextBetweenElements | Self::DataAfterEnd => FrameErrorClass::BadFormat,
            _ => FrameErrorClass::NotWellFormed,
        }
    }
}
