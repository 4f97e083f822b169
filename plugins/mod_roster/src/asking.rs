//! What clients ask of their roster (RFC 6121 section 2), and how they are told of changes.

use crate::Roster;
use crate::item::{self, Item};
use crate::shared::{Shared, merged};
use crate::subscribing;
use crate::wish::{self, Wish};
use moult_plugin_api::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Roster {
    pub(crate) async fn answer(self: Arc<Self>, iq: Iq<'static>) -> Result<IqReply, StanzaError> {
        if iq.from().bare() != iq.to().bare() {
            return Err(StanzaError::forbidden("a roster is its owner's alone"));
        }
        let query = iq.payload()?;
        if query.name() != "query" {
            return Err(StanzaError::bad_request("a roster is asked for by <query/>"));
        }
        let account = iq.to().bare();
        if iq.is_get() {
            return self.get(&iq, &account, query).await;
        }
        match wish::read(query, account.as_str(), &self.options.get())? {
            Wish::Set { jid, name, groups } => self.set(&account, &jid, name, groups).await?,
            Wish::Remove { jid } => self.remove(&account, &jid).await?,
        }
        Ok(().into())
    }

    /// Section 2.1.3, and 2.6.3: a client that has this version already gets nothing, one with an older version what has
    /// changed since, where that is less than everything and is known.
    async fn get(&self, iq: &Iq<'_>, account: &Jid<'_>, query: &Element) -> Result<IqReply, StanzaError> {
        let own = self.book.roster(account.as_str()).await?;
        let shared = self.shared(account.as_str()).await;
        let all = shared.added_to(&own.items);
        let asked = query.attr("ver").filter(|_| self.options.get().versioning);
        let known = asked.and_then(|asked| shared.own_part(asked));
        if known == Some(own.version) {
            return Ok(().into());
        }
        if let Some(known) = known
            && let Some(changes) = self.changes.after(account.as_str(), known, own.version).await?
            && changes.len() < all.values().filter(|item| item.listed).count()
        {
            self.send_difference(iq, &shared, &all, changes).await?;
            return Ok(IqReply::Ignore);
        }
        let listed = all.iter().filter(|(_, item)| item.listed);
        let answer = Element::new("query")
            .with_ns(ns::ROSTER)
            .with_children(listed.map(|(jid, item)| item.to_element(jid)));
        let version = shared.joined(own.version);
        Ok(if asked.is_some() { answer.with_attr("ver", version) } else { answer }.into())
    }

    /// The empty answer, and behind it one push for each contact that changed, to this client alone.
    async fn send_difference(
        &self,
        iq: &Iq<'_>,
        shared: &Shared,
        all: &BTreeMap<String, Item>,
        changes: Vec<(u64, String)>,
    ) -> Result<(), HostError> {
        let empty = Element::new("iq").with_attr("type", "result").with_attr("id", iq.id());
        self.host.route_element(iq.to(), iq.from(), &empty)?;
        for (version, contact) in changes {
            let item = all.get(&contact).filter(|item| item.listed);
            let shown = item.map_or_else(|| item::removed(&contact), |item| item.to_element(&contact));
            self.push_element(iq.from(), shown, &shared.joined(version)).await?;
        }
        Ok(())
    }

    async fn set(
        &self,
        account: &Jid<'_>,
        contact: &str,
        name: String,
        mut groups: Vec<String>,
    ) -> Result<(), StanzaError> {
        let _turn = self.turns.take(account.as_str()).await;
        let before = self.book.item(account.as_str(), contact).await?;
        let shared = self.shared(account.as_str()).await;
        let added = shared.of(contact);
        // What is added is not made the user's own by a client that only repeats it.
        groups.retain(|group| !added.is_some_and(|added| added.groups.contains(group)));
        let is_repeated = added.is_some_and(|added| groups.is_empty() && added.name == name);
        if is_repeated && !before.listed {
            return Ok(());
        }
        if !before.listed && self.is_full(account.as_str()).await? {
            return Err(self.full());
        }
        let after = Item { listed: true, name, groups, ..before.clone() };
        Ok(self.change(account, contact, (&before, &after), &shared).await?)
    }

    /// Section 2.5: the contact is told as well. Who is in a shared group stays.
    async fn remove(&self, account: &Jid<'_>, contact: &str) -> Result<(), StanzaError> {
        let _turn = self.turns.take(account.as_str()).await;
        let before = self.book.item(account.as_str(), contact).await?;
        let shared = self.shared(account.as_str()).await;
        if merged(&Item::default(), shared.of(contact)).listed {
            return Err(StanzaError::not_allowed(
                "a contact of a shared group is not removed by its members",
            ));
        }
        if !before.listed {
            return Err(StanzaError::item_not_found("there is no such contact"));
        }
        self.change(account, contact, (&before, &Item::default()), &shared).await?;
        let jid = Jid::parse(contact).map_err(|_| StanzaError::internal("a contact has no JID"))?;
        let left = shared.of(contact).map_or(subscribing::NOBODY, |item| item.subscription);
        self.host.contact_changed(account, &jid.bare(), left).await?;
        Ok(self.part(account, &jid, &before)?)
    }

    /// Writes a contact and pushes it, if clients see something new.
    pub(crate) async fn change(
        &self,
        account: &Jid<'_>,
        contact: &str,
        (before, after): (&Item, &Item),
        shared: &Shared,
    ) -> Result<(), HostError> {
        let versions = self.write(account, contact, (before, after)).await?;
        self.push(account, contact, after, shared, versions).await
    }

    /// Writes a contact; gives the new version, if clients see something new.
    pub(crate) async fn write(
        &self,
        account: &Jid<'_>,
        contact: &str,
        (before, after): (&Item, &Item),
    ) -> Result<Option<u64>, HostError> {
        let Some(versions) = self.book.write(account.as_str(), contact, before, after).await? else {
            return Ok(None);
        };
        let options = self.options.get();
        if options.versioning {
            self.changes.note(account.as_str(), versions, contact, options.max_changes).await?;
        }
        Ok(Some(versions.1))
    }

    /// Section 2.1.6: to all resources that have asked for the roster, if something that they see is new.
    pub(crate) async fn push(
        &self,
        account: &Jid<'_>,
        contact: &str,
        own: &Item,
        shared: &Shared,
        version: Option<u64>,
    ) -> Result<(), HostError> {
        let Some(version) = version else { return Ok(()) };
        let item = merged(own, shared.of(contact));
        let shown = if item.listed { item.to_element(contact) } else { item::removed(contact) };
        self.push_element(&account.bare(), shown, &shared.joined(version)).await
    }

    /// To all resources that have asked for the roster, or to the one with this full JID.
    pub(crate) async fn push_element(
        &self,
        to: &Jid<'_>,
        item: Element,
        version: &str,
    ) -> Result<(), HostError> {
        let query = Element::new("query").with_ns(ns::ROSTER).with_child(item);
        let query = if self.options.get().versioning { query.with_attr("ver", version) } else { query };
        let push = Element::new("iq")
            .with_attr("type", "set")
            .with_attr("id", format!("push-{version}"))
            .with_attr("from", to.bare().as_str())
            .with_child(query);
        self.host.deliver(to, Among::Interested, &push).await?;
        Ok(())
    }
}
