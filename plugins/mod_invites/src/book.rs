//! All tokens of the vhost in memory, and which streams have shown one.

use crate::invite::Invite;
use moult_plugin_api::serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Streams that may have shown a token at the same time.
const MAX_STREAMS: usize = 10_000;
/// A stream that has not made its account after so long is forgotten when there are too many.
const STREAM_MS: i64 = 15 * 60_000;

/// Tokens and streams.
#[derive(Debug, Default)]
pub struct Book {
    invites: BTreeMap<String, Invite>,
    /// By the stream's address, as the server names it.
    pub streams: HashMap<String, Shown>,
}

/// A token that a stream has shown. It is copied, because from then on it does not expire for that stream (XEP-0445 4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
pub struct Shown {
    pub token: String,
    pub invite: Invite,
    pub at: i64,
    /// Whether an account is being made with it.
    #[serde(default)]
    pub claimed: bool,
}

impl Book {
    pub fn new(invites: BTreeMap<String, Invite>) -> Self {
        Self { invites, streams: HashMap::new() }
    }

    pub fn len(&self) -> usize {
        self.invites.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &Invite)> {
        self.invites.iter()
    }

    pub fn put(&mut self, token: &str, invite: Invite) {
        self.invites.insert(token.to_owned(), invite);
    }

    pub fn remove(&mut self, token: &str) {
        self.invites.remove(token);
    }

    /// A token that can be used.
    pub fn valid(&self, token: &str, now: i64) -> Option<&Invite> {
        self.invites.get(token).filter(|invite| invite.is_valid(now))
    }

    /// How many of an inviter's can be used.
    pub fn open(&self, inviter: &str, now: i64) -> usize {
        self.invites.values().filter(|invite| invite.inviter == inviter && invite.is_valid(now)).count()
    }

    /// Whether an invitation reserves this name.
    pub fn reserves(&self, username: &str, now: i64) -> bool {
        self.invites.values().any(|invite| invite.username == username && invite.is_valid(now))
    }

    pub fn of_inviter(&self, inviter: &str) -> Vec<String> {
        let of = self.invites.iter().filter(|(_, invite)| invite.inviter == inviter);
        of.map(|(token, _)| token.clone()).collect()
    }

    /// Tokens that had expired by then.
    pub fn expired(&self, before: i64) -> Vec<String> {
        let old = self.invites.iter().filter(|(_, invite)| invite.expires <= before);
        old.map(|(token, _)| token.clone()).collect()
    }

    /// Notes that a stream has shown a token; `false` when too many have.
    pub fn show(&mut self, stream: &str, token: &str, invite: Invite, now: i64) -> bool {
        if self.streams.len() >= MAX_STREAMS {
            self.streams.retain(|_, shown| shown.at + STREAM_MS > now);
        }
        if self.streams.len() >= MAX_STREAMS {
            return false;
        }
        let shown = Shown { token: token.to_owned(), invite, at: now, claimed: false };
        self.streams.insert(stream.to_owned(), shown);
        true
    }

    /// Whether a token has been used, or is being used by some stream.
    pub fn is_taken(&self, token: &str) -> bool {
        let is_used = self.invites.get(token).is_some_and(|invite| !invite.invitee.is_empty());
        is_used || self.streams.values().any(|shown| shown.claimed && shown.token == token)
    }
}
