//! Telling modules that others have come, gone or changed, by the hook `modules_changed`: after the fact, and once for
//! several changes that came while they were told of the one before.

use super::Manager;
use crate::plugin::call::{HookCall, Modules};
use crate::plugin::core::Core;
use crate::plugin::hook::HookPoint;
use crate::stanza::Jid;
use std::sync::Arc;

impl Manager {
    /// From now on, for as long as the server lives.
    pub(super) fn tell_changes(&self) {
        let core = Arc::downgrade(&self.inner.core);
        let mut changes = self.inner.core.changes();
        self.inner.core.home().spawn(async move {
            while changes.changed().await.is_ok() {
                let Some(core) = core.upgrade() else { return };
                tell_all(&core).await;
            }
        });
    }
}

async fn tell_all(core: &Arc<Core>) {
    let modules = Modules::of(core);
    if !modules.is_hooked(HookPoint::ModulesChanged) {
        return;
    }
    for vhost in core.config().vhosts.keys() {
        let call = HookCall { from: Jid::parse(vhost).ok(), args: "{}".to_owned(), ..HookCall::default() };
        let _ = modules.hook(HookPoint::ModulesChanged, vhost, call).wait().await;
    }
}
