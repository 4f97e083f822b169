//! Storing what passes.

use crate::rules::{is_archived, with_id, without_ids_by};
use crate::{Mam, STANZA_ID};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::now_ms;
use std::sync::Arc;

/// A message on its way, and in whose archive it belongs.
struct Passing {
    owner: Jid<'static>,
    peer: Jid<'static>,
    from: Jid<'static>,
    to: Jid<'static>,
    message: Element,
    /// Whether the message has been changed already.
    changed: bool,
}

impl Mam {
    /// What an account sends, into its own archive.
    pub(crate) fn sent(self: &Arc<Self>, stanza: &Stanza<'_>) -> Soon<Packet> {
        if !is_message(stanza) {
            return Packet::Pass.into();
        }
        let owner = stanza.from().bare().into_owned();
        // A message without addressee is one to the own account (RFC 6120 10.3.1).
        let peer = if stanza.to().is_empty() { owner.clone() } else { stanza.to().bare().into_owned() };
        self.pass(stanza, owner, peer, false)
    }

    /// What an account gets, into its archive, once for all its resources.
    pub(crate) fn received(self: &Arc<Self>, stanza: &Stanza<'_>) -> Soon<Packet> {
        let own = stanza.to().localpart().is_some() && stanza.to().domain() == self.host.vhost();
        if !own || !is_message(stanza) || stanza.from().bare() == stanza.to().bare() {
            // What one sends to oneself was stored when it was sent.
            return Packet::Pass.into();
        }
        self.pass(stanza, stanza.to().bare().into_owned(), stanza.from().bare().into_owned(), true)
    }

    fn pass(
        self: &Arc<Self>,
        stanza: &Stanza<'_>,
        owner: Jid<'static>,
        peer: Jid<'static>,
        inbound: bool,
    ) -> Soon<Packet> {
        let Ok(message) = stanza.element() else { return Packet::Pass.into() };
        let marked = message.elements().any(|e| e.is("stanza-id", STANZA_ID));
        let is_archived = is_archived(message);
        if !marked && !is_archived {
            return Packet::Pass.into();
        }
        let mut message = message.clone();
        let mut changed = without_ids_by(&mut message, &owner);
        if inbound && peer.domain() == self.host.vhost() {
            // The id in the sender's archive is of no use to the recipient.
            changed |= without_ids_by(&mut message, &peer);
        }
        if !is_archived {
            return if changed { Packet::replace(&message) } else { Packet::Pass }.into();
        }
        let (from, to) = (stanza.from().clone().into_owned(), stanza.to().clone().into_owned());
        let passing = Passing { owner, peer, from, to, message, changed };
        let this = Arc::clone(self);
        Soon::later(async move { this.keep(passing, inbound).await })
    }

    async fn keep(&self, passing: Passing, inbound: bool) -> Packet {
        let unchanged = |passing: &Passing| {
            if passing.changed { Packet::replace(&passing.message) } else { Packet::Pass }
        };
        if !self.wants(&passing.owner, &passing.peer).await || (inbound && !self.exists(&passing.owner).await)
        {
            return unchanged(&passing);
        }
        let to = if passing.to.is_empty() { &passing.owner } else { &passing.to };
        let stored = passing
            .message
            .clone()
            .with_ns(ns::CLIENT)
            .with_attr("from", passing.from.as_str())
            .with_attr("to", to.as_str());
        let (owner, peer) = (passing.owner.as_str(), passing.peer.as_str());
        match self.archive().append(owner, peer, now_ms(), &stored.to_bytes()).await {
            Ok(id) => {
                self.host.count("archived", 1);
                let Passing { owner, message, .. } = passing;
                Packet::replace(&with_id(message, &owner, &id))
            }
            Err(error) => {
                error!(self.host.about(&passing.owner), "a message was not archived: {error}");
                unchanged(&passing)
            }
        }
    }

    /// Whether there is such an account: anybody can write to any name.
    async fn exists(&self, account: &Jid<'_>) -> bool {
        match self.host.sessions_of(account).await {
            Ok(sessions) if !sessions.is_empty() => true,
            _ => self.host.account_exists(account).await.unwrap_or(false),
        }
    }
}

fn is_message(stanza: &Stanza<'_>) -> bool {
    stanza.bytes().starts_with(b"<message")
}
