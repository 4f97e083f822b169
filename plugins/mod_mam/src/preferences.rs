//! What a user wants archived (XEP-0441).

use crate::{Mam, NS};
use moult_plugin_api::prelude::*;
use moult_plugin_api::serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Addresses in each of the two lists.
const MAX_JIDS: usize = 500;
/// Accounts whose choice is remembered; when there are more, it begins anew.
const REMEMBERED: usize = 20_000;

/// Whose messages are archived where no list names the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde", rename_all = "lowercase")]
pub enum Choice {
    Always,
    Never,
    Roster,
}

impl Choice {
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "always" => Some(Self::Always),
            "never" => Some(Self::Never),
            "roster" => Some(Self::Roster),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Never => "never",
            Self::Roster => "roster",
        }
    }
}

/// A user's choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
pub struct Preferences {
    default: Choice,
    always: BTreeSet<String>,
    never: BTreeSet<String>,
}

/// The choices of accounts that were there lately.
#[derive(Debug, Default)]
pub struct Known(HashMap<String, Arc<Preferences>>);

impl Known {
    fn put(&mut self, account: &str, preferences: Arc<Preferences>) {
        if self.0.len() >= REMEMBERED {
            self.0.clear();
        }
        self.0.insert(account.to_owned(), preferences);
    }

    pub fn forget(&mut self, account: &str) {
        self.0.remove(account);
    }
}

impl Preferences {
    pub fn of_default(default: Choice) -> Self {
        Self { default, always: BTreeSet::new(), never: BTreeSet::new() }
    }

    /// Reads `<prefs default='roster'><always><jid/></always><never/></prefs>`.
    pub fn read(prefs: &Element) -> Result<Self, StanzaError> {
        let default = Choice::from_name(prefs.attr_s("default"))
            .ok_or_else(|| StanzaError::bad_request("the default is always, never or roster"))?;
        Ok(Self { default, always: jids(prefs, "always")?, never: jids(prefs, "never")? })
    }

    pub fn to_element(&self) -> Element {
        let list = |name: &str, jids: &BTreeSet<String>| {
            let jids = jids.iter().map(|jid| Element::new("jid").with_text(jid.as_str()));
            Element::new(name).with_children(jids)
        };
        Element::new("prefs")
            .with_ns(NS)
            .with_attr("default", self.default.name())
            .with_child(list("always", &self.always))
            .with_child(list("never", &self.never))
    }

    /// By the lists, the narrower entry first; `None` where the default decides.
    fn listed(&self, peer: &Jid<'_>) -> Option<bool> {
        let is_in =
            |list: &BTreeSet<String>| list.contains(peer.as_str()) || list.contains(peer.bare().as_str());
        if is_in(&self.never) {
            return Some(false);
        }
        is_in(&self.always).then_some(true)
    }
}

fn jids(prefs: &Element, list: &str) -> Result<BTreeSet<String>, StanzaError> {
    let mut jids = BTreeSet::new();
    for element in prefs.subtag(list).into_iter().flat_map(Element::elements) {
        let jid = Jid::parse(element.text().trim())
            .map_err(|error| StanzaError::new(Condition::JidMalformed, format!("this is no JID: {error}")))?;
        jids.insert(jid.as_str().to_owned());
    }
    if jids.len() > MAX_JIDS {
        let text = format!("a list has {MAX_JIDS} addresses at most");
        return Err(StanzaError::new(Condition::ResourceConstraint, text));
    }
    Ok(jids)
}

impl Mam {
    /// What the account has chosen, or the default of this server.
    pub(crate) async fn chosen(&self, account: &Jid<'_>) -> Result<Arc<Preferences>, HostError> {
        if let Some(known) = self.known().0.get(account.as_str()) {
            return Ok(Arc::clone(known));
        }
        let stored: Option<Preferences> = self.preferences().get_json(account.as_str()).await?;
        let default = || Choice::from_name(&self.options.get().default).unwrap_or(Choice::Always);
        let preferences = Arc::new(stored.unwrap_or_else(|| Preferences::of_default(default())));
        // A choice made meanwhile is newer than what was read.
        let mut known = self.known();
        if let Some(newer) = known.0.get(account.as_str()) {
            return Ok(Arc::clone(newer));
        }
        known.put(account.as_str(), Arc::clone(&preferences));
        Ok(preferences)
    }

    pub(crate) async fn choose(&self, account: &Jid<'_>, preferences: Preferences) -> Result<(), HostError> {
        self.preferences().set_json(account.as_str(), &preferences).await?;
        self.known().put(account.as_str(), Arc::new(preferences));
        Ok(())
    }

    /// Whether the account wants messages with this peer archived. Where its choice cannot be read, nothing is stored
    /// against its will.
    pub(crate) async fn wants(&self, account: &Jid<'_>, peer: &Jid<'_>) -> bool {
        let preferences = match self.chosen(account).await {
            Ok(preferences) => preferences,
            Err(error) => {
                warn!(self.host.about(account), "the preferences of the archive cannot be read: {error}");
                return false;
            }
        };
        match (preferences.listed(peer), preferences.default) {
            (Some(listed), _) => listed,
            (None, Choice::Always) => true,
            (None, Choice::Never) => false,
            (None, Choice::Roster) => {
                let contacts = self.host.contacts_of(account).await.unwrap_or_default();
                contacts.iter().any(|contact| *peer == contact.jid.as_str())
            }
        }
    }
}
