//! How long each session has been silent, on a clock that the module's timer moves.

use std::collections::HashMap;
use std::time::Duration;

/// Silence of sessions by their full JIDs. Times are milliseconds of the module's own clock, which begins at zero: so a
/// time may be negative, when the silence began before the module did.
#[derive(Debug, Default)]
pub struct Silence {
    now: i64,
    sessions: HashMap<String, Session>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Session {
    heard: i64,
    /// A ping is under way.
    asked: bool,
}

impl Silence {
    /// The session said something.
    pub fn heard_from(&mut self, jid: &str) {
        let session = Session { heard: self.now, asked: false };
        match self.sessions.get_mut(jid) {
            Some(known) => *known = session,
            None => {
                self.sessions.insert(jid.to_owned(), session);
            }
        }
    }

    /// The session answered, or is not worth another ping yet; unless it has gone.
    pub fn answered(&mut self, jid: &str) {
        if let Some(session) = self.sessions.get_mut(jid) {
            *session = Session { heard: self.now, asked: false };
        }
    }

    /// The session ended.
    pub fn forget(&mut self, jid: &str) {
        self.sessions.remove(jid);
    }

    /// Time went by.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now.saturating_add(millis(time));
    }

    /// Sessions that have been silent so long and are not being asked; at most so many are asked at a time. They count
    /// as asked from here on.
    pub fn due(&mut self, silent_for: Duration, at_once: usize) -> Vec<String> {
        let asked = self.sessions.values().filter(|s| s.asked).count();
        let latest = self.now.saturating_sub(millis(silent_for));
        let due = self.sessions.iter_mut().filter(|(_, s)| !s.asked && s.heard <= latest);
        let chosen = due.take(at_once.saturating_sub(asked));
        chosen
            .map(|(jid, session)| {
                session.asked = true;
                jid.clone()
            })
            .collect()
    }

    /// Each session with the milliseconds of its silence.
    pub fn to_state(&self) -> Vec<(&str, i64)> {
        self.sessions.iter().map(|(jid, s)| (jid.as_str(), self.now.saturating_sub(s.heard))).collect()
    }

    /// The same in the next generation. Pings that were under way are asked again.
    pub fn from_state(state: Vec<(String, i64)>) -> Self {
        let session = |silent: i64| Session { heard: silent.max(0).saturating_neg(), asked: false };
        Self { now: 0, sessions: state.into_iter().map(|(jid, silent)| (jid, session(silent))).collect() }
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn who_is_silent_long_enough_is_due_once() {
        let mut silence = Silence::default();
        silence.heard_from("a");
        silence.pass(MINUTE / 2);
        silence.heard_from("b");
        silence.pass(MINUTE / 2);
        assert_eq!(silence.due(MINUTE, 10), ["a"]);
        assert!(silence.due(MINUTE, 10).is_empty());
        silence.answered("a");
        silence.answered("gone");
        assert_eq!(silence.sessions.len(), 2);
    }

    #[test]
    fn only_so_many_are_asked_at_a_time() {
        let mut silence = Silence::default();
        ["a", "b", "c"].into_iter().for_each(|jid| silence.heard_from(jid));
        silence.pass(MINUTE);
        assert_eq!(
            (silence.due(MINUTE, 2).len(), silence.due(MINUTE, 2).len(), silence.due(MINUTE, 3).len()),
            (2, 0, 1)
        );
    }

    #[test]
    fn silence_goes_on_in_the_next_generation() {
        let mut silence = Silence::default();
        silence.heard_from("a");
        silence.pass(MINUTE / 2);
        let state: Vec<(String, i64)> =
            silence.to_state().into_iter().map(|(j, s)| (j.to_owned(), s)).collect();
        let mut next = Silence::from_state(state);
        assert!(next.due(MINUTE, 10).is_empty());
        next.pass(MINUTE / 2);
        assert_eq!(next.due(MINUTE, 10), ["a"]);
    }
}
