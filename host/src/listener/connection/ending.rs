//! How a connection comes to its end: in agreement, by an error, or because the network or the peer just went.
//!
//! In each case the session ends through `ended`, with what its peer never got. What was read from the peer before is
//! handed inwards first.

use std::task::Context;
use std::time::Instant;

use super::{Connection, Ongoing, State};
use crate::listener::hub::Inward;
use crate::listener::keeper;
use crate::stanza::{Stanza, StreamError, StreamErrorCondition};
use crate::stream::io::{Piece, Scratch};

impl<E: Inward> Connection<E> {
    /// Ends our side of the stream, after what waits for the peer.
    pub(super) fn close(&mut self, error: Option<&StreamError>, now: Instant) {
        if self.stream.is_closing() {
            return;
        }
        self.is_shutdown = error.is_some_and(|error| error.condition == StreamErrorCondition::SystemShutdown);
        self.end_client_state(now);
        // What the client could not acknowledge any more stays in the mailbox and is routed again.
        if self.managed.is_none() {
            self.collect_all(now);
        }
        if self.state == State::StartingTls {
            self.state = State::Open;
        }
        let mut out = String::new();
        self.stream.close(error, &self.hub.events, &mut out);
        self.outgoing.push(Piece::Text(out));
        self.await_peers_end(now);
    }

    /// Gives the peer some time to close its side.
    pub(super) fn await_peers_end(&mut self, now: Instant) {
        self.deadlines.negotiation = None;
        self.deadlines.resume = None;
        self.deadlines.close.get_or_insert(now + self.settings.close_timeout);
    }

    /// The connection is of no use any more.
    pub(super) fn break_off(&mut self) {
        if self.state == State::Ending {
            return;
        }
        self.state = State::Broken;
        if !self.stream.is_bound() {
            self.waiting = Vec::new();
        }
        // Nobody is there to hear of a login; but a binding that has begun is followed to its end.
        if matches!(self.work, Some(Ongoing::Login(_) | Ongoing::BeforeLogin(_))) {
            self.work = None;
        }
    }

    /// Takes the next step towards the end, if it is time for one.
    pub(super) fn end_if_over(
        &mut self,
        context: &mut Context<'_>,
        scratch: &mut Scratch,
        now: Instant,
    ) -> bool {
        if self.work.is_some() || self.state == State::Ending {
            return false;
        }
        if !self.waiting.is_empty() && self.stream.wants_input() && !self.stream.is_closing() {
            return false;
        }
        if self.state == State::Deaf && !self.stream.is_closing() {
            self.break_off();
        }
        if self.state == State::Broken {
            self.finish(now);
            return true;
        }
        if !self.stream.is_closing() || !self.is_flushed {
            return false;
        }
        if !self.has_said_goodbye {
            self.say_goodbye(context, scratch);
        }
        if self.stream.is_closed() || self.state == State::Deaf {
            self.finish(now);
            return true;
        }
        self.begin_farewell(now)
    }

    /// TLS's farewell and TCP's, after which the peer knows that nothing follows. It is still read from, so that what it
    /// sends meanwhile does not make the kernel take our last words back.
    fn say_goodbye(&mut self, context: &mut Context<'_>, scratch: &mut Scratch) {
        self.has_said_goodbye = true;
        self.transport.send_close_notify(context);
        let _ = self.transport.poll_flush(context, scratch, &mut self.outgoing);
        self.transport.shut_down_writing(context);
    }

    fn finish(&mut self, now: Instant) {
        self.begin_farewell(now);
        self.outgoing.take_unsent();
        self.waiting = Vec::new();
        self.deadlines.write = None;
        self.deadlines.close = None;
        self.state = State::Ending;
    }

    /// What the client never got, as far as we know, in order.
    fn take_unsent(&mut self) -> Vec<Stanza> {
        let (mut unsent, held) = (self.outgoing.take_unsent(), self.take_held());
        let Some(managed) = self.managed.take() else {
            unsent.extend(held);
            return unsent;
        };
        if let Some((seat, _)) = &managed.seat {
            self.hub.resumptions.close(seat, managed.received);
        }
        let mut unsent = managed.queue.into_stanzas();
        unsent.extend(held);
        unsent
    }

    /// Whether the session may outlive the connection.
    pub(super) fn is_resumable(&self) -> bool {
        self.managed.as_ref().is_some_and(|managed| managed.seat.is_some())
    }

    /// Ends the session or leaves it to a keeper, if there is one.
    fn begin_farewell(&mut self, now: Instant) -> bool {
        if self.detach() {
            return true;
        }
        if self.is_shutdown
            && let Some(kept) = self.let_go()
        {
            // All of it is in the queue as well.
            self.outgoing.take_unsent();
            self.deadlines.farewell = Some(now + self.settings.farewell_timeout);
            self.work = Some(Ongoing::Farewell(keeper::suspend(&self.hub, *kept)));
            return true;
        }
        let Some(session) = self.session.take() else { return false };
        tracing::info!(jid = self.jid(), peer = %self.peer, "session ended");
        let unsent = self.take_unsent();
        self.mailbox = None;
        self.deadlines.farewell = Some(now + self.settings.farewell_timeout);
        self.work = Some(Ongoing::Farewell(self.hub.events.ended(session, unsent)));
        true
    }
}
