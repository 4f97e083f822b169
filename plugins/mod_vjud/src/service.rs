//! The service's domain: discovery, searches with and without forms, and registrations.

use crate::Inner;
use crate::entry::{Entry, FIELDS, PLAIN, Search};
use moult_plugin_api::prelude::*;
use std::collections::BTreeMap;

/// XEP-0055.
const SEARCH: &str = "jabber:iq:search";

const INSTRUCTIONS: &str =
    "Fill in one or more fields. A * at the beginning or the end of a text stands for any text.";

impl Inner {
    /// One at a time and in order.
    pub(crate) async fn stanza(&self, stanza: &Stanza<'_>) -> Flow {
        let kind = stanza.type_attr().unwrap_or_default();
        if stanza.name() != "iq" || !matches!(kind.as_str(), "get" | "set") {
            return Flow::Continue;
        }
        let reply = |kind: &str| {
            Element::new("iq").with_attr("type", kind).with_attr("id", stanza.id().unwrap_or_default())
        };
        let answered = match self.answer(stanza, kind == "get").await {
            Ok(Some(payload)) => reply("result").with_child(payload),
            Ok(None) => reply("result"),
            Err(error) => reply("error").with_child(error.to_element()),
        };
        if let Err(error) = self.host.route_element(stanza.to(), stanza.from(), &answered) {
            debug!(self.host.about(stanza.from()), "an answer was not sent: {error}");
        }
        Flow::Continue
    }

    async fn answer(&self, stanza: &Stanza<'_>, get: bool) -> Result<Option<Element>, StanzaError> {
        let iq = stanza.element()?;
        let query =
            iq.elements().next().ok_or_else(|| StanzaError::bad_request("a request has a payload"))?;
        if stanza.to().localpart().is_some() {
            return Err(StanzaError::new(Condition::ServiceUnavailable, ""));
        }
        match (query.name(), query.ns().unwrap_or_default()) {
            ("query", ns::DISCO_INFO | ns::DISCO_ITEMS) | ("ping", ns::PING) if !get => {
                Err(StanzaError::not_allowed("that is asked for by a get"))
            }
            ("query", ns::DISCO_INFO | ns::DISCO_ITEMS) if !query.attr_s("node").is_empty() => {
                Err(StanzaError::item_not_found("there is no such node"))
            }
            ("query", ns::DISCO_INFO) => Ok(Some(self.info())),
            ("query", ns::DISCO_ITEMS) => Ok(Some(Element::new("query").with_ns(ns::DISCO_ITEMS))),
            ("ping", ns::PING) => Ok(None),
            ("query", SEARCH) => {
                self.check_searcher(stanza.from())?;
                if get { Ok(Some(questions())) } else { self.search(query).await.map(Some) }
            }
            ("query", ns::REGISTER) => self.registration(stanza.from(), query, get).await,
            _ => Err(StanzaError::new(Condition::ServiceUnavailable, "")),
        }
    }

    fn info(&self) -> Element {
        let feature = |var: &str| Element::new("feature").with_attr("var", var);
        let identity = Element::new("identity")
            .with_attr("category", "directory")
            .with_attr("type", "user")
            .with_attr("name", self.options.get().name.as_str());
        let features = [ns::DISCO_INFO, ns::DISCO_ITEMS, ns::PING, SEARCH, ns::REGISTER];
        Element::new("query")
            .with_ns(ns::DISCO_INFO)
            .with_child(identity)
            .with_children(features.map(feature))
    }

    fn is_own(&self, asker: &Jid<'_>) -> bool {
        asker.domain() == self.host.vhost() && asker.localpart().is_some()
    }

    fn check_searcher(&self, asker: &Jid<'_>) -> Result<(), StanzaError> {
        if self.options.get().public || self.is_own(asker) {
            Ok(())
        } else {
            Err(StanzaError::forbidden("the directory is for users of this server"))
        }
    }

    async fn search(&self, query: &Element) -> Result<Element, StanzaError> {
        let answer = Element::new("query").with_ns(SEARCH);
        let form = query.subtag_ns("x", ns::DATA_FORMS);
        let Some(wanted) = wanted(query, form)? else { return Ok(answer) };
        let options = self.options.get();
        if wanted.is_empty() && !options.allow_return_all {
            let text = "fill in at least one field with more than a *";
            return Err(StanzaError::new(Condition::NotAcceptable, text));
        }
        let people = self.index.people().await?;
        let found = people
            .iter()
            .filter(|(account, entry)| entry.is_shown(options.opt_in) && wanted.finds(account, entry));
        let found: BTreeMap<&String, &Entry> = found.take(options.matches).collect();
        if found.is_empty() {
            return Ok(answer);
        }
        Ok(match form {
            Some(_) => answer.with_child(as_form(&found)),
            None => answer.with_children(found.into_iter().map(|(account, entry)| as_item(account, entry))),
        })
    }

