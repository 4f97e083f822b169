//! Pages of an archive.

use crate::query::{RSM, Wanted};
use crate::{Mam, NS};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::date_time_ms;
use moult_plugin_api::sdk::element::{escape, parse_element};
use moult_plugin_api::sdk::store::{Item, Page, Query};

/// Reads of the store for one page that is filtered by a full JID: the store knows correspondents by their bare JIDs.
const MAX_READS: usize = 20;

impl Mam {
    /// Sends a page of the archive to the client and gives its end (XEP-0313 4.2).
    pub(crate) async fn page(&self, iq: &Iq<'_>, payload: &Element) -> Result<Element, StanzaError> {
        let mut wanted = Wanted::read(payload)?;
        let owner = iq.to().bare();
        let limit = wanted.max.unwrap_or(self.options.get().page).min(self.options.get().max_page);
        self.settle_bounds(owner.as_str(), &mut wanted).await?;
        let page = match &wanted.with {
            _ if !wanted.ids.is_empty() => self.named(owner.as_str(), &wanted, limit).await?,
            Some(with) if !with.is_bare() && limit > 0 => self.filtered(&owner, &wanted, with, limit).await?,
            _ => self.archive().query(owner.as_str(), &wanted.to_query(limit)).await?,
        };
        let mut results: Vec<String> = page.items.iter().map(|item| result(&wanted, item)).collect();
        if wanted.is_flipped {
            results.reverse();
        }
        for message in results {
            // From the account's bare JID, in order, and before the answer, which takes the same way.
            self.host.route(&owner, iq.from(), message.as_bytes())?;
        }
        Ok(end(&page))
    }

    /// What the archive begins and ends with (XEP-0313 5).
    pub(crate) async fn metadata(&self, owner: &Jid<'_>) -> Result<Element, StanzaError> {
        let edge = async |reverse| {
            let query = Query { limit: Some(1), reverse, ..Query::default() };
            self.archive().query(owner.as_str(), &query).await.map(|page| page.items.into_iter().next())
        };
        let mut metadata = Element::new("metadata").with_ns(NS);
        for (name, reverse) in [("start", false), ("end", true)] {
            if let Some(item) = edge(reverse).await? {
                let element = Element::new(name).with_attr("id", &item.id);
                metadata.push(element.with_attr("timestamp", date_time_ms(item.at_ms)));
            }
        }
        Ok(metadata)
    }

    /// Of the bounds of the form and of the page the narrower ones hold.
    async fn settle_bounds(&self, owner: &str, wanted: &mut Wanted) -> Result<(), StanzaError> {
        let mut settled = [String::new(), String::new()];
        for (side, [of_page, of_form]) in wanted.bounds().into_iter().enumerate() {
            settled[side] = match (of_page, of_form) {
                ("", one) | (one, "") => one.to_owned(),
                (one, other) if one == other => one.to_owned(),
                (one, other) => {
                    let both = self.archive().items(owner, &[one.to_owned(), other.to_owned()]).await?.items;
                    let [first, second] = both.as_slice() else { return Err(not_there()) };
                    // In the order of time: behind the later one, before the earlier one.
                    if side == 0 { second.id.clone() } else { first.id.clone() }
                }
            };
        }
        let [after, before] = settled;
        wanted.set_bounds(after, before);
        Ok(())
    }

    /// Single messages (4.1.4), paged like others.
    async fn named(&self, owner: &str, wanted: &Wanted, limit: usize) -> Result<Page, StanzaError> {
        let mut items = self.archive().items(owner, &wanted.ids).await?.items;
        if items.len() < wanted.ids.len() {
            return Err(not_there());
        }
        let [[after, _], [before, _]] = wanted.bounds();
        let place = |id: &str| items.iter().position(|item| item.id == id);
        let first = place(after).map_or(0, |place| place + 1);
        let last = place(before).unwrap_or(items.len()).max(first);
        items = items.drain(first..last).collect();
        Ok(cut(items, limit, wanted.is_last(), true))
    }

    /// Page after page of the correspondent, until there is enough of the one resource.
    async fn filtered(
        &self,
        owner: &Jid<'_>,
        wanted: &Wanted,
        with: &Jid<'_>,
        limit: usize,
    ) -> Result<Page, StanzaError> {
        let mut query = wanted.to_query(self.options.get().max_page);
        let mut found: Vec<Item> = Vec::new();
        for _ in 0..MAX_READS {
            let page = self.archive().query(owner.as_str(), &query).await?;
            let edge = if query.reverse { page.items.first() } else { page.items.last() };
            let edge = edge.map(|item| item.id.clone());
            let items: Vec<Item> = page.items.into_iter().filter(|item| is_with(item, with)).collect();
            found = if query.reverse { [items, found].concat() } else { [found, items].concat() };
            let Some(edge) = edge.filter(|_| !page.complete && found.len() <= limit) else {
                return Ok(cut(found, limit, query.reverse, page.complete));
            };
            *(if query.reverse { &mut query.before } else { &mut query.after }) = edge;
        }
        Ok(cut(found, limit, query.reverse, false))
    }
}

/// XEP-0313 4.1.3 and 4.1.4, XEP-0059 2.2.
fn not_there() -> StanzaError {
    StanzaError::item_not_found("the archive has no such message")
}

fn cut(mut items: Vec<Item>, limit: usize, from_end: bool, complete: bool) -> Page {
    let excess = items.len().saturating_sub(limit);
    if from_end {
        items.drain(..excess);
    } else {
        items.truncate(limit);
    }
    Page { items, count: None, complete: complete && excess == 0 }
}

fn is_with(item: &Item, with: &Jid<'_>) -> bool {
    let message = std::str::from_utf8(&item.body).ok().and_then(|text| parse_element(text).ok());
    message
        .is_some_and(|message| [message.attr_s("from"), message.attr_s("to")].iter().any(|jid| with == jid))
}

/// One message of the page. What is stored is a whole element, so it needs no second look.
fn result(wanted: &Wanted, item: &Item) -> String {
    let queryid = wanted.queryid.as_ref().map(|id| format!(" queryid='{}'", escape(id))).unwrap_or_default();
    format!(
        "<message><result xmlns='{NS}'{queryid} id='{}'><forwarded xmlns='urn:xmpp:forward:0'>\
         <delay xmlns='urn:xmpp:delay' stamp='{}'/>{}</forwarded></result></message>",
        escape(&item.id),
        date_time_ms(item.at_ms),
        String::from_utf8_lossy(&item.body),
    )
}

fn end(page: &Page) -> Element {
    let text = |name: &str, text: String| Element::new(name).with_text(text);
    let mut set = Element::new("set").with_ns(RSM);
    if let (Some(first), Some(last)) = (page.items.first(), page.items.last()) {
        set.push(text("first", first.id.clone()));
        set.push(text("last", last.id.clone()));
    }
    if let Some(count) = page.count {
        set.push(text("count", count.to_string()));
    }
    let fin = Element::new("fin").with_ns(NS);
    let fin = if page.complete { fin.with_attr("complete", "true") } else { fin };
    fin.with_child(set)
}
