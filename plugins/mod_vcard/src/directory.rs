//! What the users directory is told (mod_vjud, XEP-0055): every vCard that is set or removed, and all of them when it asks.
//! Pictures and sounds are left out; nobody searches for them.

use crate::VCards;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::Node;
use moult_plugin_api::serde::Deserialize;
use moult_plugin_api::serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const DIRECTORY: &str = "mod_vjud";
/// The directory is not waited for longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The most cards in one answer.
const MOST: usize = 100;

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct CardsArgs {
    #[serde(default)]
    after: String,
    limit: usize,
}

impl VCards {
    /// After the store has it. `None`: there is no vCard any more.
    pub(crate) async fn tell_directory(&self, account: &Jid<'_>, card: Option<&Element>) {
        let card = card.map(searchable).unwrap_or_default();
        let args = json!({ "account": account.as_str(), "card": card });
        match self.host.request(DIRECTORY, "card", &args, ANSWER_WITHIN).await {
            Ok(_) => {}
            Err(error) if error.condition == "item-not-found" => {}
            Err(error) => {
                warn!(self.host.about(account), "the users directory was not told of a vCard: {error}");
            }
        }
    }

    /// The vCards after that account, in order, and where to go on.
    pub(crate) async fn cards(self: Arc<Self>, request: Request<'static>) -> Result<Value, CommandError> {
        let CardsArgs { after, limit } = request.args()?;
        let limit = limit.clamp(1, MOST);
        let accounts = self.store().keys("", &after, limit).await?;
        let mut cards = Vec::new();
        for account in &accounts {
            let jid = Jid::parse(account).map_err(|error| CommandError::internal(error.to_string()))?;
            if let Some(card) = self.read(&jid).await? {
                cards.push(json!({ "account": account, "card": searchable(&card) }));
            }
        }
        let next = accounts.last().filter(|_| accounts.len() == limit);
        Ok(json!({ "cards": cards, "next": next.cloned().unwrap_or_default() }))
    }
}

fn searchable(card: &Element) -> String {
    let mut card = card.clone();
    let is_large = |node: &Node| matches!(node, Node::Element(e) if matches!(e.name(), "PHOTO" | "LOGO" | "SOUND" | "KEY"));
    card.children_mut().retain(|node| !is_large(node));
    card.to_string()
}
