//! The two ad-hoc commands of XEP-0401. mod_adhoc owns the namespace and hands them over by the request `adhoc`.

use crate::Invites;
use crate::invite::{Invite, Kind};
use moult_plugin_api::hooks::{Identity, InfoAnswer, Item, ItemsAnswer};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::date_time_ms;
use moult_plugin_api::sdk::element::parse_element;
use moult_plugin_api::sdk::hooks::Collecting;
use moult_plugin_api::serde::Deserialize;
use moult_plugin_api::serde_json::{Value, json};
use std::sync::Arc;

/// XEP-0050.
const COMMANDS: &str = "http://jabber.org/protocol/commands";
const INVITE: &str = "urn:xmpp:invite#invite";
const CREATE: &str = "urn:xmpp:invite#create-account";
const FORM_TYPE: &str = "urn:xmpp:invite#invitation";
/// Whoever may call this command may create accounts by XMPP.
const PERMISSION: &str = "generate_invite";

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
pub struct AdHocArgs {
    from: String,
    session: String,
    command: String,
}

impl Invites {
    /// What the list of commands shows this JID.
    async fn nodes(&self, caller: &Jid<'_>) -> Vec<(&'static str, &'static str)> {
        let is_user = caller.localpart().is_some() && caller.domain() == self.host.vhost();
        let mut nodes = Vec::new();
        if is_user && self.options.get().users_invite {
            nodes.push((INVITE, "Invite user"));
        }
        let offered = self.host.commands_for(caller).await.unwrap_or_default();
        if is_user && offered.iter().any(|command| command.name == PERMISSION) {
            nodes.push((CREATE, "Create account"));
        }
        nodes
    }

    pub(crate) async fn items(
        self: Arc<Self>,
        question: Collecting<'static, ItemsAnswer>,
    ) -> Collect<ItemsAnswer> {
        if question.node != COMMANDS || question.to.localpart().is_some() {
            return Collect::Continue;
        }
        let nodes = self.nodes(&question.from).await;
        let mut answer = question.answer;
        answer.items.extend(nodes.into_iter().map(|(node, name)| Item {
            jid: self.host.vhost().to_owned(),
            name: name.to_owned(),
            node: node.to_owned(),
        }));
        Collect::With(answer)
    }

    pub(crate) async fn info(
        self: Arc<Self>,
        question: Collecting<'static, InfoAnswer>,
    ) -> Collect<InfoAnswer> {
        if !matches!(question.node.as_str(), INVITE | CREATE) || question.to.localpart().is_some() {
            return Collect::Continue;
        }
        let nodes = self.nodes(&question.from).await;
        let Some((_, name)) = nodes.into_iter().find(|(node, _)| *node == question.node) else {
            return Collect::Continue;
        };
        let mut answer = question.answer;
        let (category, kind) = ("automation".to_owned(), "command-node".to_owned());
        answer.identities.push(Identity { category, kind, name: name.to_owned() });
        answer.features.extend([COMMANDS, ns::DATA_FORMS].map(str::to_owned));
        Collect::With(answer)
    }

    /// One step. A request is answered in a thread of the modules, which may wait.
    pub(crate) fn adhoc(&self, args: &AdHocArgs) -> Result<Value, CommandError> {
        let caller = Jid::parse(&args.from).map_err(|error| CommandError::bad_request(error.to_string()))?;
        let command =
            parse_element(&args.command).map_err(|error| CommandError::bad_request(error.to_string()))?;
        Ok(match self.step(&caller, &command, &args.session) {
            Ok(reply) => json!({"command": reply.to_string()}),
            Err(error) => json!({"error": error.condition.name(), "text": error.text}),
        })
    }

    fn step(&self, caller: &Jid<'_>, command: &Element, session: &str) -> Result<Element, StanzaError> {
        let is_user = caller.localpart().is_some() && caller.domain() == self.host.vhost();
        let node = command.attr_s("node");
        if !is_user || !matches!(node, INVITE | CREATE) {
            return Err(StanzaError::item_not_found("there is no such command"));
        }
        let reply =
            Element::new("command").with_ns(COMMANDS).with_attr("node", node).with_attr("sessionid", session);
        if node == INVITE {
            if !self.options.get().users_invite {
                return Err(StanzaError::forbidden("users cannot invite here"));
            }
            let invitation = self.make(Kind::RosterOnly, caller, "")?;
            return Ok(reply.with_attr("status", "completed").with_child(invitation));
        }
        let offered = self.host.commands_for(caller).wait()?;
        if !offered.iter().any(|command| command.name == PERMISSION) {
            return Err(StanzaError::forbidden("accounts are created by administrators"));
        }
        match command.subtag_ns("x", ns::DATA_FORMS) {
            None => Ok(reply.with_attr("status", "executing").with_child(actions()).with_child(form())),
            Some(form) => {
                let invitation = self.make_account(caller, form)?;
                Ok(reply.with_attr("status", "completed").with_child(invitation))
            }
        }
    }

    fn make_account(&self, caller: &Jid<'_>, form: &Element) -> Result<Element, StanzaError> {
        if form.attr_s("type") != "submit" {
            return Err(StanzaError::bad_request("a form comes back as type submit"));
        }
        let value = |name: &str| {
            let field = form.elements().find(|field| field.name() == "field" && field.attr_s("var") == name);
            field.map(|field| field.subtag_text("value").trim().to_owned()).unwrap_or_default()
        };
        let subscribes = matches!(value("roster-subscription").as_str(), "1" | "true");
        let kind = if subscribes { Kind::AccountSubscription } else { Kind::AccountOnly };
        self.make(kind, caller, &value("username"))
    }

    fn make(&self, kind: Kind, caller: &Jid<'_>, username: &str) -> Result<Element, StanzaError> {
        let (token, invite) = self.prepare(kind, caller.bare().as_str(), username)?;
        if let Some(account) = self.account_of(&invite)
            && self.host.account_exists(&account).wait()?
        {
            return Err(StanzaError::new(Condition::Conflict, "there is such an account"));
        }
        self.store().set_json(&token, &invite).wait()?;
        self.book().put(&token, invite.clone());
        self.host.count("made", 1);
        Ok(self.result(&token, &invite))
    }

    fn result(&self, token: &str, invite: &Invite) -> Element {
        let field = |name: &str, kind: &str, value: &str| {
            let value = Element::new("value").with_text(value);
            Element::new("field").with_attr("var", name).with_attr("type", kind).with_child(value)
        };
        Element::new("x").with_ns(ns::DATA_FORMS).with_attr("type", "result").with_children([
            field("FORM_TYPE", "hidden", FORM_TYPE),
            field("uri", "text-single", &invite.uri(self.host.vhost(), token)),
            field("landing-url", "text-single", &self.landing(token)),
            field("expire", "text-single", &date_time_ms(invite.expires)),
        ])
    }
}

fn actions() -> Element {
    Element::new("actions").with_attr("execute", "complete").with_child(Element::new("complete"))
}

fn form() -> Element {
    let field = |name: &str, label: &str, kind: &str| {
        Element::new("field").with_attr("var", name).with_attr("label", label).with_attr("type", kind)
    };
    Element::new("x").with_ns(ns::DATA_FORMS).with_attr("type", "form").with_children([
        Element::new("title").with_text("Create account"),
        field("username", "Username; empty leaves it to the invited", "text-single"),
        field("roster-subscription", "Roster subscription", "boolean"),
    ])
}
