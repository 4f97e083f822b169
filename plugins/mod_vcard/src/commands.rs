//! Commands by ejabberd's names: `get_vcard`, `get_vcard2`, `set_vcard`, `set_vcard2`.

use crate::{NS, VCards};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::Node;
use moult_plugin_api::serde::Deserialize;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct Wanted {
    user: String,
    host: String,
    name: String,
    #[serde(default)]
    subname: Option<String>,
    #[serde(default)]
    content: String,
}

pub fn register(host: &Host) -> Result<(), HostError> {
    let of = |name: &str, doc: &str| {
        CommandSpec::new(name, doc).tag("vcard").arg("user", "user", "Whose").arg(
            "host",
            "host",
            "On which vhost",
        )
    };
    let get = of("get_vcard", "Shows a field of a vCard").arg("name", "string", "Field, such as NICKNAME");
    host.command(&get.result("The content"), VCards::command_get)?;
    let get = of("get_vcard2", "Shows a field inside a field of a vCard")
        .arg("name", "string", "Field, such as N")
        .arg("subname", "string", "Field in it, such as FAMILY");
    host.command(&get.result("The content"), VCards::command_get)?;
    let set = of("set_vcard", "Sets a field of a vCard")
        .arg("name", "string", "Field, such as NICKNAME")
        .arg("content", "string", "What it says");
    host.command(&set, VCards::command_set)?;
    let set = of("set_vcard2", "Sets a field inside a field of a vCard")
        .arg("name", "string", "Field, such as N")
        .arg("subname", "string", "Field in it, such as FAMILY")
        .arg("content", "string", "What it says");
    host.command(&set, VCards::command_set)?;
    Ok(())
}

impl VCards {
    async fn command_get(self: Arc<Self>, request: Request<'static>) -> Result<String, CommandError> {
        let wanted: Wanted = request.args()?;
        let card = self.read(&account(&wanted)?).await?;
        let field = card.as_ref().and_then(|card| card.subtag(&wanted.name));
        let field = match &wanted.subname {
            Some(subname) => field.and_then(|field| field.subtag(subname)),
            None => field,
        };
        field.map(Element::text).ok_or_else(|| CommandError::not_found("The vCard has no such field."))
    }

    async fn command_set(self: Arc<Self>, request: Request<'static>) -> Result<(), CommandError> {
        let wanted: Wanted = request.args()?;
        let account = account(&wanted)?;
        if ![Some(&wanted.name), wanted.subname.as_ref()].into_iter().flatten().all(|name| is_name(name)) {
            return Err(CommandError::bad_request(
                "The name of a field consists of letters, digits and hyphens.",
            ));
        }
        if !self.host.account_exists(&account).await? {
            return Err(CommandError::not_found(format!("There is no account {account}.")));
        }
        let mut card = self.read(&account).await?.unwrap_or_else(|| Element::new("vCard").with_ns(NS));
        let field = child(&mut card, &wanted.name);
        let field = match &wanted.subname {
            Some(subname) => child(field, subname),
            None => field,
        };
        *field.children_mut() = vec![Node::Text(wanted.content)];
        self.write(&account, &card).await.map_err(|error| CommandError::bad_request(error.text))
    }
}

fn account(wanted: &Wanted) -> Result<Jid<'static>, CommandError> {
    Jid::parse(&format!("{}@{}", wanted.user, wanted.host))
        .map_err(|error| CommandError::bad_request(format!("This is no account: {error}.")))
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// The first child of that name, made where there is none.
fn child<'a>(parent: &'a mut Element, name: &str) -> &'a mut Element {
    let children = parent.children_mut();
    let position = children.iter().position(|node| matches!(node, Node::Element(e) if e.name() == name));
    let position = position.unwrap_or_else(|| {
        children.push(Node::Element(Element::new(name)));
        children.len() - 1
    });
    match &mut children[position] {
        Node::Element(element) => element,
        Node::Text(_) => unreachable!("an element was found or put there"),
    }
}
