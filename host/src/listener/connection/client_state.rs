//! Client state on one connection (XEP-0352): what can wait is held back while nobody looks at the client.
//!
//! A client that never says that it is inactive owns nothing of this. A resumed session begins as active.

use std::time::Instant;

use super::Connection;
use crate::listener::hub::Inward;
use crate::stanza::Stanza;
use crate::stream::management::ClientState;

impl<E: Inward> Connection<E> {
    pub(super) fn change_client_state(&mut self, state: ClientState, now: Instant) {
        if let Some(session) = &self.session {
            self.hub.events.client_state(session, state);
        }
        match state {
            ClientState::Active => self.end_client_state(now),
            ClientState::Inactive => {
                self.held.get_or_insert_default();
            }
        }
    }

    /// Sends what was held back, and holds back nothing any more.
    pub(super) fn end_client_state(&mut self, now: Instant) {
        for stanza in self.take_held() {
            self.send_stanza(stanza, now);
        }
    }

    /// What was held back, for somebody else.
    pub(super) fn take_held(&mut self) -> Vec<Stanza> {
        self.held.take().map_or_else(Vec::new, |mut held| held.flush())
    }

    pub(super) fn send_or_hold(&mut self, stanza: Stanza, now: Instant) {
        let Some(held) = &mut self.held else { return self.send_stanza(stanza, now) };
        let at_most = self.settings.client_state.queue_items;
        for stanza in held.take(stanza, at_most) {
            self.send_stanza(stanza, now);
        }
    }
}
