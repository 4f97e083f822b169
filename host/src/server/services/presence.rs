//! Contacts and presence, as modules see them; and stanzas that they put into mailboxes. An instance reaches accounts of
//! its own vhost only; the global one those of all.

use std::sync::Arc;

use moult_plugin_api::abi::v1::op;
use moult_plugin_api::hooks::Subscription;
use serde::Deserialize;
use serde_json::json as value;

use super::args::{self, bad_request, json, malformed, number, read};
use super::people::check_own;
use super::{Answer, DEADLINE, within};
use crate::plugin::bridge::cause;
use crate::plugin::services::{BoxFuture, OpError, OpRequest, Origin};
use crate::router::Among;
use crate::server::shared::Shared;
use crate::session::{Contact, Contacts};
use crate::stanza::{Jid, Stanza};

/// `CONTACTS_OF`, `CONTACT_CHANGED`, `DELIVER`.
pub(super) fn begin(
    shared: &Arc<Shared>,
    origin: &Origin,
    request: &OpRequest,
) -> Result<BoxFuture<Answer>, OpError> {
    match request.kind {
        op::CONTACTS_OF => contacts_of(shared, origin, request),
        op::CONTACT_CHANGED => contact_changed(shared, origin, request),
        op::DELIVER => deliver(shared, origin, request),
        kind => Err(args::unknown(kind)),
    }
}

fn contacts_of(
    shared: &Arc<Shared>,
    origin: &Origin,
    request: &OpRequest,
) -> Result<BoxFuture<Answer>, OpError> {
    let account = args::jid(&request.args)?;
    check_own(origin, &account)?;
    let asked = shared.router.contacts(&account);
    Ok(within(DEADLINE, async move {
        let contacts = asked.wait().await.unwrap_or_default();
        Ok(json(&shown(&contacts)))
    }))
}

fn shown(contacts: &Contacts) -> serde_json::Value {
    let one = |contact: &Contact| {
        let subscription = Subscription::of(contact.to, contact.from);
        value!({ "jid": contact.jid.as_str(), "subscription": subscription })
    };
    contacts.iter().map(one).collect()
}

#[derive(Deserialize)]
struct ChangeArgs {
    account: String,
    contact: String,
    subscription: Subscription,
}

/// What follows from the change is on its way when the operation ends.
fn contact_changed(
    shared: &Arc<Shared>,
    origin: &Origin,
    request: &OpRequest,
) -> Result<BoxFuture<Answer>, OpError> {
    let ChangeArgs { account, contact, subscription } = read(&request.args)?;
    let (account, contact) = (jid(&account)?, jid(&contact)?.bare());
    check_own(origin, &account)?;
    let contact = Contact { jid: contact, to: subscription.has_to(), from: subscription.has_from() };
    let told = shared.router.contact_changed(&account, contact);
    Ok(within(DEADLINE, async move {
        told.await;
        Ok(number(0))
    }))
}

#[derive(Deserialize)]
struct DeliverArgs {
    to: String,
    #[serde(default)]
    among: String,
}

fn deliver(shared: &Arc<Shared>, origin: &Origin, request: &OpRequest) -> Result<BoxFuture<Answer>, OpError> {
    let DeliverArgs { to, among } = read(&request.args)?;
    let (to, among) = (jid(&to)?, meant(&among)?);
    check_own(origin, &to)?;
    let stanza = Stanza::parse(&request.body)
        .map_err(|fault| bad_request(format!("What the module delivers is no stanza: {fault}.")))?;
    let stanza = stanza.with_hops(cause::hops().saturating_add(1));
    let delivered = shared.router.deliver_to(&to, among, &stanza);
    Ok(within(DEADLINE, async move { Ok(number(i64::try_from(delivered.await).unwrap_or(i64::MAX))) }))
}

fn meant(among: &str) -> Result<Among, OpError> {
    match among {
        "" | "available" => Ok(Among::Available),
        "interested" => Ok(Among::Interested),
        "connected" => Ok(Among::Connected),
        other => Err(bad_request(format!("The module means sessions that are \"{other}\", which none is."))),
    }
}

fn jid(text: &str) -> Result<Jid, OpError> {
    Jid::parse(text).map_err(|error| malformed(text, &error))
}
