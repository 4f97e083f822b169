//! XML as XMPP allows it: a validating framer for streams and a small writer. Knows nothing of XMPP above element boundaries.
