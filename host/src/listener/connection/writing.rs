//! From the mailbox to the socket.

use std::task::Context;
use std::time::Instant;

use super::reading::MAX_UNSENT;
use super::{Connection, State};
use crate::listener::hub::Inward;
use crate::session::{Batch, Delivery};
use crate::stream::io::{Flush, Scratch};

/// How much is taken from the mailbox before it is written. What the socket does not take stays unsent, so this bounds
/// what a peer that does not read costs beside its mailbox.
const BATCH_BYTES: usize = 16 * 1024;

impl<E: Inward> Connection<E> {
    /// Writes what there is, as far as the socket takes it. Whether reading or the state depends on what came of it.
    pub(super) fn write(&mut self, context: &mut Context<'_>, scratch: &mut Scratch, now: Instant) -> bool {
        let was_too_much = self.outgoing.bytes() > MAX_UNSENT;
        while !matches!(self.state, State::Broken | State::Ending) {
            let has_more = self.collect(context, now);
            self.speak_of_counts(now);
            match self.transport.poll_flush(context, scratch, &mut self.outgoing) {
                Ok(flush) => self.note_flush(flush, now),
                Err(error) => {
                    tracing::debug!(peer = %self.peer, jid = self.jid(), "writing failed: {error}");
                    self.break_off();
                    return true;
                }
            }
            if !self.is_flushed || !has_more {
                break;
            }
        }
        if self.state == State::StartingTls && self.is_flushed {
            self.start_tls(now);
            return true;
        }
        was_too_much && self.outgoing.bytes() <= MAX_UNSENT
    }

    /// Takes a batch out of the mailbox. Whether there is more; if not, the task is woken for what comes.
    fn collect(&mut self, context: &mut Context<'_>, now: Instant) -> bool {
        while self.state == State::Open && self.may_write_stanzas() {
            if self.outgoing.bytes() >= BATCH_BYTES {
                return true;
            }
            if self.awaits_acknowledgement() {
                self.heed_closing(context, now);
                return false;
            }
            let Some(mailbox) = &mut self.mailbox else { return false };
            if mailbox.poll_ready(context).is_pending() {
                return false;
            }
            self.take_batch(now);
        }
        false
    }

    /// Takes all that waits in the mailbox, for a peer that closes its stream but still listens. It ends even if others
    /// go on filling the mailbox: no more is taken than it can hold.
    pub(super) fn collect_all(&mut self, now: Instant) {
        let enough = self.outgoing.bytes() + 2 * self.settings.mailbox.bytes;
        while self.may_write_stanzas() && self.outgoing.bytes() < enough && self.take_batch(now) {}
    }

    /// Between binding and our closing tag, which may come after the peer's.
    pub(super) fn may_write_stanzas(&self) -> bool {
        self.session.is_some() && !self.stream.is_closing()
    }

    /// Whether something is left.
    pub(super) fn take_batch(&mut self, now: Instant) -> bool {
        let Some(mailbox) = &mut self.mailbox else { return false };
        let mut batch = Batch::new();
        let has_more = mailbox.drain(&mut batch, BATCH_BYTES);
        for delivery in batch {
            match delivery {
                Delivery::Stanza(stanza) => self.send_or_hold(stanza, now),
                Delivery::Close(reason) => self.close(Some(&reason), now),
            }
        }
        has_more
    }

    fn note_flush(&mut self, flush: Flush, now: Instant) {
        self.is_flushed = flush.complete;
        if flush.complete || self.transport.waits_to_be_asked() {
            self.deadlines.write = None;
        } else if flush.progress || self.deadlines.write.is_none() {
            self.deadlines.write = Some(now + self.settings.write_timeout);
        }
    }

    fn start_tls(&mut self, now: Instant) {
        let certificates = self.hub.certificates.clone();
        self.transport.start_tls(certificates, self.stream.domain());
        self.deadlines.handshake = Some(now + self.settings.handshake_timeout);
        self.state = State::Open;
    }
}
