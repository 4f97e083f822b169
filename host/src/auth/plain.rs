//! PLAIN, the server side (RFC 4616).
