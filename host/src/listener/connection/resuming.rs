//! Sessions that go from one connection to another (XEP-0198 section 5), from this connection's side.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::management::Managed;
use super::{Connection, Ongoing, State};
use crate::listener::admission::Phase;
use crate::listener::hub::Inward;
use crate::listener::keeper;
use crate::listener::resumption::{NotFound, Resumable};
use crate::stanza::{StanzaErrorCondition, StreamError, StreamErrorCondition};
use crate::stream::io::Piece;
use crate::stream::management;

/// How long the holder of a session may take to hand it over; it finishes the stanza that it works on.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(30);

/// An earlier session, as far as there is one, and how much of it its client has got.
pub(super) struct Returning<S> {
    kept: Option<Box<Resumable<S>>>,
    handled: u32,
}

impl<E: Inward> Connection<E> {
    pub(super) fn begin_resuming(&mut self, previous: &str, handled: u32) {
        let Some(account) = self.stream.jid() else { return };
        match self.hub.resumptions.claim(previous, account) {
            Ok(handover) => {
                self.work = Some(Ongoing::Resume(Box::pin(async move {
                    let kept = tokio::time::timeout(HANDOVER_TIMEOUT, handover).await;
                    Returning { kept: kept.ok().and_then(Result::ok), handled }
                })));
            }
            Err(NotFound { handled }) => self.refuse_resuming(handled),
        }
    }

    fn refuse_resuming(&mut self, handled: Option<u32>) {
        tracing::debug!(stream = self.stream.id(), peer = %self.peer, "there is no session to resume");
        let mut out = String::new();
        management::write_failed(&mut out, StanzaErrorCondition::ItemNotFound, handled, None);
        self.outgoing.push(Piece::Text(out));
        self.stream.resumed(None);
    }

    pub(super) fn finish_resuming(&mut self, returning: Returning<E::Session>, now: Instant) {
        let Returning { kept, handled } = returning;
        let Some(mut kept) = kept else { return self.refuse_resuming(None) };
        if self.stream.is_closing() {
            // Our stream has ended meanwhile; the session has not.
            return keeper::keep(&self.hub, kept);
        }
        if let Err(too_much) = kept.queue.acknowledge(handled) {
            keeper::keep(&self.hub, kept);
            let error = management::handled_too_much(too_much.handled, too_much.sent);
            return self.close(Some(&error), now);
        }
        let client = self.client();
        let jid = self.hub.events.full_jid(&kept.session);
        tracing::info!(stream = client.stream_id, %jid, peer = %self.peer, resent = kept.queue.len(), "session resumed");
        let mut out = String::new();
        management::write_resumed(&mut out, kept.seat.id(), kept.received);
        self.outgoing.push(Piece::Text(out));
        self.hub.events.resumed(&kept.session, client);
        let by = jid.domain().to_owned();
        self.stream.resumed(Some(jid));
        self.deadlines.negotiation = None;
        for unacked in kept.queue.iter() {
            let stanza = match unacked.delayed_since {
                Some(since) => unacked.stanza.with_delay(&by, since),
                None => unacked.stanza.clone(),
            };
            self.outgoing.push(Piece::Stanza(stanza));
        }
        self.take_over(*kept, now);
    }

    fn take_over(&mut self, kept: Resumable<E::Session>, now: Instant) {
        let Resumable { seat, session, mailbox, queue, received, timeout } = kept;
        let mut managed = Managed::new(Some((seat, timeout)), queue, received);
        managed.asking.sent(managed.queue.len(), now, &self.settings.management);
        self.managed = Some(managed);
        self.session = Some(session);
        self.mailbox = Some(mailbox);
    }

    /// Everything that makes the session go on elsewhere, if it may.
    pub(super) fn let_go(&mut self) -> Option<Box<Resumable<E::Session>>> {
        self.managed.as_ref()?.seat.as_ref()?;
        let (managed, session, mailbox) = (self.managed.take()?, self.session.take()?, self.mailbox.take()?);
        let Managed { seat, mut queue, received, .. } = *managed;
        self.take_held().into_iter().for_each(|stanza| queue.push(stanza));
        let (seat, timeout) = seat?;
        Some(Box::new(Resumable { seat, session, mailbox, queue, received, timeout }))
    }

    /// The client has come back on another connection: hands the session over. Whether something has changed.
    pub(super) fn heed_claim(&mut self, context: &mut Context<'_>, now: Instant) -> bool {
        // What was read is handled first, so that the counters tell the truth.
        if self.work.is_some() || self.session.is_none() || self.stream.is_closing() {
            return false;
        }
        let Some((seat, _)) = self.managed.as_ref().and_then(|managed| managed.seat.as_ref()) else {
            return false;
        };
        let Poll::Ready(claim) = seat.poll_claim(context) else { return false };
        let Some(kept) = self.let_go() else { return false };
        match claim.send(kept) {
            Ok(()) => {
                tracing::debug!(peer = %self.peer, "the session goes on with another connection");
                // The client sends again what was not handled.
                self.waiting = Vec::new();
                let text = "The session was resumed on another stream.";
                self.close(Some(&StreamError::new(StreamErrorCondition::Conflict, text)), now);
            }
            Err(kept) => self.take_over(*kept, now),
        }
        true
    }

    /// Leaves the session to a keeper if its client may come back: the connection broke, nobody has ended the stream.
    pub(super) fn detach(&mut self) -> bool {
        let is_lost = matches!(self.state, State::Broken) && !self.stream.is_closing();
        if !is_lost || self.hub.connections.phase() != Phase::Serving {
            return false;
        }
        let Some(kept) = self.let_go() else { return false };
        // All of it is in the queue as well.
        self.outgoing.take_unsent();
        keeper::keep(&self.hub, kept);
        true
    }
}
