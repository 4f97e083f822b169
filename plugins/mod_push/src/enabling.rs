//! Requests of owners: a service is enabled and disabled (XEP-0357 sections 5 and 6).

use crate::Push;
use crate::registration::{Registration, node, publish_options, service};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::now_ms;
use std::sync::Arc;

impl Push {
    pub(crate) async fn answer(self: Arc<Self>, iq: Iq<'static>) -> Result<(), StanzaError> {
        if iq.from().bare() != iq.to().bare() {
            return Err(StanzaError::forbidden("push services are their owner's alone"));
        }
        let payload = iq.payload()?;
        match (iq.is_set(), payload.name()) {
            (true, "enable") => self.enable(&iq, payload).await,
            (true, "disable") => self.disable(&iq, payload).await,
            _ => Err(StanzaError::bad_request("a service is enabled or disabled by a set")),
        }
    }

    /// The last request holds for a service and node (section 5).
    async fn enable(&self, iq: &Iq<'_>, payload: &Element) -> Result<(), StanzaError> {
        let (service, node) = (service(payload)?, node(payload)?.unwrap_or_default().to_owned());
        let options = publish_options(payload)?;
        let resource = iq.from().resource().unwrap_or_default().to_owned();
        let account = iq.from().bare();
        let _turn = self.turns.take(account.as_str()).await;
        let mut all = self.of(account.as_str());
        all.retain(|other| !other.is(&service, Some(&node)));
        all.push(Registration { service, node, options, resource, since: now_ms(), failures: 0 });
        let surplus = all.len().saturating_sub(self.options.get().max_registrations);
        all.drain(..surplus);
        self.keep(account.as_str(), all).await?;
        self.state().waiting.remove(account.as_str());
        Ok(())
    }

    /// Without a node all of the service. One that is not enabled is disabled already.
    async fn disable(&self, iq: &Iq<'_>, payload: &Element) -> Result<(), StanzaError> {
        let (service, node) = (service(payload)?, node(payload)?);
        let account = iq.from().bare();
        let _turn = self.turns.take(account.as_str()).await;
        let mut all = self.of(account.as_str());
        let before = all.len();
        all.retain(|other| !other.is(&service, node));
        if all.len() != before {
            self.keep(account.as_str(), all).await?;
        }
        Ok(())
    }
}
