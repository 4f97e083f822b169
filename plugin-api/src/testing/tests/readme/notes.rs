use moult_plugin_api::prelude::*;
use std::{sync::Arc, time::Duration};

pub struct Notes {
    host: Host,
}

impl Module for Notes {
    type Options = ();

    fn start(host: &Host, (): ()) -> Result<Started<Self>, Stop> {
        host.on_iq("urn:example:notes", Self::read)?;
        Started::running(Self { host: host.clone() })
    }
}

impl Notes {
    async fn read(self: Arc<Self>, iq: Iq<'static>) -> Result<Element, StanzaError> {
        let owner = iq.from().bare();
        let note = self.host.keyval("notes").get(owner.as_str()).await?;
        let note = note.ok_or_else(|| StanzaError::item_not_found("nothing was noted"))?;
        self.host.sleep(Duration::from_millis(100)).await?;
        Ok(Element::new("note").with_ns(iq.ns()).with_text(String::from_utf8_lossy(&note)))
    }
}
