//! A peer behind BOSH: polled like a socket, by the same task. What it says comes in requests, what it is told goes
//! into their answers, and the times of BOSH are kept here.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

use super::outgoing::{Outgoing, Piece};
use super::transport::Flush;
use super::websocket::Received;
use crate::stream::bosh::{BoshSession, Speech};

/// One BOSH session, from the stream's side. Its drop ends the session.
pub struct Bosh {
    session: Arc<BoshSession>,
    timer: Pin<Box<Sleep>>,
}

impl Bosh {
    /// Needs a runtime with timers.
    pub fn new(session: Arc<BoshSession>) -> Self {
        Self { session, timer: Box::pin(tokio::time::sleep_until(Instant::now().into())) }
    }

    /// Reads what one request says.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>, input: &mut Vec<u8>) -> Poll<Received> {
        let mut state = self.session.for_task(context);
        if let Some(spoken) = state.read() {
            input.extend_from_slice(spoken.text.as_bytes());
            return Poll::Ready(Received { wire: spoken.wire, ended: false });
        }
        match state.is_over() {
            true => Poll::Ready(Received { wire: 0, ended: true }),
            false => Poll::Pending,
        }
    }

    /// Answers requests with what is queued. What nobody has asked for yet stays in the queue.
    pub(super) fn poll_flush(
        &mut self,
        context: &mut Context<'_>,
        outgoing: &mut Outgoing,
    ) -> io::Result<Flush> {
        let unsent = outgoing.bytes();
        loop {
            let now = Instant::now();
            let mut state = self.session.for_task(context);
            if !outgoing.is_empty() && !state.is_over() && state.may_speak(outgoing.bytes()) {
                state.say(speech(outgoing), now);
            }
            let Some(next) = state.pass_time(now) else { return Err(io::ErrorKind::TimedOut.into()) };
            drop(state);
            if self.poll_timer(context, next).is_pending() {
                break;
            }
        }
        Ok(Flush { complete: outgoing.is_empty(), progress: outgoing.bytes() < unsent })
    }

    fn poll_timer(&mut self, context: &mut Context<'_>, next: Option<Instant>) -> Poll<()> {
        let Some(next) = next else { return Poll::Pending };
        if self.timer.deadline() != next.into() {
            self.timer.as_mut().reset(next.into());
        }
        self.timer.as_mut().poll(context)
    }

    /// Nothing more is read either: after the last answer no client asks again.
    pub(super) fn shut_down_writing(&mut self, context: &mut Context<'_>) {
        self.session.for_task(context).finish();
    }
}

impl Drop for Bosh {
    fn drop(&mut self) {
        self.session.end();
    }
}

fn speech(outgoing: &mut Outgoing) -> Speech {
    let mut speech = Speech::default();
    while let Some(piece) = outgoing.encrypt_within(usize::MAX) {
        match piece {
            Piece::Stanza(stanza) => speech.stanza(stanza.as_str()),
            Piece::Text(text) => speech.text(text),
        }
    }
    outgoing.encrypted_is_out();
    speech
}
