//! Stream management on one connection (XEP-0198): counting what goes out and comes in, asking and answering.
//!
//! A connection whose client has not enabled it owns nothing of this. One whose client has keeps a reference to every
//! stanza that it writes until the client acknowledges it; when too many wait, nothing more is taken from the mailbox,
//! whose own bound then answers the senders.

use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use super::Connection;
use crate::config::StreamManagement;
use crate::listener::hub::Inward;
use crate::listener::resumption::Seat;
use crate::session::AckQueue;
use crate::stanza::{Stanza, StanzaErrorCondition};
use crate::stream::io::Piece;
use crate::stream::management::{self, Nonza, Resumption};

/// What is kept for a client that has enabled stream management.
pub(super) struct Managed<S> {
    /// Where the session can be claimed, if it may outlive its connection, and for how long.
    pub seat: Option<(Arc<Seat<S>>, Duration)>,
    /// What was sent and not acknowledged.
    pub queue: AckQueue,
    /// Stanzas of the client that were handled, modulo 2^32.
    pub received: u32,
    /// The client has asked what we have got.
    owes_answer: bool,
    pub asking: Asking,
}

/// When the client is asked what it has got: after some stanzas, or some time after the first of fewer; never again
/// while it owes an answer.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// Stanzas since it was asked last.
    unasked: usize,
    /// When it is to be asked although there were few.
    due: Option<Instant>,
    /// When it was asked for what it has not answered yet.
    asked: Option<Instant>,
}

impl Asking {
    pub(super) fn sent(&mut self, count: usize, now: Instant, rules: &StreamManagement) {
        self.unasked += count;
        if self.unasked > 0 {
            let due = now + rules.ack_after;
            self.due = Some(self.due.map_or(due, |before| before.min(due)));
        }
    }

    fn is_due(&self, now: Instant, rules: &StreamManagement) -> bool {
        let wants = self.unasked >= rules.ack_every || self.due.is_some_and(|due| due <= now);
        self.asked.is_none() && wants
    }

    fn ask(&mut self, now: Instant) {
        *self = Self { asked: Some(now), ..Self::default() };
    }

    /// The client has answered: so many stanzas were new to us, and so many not covered. Some clients count one too few
    /// for ever; asking these again and again would keep phones awake, so they are asked with the next stanza, or at the
    /// pace at which a connection is tried.
    fn answered(&mut self, new: usize, left: usize, now: Instant, rules: &StreamManagement) {
        let has_no_more_to_say = new == 0 && self.unasked == 0;
        *self = Self::default();
        match has_no_more_to_say && left > 0 {
            true => self.due = Some(now + rules.ack_timeout),
            false => self.sent(left, now, rules),
        }
    }

    /// When something is to be done: asking, or giving the connection up.
    fn deadline(&self, heard: Instant, rules: &StreamManagement) -> Option<Instant> {
        match self.asked {
            Some(asked) => Some(asked.max(heard) + rules.ack_timeout),
            None => self.due,
        }
    }
}

impl<S> Managed<S> {
    pub(super) fn new(seat: Option<(Arc<Seat<S>>, Duration)>, queue: AckQueue, received: u32) -> Box<Self> {
        Box::new(Self { seat, queue, received, owes_answer: false, asking: Asking::default() })
    }
}

impl<E: Inward> Connection<E> {
    /// Does what the client says beside its stanzas.
    pub(super) fn take_nonza(&mut self, nonza: Nonza, now: Instant) {
        match nonza {
            Nonza::Enable { resume, max } => self.enable(resume, max),
            Nonza::Resume { .. } => self.refuse_nonza(StanzaErrorCondition::UnexpectedRequest),
            Nonza::Request => match &mut self.managed {
                Some(managed) => managed.owes_answer = true,
                None => self.refuse_nonza(StanzaErrorCondition::UnexpectedRequest),
            },
            Nonza::Acknowledge(handled) => self.take_acknowledgement(handled, now),
            Nonza::ClientState(state) => self.change_client_state(state, now),
        }
    }

    fn enable(&mut self, resume: bool, max: Option<u32>) {
        if self.managed.is_some() {
            return self.refuse_nonza(StanzaErrorCondition::UnexpectedRequest);
        }
        let Some(account) = self.stream.jid().map(crate::stanza::Jid::bare) else { return };
        let rules = &self.settings.management;
        let wish = max.map_or(Duration::MAX, |seconds| Duration::from_secs(seconds.into()));
        let timeout = rules.resume_timeout.min(wish);
        let seat = (resume && !timeout.is_zero()).then(|| self.hub.resumptions.open(account));
        let resumption = seat.as_ref().map(|seat| Resumption {
            id: seat.id(),
            max: timeout.as_secs(),
            location: rules.location.as_deref(),
        });
        let mut out = String::new();
        management::write_enabled(&mut out, resumption);
        self.outgoing.push(Piece::Text(out));
        self.managed = Some(Managed::new(seat.map(|seat| (seat, timeout)), AckQueue::default(), 0));
    }

    fn take_acknowledgement(&mut self, handled: u32, now: Instant) {
        let Some(managed) = &mut self.managed else {
            return self.refuse_nonza(StanzaErrorCondition::UnexpectedRequest);
        };
        match managed.queue.acknowledge(handled) {
            Ok(new) => {
                managed.asking.answered(new, managed.queue.len(), now, &self.settings.management);
            }
            Err(too_much) => {
                let error = management::handled_too_much(too_much.handled, too_much.sent);
                self.close(Some(&error), now);
            }
        }
    }

