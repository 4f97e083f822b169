//! Rosters, and requests that wait for an answer, out of the server and into it (XEP-0227 4.4 and 4.9).

use crate::Roster;
use crate::book;
use crate::item::Item;
use moult_plugin_api::hooks::Subscription;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::element::parse_element;
use moult_plugin_api::sdk::hooks::{Export, Exporting, Import, Importing};
use std::sync::Arc;

/// Cursors of the two lists: the contacts come before the requests.
const ITEMS: &str = "i";
const REQUESTS: &str = "r";

impl Roster {
    pub(crate) async fn export_user(self: Arc<Self>, asked: Exporting<'static>) -> Export {
        let roster = self.book.roster(asked.account.as_str()).await;
        Export(roster.map(|roster| part(&roster, &asked.cursor)).map_err(|error| error.to_string()))
    }

    pub(crate) async fn import_user(self: Arc<Self>, offered: Importing<'static>) -> Import {
        let account = offered.account.as_str();
        if offered.element.is_none() {
            return self.book.remove(account).await.map(|()| Vec::new()).into();
        }
        if let Some(query) = offered.element_of("query", ns::ROSTER) {
            return self.import_items(account, query).await.into();
        }
        match offered.element_of("presence", ns::CLIENT) {
            Some(request) if request.attr("type") == Some("subscribe") => {
                self.import_request(account, request).await.into()
            }
            _ => Import::NotMine,
        }
    }

    async fn import_items(&self, account: &str, query: &Element) -> Result<Vec<String>, HostError> {
        let _turn = self.turns.take(account).await;
        let (mut left_out, most) = (Vec::new(), self.options.get().max_items);
        let mut room = most.saturating_sub(
            self.book.roster(account).await?.items.values().filter(|item| item.listed).count(),
        );
        for element in query.elements().filter(|element| element.name() == "item") {
            let jid = match Jid::parse(element.attr_s("jid")) {
                Ok(jid) if jid.is_bare() && jid != account => jid,
                _ => {
                    left_out.push(format!("\u{ab}{}\u{bb} cannot be a contact", element.attr_s("jid")));
                    continue;
                }
            };
            if room == 0 {
                left_out.push(format!("{jid} was left out: a roster has {} contacts", most));
                continue;
            }
            room -= 1;
            let before = self.book.item(account, jid.as_str()).await?;
            let after = Item { request: before.request.clone(), ..read(element) };
            self.book.write(account, jid.as_str(), &before, &after).await?;
        }
        Ok(left_out)
    }

    async fn import_request(&self, account: &str, request: &Element) -> Result<Vec<String>, HostError> {
        let from = request.attr_s("from");
        let Ok(from) = Jid::parse(from) else {
            return Ok(vec![format!("a request of \u{ab}{from}\u{bb} was left out: that is no JID")]);
        };
        let from = from.bare();
        let _turn = self.turns.take(account).await;
        let before = self.book.item(account, from.as_str()).await?;
        let mut stanza = request.clone();
        stanza.remove_attr("xmlns");
        let after = Item { request: Some(stanza.to_string()), ..before.clone() };
        self.book.write(account, from.as_str(), &before, &after).await.map(|_| Vec::new())
    }
}

fn part(roster: &book::Roster, cursor: &str) -> moult_plugin_api::hooks::ExportPart {
    let key = |list: &str, jid: &str| format!("{list}{jid}");
    if !cursor.starts_with(REQUESTS) {
        let listed = roster.items.iter().filter(|(_, item)| item.listed);
        let holder = format!("<query xmlns='{}'/>", ns::ROSTER);
        let items = listed.map(|(jid, item)| (key(ITEMS, jid), item.to_element(jid).with_ns(ns::ROSTER)));
        let mut part = Export::page(&holder, items, cursor);
        part.next = part.next.or_else(|| Some(REQUESTS.to_owned()));
        return part;
    }
    let requests = roster.items.iter().filter_map(|(jid, item)| {
        let request = parse_element(item.request.as_deref()?).ok()?;
        Some((key(REQUESTS, jid), request.with_ns(ns::CLIENT)))
    });
    Export::page("", requests, cursor)
}

/// `<item/>` as in a roster; what the client set, and the subscription.
fn read(element: &Element) -> Item {
    let groups = element.elements().filter(|child| child.name() == "group");
    Item {
        listed: true,
        name: element.attr_s("name").to_owned(),
        groups: groups.map(Element::text).filter(|group| !group.is_empty()).collect(),
        subscription: Subscription::from(element.attr_s("subscription").to_owned()),
        ask: element.attr("ask") == Some("subscribe"),
        approved: matches!(element.attr("approved"), Some("true" | "1")),
        request: None,
    }
}
