//! Private XML storage (XEP-0049): clients keep elements of their own on the server, one of each name and namespace.
//!
//! Everything of one account lies in one map, so that a set of several elements happens as a whole or not at all. Only the
//! owner reads and writes. How many elements an account has and how long each may be is limited. The data of an account
//! goes with the account.

mod transfer;

use moult_plugin_api::hooks::AccountArgs;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::element::parse_element;
use moult_plugin_api::sdk::hooks::Notice;
use moult_plugin_api::sdk::store::{Map, MapChange};
use moult_plugin_api::serde::Deserialize;
use std::sync::Arc;

/// XEP-0049.
const NS: &str = "jabber:iq:private";

module_options! {
    /// Options of mod_private.
    pub struct Options {
        /// Elements that one account may keep.
        max_items: usize = 100, min 1, max 10000;
        /// The longest of them, in bytes.
        max_item_size: usize = 65536, kind "\"size\"", min 256, max 1048576;
    }
}

/// The module on one vhost.
#[derive(Debug)]
pub struct Private {
    host: Host,
    options: Live<Options>,
}

/// Arguments of the commands.
#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
struct Wanted {
    user: String,
    host: String,
    #[serde(default)]
    element: String,
    #[serde(default)]
    ns: String,
}

impl Module for Private {
    type Options = Options;
    const RELOADS: bool = true;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        host.on_iq(IqSpec::new(NS).on_accounts(), Self::answer)?;
        host.on_user_removed(50, Self::removed)?;
        host.on_export_user(50, Self::export_user)?;
        host.on_import_user(50, Self::import_user)?;
        let get = CommandSpec::new("private_get", "Shows an element of a user's private storage")
            .arg("user", "user", "Whose")
            .arg("host", "host", "On which vhost")
            .arg("element", "string", "The element's name")
            .arg("ns", "string", "The element's namespace");
        host.command(&get.result("The element").tag("private"), Self::command_get)?;
        let set = CommandSpec::new("private_set", "Sets an element in a user's private storage")
            .arg("user", "user", "Whose")
            .arg("host", "host", "On which vhost")
            .arg("element", "string", "The element as XML");
        host.command(&set.tag("private"), Self::command_set)?;
        Started::running(Self { host: host.clone(), options: Live::new(options) })
    }

    fn on_reload(&self, options: Options, changed: bool) -> Result<Reload, Stop> {
        if changed {
            self.options.set(options);
        }
        Ok(Reload::Done)
    }
}

impl Private {
    fn store(&self) -> Map {
        self.host.map("private")
    }

    async fn answer(self: Arc<Self>, iq: Iq<'static>) -> Result<Element, StanzaError> {
        if iq.from().bare() != iq.to().bare() {
            return Err(StanzaError::forbidden("private data is its owner's alone"));
        }
        let query = iq.payload()?;
        if query.elements().next().is_none() {
            return Err(StanzaError::new(Condition::NotAcceptable, "the query names no element"));
        }
        if iq.is_get() {
            return self.read(&iq, query).await;
        }
        self.write(iq.from().bare().as_str(), query).await?;
        Ok(Element::new("query").with_ns(NS))
    }

    /// XEP-0049 3.2: one element is asked for at a time; where nothing is stored, it comes back as it is.
    async fn read(&self, iq: &Iq<'_>, query: &Element) -> Result<Element, StanzaError> {
        let mut wanted = query.elements();
        let (Some(element), None) = (wanted.next(), wanted.next()) else {
            return Err(StanzaError::bad_request("one element is asked for at a time"));
        };
        let stored = self.store().get(iq.from().bare().as_str(), &field_of(element)?).await?;
        let found = stored.and_then(|bytes| parse_element(std::str::from_utf8(&bytes).ok()?).ok());
        Ok(Element::new("query").with_ns(NS).with_child(found.unwrap_or_else(|| element.clone())))
    }

    async fn write(&self, owner: &str, query: &Element) -> Result<(), StanzaError> {
        let mut change = MapChange::new();
        let mut fields = Vec::new();
        for element in query.elements() {
            let (field, bytes) = (field_of(element)?, element.to_bytes());
            if bytes.len() > self.options.get().max_item_size {
                let text = format!("an element has {} bytes at most", self.options.get().max_item_size);
                return Err(StanzaError::new(Condition::PolicyViolation, text));
            }
            change = change.set(&field, &bytes);
            fields.push(field);
        }
        let stored = self.store().all(owner).await?;
        fields.extend(stored.into_keys());
        fields.sort_unstable();
        fields.dedup();
        if fields.len() > self.options.get().max_items {
            let text = format!("{} elements can be kept", self.options.get().max_items);
            return Err(StanzaError::new(Condition::ResourceConstraint, text));
        }
        Ok(self.store().update(owner, &change).await?)
    }

