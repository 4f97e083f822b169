//! Presence state of one session: what it last announced, and whom it told directly (RFC 6121 section 4).
//!
//! This file keeps state; who must be told of a change is the router's business.

use std::collections::BTreeSet;

use crate::stanza::{Jid, Stanza};

/// Sub-state of an available resource (RFC 6121 section 4.7.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Show {
    /// No `<show/>`: simply online.
    #[default]
    Online,
    /// Actively interested in chatting.
    Chat,
    /// Away for a short time.
    Away,
    /// Away for an extended period.
    ExtendedAway,
    /// Do not disturb.
    DoNotDisturb,
}

impl Show {
    /// The text of `<show/>`; an unknown one counts as none, as the RFC allows nothing else.
    pub fn parse(text: &str) -> Self {
        match text {
            "chat" => Self::Chat,
            "away" => Self::Away,
            "xa" => Self::ExtendedAway,
            "dnd" => Self::DoNotDisturb,
            _ => Self::Online,
        }
    }

    /// The word of the standard, `available` for none (as ejabberd prints it).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "available",
            Self::Chat => "chat",
            Self::Away => "away",
            Self::ExtendedAway => "xa",
            Self::DoNotDisturb => "dnd",
        }
    }
}

/// An available resource's last broadcast presence.
#[derive(Clone, Debug)]
pub struct Presence {
    /// The whole stanza, stamped with the full JID.
    pub stanza: Stanza,
    /// Its priority (RFC 6121 section 4.7.2.3).
    pub priority: i8,
    /// Its `<show/>`.
    pub show: Show,
    /// Its first `<status/>`, empty without one.
    pub status: String,
}

/// How a change of directed presence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directed {
    /// The list holds the entity.
    Kept,
    /// The list is full; the presence must not be sent, because its end could not be.
    Refused,
}

/// What a session leaves to be announced when it ends or becomes unavailable.
#[derive(Clone, Debug, Default)]
pub struct Farewell {
    /// Its last available presence: own resources and contacts must be told. `None`: it was not available.
    pub presence: Option<Presence>,
    /// Entities with directed presence, to be told each.
    pub directed: Vec<Jid>,
}

/// The mutable part of a session.
#[derive(Debug, Default)]
pub(super) struct PresenceState {
    current: Option<Presence>,
    directed: BTreeSet<Jid>,
    /// The farewell was taken for good: a late presence must not bring the session back.
    ended: bool,
}

/// The session has ended meanwhile; its presence counts no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEnded;

impl PresenceState {
    /// Gives the previous presence.
    pub fn replace(&mut self, presence: Presence) -> Result<Option<Presence>, SessionEnded> {
        if self.ended {
            return Err(SessionEnded);
        }
        Ok(self.current.replace(presence))
    }

    pub fn end(&mut self) -> Farewell {
        self.ended = true;
        self.take()
    }

    pub fn current(&self) -> Option<&Presence> {
        self.current.as_ref()
    }

    pub fn take(&mut self) -> Farewell {
        let directed = std::mem::take(&mut self.directed);
        Farewell { presence: self.current.take(), directed: directed.into_iter().collect() }
    }

    pub fn keep_directed(&mut self, entity: &Jid, limit: usize) -> Directed {
        if self.directed.contains(entity) {
            return Directed::Kept;
        }
        if self.ended || self.directed.len() >= limit {
            return Directed::Refused;
        }
        self.directed.insert(entity.clone());
        Directed::Kept
    }

    pub fn drop_directed(&mut self, entity: &Jid) -> bool {
        self.directed.remove(entity)
    }

    /// Whether the entity itself, or the account it belongs to, was told.
    pub fn has_directed(&self, entity: &Jid) -> bool {
        self.directed.contains(entity) || (!entity.is_bare() && self.directed.contains(&entity.bare()))
    }
}
