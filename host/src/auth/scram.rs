//! SCRAM, the server side (RFC 5802).
