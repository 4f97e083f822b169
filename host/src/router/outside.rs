//! What routing needs from rooms it must not import: who exists, and the way to other servers.

use super::BoxFuture;
use crate::stanza::{Jid, Stanza, StanzaErrorCondition};

/// Knows which accounts exist. Asked only about accounts without a bound resource.
pub trait AccountDirectory: Send + Sync {
    /// Whether the bare JID is an account of this server. If the storage cannot say, `true`: then the stanza is handled
    /// as for an account without resources.
    fn exists(&self, account: &Jid) -> BoxFuture<bool>;
}

/// The way to domains that are not ours (the S2S manager).
pub trait RemoteDomains: Send + Sync {
    /// Takes the stanza over, or says with which error it goes back to its sender. Must not block.
    fn send(&self, stanza: &Stanza) -> Result<(), StanzaErrorCondition>;
}

/// A server that speaks to no other one.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFederation;

impl RemoteDomains for NoFederation {
    fn send(&self, _stanza: &Stanza) -> Result<(), StanzaErrorCondition> {
        Err(StanzaErrorCondition::RemoteServerNotFound)
    }
}
