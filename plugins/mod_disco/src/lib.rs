//! Service discovery (XEP-0030) of the server and of its accounts.
//!
//! What is answered is what all modules of the vhost have declared: their features, identities and items, collected by the
//! host. The operator can add features and items, modules forms (XEP-0128). Modules that hooked `disco_info` or
//! `disco_items` change the answer last; nodes exist where one of them says so. Accounts answer only their own owner, because
//! to others an answer would tell that the account exists.

use moult_plugin_api::hooks::{Identity, InfoAnswer, Item, ItemsAnswer};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::element::parse_element;
use std::sync::Arc;

module_options! {
    /// Options of mod_disco.
    pub struct Options {
        /// What the server is called.
        name: String = "Moult";
        /// Features to announce besides those of the modules.
        extra_features: Vec<String> = [];
        /// JIDs to list besides those of the modules; a name may follow each after a blank.
        extra_items: Vec<String> = [];
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct Discovery {
    host: Host,
    options: Options,
}

impl Module for Discovery {
    type Options = Options;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        host.on_iq(ns::DISCO_INFO, Self::server_info)?;
        host.on_iq(ns::DISCO_ITEMS, Self::server_items)?;
        host.on_iq(IqSpec::new(ns::DISCO_INFO).on_accounts(), Self::account_info)?;
        host.on_iq(IqSpec::new(ns::DISCO_ITEMS).on_accounts(), Self::account_items)?;
        host.identity("", "server", "im", &options.name)?;
        Started::running(Self { host: host.clone(), options })
    }
}

impl Discovery {
    async fn server_info(self: Arc<Self>, iq: Iq<'static>) -> Result<Element, StanzaError> {
        let features = self.options.extra_features.clone();
        self.info(asked(&iq)?, InfoAnswer { features, ..InfoAnswer::default() }).await
    }

    async fn server_items(self: Arc<Self>, iq: Iq<'static>) -> Result<Element, StanzaError> {
        let own = self.options.extra_items.iter().map(|text| extra_item(text)).collect();
        self.items(asked(&iq)?, ItemsAnswer { items: own }).await
    }

    async fn account_info(self: Arc<Self>, iq: Iq<'static>) -> Result<Element, StanzaError> {
        own(&iq)?;
        // XEP-0030 3.1 with the registry: an account of this server.
        let account = Identity { category: "account".into(), kind: "registered".into(), name: String::new() };
        self.info(asked(&iq)?, InfoAnswer { identities: vec![account], ..InfoAnswer::default() }).await
    }

    async fn account_items(self: Arc<Self>, iq: Iq<'static>) -> Result<Element, StanzaError> {
        own(&iq)?;
        self.items(asked(&iq)?, ItemsAnswer::default()).await
    }

    async fn info(&self, question: DiscoQuestion<'_>, own: InfoAnswer) -> Result<Element, StanzaError> {
        let own = if question.node.is_empty() { own } else { InfoAnswer::default() };
        let answer = self.host.disco_info(&question, &own).await?.ok_or_else(unknown_node)?;
        let forms = answer.forms.iter().filter_map(|form| self.form(form)).collect::<Vec<_>>();
        let info = info(query(ns::DISCO_INFO, &question), &answer.identities, answer.features);
        Ok(info.with_children(forms))
    }

    /// A form that a module put into the answer (XEP-0128).
    fn form(&self, text: &str) -> Option<Element> {
        let form = parse_element(text).ok().filter(|form| form.is("x", ns::DATA_FORMS));
        if form.is_none() {
            warn!(self.host, "what a module put into the answer is no form: {text}");
        }
        form
    }

    async fn items(&self, question: DiscoQuestion<'_>, own: ItemsAnswer) -> Result<Element, StanzaError> {
        let own = if question.node.is_empty() { own } else { ItemsAnswer::default() };
        let answer = self.host.disco_items(&question, &own).await?.ok_or_else(unknown_node)?;
        Ok(query(ns::DISCO_ITEMS, &question).with_children(answer.items.iter().map(item)))
    }
}

/// Whether the owner of the account asks. To everybody else there is no such account (RFC 6121 8.5.1).
fn own(iq: &Iq<'_>) -> Result<(), StanzaError> {
    if iq.from().bare() == iq.to().bare() {
        Ok(())
    } else {
        Err(StanzaError::new(Condition::ServiceUnavailable, ""))
    }
}

fn asked<'a>(iq: &Iq<'a>) -> Result<DiscoQuestion<'a>, StanzaError> {
    iq.require_get()?;
    DiscoQuestion::of(iq)
}

