//! Archives out of the server and into it (XEP-0227 4.10), with the choice of what is archived beside them.

use crate::preferences::Preferences;
use crate::{END_OF_TIME, Mam, NS};
use moult_plugin_api::hooks::ExportPart;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::{date_time_ms, parse_date_time};
use moult_plugin_api::sdk::element::parse_element;
use moult_plugin_api::sdk::hooks::{Export, Exporting, Import, Importing};
use moult_plugin_api::sdk::store::{Item, Query};
use std::sync::Arc;

/// XEP-0227.
const PIE_MAM: &str = "urn:xmpp:pie:0#mam";
/// XEP-0297.
const FORWARD: &str = "urn:xmpp:forward:0";
/// XEP-0203.
const DELAY: &str = "urn:xmpp:delay";
/// Messages in one part.
const PAGE: usize = 100;
/// The cursor of the archive's beginning; behind it stands the id of the last message.
const ARCHIVE: &str = "a";

impl Mam {
    pub(crate) async fn export_user(self: Arc<Self>, asked: Exporting<'static>) -> Export {
        let account = asked.account.as_str();
        match asked.cursor.strip_prefix(ARCHIVE) {
            None => self.choice_part(account).await.into(),
            Some(after) => self.archive_part(account, after).await.into(),
        }
    }

    async fn choice_part(&self, account: &str) -> Result<ExportPart, HostError> {
        let chosen: Option<Preferences> = self.preferences().get_json(account).await?;
        let elements = chosen.iter().map(|chosen| chosen.to_element().to_string()).collect();
        Ok(ExportPart { elements, next: Some(ARCHIVE.to_owned()), ..ExportPart::default() })
    }

    async fn archive_part(&self, account: &str, after: &str) -> Result<ExportPart, HostError> {
        let query = Query { after: after.to_owned(), limit: Some(PAGE), ..Query::default() };
        let page = self.archive().query(account, &query).await?;
        let elements = page.items.iter().filter_map(written).collect();
        let next = page.items.last().filter(|_| !page.complete).map(|item| format!("{ARCHIVE}{}", item.id));
        Ok(ExportPart { within: format!("<archive xmlns='{PIE_MAM}'/>"), elements, next })
    }

    pub(crate) async fn import_user(self: Arc<Self>, offered: Importing<'static>) -> Import {
        let account = &offered.account;
        if offered.element.is_none() {
            return self.forget(account).await.map(|()| Vec::new()).into();
        }
        if let Some(prefs) = offered.element_of("prefs", NS) {
            return match Preferences::read(prefs) {
                Ok(preferences) => self.choose(account, preferences).await.map(|()| Vec::new()).into(),
                Err(error) => {
                    Import::Taken(vec![format!("what is to be archived was left out: {}", error.text)])
                }
            };
        }
        match offered.element_of("archive", PIE_MAM) {
            Some(archive) => self.take_in(account, archive).await.into(),
            None => Import::NotMine,
        }
    }

    async fn take_in(&self, account: &Jid<'_>, archive: &Element) -> Result<Vec<String>, HostError> {
        let (mut left_out, mut stored) = (Vec::new(), Vec::new());
        for result in archive.elements().filter(|element| element.is("result", NS)) {
            match read(result, account) {
                // Begun in order, they are stored in order.
                Some(item) => stored.push(self.archive().restore(account.as_str(), &item)),
                None => left_out.push(format!(
                    "an archived message was left out: {} holds no message with its time",
                    result.attr_s("id")
                )),
            }
        }
        for store in stored {
            store.await?;
        }
        Ok(left_out)
    }

    async fn forget(&self, account: &Jid<'_>) -> Result<(), HostError> {
        self.known().forget(account.as_str());
        self.archive().delete(account.as_str(), END_OF_TIME).await?;
        self.preferences().delete(account.as_str()).await
    }
}

fn written(item: &Item) -> Option<String> {
    let message = parse_element(std::str::from_utf8(&item.body).ok()?).ok()?;
    let delay = Element::new("delay").with_ns(DELAY).with_attr("stamp", date_time_ms(item.at_ms));
    let forwarded = Element::new("forwarded").with_ns(FORWARD).with_child(delay);
    let forwarded = forwarded.with_child(message.with_ns(ns::CLIENT));
    Some(Element::new("result").with_ns(NS).with_attr("id", &item.id).with_child(forwarded).to_string())
}

fn read(result: &Element, account: &Jid<'_>) -> Option<Item> {
    let forwarded = result.subtag_ns("forwarded", FORWARD)?;
    let at_ms = parse_date_time(forwarded.subtag_ns("delay", DELAY)?.attr_s("stamp"))?;
    let message = forwarded.subtag_ns("message", ns::CLIENT)?;
    let side = |name: &str| Jid::parse(message.attr_s(name)).ok().map(|jid| jid.bare().into_owned());
    let (from, to) = (side("from"), side("to"));
    // With whom: the other side, or oneself.
    let with = [from, to].into_iter().flatten().find(|jid| jid != account);
    let with = with.map_or_else(|| account.as_str().to_owned(), |jid| jid.as_str().to_owned());
    Some(Item { id: result.attr_s("id").to_owned(), with, at_ms, body: message.to_bytes() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(content: &str) -> Element {
        parse_element(&format!(
            "<result xmlns='{NS}' id='7'><forwarded xmlns='{FORWARD}'>{content}</forwarded></result>"
        ))
        .unwrap()
    }

    #[test]
    fn a_message_is_filed_under_its_other_side_and_comes_out_as_it_was() {
        let me = Jid::parse("me@x").unwrap();
        let delay = "<delay xmlns='urn:xmpp:delay' stamp='2026-01-02T03:04:05.678Z'/>";
        for (from, to, with) in
            [("me@x/a", "you@y", "you@y"), ("you@y/b", "me@x", "you@y"), ("me@x", "me@x", "me@x")]
        {
            let given = result(&format!("{delay}<message xmlns='jabber:client' from='{from}' to='{to}'/>"));
            let item = read(&given, &me).unwrap();
            assert_eq!((item.id.as_str(), item.with.as_str()), ("7", with));
            assert_eq!(written(&item), Some(given.to_string()));
        }
        assert_eq!(read(&result("<message xmlns='jabber:client'/>"), &me), None);
        assert_eq!(read(&result(delay), &me), None);
    }
}
