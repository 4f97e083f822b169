//! Where one stanza goes (RFC 6120 section 10, RFC 6121 section 8).
