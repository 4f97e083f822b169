//! Questions of service discovery, for the module that answers them (XEP-0030).

use super::ask::unreadable;
use super::op::Op;
use super::{Host, HostError, Iq, Jid, StanzaError};
use crate::abi::v1::op;
use crate::glue::OpAnswer;
use crate::hooks::{InfoAnswer, ItemsAnswer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

/// What was asked: a vhost or one of its accounts, or a node of it.
#[derive(Debug, Clone)]
pub struct DiscoQuestion<'a> {
    /// Who asks.
    pub from: Jid<'a>,
    /// Which entity is asked.
    pub to: Jid<'a>,
    /// The node asked for; may be empty.
    pub node: String,
}

impl<'a> DiscoQuestion<'a> {
    /// The question in a disco#info or disco#items request.
    pub fn of(iq: &Iq<'a>) -> Result<Self, StanzaError> {
        let node = iq.payload()?.attr("node").unwrap_or_default().to_owned();
        Ok(Self { from: iq.from().clone(), to: iq.to().clone(), node })
    }
}

impl Host {
    /// The answer to a disco#info question: what all instances declared (where no node is asked for), then `own`, which the
    /// asker adds, then what the handlers of `disco_info` make of it. `None`: nobody knows that node. Since API 1.1.
    pub fn disco_info(&self, question: &DiscoQuestion<'_>, own: &InfoAnswer) -> Op<Option<InfoAnswer>> {
        let is_known = !own.identities.is_empty() || !own.features.is_empty();
        self.discover(op::DISCO_INFO, question, is_known.then_some(own))
    }

    /// The same for disco#items and the handlers of `disco_items`. Since API 1.1.
    pub fn disco_items(&self, question: &DiscoQuestion<'_>, own: &ItemsAnswer) -> Op<Option<ItemsAnswer>> {
        self.discover(op::DISCO_ITEMS, question, (!own.items.is_empty()).then_some(own))
    }

    fn discover<A: Serialize + DeserializeOwned>(
        &self,
        kind: u32,
        question: &DiscoQuestion<'_>,
        own: Option<&A>,
    ) -> Op<Option<A>> {
        let target = if question.to.localpart().is_some() { "bare" } else { "" };
        let args = json!({
            "host": question.to.domain(),
            "target": target,
            "from": question.from.as_str(),
            "to": question.to.as_str(),
            "node": question.node,
        });
        let own = own.and_then(|own| serde_json::to_vec(own).ok()).unwrap_or_default();
        self.op(kind, 0, &args, &own, collected)
    }
}

fn collected<A: DeserializeOwned>(answer: OpAnswer) -> Result<Option<A>, HostError> {
    if answer.number == 0 {
        return Ok(None);
    }
    serde_json::from_str(&answer.text).map(Some).map_err(unreadable)
}
