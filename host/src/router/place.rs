//! The look-up: which of the server's tables knows the recipient of a stanza. This is the router proper; everything else in
//! this room is what happens at the places it names. `benches/router` measures it.

use super::Router;
use crate::plugin::call::RouteTable;
use crate::stanza::Jid;

/// Where stanzas to an address go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// To the resources of an account of this server, or to what answers for it.
    Account,
    /// To a vhost itself.
    Vhost,
    /// To the module that has registered the domain in this table.
    Module(RouteTable),
    /// To another server.
    Elsewhere,
}

impl Router {
    /// Own domains first, which no module can register; then the LOCAL table, then the GLOBAL one, else another server
    /// (S2-42).
    pub fn look_up(&self, to: &Jid) -> Place {
        let domain = to.domain();
        if self.is_vhost(domain) {
            return if to.localpart().is_some() { Place::Account } else { Place::Vhost };
        }
        let owns = |table: &RouteTable| self.inner.modules.owns(*table, domain);
        let table = [RouteTable::Local, RouteTable::Global].into_iter().find(owns);
        table.map_or(Place::Elsewhere, Place::Module)
    }
}