fn unknown_node() -> StanzaError {
    StanzaError::item_not_found("there is no such node")
}

/// The answer's query, without content. It repeats the node (XEP-0030 3.2 and 4.2).
fn query(ns: &str, question: &DiscoQuestion<'_>) -> Element {
    let query = Element::new("query").with_ns(ns);
    if question.node.is_empty() { query } else { query.with_attr("node", question.node.as_str()) }
}

fn info(query: Element, identities: &[Identity], mut features: Vec<String>) -> Element {
    features.sort_unstable();
    features.dedup();
    // Two of the same make the whole answer ill-formed for who verifies capabilities (XEP-0115 section 5.4).
    let is_first = |(at, identity): &(usize, &Identity)| !identities[..*at].contains(identity);
    let identities = identities.iter().enumerate().filter(is_first).map(|(_, identity)| {
        let element = Element::new("identity");
        let element = element.with_attr("category", &*identity.category).with_attr("type", &*identity.kind);
        named(element, &identity.name)
    });
    let features = features.into_iter().map(|feature| Element::new("feature").with_attr("var", feature));
    query.with_children(identities).with_children(features)
}

fn item(item: &Item) -> Element {
    let element = named(Element::new("item").with_attr("jid", &*item.jid), &item.name);
    if item.node.is_empty() { element } else { element.with_attr("node", &*item.node) }
}

fn named(element: Element, name: &str) -> Element {
    if name.is_empty() { element } else { element.with_attr("name", name) }
}

/// `conference.example.org Chat rooms`.
fn extra_item(text: &str) -> Item {
    let (jid, name) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
    Item { jid: jid.to_owned(), name: name.trim().to_owned(), node: String::new() }
}

export_module! {
    module: Discovery,
    xeps: ["0030" "2.5.0", "0128" "1.0.1"],
}

#[cfg(test)]
mod tests {
    use super::*;
    use moult_plugin_api::testing::{FakeHost, Instance, IqResult};

    const ALICE: &str = "alice@example.org/x";

    fn ask(module: &Instance, to: &str, what: &str) -> IqResult {
        module.iq_get(ALICE, to, &format!("<query xmlns='http://jabber.org/protocol/disco#{what}'/>"))
    }

    fn vars(query: &Element) -> Vec<&str> {
        query.elements().filter(|e| e.name() == "feature").map(|e| e.attr_s("var")).collect()
    }

