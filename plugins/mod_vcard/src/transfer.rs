//! vCards out of the server and into it (XEP-0227 4.7).

use crate::{NS, VCards};
use moult_plugin_api::hooks::ExportPart;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::hooks::{Export, Exporting, Import, Importing};
use std::sync::Arc;

impl VCards {
    pub(crate) async fn export_user(self: Arc<Self>, asked: Exporting<'static>) -> Export {
        let card = self.read(&asked.account).await;
        let elements = card.map(|card| card.iter().map(Element::to_string).collect());
        elements.map(|elements| ExportPart { elements, ..ExportPart::default() }).into()
    }

    pub(crate) async fn import_user(self: Arc<Self>, offered: Importing<'static>) -> Import {
        if offered.element.is_none() {
            self.hashes().set(offered.account.as_str(), None);
            let deleted = self.store().delete(offered.account.as_str()).await;
            self.tell_directory(&offered.account, None).await;
            return deleted.map(|()| Vec::new()).into();
        }
        let Some(card) = offered.element_of("vCard", NS) else { return Import::NotMine };
        match self.write(&offered.account, card).await {
            Ok(()) => Import::Taken(Vec::new()),
            Err(error) if error.condition == Condition::PolicyViolation => {
                Import::Taken(vec![format!("the vCard was left out: {}", error.text)])
            }
            Err(error) => Import::Failed(error.text.into_owned()),
        }
    }
}
