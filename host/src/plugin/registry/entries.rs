//! What the tables hold: one entry per registration, each of which keeps its instance.

use crate::plugin::call::Overdue;
use crate::plugin::instance::Instance;
use crate::plugin::lane::Lane;
use crate::plugin::registration::CommandDecl;
use crate::plugin::slot::SlotKey;
use std::sync::Arc;

/// An IQ handler as registered.
pub struct IqEntry {
    /// Whose.
    pub instance: Arc<Instance>,
    /// The module's number for it.
    pub handler: u64,
    /// Its namespace, shared with those who queue.
    pub ns: Arc<str>,
    /// `None`: it runs in the caller's task.
    pub lane: Option<Arc<Lane>>,
    /// Those of its requests that wait in the lane.
    pub overdue: Arc<Overdue>,
}

/// A domain as registered.
pub struct RouteEntry {
    /// Whose.
    pub instance: Arc<Instance>,
    /// The module's number for it.
    pub handler: u64,
    /// The domain, shared with those who queue.
    pub domain: Arc<str>,
    /// The service's mailbox.
    pub mailbox: Arc<Lane>,
}

/// Where a hook function stands in its chain. The order is by sequence, then module, then vhost, then the order in which
/// the module registered: it does not change when a module is swapped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HookKey {
    /// Lower runs first.
    pub sequence: i32,
    /// Module and vhost.
    pub slot: SlotKey,
    /// Which one of this module's functions of that sequence.
    pub nth: u32,
}

/// A hook function as registered.
pub struct HookEntry {
    /// Its place.
    pub key: HookKey,
    /// Whose.
    pub instance: Arc<Instance>,
    /// The module's number for it.
    pub handler: u64,
}

/// A command as registered.
pub struct CommandEntry {
    /// Whose.
    pub instance: Arc<Instance>,
    /// The module's number for it.
    pub handler: u64,
    /// What it says of itself.
    pub decl: CommandDecl,
}

/// An HTTP path prefix as registered.
pub struct HttpEntry {
    /// Begins with `/`.
    pub prefix: Arc<str>,
    /// Whether the admin token is needed.
    pub admin: bool,
    /// The longest body, where the module wants longer ones than usual.
    pub max_body: Option<usize>,
    /// Whose.
    pub instance: Arc<Instance>,
    /// The module's number for it.
    pub handler: u64,
}
