//! Sessions that begin to take messages while a module has kept some for them.
//!
//! From the presence with which a resource begins to take messages until the modules have been told of it, messages for
//! the account wait: those that were kept come first, as they were sent first. Nobody waits for the receiver's connection:
//! what the modules deliver goes into its mailbox.

use std::sync::Arc;
use std::time::Duration;

use super::{Router, Routing};
use crate::plugin::hook::HookPoint;
use crate::session::{Resources, Session};
use crate::stanza::Stanza;

/// After this time a message is delivered although modules have not finished.
const PATIENCE: Duration = Duration::from_secs(10);

/// The time of opening; it ends with this value, whatever becomes of who holds it.
pub(super) struct Opening {
    router: Router,
    session: Arc<Session>,
}

impl Router {
    /// To be called before the presence is set.
    pub(super) fn opening(&self, session: &Arc<Session>, priority: i8) -> Option<Opening> {
        let takes = session.priority().is_some_and(|priority| priority >= 0);
        let hooked = |point| self.inner.modules.is_hooked(point, session.vhost());
        if takes || priority < 0 || !hooked(HookPoint::OfflineMessage) || !hooked(HookPoint::PresenceChanged)
        {
            return None;
        }
        session.set_opening(true);
        Some(Opening { router: self.clone(), session: session.clone() })
    }

    /// Routes a message when none of these sessions is opening any more.
    pub(super) fn after_opening(&self, sessions: Resources, stanza: Stanza) -> Routing {
        let router = self.clone();
        Routing::later(async move {
            let opened = async {
                loop {
                    let told = router.inner.opened.notified();
                    tokio::pin!(told);
                    // Registered before the look, so that an end in between is not missed.
                    told.as_mut().enable();
                    if !sessions.iter().any(|session| session.is_opening()) {
                        return;
                    }
                    told.await;
                }
            };
            if tokio::time::timeout(PATIENCE, opened).await.is_err() {
                sessions.iter().for_each(|session| session.set_opening(false));
                tracing::warn!("a message was not held back any longer for kept ones: modules take too long");
            }
            router.to_account(stanza).await;
        })
    }
}

impl Opening {
    /// Ends with these last steps.
    pub fn until(self, last: Routing) -> Routing {
        Routing::later(async move {
            last.await;
            drop(self);
        })
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.session.set_opening(false);
        self.router.inner.opened.notify_waiters();
    }
}
