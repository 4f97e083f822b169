//! Everything that a connection waits for at most so long, behind a single timer.
//!
//! The timer is set to the earliest deadline and never moved back when that one goes: it then fires for nothing, once,
//! and is set anew. So traffic on a connection touches no timer at all.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

/// What the times of a connection depend on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Intervals {
    /// Silence of the peer before it is sent white space.
    pub keepalive: Option<Duration>,
    /// Silence of the peer before its stream ends.
    pub idle: Option<Duration>,
    /// When stream management has something to do.
    pub management: Option<Instant>,
}

/// A deadline that has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    /// The stream was not bound in time.
    Negotiation,
    /// The TLS handshake was not complete in time.
    Handshake,
    /// The peer has not taken what we wrote to it.
    Write,
    /// The peer has not closed its side.
    Close,
    /// What remains to be done after the connection was not done in time.
    Farewell,
    /// The peer has been silent for too long.
    Idle,
    /// The peer has been silent for a while.
    Keepalive,
    /// Stream management has something to do; it looks itself what, and sets its deadline anew.
    Management,
    /// The shaper's pause is over.
    Resume,
}

/// The deadlines of one connection.
pub(super) struct Deadlines {
    pub negotiation: Option<Instant>,
    pub handshake: Option<Instant>,
    pub write: Option<Instant>,
    pub close: Option<Instant>,
    pub farewell: Option<Instant>,
    pub resume: Option<Instant>,
    /// Since when the peer is silent.
    heard: Instant,
    /// When white space was sent since then.
    kept_alive: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl Deadlines {
    pub(super) fn new(now: Instant, negotiation: Duration) -> Self {
        let end = now + negotiation;
        Self {
            negotiation: Some(end),
            handshake: None,
            write: None,
            close: None,
            farewell: None,
            resume: None,
            heard: now,
            kept_alive: None,
            timer: Box::pin(tokio::time::sleep_until(end.into())),
        }
    }

    /// The peer has sent something.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.kept_alive = None;
    }

    /// When the peer has sent something last.
    pub(super) fn heard_at(&self) -> Instant {
        self.heard
    }

    /// The first deadline that has passed, which is thereby over. Silence only counts on a bound stream.
    pub(super) fn expired(&mut self, now: Instant, silence: Option<&Intervals>) -> Option<Expired> {
        let single = [
            (&mut self.farewell, Expired::Farewell),
            (&mut self.close, Expired::Close),
            (&mut self.write, Expired::Write),
            (&mut self.handshake, Expired::Handshake),
            (&mut self.negotiation, Expired::Negotiation),
            (&mut self.resume, Expired::Resume),
        ];
        for (deadline, what) in single {
            if deadline.is_some_and(|end| end <= now) {
                *deadline = None;
                return Some(what);
            }
        }
        let silence = silence?;
        if silence.management.is_some_and(|end| end <= now) {
            return Some(Expired::Management);
        }
        if self.idle_end(silence).is_some_and(|end| end <= now) {
            self.heard(now);
            return Some(Expired::Idle);
        }
        if self.keepalive_end(silence).is_some_and(|end| end <= now) {
            self.kept_alive = Some(now);
            return Some(Expired::Keepalive);
        }
        None
    }

    /// Wakes the task at the earliest deadline. `Ready`: one has passed already.
    pub(super) fn poll_timer(&mut self, context: &mut Context<'_>, silence: Option<&Intervals>) -> Poll<()> {
        let Some(next) = self.next(silence) else { return Poll::Pending };
        if next < self.timer.deadline().into_std() {
            self.timer.as_mut().reset(next.into());
        }
        ready!(self.timer.as_mut().poll(context));
        // It fired for a deadline that has gone meanwhile, or for the one that is left.
        self.timer.as_mut().reset(next.into());
        self.timer.as_mut().poll(context)
    }

    fn next(&self, silence: Option<&Intervals>) -> Option<Instant> {
        let single = [self.farewell, self.close, self.write, self.handshake, self.negotiation, self.resume];
        let silent = silence.and_then(|silence| {
            [self.idle_end(silence), self.keepalive_end(silence), silence.management]
                .into_iter()
                .flatten()
                .min()
        });
        single.into_iter().flatten().chain(silent).min()
    }

    fn idle_end(&self, silence: &Intervals) -> Option<Instant> {
        Some(self.heard + silence.idle?)
    }

    fn keepalive_end(&self, silence: &Intervals) -> Option<Instant> {
        Some(self.kept_alive.unwrap_or(self.heard) + silence.keepalive?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn silence(keepalive: u64, idle: u64) -> Intervals {
        let seconds = |count| (count > 0).then(|| Duration::from_secs(count));
        Intervals { keepalive: seconds(keepalive), idle: seconds(idle), management: None }
    }

    #[tokio::test]
    async fn silence_brings_white_space_again_and_again_and_then_the_end() {
        let now = Instant::now();
        let mut deadlines = Deadlines::new(now, 100 * SECOND);
        let silence = silence(10, 35);
        let mut seen = Vec::new();
        for second in 0..=40 {
            if let Some(expired) = deadlines.expired(now + second * SECOND, Some(&silence)) {
                seen.push((second, expired));
            }
        }
        use Expired::{Idle, Keepalive};
        assert_eq!(seen, [(10, Keepalive), (20, Keepalive), (30, Keepalive), (35, Idle)]);
    }

    #[tokio::test]
    async fn hearing_from_the_peer_starts_the_silence_anew() {
        let now = Instant::now();
        let mut deadlines = Deadlines::new(now, 100 * SECOND);
        deadlines.heard(now + 9 * SECOND);
        assert_eq!(deadlines.expired(now + 18 * SECOND, Some(&silence(10, 0))), None);
        let expired = deadlines.expired(now + 19 * SECOND, Some(&silence(10, 0)));
        assert_eq!(expired, Some(Expired::Keepalive));
    }

    #[tokio::test]
    async fn each_deadline_passes_once() {
        let now = Instant::now();
        let mut deadlines = Deadlines::new(now, SECOND);
        assert_eq!(deadlines.expired(now + 2 * SECOND, None), Some(Expired::Negotiation));
        assert_eq!(deadlines.expired(now + 2 * SECOND, None), None);
    }

    #[tokio::test]
    async fn the_timer_follows_an_earlier_deadline_and_ignores_one_that_has_gone() {
        let now = Instant::now();
        let mut deadlines = Deadlines::new(now, 1000 * SECOND);
        deadlines.close = Some(now + Duration::from_millis(5));
        std::future::poll_fn(|context| deadlines.poll_timer(context, None)).await;
        assert_eq!(deadlines.expired(Instant::now(), None), Some(Expired::Close));

        deadlines.close = Some(Instant::now() + Duration::from_millis(1));
        let mut polls = 0;
        std::future::poll_fn(|context| {
            polls += 1;
            if polls == 1 {
                let _ = deadlines.poll_timer(context, None);
                deadlines.close = Some(Instant::now() + Duration::from_millis(20));
            }
            deadlines.poll_timer(context, None)
        })
        .await;
        assert_eq!(deadlines.expired(Instant::now(), None), Some(Expired::Close));
        assert!(polls >= 2, "the task was woken for the earlier time and slept on");
    }
}