    #[test]
    fn the_server_tells_what_modules_declared_and_what_was_added() {
        let host = FakeHost::new("example.org");
        let module =
            host.start::<Discovery>(r#"{"name": "Home", "extra_features": ["urn:extra", "urn:extra"]}"#);
        let query = ask(&module, "example.org", "info").unwrap().unwrap();
        let identity = query.subtag("identity").unwrap();
        assert_eq!(
            (identity.attr_s("category"), identity.attr_s("type"), identity.attr_s("name")),
            ("server", "im", "Home")
        );
        assert_eq!(vars(&query), [ns::DISCO_INFO, ns::DISCO_ITEMS, "urn:extra"]);
        assert!(query.subtag("x").is_none());
    }

    #[test]
    fn an_identity_that_several_modules_declare_is_told_once() {
        let host = FakeHost::new("example.org");
        host.answer_disco(|_, _, so_far| {
            let mut answer = so_far?;
            let identities = answer["identities"].as_array_mut()?;
            let again = identities[0].clone();
            identities.push(again);
            Some(answer)
        });
        let module = host.start::<Discovery>("{}");
        let query = ask(&module, "example.org", "info").unwrap().unwrap();
        assert_eq!(query.elements().filter(|e| e.name() == "identity").count(), 1);
    }

    #[test]
    fn items_are_listed_with_their_names() {
        let host = FakeHost::new("example.org");
        let module =
            host.start::<Discovery>(r#"{"extra_items": ["a.example.org Chat  rooms", " b.example.org "]}"#);
        let query = ask(&module, "example.org", "items").unwrap().unwrap();
        let items: Vec<_> = query.elements().map(|e| (e.attr_s("jid"), e.attr("name"))).collect();
        assert_eq!(items, [("a.example.org", Some("Chat  rooms")), ("b.example.org", None)]);
    }

    #[test]
    fn forms_of_modules_are_shown_and_what_is_none_is_left_out() {
        let host = FakeHost::new("example.org");
        host.answer_disco(|_, _, so_far| {
            let mut answer = so_far?;
            let form = format!("<x xmlns='{}' type='result'/>", ns::DATA_FORMS);
            answer["forms"] = moult_plugin_api::serde_json::json!([form, "<y/>", "no element"]);
            Some(answer)
        });
        let module = host.start::<Discovery>("{}");
        let query = ask(&module, "example.org", "info").unwrap().unwrap();
        assert_eq!(query.elements().filter(|e| e.name() == "x" || e.name() == "y").count(), 1);
        assert!(host.has_logged("no form"));
    }

    #[test]
    fn accounts_answer_their_owner_alone() {
        let host = FakeHost::new("example.org");
        let module = host.start::<Discovery>("{}");
        let query = ask(&module, "alice@example.org", "info").unwrap().unwrap();
        assert_eq!(query.subtag("identity").unwrap().attr_s("category"), "account");
        assert_eq!(vars(&query), [ns::DISCO_INFO, ns::DISCO_ITEMS]);
        assert_eq!(ask(&module, "alice@example.org", "items").unwrap().unwrap().children(), []);
        for what in ["info", "items"] {
            assert_eq!(
                ask(&module, "bob@example.org", what).unwrap_err().condition,
                Condition::ServiceUnavailable
            );
        }
    }

    #[test]
    fn a_node_that_no_module_knows_is_not_found_and_sets_are_not_allowed() {
        let host = FakeHost::new("example.org");
        let module = host.start::<Discovery>(r#"{"extra_features": ["f"], "extra_items": ["a.b"]}"#);
        for (to, what) in [
            ("example.org", "info"),
            ("example.org", "items"),
            ("alice@example.org", "info"),
            ("alice@example.org", "items"),
        ] {
            let query = format!("<query xmlns='http://jabber.org/protocol/disco#{what}' node='n'/>");
            assert_eq!(module.iq_get(ALICE, to, &query).unwrap_err().condition, Condition::ItemNotFound);
            assert_eq!(module.iq_set(ALICE, to, &query).unwrap_err().condition, Condition::NotAllowed);
        }
    }

    #[test]
    fn hooks_answer_for_nodes_and_change_what_was_declared() {
        let host = FakeHost::new("example.org");
        host.answer_disco(|hook, question, so_far| match (hook, question["node"].as_str()?) {
            ("disco_items", "") => {
                let mut answer = so_far?;
                answer["items"].as_array_mut()?.retain(|item| item["jid"] != "secret.b");
                Some(answer)
            }
            ("disco_items", "empty") => Some(moult_plugin_api::serde_json::json!({"items": []})),
            ("disco_info", "commands") => {
                assert_eq!((&question["from"], &question["to"]), (&ALICE.into(), &"example.org".into()));
                Some(moult_plugin_api::serde_json::json!({"features": ["urn:node"]}))
            }
            _ => so_far,
        });
        let module = host.start::<Discovery>(r#"{"extra_items": ["a.b", "secret.b"]}"#);
        let items = ask(&module, "example.org", "items").unwrap().unwrap();
        assert_eq!(items.elements().map(|item| item.attr_s("jid")).collect::<Vec<_>>(), ["a.b"]);
        let node = |what: &str, node: &str| {
            let query = format!("<query xmlns='http://jabber.org/protocol/disco#{what}' node='{node}'/>");
            module.iq_get(ALICE, "example.org", &query)
        };
        let empty = node("items", "empty").unwrap().unwrap();
        assert_eq!((empty.attr_s("node"), empty.children().len()), ("empty", 0));
        let commands = node("info", "commands").unwrap().unwrap();
        assert_eq!((vars(&commands), commands.attr_s("node")), (vec!["urn:node"], "commands"));
        assert_eq!(node("info", "other").unwrap_err().condition, Condition::ItemNotFound);
    }
}
