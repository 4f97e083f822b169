//! The beginning and the end of sessions, with what has to be said and routed again.

use std::sync::{Arc, Weak};

use moult_plugin_api::hooks::{SessionClosed, SessionOpened};

use super::presence::unavailable;
use super::{Inner, Router, Routing};
use crate::plugin::hook::HookPoint;
use crate::session::{
    BindError, BindRequest, Bound, BoundSession, Ended, Farewell, Session, SessionInfo, SessionObserver,
};
use crate::stanza::{IqType, MessageType, Stanza, StanzaType, StreamErrorCondition};

impl Router {
    /// Binds a resource: announces the end of a session that had to go for it, then the beginning of the new one.
    pub async fn bind(&self, request: BindRequest) -> Result<BoundSession, BindError> {
        let Bound { session, replaced } = self.sessions().bind(request)?;
        if let Some((old, farewell)) = replaced {
            self.uncancelled(self.announce_end(&old, farewell)).await;
        }
        self.tell(HookPoint::SessionOpened, &session, None, || opened(&session.info())).await;
        Ok(session)
    }

    /// Ends a session: takes it out of the table, tells who must be told, and routes again what its connection never
    /// took. `unsent` is what the connection took out of the mailbox and could not write, in order. Who stops waiting
    /// for it does not stop it.
    pub async fn end_session(&self, session: BoundSession, unsent: Vec<Stanza>) {
        self.end_unbound(session.unbind(), unsent).await;
    }

    /// The same for a session that is out of the table already.
    pub async fn end_unbound(&self, mut ended: Ended, unsent: Vec<Stanza>) {
        let lost = unsent.into_iter().filter(|stanza| self.nobody_else_has(stanza));
        ended.undelivered.splice(0..0, lost);
        let router = self.clone();
        self.uncancelled(Routing::later(async move { router.finish(ended).await })).await;
    }

    /// Tells modules that a session has ended, and nobody else: its client may come back to it after a restart.
    pub async fn tell_closed(&self, session: &Arc<Session>) {
        self.tell(HookPoint::SessionClosed, session, None, || closed(session)).await;
    }

    /// A copy that was taken from the mailbox is no loss as long as the account has another resource that got one too.
    fn nobody_else_has(&self, stanza: &Stanza) -> bool {
        let reachable = |account| {
            let resources = self.sessions().resources(account);
            resources.iter().any(|session| session.priority().is_some_and(|priority| priority >= 0))
        };
        !stanza.is_copied() || !stanza.to().is_some_and(reachable)
    }

    /// Awaits what must go on even if the one who awaits is dropped: a connection has only so much time for its end.
    async fn uncancelled(&self, work: Routing) {
        if work.is_done() {
            return;
        }
        if self.inner.runtime.spawn(work).await.is_err() {
            tracing::error!(
                "the end of a session could not be announced: its task panicked or the server has ended"
            );
        }
    }

    /// What was not delivered goes first: whoever sent it goes on writing, and modules may take their time.
    async fn finish(&self, ended: Ended) {
        for stanza in ended.undelivered {
            self.again(stanza).await;
        }
        self.announce_end(&ended.session, ended.farewell).await;
        self.forget_contacts_of_nobody(ended.session.bare_jid());
        self.tell(HookPoint::SessionClosed, &ended.session, None, || closed(&ended.session)).await;
    }

    fn announce_end(&self, session: &Arc<Session>, farewell: Farewell) -> Routing {
        if farewell.presence.is_none() && farewell.directed.is_empty() {
            return Routing::done();
        }
        match unavailable(session.full_jid()) {
            Some(stanza) => self.say_farewell(session, farewell, &stanza),
            None => Routing::done(),
        }
    }

    /// Routes a stanza that its session never got. Messages look for another resource, requests are answered with an
    /// error; what needs no answer ends here, as it would have without the session (RFC 6121 section 8.5.3.2).
    fn again(&self, stanza: Stanza) -> Routing {
        match stanza.type_() {
            StanzaType::Message(kind) if kind != MessageType::Error => {}
            StanzaType::Iq(IqType::Get | IqType::Set) => {}
            _ => return self.ignore(stanza),
        }
        self.inner.counts.rerouted();
        self.forward(stanza.with_copied(false))
    }
}

/// Hears of sessions whose connection task was cancelled or crashed.
pub(super) struct Observer(pub Weak<Inner>);

impl SessionObserver for Observer {
    fn abandoned(&self, ended: Ended) {
        let Some(inner) = self.0.upgrade() else { return };
        let router = Router { inner };
        let runtime = router.inner.runtime.clone();
        runtime.spawn(async move { router.finish(ended).await });
    }
}

fn opened(info: &SessionInfo) -> SessionOpened {
    SessionOpened {
        ip: info.peer.map(|peer| peer.ip().to_string()).unwrap_or_default(),
        tls: info.tls.is_some(),
        mechanism: info.mechanism.clone(),
    }
}

/// Why the session ended, as far as the server did it.
fn closed(session: &Session) -> SessionClosed {
    let reason = match session.closed_for() {
        None => "closed",
        Some(StreamErrorCondition::Conflict) => "replaced",
        Some(StreamErrorCondition::SystemShutdown) => "shutdown",
        Some(_) => "kicked",
    };
    SessionClosed { reason: reason.to_owned() }
}
