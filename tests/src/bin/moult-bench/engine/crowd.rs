//! Users who are logged in.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::login::Logins;
use super::{Engine, Id, LoginPlan};
use crate::error::BenchError;

/// Users of one server, logged in as resource `bench`.
#[derive(Debug, Default)]
pub struct Crowd {
    /// Connection of each user.
    pub ids: Vec<Id>,
    /// Full JID of each user.
    pub jids: Vec<String>,
    /// How long each login took, from connecting to the bound resource.
    pub durations: Vec<Duration>,
}

/// Logins underway at the same time.
const IN_FLIGHT: usize = 16;
const STALL: Duration = Duration::from_secs(20);

impl Crowd {
    /// Logs users in.
    pub fn log_in(engine: &mut Engine, plan: &LoginPlan, users: Range<usize>) -> Result<Crowd, BenchError> {
        let mut logins = Logins::new(plan);
        let (mut waiting, count) = (users.clone(), users.len());
        let mut last_progress = (0, Instant::now());
        while logins.finished.len() + logins.failures.len() < count {
            while logins.underway() < IN_FLIGHT
                && let Some(user) = waiting.next()
            {
                let since = Instant::now();
                let tls = plan.tls.clone().map(|config| (config, plan.domain.as_str()));
                let id = engine.connect(plan.address, tls)?;
                logins.begin(id, user, since, engine.outbox());
            }
            engine.turn(Duration::from_secs(1), &mut logins)?;
            if logins.finished.len() > last_progress.0 {
                last_progress = (logins.finished.len(), Instant::now());
            } else if last_progress.1.elapsed() > STALL {
                return Err(BenchError::Stalled { what: "logging in", seconds: STALL.as_secs() });
            }
        }
        if let Some(reason) = logins.failures.first() {
            return Err(BenchError::Login { count: logins.failures.len(), reason: reason.clone() });
        }
        Ok(Crowd::from_finished(logins.finished))
    }

    fn from_finished(mut finished: Vec<(Id, usize, String, Duration)>) -> Crowd {
        finished.sort_by_key(|(_, user, _, _)| *user);
        let mut crowd = Crowd::default();
        for (id, _, jid, duration) in finished {
            crowd.ids.push(id);
            crowd.jids.push(jid);
            crowd.durations.push(duration);
        }
        crowd
    }

    /// Sends initial presence for everybody.
    pub fn become_available(&self, engine: &mut Engine) {
        for &id in &self.ids {
            engine.outbox().send(id, b"<presence/>");
        }
    }
}
