//! Contacts by invitation (XEP-0379): a subscription request with a token is granted and returned in the inviter's place.

use crate::invite::Invite;
use crate::{Invites, PARS};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::now_ms;
use moult_plugin_api::sdk::hooks::SubscriptionPacket;
use moult_plugin_api::serde_json::{Value, json};
use std::sync::Arc;

impl Invites {
    /// The hook `subscription_packet`. A token that is unknown, expired or another's changes nothing (XEP-0379 4.1).
    pub(crate) fn subscription(self: &Arc<Self>, packet: &SubscriptionPacket<'_>) -> Soon<Taken> {
        let stanza = &packet.stanza;
        if packet.outbound || !contains(stanza.bytes(), PARS.as_bytes()) {
            return Soon::Now(Taken::No);
        }
        if stanza.type_attr().as_deref() != Some("subscribe") {
            return Soon::Now(Taken::No);
        }
        let token =
            stanza.element().ok().and_then(|element| element.subtag_ns("preauth", PARS)?.attr("token"));
        let Some(token) = token.map(str::to_owned) else { return Soon::Now(Taken::No) };
        let (inviter, contact) = (stanza.to().bare().into_owned(), stanza.from().bare().into_owned());
        let Some(invite) = self.take(&token, &inviter, &contact) else { return Soon::Now(Taken::No) };
        let this = Arc::clone(self);
        Soon::later(async move { this.grant(&token, invite, &inviter, &contact).await })
    }

    /// A token is used by the first request that shows it.
    fn take(&self, token: &str, inviter: &Jid<'_>, contact: &Jid<'_>) -> Option<Invite> {
        let mut book = self.book();
        let invite = book.valid(token, now_ms())?.clone();
        if !invite.makes_contact() || *inviter != invite.inviter.as_str() || book.is_taken(token) {
            return None;
        }
        book.put(token, Invite { invitee: contact.as_str().to_owned(), ..invite.clone() });
        Some(invite)
    }

    async fn grant(&self, token: &str, invite: Invite, inviter: &Jid<'_>, contact: &Jid<'_>) -> Taken {
        let used = Invite { invitee: contact.as_str().to_owned(), ..invite.clone() };
        let done = match self.store().set_json(token, &used).await {
            Ok(()) => self.subscribe_both(inviter, contact).await,
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            // The user is asked, as without a token.
            warn!(self.host.about(inviter), "an invited contact was not added: {error}");
            return Taken::No;
        }
        self.host.count("contacts", 1);
        Taken::Yes
    }

    /// XEP-0379 section 3.5. The contact may be anywhere: its own server says whether it grants the request in return.
    async fn subscribe_both(&self, inviter: &Jid<'_>, contact: &Jid<'_>) -> Result<(), HostError> {
        self.add(inviter, contact).await?;
        for kind in ["subscribed", "subscribe"] {
            let presence = Element::new("presence").with_attr("type", kind);
            self.host.route_element(inviter, contact, &presence)?;
        }
        Ok(())
    }

    /// Both are accounts here and have agreed: one by inviting, the other by making the account (XEP-0401 section 4.5).
    pub(crate) fn introduce(&self, inviter: &str, account: &str) {
        let (Ok(inviter), Ok(account)) = (Jid::parse(inviter), Jid::parse(account)) else { return };
        let (host, this) = (self.host.clone(), self.adder());
        let spawned = self.host.spawn(async move {
            for (owner, contact) in [(&account, &inviter), (&inviter, &account)] {
                if let Err(error) = this.add(owner, contact).await {
                    warn!(host.about(owner), "{contact} was not added to the roster: {error}");
                }
            }
        });
        if let Err(error) = spawned {
            warn!(self.host, "an inviter and an invited were not introduced: {error}");
        }
    }

    async fn add(&self, owner: &Jid<'_>, contact: &Jid<'_>) -> Result<(), HostError> {
        self.adder().add(owner, contact).await
    }

    fn adder(&self) -> Adder {
        Adder(self.host.clone())
    }
}

/// Writes contacts by the commands of mod_roster.
struct Adder(Host);

impl Adder {
    /// What the owner has called the contact before stays.
    async fn add(&self, owner: &Jid<'_>, contact: &Jid<'_>) -> Result<(), HostError> {
        let account = json!({"user": owner.localpart(), "host": owner.domain()});
        let roster = self.0.run_command("get_roster", &account).await?;
        let before = roster.as_array().into_iter().flatten().find(|item| item["jid"] == contact.as_str());
        let text = |field: &str| before.and_then(|item| item[field].as_str()).unwrap_or_default().to_owned();
        let groups = before.and_then(|item| item["groups"].as_array());
        let groups: Vec<&str> = groups.into_iter().flatten().filter_map(Value::as_str).collect();
        let args = json!({
            "localuser": owner.localpart(),
            "localhost": owner.domain(),
            "user": contact.localpart().unwrap_or_default(),
            "host": contact.domain(),
            "nick": text("nick"),
            "groups": groups,
            "subs": "both",
        });
        self.0.run_command("add_rosteritem", &args).await.map(drop)
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
