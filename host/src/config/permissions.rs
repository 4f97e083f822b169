//! `[permissions.NAME]`: who may call which command from where.

use serde::Serialize;

/// One named group, after ejabberd's `api_permissions`: a call that matches all three lists is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PermissionGroup {
    /// Front ends: `local`, `http`, `xmpp`, `module`, or `*`.
    pub from: Vec<String>,
    /// Callers: `admin` (the bearer of the admin token, an admin's JID), a bare JID, or `*`.
    pub who: Vec<String>,
    /// Commands: a name, a glob, `[tag:NAME]`, each of them with `!` before it to take it out again.
    pub what: Vec<String>,
}
