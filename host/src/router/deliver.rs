//! Into the mailboxes of sessions.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::timeout;

use super::{Router, Routing};
use crate::plugin::call::{Dispatch, HookCall, HookVerdict, Passing};
use crate::plugin::hook::HookPoint;
use crate::session::{Refusal, Session, SharedCopies};
use crate::stanza::{Kind, PresenceType, Stanza, StanzaError, StanzaErrorCondition, StanzaType, Urgency};

/// What became of a message for several resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spread {
    /// At least one resource has it, or a hook dropped it for one.
    Taken,
    /// All mailboxes were full.
    Full,
    /// All sessions were closing.
    Nobody,
}

impl Router {
    /// Gives the stanza to one session, after its receive hooks. What it does not take is bounced, or routed as if the
    /// session were not there.
    pub(super) fn to_session(&self, session: Arc<Session>, stanza: Stanza) -> Routing {
        match self.run_receive_hooks(&session, &stanza) {
            None => self.push_judged(session, stanza),
            Some(ended) => {
                self.after_hooks(ended, stanza, move |router, stanza| router.push_judged(session, stanza))
            }
        }
    }

    /// Gives the stanza to one session, after its receive hooks; says whether it was taken. What was not is not bounced.
    pub(super) async fn put(&self, session: &Session, stanza: Stanza) -> bool {
        let Some(passed) = self.received(session, stanza).await else {
            self.inner.counts.stopped_by_hooks();
            return true;
        };
        let taken = session.mailbox().push(passed).is_ok();
        if taken {
            self.inner.counts.delivered();
        }
        taken
    }

    /// Gives a copy to each of several sessions. Only if none of them takes it, it is bounced or `nobody` is done.
    pub(super) fn to_sessions(
        &self,
        sessions: Vec<Arc<Session>>,
        stanza: Stanza,
        nobody: fn(&Self, Stanza) -> Routing,
    ) -> Routing {
        let stanza = stanza.with_copied(true);
        let is_hooked = |session: &Arc<Session>| {
            self.inner.modules.is_hooked(HookPoint::UserReceivePacket, session.vhost())
        };
        if !sessions.first().is_some_and(is_hooked)
            && !sessions.iter().any(|session| self.wants_judging(session))
        {
            let spread = self.spread(&sessions, &stanza);
            return self.after_spread(spread, stanza, nobody);
        }
        let router = self.clone();
        Routing::later(async move {
            let spread = router.spread_hooked(&sessions, &stanza).await;
            router.after_spread(spread, stanza, nobody).await;
        })
    }

    fn after_spread(&self, spread: Spread, stanza: Stanza, nobody: fn(&Self, Stanza) -> Routing) -> Routing {
        match spread {
            Spread::Taken => Routing::done(),
            Spread::Full => self.bounce_full(&stanza),
            Spread::Nobody => nobody(self, stanza.with_copied(false)),
        }
    }

    fn spread(&self, sessions: &[Arc<Session>], stanza: &Stanza) -> Spread {
        let mut tally = Tally::default();
        for session in sessions {
            tally.count(self.push_copy(session, stanza.clone(), &tally.copies));
        }
        tally.end()
    }

    async fn spread_hooked(&self, sessions: &[Arc<Session>], stanza: &Stanza) -> Spread {
        let mut tally = Tally::default();
        for session in sessions {
            match self.received(session, stanza.clone()).await {
                Some(copy) => {
                    tally.count(self.push_copy(session, copy.with_copied(true), &tally.copies));
                }
                None => {
                    self.inner.counts.stopped_by_hooks();
                    tally.stopped = true;
                }
            }
        }
        tally.end()
    }

    /// What comes out of the hooks before a mailbox; nothing if one of them dropped it.
    async fn received(&self, session: &Session, stanza: Stanza) -> Option<Stanza> {
        let passed = match self.run_receive_hooks(session, &stanza) {
            Some(running) => running.wait().await.stanza?,
            None => stanza,
        };
        if !self.wants_judging(session) {
            return Some(passed);
        }
        let verdict = self.run_inactive_hooks(session, &passed).wait().await;
        judged(passed, &verdict)
    }

    /// Whether a module may decide what can wait for this client (XEP-0352).
    fn wants_judging(&self, session: &Session) -> bool {
        session.is_inactive() && self.inner.modules.is_hooked(HookPoint::InactivePacket, session.vhost())
    }

    fn push_judged(&self, session: Arc<Session>, stanza: Stanza) -> Routing {
        if !self.wants_judging(&session) {
            return self.push(&session, stanza);
        }
        let ended = self.run_inactive_hooks(&session, &stanza);
        self.after(ended, move |router, verdict| match judged(stanza, &verdict) {
            Some(stanza) => router.push(&session, stanza),
            None => {
                router.inner.counts.stopped_by_hooks();
                Routing::done()
            }
        })
    }