    async fn removed(self: Arc<Self>, account: Notice<'static, AccountArgs>) {
        if let Err(error) = self.store().delete(account.jid.as_str()).await {
            error!(self.host.about(&account.jid), "private data of a removed account stays: {error}");
        }
    }

    async fn command_get(self: Arc<Self>, request: Request<'static>) -> Result<String, CommandError> {
        let wanted: Wanted = request.args()?;
        let owner = format!("{}@{}", wanted.user, wanted.host);
        let element = Element::new(&wanted.element).with_ns(&wanted.ns);
        let field = field_of(&element).map_err(|error| CommandError::bad_request(error.text))?;
        let stored = self.store().get(&owner, &field).await?;
        let stored = stored.ok_or_else(|| CommandError::not_found("Nothing is stored there."))?;
        Ok(String::from_utf8_lossy(&stored).into_owned())
    }

    async fn command_set(self: Arc<Self>, request: Request<'static>) -> Result<(), CommandError> {
        let wanted: Wanted = request.args()?;
        let owner = Jid::parse(&format!("{}@{}", wanted.user, wanted.host));
        let owner =
            owner.map_err(|error| CommandError::bad_request(format!("This is no account: {error}.")))?;
        if !self.host.account_exists(&owner).await? {
            return Err(CommandError::not_found(format!("There is no account {owner}.")));
        }
        let element = parse_element(&wanted.element)
            .map_err(|error| CommandError::bad_request(format!("This is no element: {error}.")))?;
        let query = Element::new("query").with_ns(NS).with_child(element);
        self.write(owner.as_str(), &query).await.map_err(|error| CommandError::bad_request(error.text))
    }
}

/// The field of the map: namespace and name, which a blank keeps apart because neither has one.
fn field_of(element: &Element) -> Result<String, StanzaError> {
    match element.ns() {
        Some(ns) if !ns.is_empty() && ns != NS => Ok(format!("{ns} {}", element.name())),
        _ => Err(StanzaError::new(Condition::NotAcceptable, "private data needs a namespace of its own")),
    }
}

export_module! {
    module: Private,
    needs_minor: 2,
    xeps: ["0049" "1.2"],
}

#[cfg(test)]
mod tests {
    use super::*;
    use moult_plugin_api::hooks::name;
    use moult_plugin_api::serde_json::json;
    use moult_plugin_api::testing::{FakeHost, Instance, IqResult};

    const ALICE: &str = "alice@example.org/x";
    const BOOKMARKS: &str = "<storage xmlns='storage:bookmarks'/>";

    fn server(options: &str) -> (FakeHost, Instance) {
        let host = FakeHost::new("example.org");
        host.add_account("alice@example.org", "secret");
        let module = host.start::<Private>(options);
        (host, module)
    }

    fn query(content: &str) -> String {
        format!("<query xmlns='jabber:iq:private'>{content}</query>")
    }

    fn set(module: &Instance, from: &str, content: &str) -> IqResult {
        module.iq_set(from, "alice@example.org", &query(content))
    }

    fn get(module: &Instance, from: &str, content: &str) -> IqResult {
        module.iq_get(from, "alice@example.org", &query(content))
    }

    fn condition(result: IqResult) -> Condition {
        result.expect_err("an error").condition
    }

    #[test]
    fn what_was_set_comes_back_and_what_was_not_comes_back_empty() {
        let (_host, module) = server("{}");
        let stored = "<storage xmlns='storage:bookmarks'><conference jid='a@b'/></storage>";
        let other = "<prefs xmlns='urn:x'>1 &lt; 2</prefs>";
        assert!(set(&module, ALICE, &format!("{stored}{other}")).is_ok());
        let answer = get(&module, "alice@example.org/y", BOOKMARKS).unwrap().unwrap();
        let storage = answer.subtag_ns("storage", "storage:bookmarks").unwrap();
        assert_eq!(storage.subtag("conference").unwrap().attr_s("jid"), "a@b");
        let prefs = get(&module, ALICE, "<prefs xmlns='urn:x'/>").unwrap().unwrap();
        assert_eq!(prefs.subtag_text("prefs"), "1 < 2");
        let nothing = get(&module, ALICE, "<prefs xmlns='urn:y'/>").unwrap().unwrap();
        assert_eq!(nothing.subtag_ns("prefs", "urn:y").unwrap().children(), []);
    }

