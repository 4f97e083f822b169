//! From the socket to the stream.

use std::task::{Context, Poll};
use std::time::Instant;

use super::{Connection, State};
use crate::listener::admission::Phase;
use crate::listener::hub::Inward;
use crate::stream::io::{INPUT_BYTES, Piece, Scratch, TransportError};

/// A peer that does not read its answers is not listened to.
pub(super) const MAX_UNSENT: usize = 64 * 1024;

impl<E: Inward> Connection<E> {
    /// Reads once, or takes up what had to wait. Whether anything came of it.
    pub(super) fn read(&mut self, context: &mut Context<'_>, scratch: &mut Scratch, now: Instant) -> bool {
        if !self.waiting.is_empty() {
            return self.resume_waiting(now);
        }
        if !self.wants_to_read() {
            return false;
        }
        let at_most = self.shaper.as_mut().map_or(INPUT_BYTES, |shaper| shaper.allowance(now));
        match self.transport.poll_read(context, scratch, at_most) {
            Poll::Pending => return false,
            Poll::Ready(Ok(input)) => {
                let (wire, ended) = (input.wire, input.ended);
                self.account_for(wire, now);
                self.finish_handshake();
                self.feed(input.text, now);
                if ended {
                    self.become_deaf();
                }
            }
            Poll::Ready(Err(error)) => self.lose(&error, context, scratch, now),
        }
        true
    }

    fn wants_to_read(&self) -> bool {
        // What is not taken from the peer before a stop is not acknowledged either.
        let may_hear = self.hub.connections.phase() != Phase::Quieting;
        let has_ears = may_hear && self.state == State::Open && self.work.is_none();
        let understands = self.stream.wants_input() || self.transport.is_handshaking();
        has_ears && understands && self.deadlines.resume.is_none() && self.outgoing.bytes() <= MAX_UNSENT
    }

    fn resume_waiting(&mut self, now: Instant) -> bool {
        if self.work.is_some() || !self.stream.wants_input() {
            return false;
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.feed(&waiting, now);
        true
    }

    fn account_for(&mut self, wire: usize, now: Instant) {
        self.deadlines.heard(now);
        if let Some(shaper) = &mut self.shaper {
            self.deadlines.resume = shaper.take(wire, now);
        }
    }

    /// Lets the stream take input until it asks for something that takes a while.
    fn feed(&mut self, text: &[u8], now: Instant) {
        let mut rest = text;
        while self.work.is_none() {
            let mut out = String::new();
            let action = self.stream.advance(&self.hub.events, &mut rest, &mut out);
            self.outgoing.push(Piece::Text(out));
            match action {
                Some(action) => self.act(action, now),
                None => break,
            }
        }
        if !rest.is_empty() && !self.stream.is_closed() {
            self.waiting = rest.to_vec();
        }
    }

    /// TLS has told who is there; the stream begins anew under it.
    fn finish_handshake(&mut self) {
        if self.deadlines.handshake.is_none() {
            return;
        }
        if let Some(facts) = self.transport.take_tls_facts() {
            self.deadlines.handshake = None;
            self.stream.tls_started(facts);
        }
    }

    /// The peer has closed its connection, with or without a word.
    fn become_deaf(&mut self) {
        if matches!(self.state, State::Open | State::StartingTls) {
            self.state = State::Deaf;
        }
    }

    fn lose(
        &mut self,
        error: &TransportError,
        context: &mut Context<'_>,
        scratch: &mut Scratch,
        now: Instant,
    ) {
        tracing::debug!(peer = %self.peer, jid = self.jid(), "{error}");
        if let TransportError::WebSocket(fault) = error
            && let Some(error) = fault.stream_error().filter(|_| !self.stream.is_closing())
        {
            return self.close(Some(&error), now);
        }
        if matches!(error, TransportError::Tls(_)) {
            // An alert tells the peer why; it is small enough to be sent now or never.
            let _ = self.transport.poll_flush(context, scratch, &mut self.outgoing);
            self.transport.shut_down_writing(context);
        }
        self.break_off();
    }
}