    fn refuse_nonza(&mut self, condition: StanzaErrorCondition) {
        let mut out = String::new();
        management::write_failed(&mut out, condition, None, None);
        self.outgoing.push(Piece::Text(out));
    }

    /// A stanza of the client has been handled.
    pub(super) fn count_received(&mut self) {
        if let Some(managed) = &mut self.managed {
            managed.received = managed.received.wrapping_add(1);
        }
    }

    /// Writes a stanza, and keeps it until it is acknowledged if the client does that.
    pub(super) fn send_stanza(&mut self, stanza: Stanza, now: Instant) {
        if let Some(managed) = &mut self.managed {
            managed.queue.push(stanza.clone());
            managed.asking.sent(1, now, &self.settings.management);
        }
        self.outgoing.push(Piece::Stanza(stanza));
    }

    /// Writes what has to be said about counts: one answer however often the client has asked, one question at most.
    pub(super) fn speak_of_counts(&mut self, now: Instant) {
        let Some(managed) = self.managed.as_mut().filter(|_| self.stream.is_bound()) else { return };
        let mut out = String::new();
        if std::mem::take(&mut managed.owes_answer) {
            management::write_acknowledgement(&mut out, managed.received);
        }
        if managed.asking.is_due(now, &self.settings.management) {
            managed.asking.ask(now);
            management::write_request(&mut out);
        }
        self.outgoing.push(Piece::Text(out));
    }

    /// When the client is to be asked, or has not answered for too long.
    pub(super) fn management_deadline(&self) -> Option<Instant> {
        let managed = self.managed.as_ref()?;
        managed.asking.deadline(self.deadlines.heard_at(), &self.settings.management)
    }

    /// That moment has come. A client that does not say what it has got has lost its connection, as far as we can tell.
    pub(super) fn management_expired(&mut self, now: Instant) {
        let Some(managed) = &self.managed else { return };
        if managed.asking.asked.is_some() {
            tracing::info!(jid = self.jid(), peer = %self.peer, "the client does not acknowledge anything any more");
            self.break_off();
        } else {
            self.speak_of_counts(now);
        }
    }

    /// Whether the client has to acknowledge something before it gets more.
    pub(super) fn awaits_acknowledgement(&self) -> bool {
        let rules = &self.settings.management;
        self.managed.as_ref().is_some_and(|managed| {
            managed.queue.len() >= rules.queue_items || managed.queue.bytes() >= rules.queue_bytes
        })
    }

    /// Nothing is taken from the mailbox for now, unless the session is to be closed.
    pub(super) fn heed_closing(&mut self, context: &mut Context<'_>, now: Instant) {
        let Some(mailbox) = &mut self.mailbox else { return };
        if mailbox.poll_closing(context).is_ready() {
            while self.may_write_stanzas() && self.take_batch(now) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rules() -> StreamManagement {
        let (ack_every, ack_after, ack_timeout) = (3, 10 * SECOND, 60 * SECOND);
        StreamManagement { ack_every, ack_after, ack_timeout, ..StreamManagement::default() }
    }

    #[test]
    fn the_client_is_asked_after_some_stanzas_or_some_time() {
        let (rules, now) = (rules(), Instant::now());
        let mut asking = Asking::default();
        assert_eq!(asking.deadline(now, &rules), None);
        asking.sent(2, now, &rules);
        assert!(!asking.is_due(now, &rules));
        assert_eq!(asking.deadline(now, &rules), Some(now + 10 * SECOND));
        assert!(asking.is_due(now + 10 * SECOND, &rules));
        asking.sent(1, now + SECOND, &rules);
        assert!(asking.is_due(now + SECOND, &rules));
    }

    #[test]
    fn it_is_not_asked_again_before_it_has_answered() {
        let (rules, now) = (rules(), Instant::now());
        let mut asking = Asking::default();
        asking.sent(3, now, &rules);
        asking.ask(now);
        asking.sent(30, now, &rules);
        assert!(!asking.is_due(now + 20 * SECOND, &rules));
        asking.answered(3, 30, now + SECOND, &rules);
        assert!(asking.is_due(now + SECOND, &rules));
        asking.answered(30, 0, now + SECOND, &rules);
        assert_eq!(asking.deadline(now, &rules), None);
    }

    #[test]
    fn one_that_says_the_same_again_is_asked_again_with_the_next_stanza_or_much_later() {
        let (rules, now) = (rules(), Instant::now());
        let mut asking = Asking::default();
        asking.sent(1, now, &rules);
        asking.ask(now);
        asking.answered(0, 1, now, &rules);
        assert_eq!(asking.deadline(now, &rules), Some(now + 60 * SECOND));
        asking.sent(1, now, &rules);
        assert_eq!(asking.deadline(now, &rules), Some(now + 10 * SECOND));
        asking.ask(now);
        // What was sent meanwhile is another matter.
        asking.sent(1, now, &rules);
        asking.answered(0, 3, now, &rules);
        assert_eq!(asking.deadline(now, &rules), Some(now + 10 * SECOND));
    }

    #[test]
    fn hearing_from_it_puts_the_end_off() {
        let (rules, now) = (rules(), Instant::now());
        let mut asking = Asking::default();
        asking.sent(3, now, &rules);
        asking.ask(now);
        assert_eq!(asking.deadline(now - SECOND, &rules), Some(now + 60 * SECOND));
        assert_eq!(asking.deadline(now + 5 * SECOND, &rules), Some(now + 65 * SECOND));
    }
}
