//! vCards (XEP-0054), and the hash of their picture in presence (XEP-0153).
//!
//! Everybody may read an account's vCard, its owner alone sets it. An account without one answers others as an account
//! that does not exist does, so that nobody can find accounts out (XEP-0054, security considerations). The server has a
//! vCard of its own.
//!
//! With `presence_hash` the server writes the hash of the stored picture into the presences its users send (the server's
//! part of XEP-0153 as XEP-0398 has it), so that clients which know nothing of avatars announce the one that was set
//! elsewhere. Hashes are kept in a bounded table, filled as people come; vCards live in the store, so nothing is lost with
//! a swap. The vCard of an account goes with the account.

mod commands;
mod directory;
mod photo;
mod transfer;

use moult_plugin_api::hooks::AccountArgs;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::Turns;
use moult_plugin_api::sdk::element::parse_element;
use moult_plugin_api::sdk::hooks::Notice;
use moult_plugin_api::sdk::store::KeyVal;
use photo::{Hashes, with_hash};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// XEP-0054.
const NS: &str = "vcard-temp";

module_options! {
    /// Options of mod_vcard.
    pub struct Options {
        /// The longest vCard, in bytes.
        max_size: usize = 131072, kind "\"size\"", min 1024, max 1048576;
        /// Whether the hash of the picture is written into presence.
        presence_hash: bool = true, boot_only true;
        /// The server's own name in its vCard.
        name: String = "Moult";
        /// The server's page in its vCard; none where empty.
        url: String = "";
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct VCards {
    host: Host,
    options: Live<Options>,
    hashes: Mutex<Hashes>,
    /// What the store and the directory have is in the same order.
    turns: Turns,
}

impl Module for VCards {
    type Options = Options;
    const RELOADS: bool = true;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        host.on_iq(IqSpec::new(NS).no_queue(), Self::of_server)?;
        host.on_iq(IqSpec::new(NS).on_accounts().parallel_n(16), Self::of_account)?;
        host.on_user_removed(50, Self::removed)?;
        host.on_export_user(50, Self::export_user)?;
        host.on_import_user(50, Self::import_user)?;
        host.on_request("cards", Self::cards)?;
        if options.presence_hash {
            host.on_user_send_packet(50, deferred(Self::sent))?;
        }
        commands::register(host)?;
        Started::running(Self {
            host: host.clone(),
            options: Live::new(options),
            hashes: Mutex::default(),
            turns: Turns::default(),
        })
    }

    /// Whether presence is looked at is decided at the start.
    fn on_reload(&self, options: Options, changed: bool) -> Result<Reload, Stop> {
        if options.presence_hash != self.options.get().presence_hash {
            return Ok(Reload::Restart);
        }
        if changed {
            self.options.set(options);
        }
        Ok(Reload::Done)
    }
}

impl VCards {
    fn store(&self) -> KeyVal {
        self.host.keyval("vcards")
    }

    fn hashes(&self) -> MutexGuard<'_, Hashes> {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of_server(&self, iq: &Iq<'_>) -> Result<Element, StanzaError> {
        iq.require_get()?;
        let card = Element::new("vCard").with_ns(NS);
        let card = card.with_child(Element::new("FN").with_text(self.options.get().name.as_str()));
        if self.options.get().url.is_empty() {
            return Ok(card);
        }
        Ok(card.with_child(Element::new("URL").with_text(self.options.get().url.as_str())))
    }

    async fn of_account(self: Arc<Self>, iq: Iq<'static>) -> Result<IqReply, StanzaError> {
        let card = iq.payload()?;
        if card.name() != "vCard" {
            return Err(StanzaError::bad_request("the payload is no vCard"));
        }
        let own = iq.from().bare() == iq.to().bare();
        if iq.is_set() {
            if !own {
                return Err(StanzaError::forbidden("a vCard is set by its owner"));
            }
            self.write(&iq.to().bare(), card).await?;
            return Ok(().into());
        }
        match self.store().get(iq.to().bare().as_str()).await? {
            Some(bytes) => Ok(IqReply::Result(bytes.into())),
            None if own => Ok(Element::new("vCard").with_ns(NS).into()),
            None => Err(StanzaError::new(Condition::ServiceUnavailable, "")),
        }
    }

    async fn read(&self, account: &Jid<'_>) -> Result<Option<Element>, HostError> {
        let bytes = self.store().get(account.as_str()).await?;
        Ok(bytes.and_then(|bytes| parse_element(std::str::from_utf8(&bytes).ok()?).ok()))
    }

    async fn write(&self, account: &Jid<'_>, card: &Element) -> Result<(), StanzaError> {
        let bytes = card.to_bytes();
        if bytes.len() > self.options.get().max_size {
            let text = format!("a vCard has {} bytes at most", self.options.get().max_size);
            return Err(StanzaError::new(Condition::PolicyViolation, text));
        }
        let _turn = self.turns.take(account.as_str()).await;
        self.store().set(account.as_str(), &bytes).await?;
        self.hashes().set(account.as_str(), photo::hash_of(card));
        self.tell_directory(account, Some(card)).await;
        Ok(())
    }

    /// Available presence, broadcast or directed (rooms show avatars too); everything else passes untouched.
    fn sent(self: &Arc<Self>, stanza: &Stanza<'_>) -> Soon<Packet> {
        if !stanza.bytes().starts_with(b"<presence") || stanza.type_attr().is_some() {
            return Packet::Pass.into();
        }
        let known = self.hashes().get(stanza.from().bare().as_str());
        match known {
            Some(None) => Packet::Pass.into(),
            Some(Some(hash)) => with_hash(stanza, &hash).into(),
            None => {
                let (this, stanza) = (Arc::clone(self), stanza.clone().into_owned());
                Soon::later(async move { this.sent_first(&stanza).await })
            }
        }
    }

    async fn sent_first(&self, stanza: &Stanza<'_>) -> Packet {
        let account = stanza.from().bare();
        let card = match self.read(&account).await {
            Ok(card) => card,
            Err(error) => {
                debug!(self.host.about(&account), "the avatar's hash is not known: {error}");
                return Packet::Pass;
            }
        };
        let hash = card.as_ref().and_then(photo::hash_of);
        self.hashes().learn(account.as_str(), hash.clone());
        hash.map_or(Packet::Pass, |hash| with_hash(stanza, &hash))
    }

    async fn removed(self: Arc<Self>, account: Notice<'static, AccountArgs>) {
        self.hashes().set(account.jid.as_str(), None);
        if let Err(error) = self.store().delete(account.jid.as_str()).await {
            error!(self.host.about(&account.jid), "the vCard of a removed account stays: {error}");
        }
        self.tell_directory(&account.jid, None).await;
    }
}

export_module! {
    module: VCards,
    needs_minor: 2,
    xeps: ["0054" "1.3.0", "0153" "1.1.1"],
}

#[cfg(test)]
mod tests;