    /// Who is registered wants to be found (XEP-0077, with this service in the place of the server).
    async fn registration(
        &self,
        asker: &Jid<'_>,
        query: &Element,
        get: bool,
    ) -> Result<Option<Element>, StanzaError> {
        if !self.is_own(asker) {
            return Err(StanzaError::forbidden("the directory is of users of this server"));
        }
        let account = asker.bare();
        let options = self.options.get();
        if get {
            let entry = self.index.entry(account.as_str()).await?;
            let text =
                "Register to be found by what your vCard says; remove the registration not to be found.";
            let answer = Element::new("query").with_ns(ns::REGISTER);
            let is_shown = entry.shown.unwrap_or(!options.opt_in);
            let answer = if is_shown { answer.with_child(Element::new("registered")) } else { answer };
            return Ok(Some(answer.with_child(Element::new("instructions").with_text(text))));
        }
        let shown = Some(query.subtag("remove").is_none());
        let change = |entry: Entry| Entry { shown, ..entry };
        if !self.index.change(account.as_str(), options.max_entries, change).await? {
            return Err(StanzaError::new(Condition::ResourceConstraint, "the directory is full"));
        }
        Ok(None)
    }
}

/// What is looked for; nothing where a form was given up.
fn wanted(query: &Element, form: Option<&Element>) -> Result<Option<Search>, StanzaError> {
    let mut search = Search::default();
    let Some(form) = form else {
        for child in query.elements().filter(|child| PLAIN.contains(&child.name())) {
            search.add(child.name(), &child.text());
        }
        return Ok(Some(search));
    };
    match form.attr_s("type") {
        "cancel" => return Ok(None),
        "submit" => {}
        _ => return Err(StanzaError::bad_request("a form comes back as type submit")),
    }
    for field in form.elements().filter(|child| child.name() == "field") {
        let value = field.subtag_text("value");
        match field.attr_s("var") {
            "FORM_TYPE" if value != SEARCH => {
                return Err(StanzaError::bad_request("the form is of another type"));
            }
            name => search.add(name, &value),
        }
    }
    Ok(Some(search))
}

/// The fields of XEP-0055 itself, and a form with all of them.
fn questions() -> Element {
    let fields = FIELDS.map(|field| {
        Element::new("field")
            .with_attr("type", "text-single")
            .with_attr("label", field.label)
            .with_attr("var", field.name)
    });
    let form = typed("form")
        .with_child(Element::new("title").with_text("Search for users"))
        .with_child(Element::new("instructions").with_text(INSTRUCTIONS))
        .with_children(fields);
    Element::new("query")
        .with_ns(SEARCH)
        .with_child(Element::new("instructions").with_text(INSTRUCTIONS))
        .with_children(PLAIN.map(Element::new))
        .with_child(form)
}

fn typed(kind: &str) -> Element {
    let form_type = Element::new("field")
        .with_attr("type", "hidden")
        .with_attr("var", "FORM_TYPE")
        .with_child(Element::new("value").with_text(SEARCH));
    Element::new("x").with_ns(ns::DATA_FORMS).with_attr("type", kind).with_child(form_type)
}

fn as_form(found: &BTreeMap<&String, &Entry>) -> Element {
    let column = |name: &str, label: &str, kind: &str| {
        Element::new("field").with_attr("var", name).with_attr("label", label).with_attr("type", kind)
    };
    let reported = Element::new("reported")
        .with_child(column("jid", "Address", "jid-single"))
        .with_children(FIELDS.map(|field| column(field.name, field.label, "text-single")));
    let cell = |name: &str, value: &str| {
        Element::new("field").with_attr("var", name).with_child(Element::new("value").with_text(value))
    };
    let rows = found.iter().map(|(account, entry)| {
        Element::new("item")
            .with_child(cell("jid", account))
            .with_children(FIELDS.map(|field| cell(field.name, entry.value(account, field.name))))
    });
    typed("result").with_child(reported).with_children(rows)
}

fn as_item(account: &str, entry: &Entry) -> Element {
    let values = PLAIN.map(|name| Element::new(name).with_text(entry.value(account, name)));
    Element::new("item").with_attr("jid", account).with_children(values)
}
