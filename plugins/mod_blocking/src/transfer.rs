//! Block lists out of the server and into it: as the privacy list that means the same (XEP-0227 4.8, XEP-0016, XEP-0191 5).

use crate::Blocking;
use crate::rules::BlockList;
use moult_plugin_api::hooks::ExportPart;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::hooks::{Export, Exporting, Import, Importing};
use std::sync::Arc;

/// XEP-0016.
const PRIVACY: &str = "jabber:iq:privacy";
/// What the list is called.
const NAME: &str = "Blocked";

impl Blocking {
    pub(crate) fn export_user(&self, asked: &Exporting<'_>) -> Export {
        let rules = self.rules();
        let list = rules.of(asked.account.as_str());
        let element = list.map(|list| {
            let items = (1..).zip(list.iter()).map(|(order, jid): (u32, _)| {
                Element::new("item")
                    .with_attr("type", "jid")
                    .with_attr("value", jid)
                    .with_attr("action", "deny")
                    .with_attr("order", order.to_string())
            });
            let list = Element::new("list").with_attr("name", NAME).with_children(items);
            let default = Element::new("default").with_attr("name", NAME);
            Element::new("query").with_ns(PRIVACY).with_child(default).with_child(list).to_string()
        });
        ExportPart { elements: element.into_iter().collect(), ..ExportPart::default() }.into()
    }

    pub(crate) async fn import_user(self: Arc<Self>, offered: Importing<'static>) -> Import {
        let account = offered.account.as_str();
        if offered.element.is_none() {
            return self.keep(account, BlockList::default()).await.map(|()| Vec::new()).into();
        }
        let Some(query) = offered.element_of("query", PRIVACY) else { return Import::NotMine };
        let (list, left_out) = read(query, self.options.get().max_items);
        self.keep(account, list).await.map(|()| left_out).into()
    }
}

/// The default list, as far as it says who is to be blocked; and what it says beyond that.
fn read(query: &Element, most: usize) -> (BlockList, Vec<String>) {
    let (mut blocked, mut left_out) = (BlockList::default(), Vec::new());
    let default = query.subtag("default").and_then(|default| default.attr("name"));
    for list in query.elements().filter(|child| child.name() == "list") {
        let name = list.attr_s("name");
        if Some(name) != default {
            left_out.push(format!("the privacy list \u{ab}{name}\u{bb} was left out: it is not the default"));
            continue;
        }
        for item in list.elements().filter(|child| child.name() == "item") {
            let is_block = item.attr("type") == Some("jid")
                && item.attr("action") == Some("deny")
                && item.elements().next().is_none();
            let jid = Jid::parse(item.attr_s("value")).ok().filter(|_| is_block);
            match jid {
                Some(jid) if blocked.len() < most => blocked.extend([jid.as_str().to_owned()]),
                Some(jid) => left_out.push(format!("{jid} is not blocked: {most} addresses can be")),
                None => left_out
                    .push(format!("the rule {item} of a privacy list was left out: it is no plain block")),
            }
        }
    }
    (blocked, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use moult_plugin_api::sdk::element::parse_element;

    #[test]
    fn only_plain_blocks_of_the_default_list_are_taken() {
        let query = parse_element(
            "<query xmlns='jabber:iq:privacy'><default name='d'/><list name='d'>\
             <item type='jid' value='a@b' action='deny' order='1'/>\
             <item type='jid' value='c@d' action='deny' order='2'><message/></item>\
             <item type='jid' value='e@f' action='allow' order='3'/><item type='group' value='g' action='deny' order='4'/>\
             <item type='jid' value='h@i' action='deny' order='5'/></list><list name='other'/></query>",
        );
        let (list, left_out) = read(&query.unwrap(), 1);
        assert_eq!(list.iter().collect::<Vec<_>>(), ["a@b"]);
        assert_eq!(left_out.len(), 5, "{left_out:?}");
        assert!(left_out[3].contains("h@i") && left_out[4].contains("other"), "{left_out:?}");
    }
}