    fn run_inactive_hooks(&self, session: &Session, stanza: &Stanza) -> Dispatch<HookVerdict> {
        let to = Some(session.full_jid().clone());
        let call = HookCall { to, stanza: Some(stanza.clone()), ..HookCall::default() };
        self.inner.modules.run_hooks(HookPoint::InactivePacket, session.vhost(), call)
    }

    /// `None`: the stanza has passed as it is.
    fn run_receive_hooks(&self, session: &Session, stanza: &Stanza) -> Option<Dispatch<HookVerdict>> {
        // The resource that receives, even where the stanza is addressed to the account.
        let passing = Passing { to: Some(session.full_jid()), ..Passing::of(stanza) };
        self.inner.modules.pass(HookPoint::UserReceivePacket, session.vhost(), passing)
    }

    fn push(&self, session: &Arc<Session>, stanza: Stanza) -> Routing {
        forget_directed(session, &stanza);
        match session.mailbox().push(stanza) {
            Ok(()) => {
                self.inner.counts.delivered();
                Routing::done()
            }
            Err(refused) => match refused.why {
                Refusal::Full => self.hold_up(session, refused.stanza),
                Refusal::Closed => self.to_account_without_closed(refused.stanza),
            },
        }
    }

    /// Holds a local sender up until there is room, as long as its patience lasts: meanwhile its connection reads nothing, so
    /// that a burst slows down instead of coming back in pieces. Then the stanza is bounced. A client that is away takes
    /// nothing, so nobody waits for it.
    fn hold_up(&self, session: &Arc<Session>, stanza: Stanza) -> Routing {
        let sender = stanza.from().and_then(|from| self.sessions().find(from));
        let Some(sender) =
            sender.filter(|sender| !session.is_detached() && !sender.patience().left().is_zero())
        else {
            return self.bounce_full(&stanza);
        };
        let (router, session) = (self.clone(), Arc::clone(session));
        Routing::later(async move { router.push_patiently(&sender, session, stanza).await })
    }

    async fn push_patiently(&self, sender: &Session, session: Arc<Session>, mut stanza: Stanza) {
        self.inner.counts.held_up();
        let patience = sender.patience();
        loop {
            let (since, left) = (Instant::now(), patience.left());
            let moved = timeout(left, session.mailbox().moved()).await;
            patience.spend(since.elapsed());
            let refused = match session.mailbox().push(stanza) {
                Ok(()) => return self.inner.counts.delivered(),
                Err(refused) => refused,
            };
            match refused.why {
                Refusal::Closed => return self.to_account_without_closed(refused.stanza).await,
                Refusal::Full if moved.is_err() => return self.bounce_full(&refused.stanza).await,
                Refusal::Full => stanza = refused.stanza,
            }
        }
    }

    fn push_copy(&self, session: &Session, stanza: Stanza, copies: &SharedCopies) -> Result<(), Refusal> {
        forget_directed(session, &stanza);
        session.mailbox().push_copy(stanza, copies).map_err(|refused| refused.why)?;
        self.inner.counts.delivered();
        Ok(())
    }

    fn bounce_full(&self, stanza: &Stanza) -> Routing {
        self.inner.counts.mailbox_full();
        let text = "The recipient has too many unread stanzas.";
        self.bounce(stanza, StanzaError::new(StanzaErrorCondition::ResourceConstraint, text))
    }
}

#[derive(Default)]
struct Tally {
    copies: SharedCopies,
    taken: bool,
    full: bool,
    stopped: bool,
}

impl Tally {
    fn count(&mut self, pushed: Result<(), Refusal>) {
        match pushed {
            Ok(()) => self.taken = true,
            Err(Refusal::Full) => self.full = true,
            Err(Refusal::Closed) => {}
        }
    }

    fn end(self) -> Spread {
        let lost = self.copies.all_lost();
        if self.stopped || (self.taken && !lost) {
            Spread::Taken
        } else if self.full {
            Spread::Full
        } else {
            Spread::Nobody
        }
    }
}

/// The stanza with what a module decided; nothing if the client can do without it. Somebody waits for an IQ.
fn judged(stanza: Stanza, verdict: &HookVerdict) -> Option<Stanza> {
    match verdict.stopped.as_ref().map(|stopped| stopped.reason.as_str()) {
        Some("now") => Some(stanza.with_urgency(Urgency::Now)),
        Some("later") if stanza.kind() != Kind::Iq => Some(stanza.with_urgency(Urgency::Later)),
        Some("never") if stanza.kind() != Kind::Iq => None,
        _ => Some(stanza),
    }
}

/// An entity that answers directed presence with an error need not be told of the end (RFC 6121 section 4.6.3).
fn forget_directed(session: &Session, stanza: &Stanza) {
    if stanza.type_() == StanzaType::Presence(PresenceType::Error)
        && let Some(from) = stanza.from()
    {
        session.drop_directed(from);
    }
}
