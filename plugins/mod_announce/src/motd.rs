//! The message of the day: everybody sees it once, at the first login after it was set.

use crate::Announce;
use moult_plugin_api::hooks::PresenceChanged;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::Op;
use moult_plugin_api::sdk::hooks::Notice;
use moult_plugin_api::sdk::store::KeyVal;
use moult_plugin_api::serde::{Deserialize, Serialize};
use std::sync::Arc;

const CURRENT: &str = "current";

/// A message of the day. Its id tells it from those before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
pub struct Motd {
    pub id: String,
    pub subject: String,
    pub body: String,
}

/// The message that holds.
pub fn stored(host: &Host) -> Op<Option<Motd>> {
    host.keyval("motd").get_json(CURRENT)
}

/// The id of the message that each account has seen last.
pub fn seen(host: &Host) -> KeyVal {
    host.keyval("seen")
}

/// An announcement as it is sent.
pub fn stanza(kind: &str, subject: &str, body: &str) -> Element {
    let message = Element::new("message").with_attr("type", kind);
    let message = if subject.is_empty() {
        message
    } else {
        message.with_child(Element::new("subject").with_text(subject))
    };
    message.with_child(Element::new("body").with_text(body))
}

impl Announce {
    pub(crate) async fn set_motd(&self, motd: Option<Motd>) -> Result<(), HostError> {
        let store = self.host.keyval("motd");
        match &motd {
            Some(motd) => store.set_json(CURRENT, motd).await?,
            None => store.delete(CURRENT).await?,
        }
        *self.motd() = motd.map(Arc::new);
        Ok(())
    }

    /// Somebody has become available.
    pub(crate) fn presence(self: &Arc<Self>, presence: &Notice<'_, PresenceChanged>) -> Soon<Chain> {
        let what = &presence.what;
        if !what.available || what.was_available || what.priority < 0 {
            return Chain::Continue.into();
        }
        let Some(motd) = self.motd().clone() else { return Chain::Continue.into() };
        let (this, jid) = (Arc::clone(self), presence.jid.borrowed().into_owned());
        Soon::later(async move {
            if let Err(error) = this.show(&motd, &jid).await {
                warn!(this.host.about(&jid), "the message of the day was not shown: {error}");
            }
            Chain::Continue
        })
    }

    async fn show(&self, motd: &Motd, jid: &Jid<'_>) -> Result<(), HostError> {
        let (store, account) = (seen(&self.host), jid.bare());
        if store.get(account.as_str()).await?.as_deref() == Some(motd.id.as_bytes()) {
            return Ok(());
        }
        store.set(account.as_str(), motd.id.as_bytes()).await?;
        let Ok(vhost) = Jid::parse(self.host.vhost()) else { return Ok(()) };
        self.host.route_element(&vhost, jid, &stanza("headline", &motd.subject, &motd.body))
    }
}
