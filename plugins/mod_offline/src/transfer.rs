//! Kept messages out of the server and into it (XEP-0227 4.5).

use crate::{DELAY, FOR_EVER, Offline, PAGE};
use moult_plugin_api::hooks::ExportPart;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::{now_ms, parse_date_time};
use moult_plugin_api::sdk::element::parse_element;
use moult_plugin_api::sdk::hooks::{Export, Exporting, Import, Importing};
use moult_plugin_api::sdk::store::Query;
use std::sync::Arc;

/// XEP-0227.
const PIE: &str = "urn:xmpp:pie:0";

impl Offline {
    pub(crate) async fn export_user(self: Arc<Self>, asked: Exporting<'static>) -> Export {
        self.part(asked.account.as_str(), asked.cursor).await.into()
    }

    async fn part(&self, account: &str, after: String) -> Result<ExportPart, HostError> {
        let query = Query { after, limit: Some(PAGE), ..Query::default() };
        let page = self.archive().query(account, &query).await?;
        let mut elements = Vec::new();
        for item in &page.items {
            let text = std::str::from_utf8(&item.body).unwrap_or_default();
            let Ok(mut message) = parse_element(text) else { continue };
            self.stamp(&mut message, item.at_ms);
            elements.push(message.with_ns(ns::CLIENT).to_string());
        }
        let next = page.items.last().filter(|_| !page.complete).map(|item| item.id.clone());
        Ok(ExportPart { within: format!("<offline-messages xmlns='{PIE}'/>"), elements, next })
    }

    pub(crate) async fn import_user(self: Arc<Self>, offered: Importing<'static>) -> Import {
        let account = offered.account.as_str();
        if offered.element.is_none() {
            return self.archive().delete(account, FOR_EVER).await.map(|_| Vec::new()).into();
        }
        match offered.element_of("offline-messages", PIE) {
            Some(messages) => self.take_in(account, messages).await.into(),
            None => Import::NotMine,
        }
    }

    async fn take_in(&self, account: &str, messages: &Element) -> Result<Vec<String>, HostError> {
        let _turn = self.turns.take(account).await;
        let (mut left_out, mut appended) = (Vec::new(), Vec::new());
        let most = u64::try_from(self.options.max_messages).unwrap_or(u64::MAX);
        let room = most.saturating_sub(self.count(account).await?);
        let messages = messages.elements().filter(|element| element.is("message", ns::CLIENT));
        for message in messages {
            let from = message.attr_s("from");
            if appended.len() as u64 >= room {
                left_out.push(format!("a message of {from} was left out: {most} are kept for an account"));
                continue;
            }
            let mut message = message.clone();
            message.remove_attr("xmlns");
            let with = Jid::parse(from).map(|from| from.bare().into_owned());
            let with = with.as_ref().map_or("", Jid::as_str);
            // Begun in order, they are stored in order.
            appended.push(self.archive().append(account, with, self.kept_at(&message), &message.to_bytes()));
        }
        for append in appended {
            append.await?;
        }
        Ok(left_out)
    }

    /// When a message was kept: what this vhost, or else any server, says of it.
    fn kept_at(&self, message: &Element) -> i64 {
        let delays = || message.elements().filter(|child| child.is("delay", DELAY));
        let own = delays().find(|delay| delay.attr("from") == Some(self.host.vhost()));
        let stamp = own.or_else(|| delays().next()).and_then(|delay| parse_date_time(delay.attr_s("stamp")));
        stamp.unwrap_or_else(now_ms)
    }
}
