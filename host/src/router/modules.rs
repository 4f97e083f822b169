//! What routing asks of the modules: answered by the plugin room, or by whatever a test puts in its place.

use crate::iq::IqHandlers;
use crate::plugin::call::{self, Dispatch, HookCall, HookVerdict, Passing, RouteTable};
use crate::plugin::hook::HookPoint;
use crate::stanza::{Stanza, StanzaError};

/// The modules as the router sees them.
pub trait Modules: IqHandlers {
    /// Whether anybody hooked this point on any vhost: what keeps unused hooks free.
    fn is_hooked_anywhere(&self, point: HookPoint) -> bool;

    /// Whether anybody hooked this point for this vhost. Asked for every stanza: it must cost next to nothing.
    fn is_hooked(&self, point: HookPoint, vhost: &str) -> bool;

    /// Runs the chain. A function that fails is skipped and counted by the callee.
    fn run_hooks(&self, point: HookPoint, vhost: &str, call: HookCall) -> Dispatch<HookVerdict>;

    /// The same for a stanza that most functions let pass as it is: `None` says that all did, or that there are none.
    fn pass(&self, point: HookPoint, vhost: &str, passing: Passing<'_>) -> Option<Dispatch<HookVerdict>> {
        self.is_hooked(point, vhost).then(|| self.run_hooks(point, vhost, passing.owned()))
    }

    /// Whether a module has registered this domain in that table.
    fn owns(&self, table: RouteTable, domain: &str) -> bool;

    /// Gives the stanza to the module that owns its recipient's domain; of several the sender decides, so that the same
    /// sender always meets the same one. `None`: no module owns it.
    fn deliver(&self, table: RouteTable, domain: &str, stanza: &Stanza) -> Option<Result<(), StanzaError>>;
}

impl Modules for call::Modules {
    fn is_hooked_anywhere(&self, point: HookPoint) -> bool {
        call::Modules::is_hooked(self, point)
    }

    fn is_hooked(&self, point: HookPoint, vhost: &str) -> bool {
        !self.tables().hooks(point, vhost).is_empty()
    }

    fn run_hooks(&self, point: HookPoint, vhost: &str, call: HookCall) -> Dispatch<HookVerdict> {
        self.hook(point, vhost, call)
    }

    fn pass(&self, point: HookPoint, vhost: &str, passing: Passing<'_>) -> Option<Dispatch<HookVerdict>> {
        self.pass(point, vhost, passing)
    }

    fn owns(&self, table: RouteTable, domain: &str) -> bool {
        match table {
            RouteTable::Local => self.tables().local_route(domain).is_some(),
            RouteTable::Global => !self.tables().global_routes(domain).is_empty(),
        }
    }

    fn deliver(&self, table: RouteTable, domain: &str, stanza: &Stanza) -> Option<Result<(), StanzaError>> {
        self.deliver(table, domain, stanza)
    }
}
