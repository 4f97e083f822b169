//! Private data out of the server and into it (XEP-0227 4.6).

use crate::{NS, Private};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::element::parse_element;
use moult_plugin_api::sdk::hooks::{Export, Exporting, Import, Importing};
use std::sync::Arc;

impl Private {
    pub(crate) async fn export_user(self: Arc<Self>, asked: Exporting<'static>) -> Export {
        let holder = format!("<query xmlns='{NS}'/>");
        let stored = self.store().all(asked.account.as_str()).await;
        let part = stored.map(|fields| {
            let read = |bytes: &[u8]| parse_element(std::str::from_utf8(bytes).ok()?).ok();
            let elements =
                fields.into_iter().filter_map(|(field, bytes)| read(&bytes).map(|element| (field, element)));
            Export::page(&holder, elements, &asked.cursor)
        });
        part.into()
    }

    /// What one element breaks concerns that element alone.
    pub(crate) async fn import_user(self: Arc<Self>, offered: Importing<'static>) -> Import {
        let owner = offered.account.as_str();
        if offered.element.is_none() {
            return self.store().delete(owner).await.map(|()| Vec::new()).into();
        }
        let Some(query) = offered.element_of("query", NS) else { return Import::NotMine };
        let mut left_out = Vec::new();
        for element in query.elements() {
            let one = Element::new("query").with_ns(NS).with_child(element.clone());
            match self.write(owner, &one).await {
                Ok(()) => {}
                Err(error) if error.condition == Condition::InternalServerError => {
                    return Import::Failed(error.text.into_owned());
                }
                Err(error) => {
                    left_out.push(format!(
                        "private data <{}/> were left out: {}",
                        element.name(),
                        error.text
                    ));
                }
            }
        }
        Import::Taken(left_out)
    }
}
