//! One request of XEP-0050: begin, submit, cancel.

use crate::administration::{self, Task};
use crate::form::{self, Submitted};
use crate::{AdHoc, NS, show};
use moult_plugin_api::hooks::OfferedCommand;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::digest::random_token;
use moult_plugin_api::sdk::element::parse_element;
use moult_plugin_api::serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The longest session id that is taken back.
const MAX_SESSION_ID: usize = 128;
/// Nodes of other modules, by what they begin with (XEP-0401).
const DELEGATED: &[(&str, &str)] = &[("urn:xmpp:invite#", "mod_invites")];
const DELEGATE_TIMEOUT: Duration = Duration::from_secs(10);

impl AdHoc {
    pub(crate) async fn answer(self: Arc<Self>, iq: Iq<'static>) -> Result<Element, StanzaError> {
        if iq.is_get() {
            return Err(StanzaError::not_allowed("commands are run by a set"));
        }
        let command = iq.payload()?;
        if command.name() != "command" {
            return Err(StanzaError::bad_request("the payload is no command"));
        }
        let session = session_id(command)?;
        let node = command.attr_s("node");
        match command.attr("action").unwrap_or("execute") {
            "cancel" => Ok(reply(node, &session, "canceled")),
            "execute" | "complete" | "next" => self.carry_out(&iq, command, node, &session).await,
            "prev" => Err(StanzaError::bad_request("there is no step before this one")),
            _ => Err(StanzaError::bad_request("this is no action of XEP-0050")),
        }
    }

    async fn carry_out(
        &self,
        iq: &Iq<'_>,
        command: &Element,
        node: &str,
        session: &str,
    ) -> Result<Element, StanzaError> {
        if let Some(module) = delegated(node) {
            return self.delegate(module, iq.from(), command, session).await;
        }
        let task = administration::find(node);
        let name = task.map_or(node, |task| task.command);
        let offered = self.host.commands_for(iq.from()).await?;
        let offered = offered.into_iter().find(|offered| offered.name == name);
        let Some(offered) = offered else { return Err(self.denied(iq.from(), name).await) };
        match Submitted::of(command)? {
            Some(submitted) => {
                let args = match task {
                    Some(task) => task.arguments(&submitted, self.host.vhost())?,
                    None => form::arguments(&offered, &submitted),
                };
                self.run(iq, &offered, args, node, session).await
            }
            None if offered.args.is_empty() => self.run(iq, &offered, vec![Map::new()], node, session).await,
            None => Ok(self.ask(&offered, task, node, session)),
        }
    }

    /// Whether there is no such command or this JID may not call it. The table says which, and which rule is missing.
    async fn denied(&self, caller: &Jid<'_>, name: &str) -> StanzaError {
        match self.host.run_command_as(caller, name, &Value::Object(Map::new())).await {
            Ok(_) => {
                StanzaError::new(Condition::UnexpectedRequest, "the command was only just made available")
            }
            Err(error) if matches!(error.condition.as_str(), "forbidden" | "item-not-found") => error.into(),
            Err(_) => StanzaError::item_not_found("there is no such command"),
        }
    }

    /// A command that is another module's own, with forms and rules of its XEP: it gets the element and gives one back.
    async fn delegate(
        &self,
        module: &str,
        caller: &Jid<'_>,
        command: &Element,
        session: &str,
    ) -> Result<Element, StanzaError> {
        let args = json!({"from": caller.as_str(), "session": session, "command": command.to_string()});
        let answer = self.host.request(module, "adhoc", &args, DELEGATE_TIMEOUT).await;
        let answer = answer.map_err(|error| match error.condition.as_str() {
            "item-not-found" => StanzaError::item_not_found("there is no such command"),
            _ => error.into(),
        })?;
        if let Some(condition) = answer["error"].as_str().and_then(Condition::from_name) {
            let text = answer["text"].as_str().unwrap_or_default().to_owned();
            return Err(StanzaError::new(condition, text));
        }
        let reply = answer["command"].as_str().and_then(|text| parse_element(text).ok());
        reply.ok_or_else(|| StanzaError::internal(format!("{module} gave an answer that cannot be read")))
    }

    fn ask(&self, offered: &OfferedCommand, task: Option<&Task>, node: &str, session: &str) -> Element {
        let form = match task {
            Some(task) => task.form(),
            None => form::of(offered, self.host.vhost()),
        };
        let actions =
            Element::new("actions").with_attr("execute", "complete").with_child(Element::new("complete"));
        reply(node, session, "executing").with_child(actions).with_child(form)
    }

    /// Runs the command, once for each set of arguments (XEP-0133 has forms for several accounts).
    async fn run(
        &self,
        iq: &Iq<'_>,
        offered: &OfferedCommand,
        all: Vec<Map<String, Value>>,
        node: &str,
        session: &str,
    ) -> Result<Element, StanzaError> {
        let mut answers = Vec::with_capacity(all.len());
        for args in all {
            match self.host.run_command_as(iq.from(), &offered.name, &Value::Object(args)).await {
                Ok(value) => answers.push(value),
                Err(error) if error.condition == "bad-request" => {
                    return Err(StanzaError::bad_request(error.text));
                }
                Err(error) if error.condition == "forbidden" => {
                    return Err(StanzaError::forbidden(error.text));
                }
                // The command was lawful and did not work: XEP-0050 3.3 has notes for that.
                Err(error) => {
                    return Ok(reply(node, session, "completed").with_child(show::note("error", &error.text)));
                }
            }
        }
        let value = if answers.len() == 1 { answers.remove(0) } else { Value::Array(answers) };
        let shown = show::of(&value, self.options.get().max_rows);
        Ok(reply(node, session, "completed").with_children(shown))
    }
}

/// The module whose command a node is, where it is none of the table.
fn delegated(node: &str) -> Option<&'static str> {
    DELEGATED.iter().find(|(prefix, _)| node.starts_with(prefix)).map(|(_, module)| *module)
}

/// The client's session, or a new one.
fn session_id(command: &Element) -> Result<String, StanzaError> {
    match command.attr("sessionid") {
        Some(id) if id.len() <= MAX_SESSION_ID && !id.is_empty() => Ok(id.to_owned()),
        Some(_) => Err(StanzaError::bad_request("this is no session of this server")),
        None => random_token(12).map_err(|error| StanzaError::internal(format!("no random bytes: {error}"))),
    }
}

fn reply(node: &str, session: &str, status: &str) -> Element {
    Element::new("command")
        .with_ns(NS)
        .with_attr("node", node)
        .with_attr("sessionid", session)
        .with_attr("status", status)
}
