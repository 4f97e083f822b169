//! Presence that manages subscriptions (RFC 6121 section 3), on either side of it. What it does to the state is in
//! [`crate::state`]; here it is stored, told to whom it concerns, and in which order.

use crate::Roster;
use crate::item::Item;
use crate::shared::{Shared, both};
use crate::state::Kind;
use moult_plugin_api::hooks::Subscription;
use moult_plugin_api::prelude::*;

/// The longest request that is kept as it came; of a longer one only the fact is.
const LONGEST_REQUEST: usize = 4096;

/// A subscription stanza between two bare JIDs.
struct Exchange<'a> {
    account: Jid<'a>,
    contact: Jid<'a>,
    kind: Kind,
    stanza: &'a Stanza<'static>,
    /// What another module adds to the roster.
    shared: Shared,
}

impl Exchange<'_> {
    /// Who sees whom because of a shared group.
    fn added(&self) -> Subscription {
        self.shared.of(self.contact.as_str()).map(|item| item.subscription).unwrap_or_default()
    }
}

impl Roster {
    /// The hook `subscription_packet`: which side this is, the addresses do not say where both are accounts of this vhost.
    pub(crate) async fn subscription(&self, stanza: &Stanza<'static>, outbound: bool) -> Taken {
        let Some(kind) = stanza.type_attr().as_deref().and_then(Kind::from_name) else { return Taken::No };
        let (account, contact) =
            if outbound { (stanza.from(), stanza.to()) } else { (stanza.to(), stanza.from()) };
        let (account, contact) = (account.bare(), contact.bare());
        if account == contact {
            // An account sees itself (section 4.2.2).
            return Taken::Yes;
        }
        let _turn = self.turns.take(account.as_str()).await;
        let shared = self.shared(account.as_str()).await;
        let exchange = Exchange { account, contact, kind, stanza, shared };
        let done = if outbound { self.outbound(&exchange).await } else { self.inbound(&exchange).await };
        if let Err(error) = done {
            error!(self.host.about(&exchange.account), "a subscription could not be changed: {error}");
            if outbound {
                self.refuse(&exchange, error.into()).await;
            }
        }
        Taken::Yes
    }

    /// Appendix A.2: stored first, then on its way, then the user's resources are told.
    async fn outbound(&self, exchange: &Exchange<'_>) -> Result<(), HostError> {
        let (account, contact) = (exchange.account.as_str(), exchange.contact.as_str());
        if exchange.kind == Kind::Subscribe && exchange.added().has_to() {
            return Ok(());
        }
        let before = self.book.item(account, contact).await?;
        let step = before.state().outbound(exchange.kind);
        let mut after = before.clone();
        after.set_state(step.state, None);
        self.note_approval(exchange.kind, step.passes, &mut after);
        if after.listed && !before.listed && self.is_full(account).await? {
            self.refuse(exchange, self.full()).await;
            return Ok(());
        }
        let version = self.write(&exchange.account, contact, (&before, &after)).await?;
        // Section 3.2.2: unavailable presence goes before the stanza after which the contact may not see it.
        if exchange.kind == Kind::Unsubscribed {
            self.tell_server(exchange, &before, &after).await?;
        }
        if step.passes {
            self.host.route(&exchange.account, &exchange.contact, exchange.stanza.bytes())?;
        }
        self.push(&exchange.account, contact, &after, &exchange.shared, version).await?;
        // Section 3.1.5: and presence goes behind the one after which the contact expects it.
        if exchange.kind != Kind::Unsubscribed {
            self.tell_server(exchange, &before, &after).await?;
        }
        Ok(())
    }

    /// Section 3.4: a permission before the request is noted and goes nowhere; a denial takes it back.
    fn note_approval(&self, kind: Kind, passes: bool, item: &mut Item) {
        let in_advance = kind == Kind::Subscribed && !passes && !item.subscription.has_from();
        if in_advance && self.options.get().pre_approval {
            item.approved = true;
            item.listed = true;
        }
        if kind == Kind::Unsubscribed {
            item.approved = false;
        }
    }

    /// Appendix A.3: stored first, then the user's resources get it, then they are told of the item.
    async fn inbound(&self, exchange: &Exchange<'_>) -> Result<(), HostError> {
        let (account, contact) = (exchange.account.as_str(), exchange.contact.as_str());
        let before = self.book.item(account, contact).await?;
        if exchange.kind == Kind::Subscribe && exchange.added().has_from() {
            return self.say_yes(exchange);
        }
        if exchange.kind == Kind::Subscribe && (before.subscription.has_from() || before.approved) {
            return self.agree(exchange, &before).await;
        }
        let step = before.state().inbound(exchange.kind);
        if !step.passes {
            return Ok(());
        }
        let mut after = before.clone();
        after.set_state(step.state, (exchange.kind == Kind::Subscribe).then(|| kept(exchange)));
        if before.is_empty() && self.has_too_many_requests(account).await? {
            info!(self.host.about(&exchange.account), "too many subscription requests; one was dropped");
            self.host.count("requests_dropped", 1);
            return Ok(());
        }
        let version = self.write(&exchange.account, contact, (&before, &after)).await?;
        self.hand_over(exchange).await?;
        self.push(&exchange.account, contact, &after, &exchange.shared, version).await?;
        self.tell_server(exchange, &before, &after).await
    }