    #[test]
    fn it_is_the_owners_alone() {
        let (_host, module) = server("{}");
        for result in
            [get(&module, "bob@example.org/x", BOOKMARKS), set(&module, "eve@elsewhere/x", BOOKMARKS)]
        {
            assert_eq!(condition(result), Condition::Forbidden);
        }
    }

    #[test]
    fn senseless_requests_are_refused_with_the_conditions_of_the_xep() {
        let (_host, module) = server("{}");
        for content in ["", "text", "<a/>", "<a xmlns=''/>", "<a xmlns='jabber:iq:private'/>"] {
            assert_eq!(condition(get(&module, ALICE, content)), Condition::NotAcceptable, "{content}");
            assert_eq!(condition(set(&module, ALICE, content)), Condition::NotAcceptable, "{content}");
        }
        let two = "<a xmlns='urn:a'/><b xmlns='urn:b'/>";
        assert_eq!(condition(get(&module, ALICE, two)), Condition::BadRequest);
        assert_eq!(condition(set(&module, ALICE, &format!("{two}<c/>"))), Condition::NotAcceptable);
        assert_eq!(get(&module, ALICE, "<a xmlns='urn:a'/>").unwrap().unwrap().subtag_text("a"), "");
    }

    #[test]
    fn number_and_length_are_limited() {
        let (_host, module) = server(r#"{"max_items": 2, "max_item_size": 256}"#);
        let long = format!("<a xmlns='urn:a'>{}</a>", "x".repeat(256));
        assert_eq!(condition(set(&module, ALICE, &long)), Condition::PolicyViolation);
        assert!(set(&module, ALICE, "<a xmlns='urn:a'/><b xmlns='urn:b'/>").is_ok());
        assert_eq!(condition(set(&module, ALICE, "<c xmlns='urn:c'/>")), Condition::ResourceConstraint);
        assert!(set(&module, ALICE, "<b xmlns='urn:b'>new</b>").is_ok());
    }

    #[test]
    fn new_limits_hold_without_a_restart() {
        let (_host, module) = server("{}");
        assert_eq!(module.reload(r#"{"max_items": 1}"#, true), Ok(Reload::Done));
        let two = "<a xmlns='urn:a'/><b xmlns='urn:b'/>";
        assert_eq!(condition(set(&module, ALICE, two)), Condition::ResourceConstraint);
    }

    #[test]
    fn data_survives_a_swap_and_goes_with_the_account() {
        let (host, old) = server("{}");
        assert!(set(&old, ALICE, "<a xmlns='urn:a'>kept</a>").is_ok());
        let new = host.start_swap::<Private>("{}");
        assert!(old.stop(StopReason::Swap).is_clean());
        assert_eq!(get(&new, ALICE, "<a xmlns='urn:a'/>").unwrap().unwrap().subtag_text("a"), "kept");
        new.hook(name::USER_REMOVED, "alice@example.org", "", &json!({}), "");
        assert_eq!(get(&new, ALICE, "<a xmlns='urn:a'/>").unwrap().unwrap().subtag_text("a"), "");
    }

    #[test]
    fn an_administrator_reads_and_writes_by_command() {
        let (_host, module) = server("{}");
        let alice = |rest: moult_plugin_api::serde_json::Value| {
            let mut args = json!({"user": "alice", "host": "example.org"});
            args.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            args
        };
        let set = |element| module.command("private_set", &alice(json!({"element": element})));
        let get = || module.command("private_get", &alice(json!({"element": "a", "ns": "urn:a"})));
        assert_eq!(get().unwrap_err().code, 404);
        assert!(set("<a xmlns='urn:a'>1</a>").is_ok());
        assert_eq!(get().unwrap(), "<a xmlns='urn:a'>1</a>");
        assert_eq!(set("no element").unwrap_err().code, 400);
        assert_eq!(set("<a/>").unwrap_err().code, 400);
        let nobody = json!({"user": "nobody", "host": "example.org", "element": "<a xmlns='urn:a'/>"});
        assert_eq!(module.command("private_set", &nobody).unwrap_err().code, 404);
    }
}
