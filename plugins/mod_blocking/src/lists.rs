//! Requests of owners: reading the list, blocking, unblocking, and the pushes that follow.

use crate::rules::BlockList;
use crate::{Blocking, NS};
use moult_plugin_api::prelude::*;
use moult_plugin_api::serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// How long a client may take to acknowledge a push. Nothing depends on it.
const PUSH_TIMEOUT: Duration = Duration::from_secs(30);
/// How long who keeps reports may take.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Reports that one request may carry; people block one by one.
const MAX_REPORTS: usize = 20;
/// XEP-0377.
const REPORTING: &str = "urn:xmpp:reporting:1";

impl Blocking {
    pub(crate) async fn answer(self: Arc<Self>, iq: Iq<'static>) -> Result<IqReply, StanzaError> {
        if iq.from().bare() != iq.to().bare() {
            return Err(StanzaError::forbidden("a block list is its owner's alone"));
        }
        let payload = iq.payload()?;
        match (iq.is_set(), payload.name()) {
            (false, "blocklist") => Ok(self.list(&iq).into()),
            (true, "block") => {
                self.block(&iq, items(payload)?).await?;
                self.report(&iq, payload);
                Ok(().into())
            }
            (true, "unblock") => self.unblock(&iq, items(payload)?).await.map(IqReply::from),
            _ => Err(StanzaError::bad_request("this neither asks for a list nor changes it")),
        }
    }

    /// Who asks for the list is told of its changes from then on (XEP-0191 3.3).
    fn list(&self, iq: &Iq<'_>) -> Element {
        self.told().insert(iq.from().as_str().to_owned());
        let list = Element::new("blocklist").with_ns(NS);
        match self.rules().of(iq.from().bare().as_str()) {
            Some(blocked) => list.with_children(blocked.iter().map(item)),
            None => list,
        }
    }

    async fn block(&self, iq: &Iq<'_>, items: Vec<String>) -> Result<(), StanzaError> {
        if items.is_empty() {
            return Err(StanzaError::bad_request("an address to block is missing"));
        }
        let owner = iq.from().bare();
        let mut list = self.rules().of(owner.as_str()).cloned().unwrap_or_default();
        list.extend(items.iter().cloned());
        if list.len() > self.options.get().max_items {
            let text = format!("{} addresses can be blocked", self.options.get().max_items);
            return Err(StanzaError::new(Condition::ResourceConstraint, text));
        }
        let seeing = self.seeing(&owner).await;
        self.keep(owner.as_str(), list).await?;
        self.hide_and_show(&owner, seeing).await;
        self.push(&owner, "block", &items);
        Ok(())
    }

    /// XEP-0377: a report with an item changes nothing of the blocking. It goes to mod_report, where there is one.
    fn report(&self, iq: &Iq<'_>, payload: &Element) {
        let reports =
            payload.elements().filter_map(|item| Some((item, item.subtag_ns("report", REPORTING)?)));
        for (item, report) in reports.take(MAX_REPORTS) {
            let args = json!({
                "reporter": iq.from().bare().as_str(),
                "jid": item.attr_s("jid"),
                "report": report.to_string(),
            });
            let host = self.host.clone();
            let told = self.host.spawn(async move {
                if let Err(error) = host.request("mod_report", "report", &args, REPORT_TIMEOUT).await {
                    debug!(host, "a report was not kept: {error}");
                }
            });
            if let Err(error) = told {
                debug!(self.host, "a report was not kept: {error}");
            }
        }
    }

    /// Without an item: everybody.
    async fn unblock(&self, iq: &Iq<'_>, items: Vec<String>) -> Result<(), StanzaError> {
        let owner = iq.from().bare();
        let list = if items.is_empty() {
            BlockList::default()
        } else {
            let mut list = self.rules().of(owner.as_str()).cloned().unwrap_or_default();
            for item in &items {
                list.remove(item);
            }
            list
        };
        self.keep(owner.as_str(), list).await?;
        self.hide_and_show(&owner, Vec::new()).await;
        self.push(&owner, "unblock", &items);
        Ok(())
    }

    fn push(&self, owner: &Jid<'_>, action: &str, items: &[String]) {
        let payload = Element::new(action).with_ns(NS).with_children(items.iter().map(|jid| item(jid)));
        let prefix = format!("{owner}/");
        let clients: Vec<String> = {
            let told = self.told();
            told.range(prefix.clone()..).take_while(|jid| jid.starts_with(&prefix)).cloned().collect()
        };
        for client in clients {
            let Ok(client) = Jid::parse(&client) else { continue };
            let request = IqRequest::set(client, payload.clone()).from(owner.borrowed());
            let host = self.host.clone();
            let told = self.host.spawn(async move {
                if let Err(error) = host.send_iq(&request, PUSH_TIMEOUT).await {
                    debug!(host, "a push was not acknowledged: {error}");
                }
            });
            if let Err(error) = told {
                debug!(self.host, "a push was not sent: {error}");
            }
        }
    }
}

fn item(jid: &str) -> Element {
    Element::new("item").with_attr("jid", jid)
}

/// The JIDs of a request, each in its canonical form and once.
fn items(payload: &Element) -> Result<Vec<String>, StanzaError> {
    let mut items: Vec<String> = Vec::new();
    for element in payload.elements() {
        let jid = element.attr("jid").filter(|_| element.name() == "item");
        let jid = jid.ok_or_else(|| StanzaError::bad_request("an item has a jid"))?;
        let jid = Jid::parse(jid).map_err(|error| {
            StanzaError::new(Condition::JidMalformed, format!("\"{jid}\" is no JID: {error}"))
        })?;
        if !items.iter().any(|other| jid == other.as_str()) {
            items.push(jid.as_str().to_owned());
        }
    }
    Ok(items)
}