    /// Section 3.1.3: who sees the account already, or was allowed to beforehand, is answered in its place.
    async fn agree(&self, exchange: &Exchange<'_>, before: &Item) -> Result<(), HostError> {
        let contact = exchange.contact.as_str();
        let mut after = before.clone();
        after.set_state(crate::state::State { from: true, pending_in: false, ..before.state() }, None);
        let version = self.write(&exchange.account, contact, (before, &after)).await?;
        self.say_yes(exchange)?;
        self.push(&exchange.account, contact, &after, &exchange.shared, version).await?;
        self.tell_server(exchange, before, &after).await
    }

    fn say_yes(&self, exchange: &Exchange<'_>) -> Result<(), HostError> {
        let agreement = Element::new("presence").with_attr("type", "subscribed");
        self.host.route_element(&exchange.account, &exchange.contact, &agreement)
    }

    /// A request is for people, who are where presence is; the rest is for clients that show the roster.
    async fn hand_over(&self, exchange: &Exchange<'_>) -> Result<(), HostError> {
        let among = if exchange.kind == Kind::Subscribe { Among::Available } else { Among::Interested };
        let stanza = addressed(exchange);
        self.host.deliver(&exchange.account, among, &stanza).await?;
        Ok(())
    }

    async fn tell_server(
        &self,
        exchange: &Exchange<'_>,
        before: &Item,
        after: &Item,
    ) -> Result<(), HostError> {
        let with_added = |item: &Item| both(item.subscription, exchange.added());
        if with_added(before) == with_added(after) {
            return Ok(());
        }
        self.host.contact_changed(&exchange.account, &exchange.contact, with_added(after)).await
    }

    /// The bare JID is all that is left of the sender: all its resources may have asked.
    async fn refuse(&self, exchange: &Exchange<'_>, error: StanzaError) {
        let reply = Element::new("presence")
            .with_attr("type", "error")
            .with_attr("from", exchange.contact.as_str())
            .with_attr("to", exchange.account.as_str())
            .with_child(error.to_element());
        let reply = match exchange.stanza.id() {
            Some(id) => reply.with_attr("id", id),
            None => reply,
        };
        if let Err(error) = self.host.deliver(&exchange.account, Among::Connected, &reply).await {
            warn!(self.host.about(&exchange.account), "a refusal could not be delivered: {error}");
        }
    }

    /// RFC 6121 section 2.5.2: what the contact is told when it is taken out of the roster.
    pub(crate) fn part(&self, account: &Jid<'_>, contact: &Jid<'_>, item: &Item) -> Result<(), HostError> {
        let state = item.state();
        let said = [
            ("unsubscribe", state.to || state.pending_out),
            ("unsubscribed", state.from || state.pending_in),
        ];
        for (kind, _) in said.iter().filter(|(_, due)| *due) {
            let presence = Element::new("presence").with_attr("type", *kind);
            self.host.route_element(&account.bare(), &contact.bare(), &presence)?;
        }
        Ok(())
    }

    /// Section 3.1.3: requests that nobody has answered are shown again to a resource that becomes available.
    pub(crate) async fn show_requests(&self, session: &Jid<'_>) -> Result<(), HostError> {
        let roster = self.book.roster(session.bare().as_str()).await?;
        for (contact, item) in roster.items {
            let Some(request) = item.request else { continue };
            match moult_plugin_api::sdk::element::parse_element(&request) {
                Ok(request) => {
                    self.host.deliver(session, Among::Available, &request).await?;
                }
                Err(error) => {
                    error!(self.host.about(session), "the request of {contact} is unreadable: {error}")
                }
            }
        }
        Ok(())
    }
}

/// The stanza between the bare JIDs.
fn addressed(exchange: &Exchange<'_>) -> Element {
    let stanza = exchange.stanza.element().ok().filter(|_| exchange.stanza.bytes().len() <= LONGEST_REQUEST);
    let mut stanza = stanza.cloned().unwrap_or_else(|| {
        let kind = exchange.stanza.type_attr().unwrap_or_default();
        Element::new("presence").with_attr("type", kind)
    });
    stanza.set_attr("from", exchange.contact.as_str());
    stanza.set_attr("to", exchange.account.as_str());
    stanza
}

fn kept(exchange: &Exchange<'_>) -> String {
    addressed(exchange).to_string()
}

/// What a removed contact is for presence.
pub(crate) const NOBODY: Subscription = Subscription::None;
