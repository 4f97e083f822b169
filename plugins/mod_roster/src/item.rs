//! One contact of one account as it is stored, and as the client is shown it.

use crate::state::State;
use moult_plugin_api::hooks::{Contact, Subscription};
use moult_plugin_api::prelude::*;
use moult_plugin_api::serde::{Deserialize, Serialize};

/// A contact. It is in the roster, or it is only known because it has asked and nobody has answered yet: such a one is
/// never shown (RFC 6121 section 3.1.3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde", default)]
pub struct Item {
    /// Whether it is in the roster.
    pub listed: bool,
    /// The name the user gave it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The groups the user put it in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Who sees whom.
    pub subscription: Subscription,
    /// The user has asked and waits for the answer.
    #[serde(skip_serializing_if = "is_false")]
    pub ask: bool,
    /// The user has allowed a request that is still to come (section 3.4).
    #[serde(skip_serializing_if = "is_false")]
    pub approved: bool,
    /// The contact's request that the user has not answered, as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

fn is_false(value: &bool) -> bool {
    !*value
}

impl Item {
    /// The state of appendix A.
    pub fn state(&self) -> State {
        State {
            to: self.subscription.has_to(),
            from: self.subscription.has_from(),
            pending_out: self.ask,
            pending_in: self.request.is_some(),
        }
    }

    /// Takes a new state over; `request` is what the contact asked, where it has just asked.
    pub fn set_state(&mut self, state: State, request: Option<String>) {
        self.subscription = state.subscription();
        self.ask = state.pending_out;
        self.request = if state.pending_in { request.or(self.request.take()) } else { None };
        // Who sees the account, or is about to, is in the roster.
        self.listed |= state.to || state.from || state.pending_out;
    }

    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        !self.listed && self.request.is_none()
    }

    /// `<item/>` as in the roster (section 2.1.2).
    pub fn to_element(&self, jid: &str) -> Element {
        let mut element = Element::new("item").with_attr("jid", jid);
        if !self.name.is_empty() {
            element.set_attr("name", &self.name);
        }
        element.set_attr("subscription", self.subscription.name());
        if self.ask {
            element.set_attr("ask", "subscribe");
        }
        if self.approved {
            element.set_attr("approved", "true");
        }
        element.with_children(self.groups.iter().map(|group| Element::new("group").with_text(group)))
    }

    /// As the server wants it for presence.
    pub fn to_contact(&self, jid: &str) -> Contact {
        Contact { jid: jid.to_owned(), subscription: self.subscription }
    }
}

/// What the client is told of a contact that is no more.
pub fn removed(jid: &str) -> Element {
    Element::new("item").with_attr("jid", jid).with_attr("subscription", "remove")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Kind;

    #[test]
    fn a_request_makes_no_roster_item_but_an_answer_does() {
        let mut item = Item::default();
        item.set_state(item.state().inbound(Kind::Subscribe).state, Some("<presence/>".into()));
        assert!(!item.listed && !item.is_empty() && item.state().pending_in);
        let mut denied = item.clone();
        denied.set_state(denied.state().outbound(Kind::Unsubscribed).state, None);
        assert!(denied.is_empty());
        item.set_state(item.state().outbound(Kind::Subscribed).state, None);
        assert!(item.listed && item.request.is_none());
        let shown = item.to_element("a@b").to_string();
        assert_eq!(shown, "<item jid='a@b' subscription='from'/>");
    }

    #[test]
    fn all_that_a_client_may_see_is_shown() {
        let item = Item {
            listed: true,
            name: "A & B".into(),
            groups: vec!["x".into(), "y".into()],
            subscription: Subscription::None,
            ask: true,
            approved: true,
            request: Some("<presence/>".into()),
        };
        let element = item.to_element("a@b");
        let attrs = ["jid", "name", "subscription", "ask", "approved"].map(|name| element.attr_s(name));
        assert_eq!(attrs, ["a@b", "A & B", "none", "subscribe", "true"]);
        assert_eq!(element.elements().map(Element::text).collect::<Vec<_>>(), ["x", "y"]);
    }
}
