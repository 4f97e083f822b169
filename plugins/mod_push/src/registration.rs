//! One enabled service of one account, and what clients send to enable it.

use moult_plugin_api::prelude::*;
use moult_plugin_api::serde::{Deserialize, Serialize};

const PUBLISH_OPTIONS: &str = "http://jabber.org/protocol/pubsub#publish-options";
/// The longest node, as for every text of an address.
const LONGEST_NODE: usize = 1023;
/// Fields of a form, and the longest form.
const MAX_FIELDS: usize = 20;
const LONGEST_FORM: usize = 8192;

/// A service that is told of messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "moult_plugin_api::serde")]
pub struct Registration {
    /// The JID of the service.
    pub service: String,
    /// May be empty.
    #[serde(default)]
    pub node: String,
    /// The form that is sent with each notification, as XML; may be empty.
    #[serde(default)]
    pub options: String,
    /// The resource that enabled it last.
    #[serde(default)]
    pub resource: String,
    /// When it was enabled or last answered well, in milliseconds since 1970.
    pub since: i64,
    /// Notifications in a row that failed and may not next time.
    #[serde(default)]
    pub failures: u32,
}

impl Registration {
    /// Whether it is of that service, and of that node where one is named.
    pub fn is(&self, service: &str, node: Option<&str>) -> bool {
        self.service == service && node.is_none_or(|node| self.node == node)
    }
}

/// The service that is to be enabled or disabled.
pub fn service(payload: &Element) -> Result<String, StanzaError> {
    let jid =
        payload.attr("jid").ok_or_else(|| StanzaError::bad_request("the jid of the service is missing"))?;
    let jid = Jid::parse(jid).map_err(|error| {
        StanzaError::new(Condition::JidMalformed, format!("the service has no lawful JID: {error}"))
    })?;
    Ok(jid.as_str().to_owned())
}

/// The node, where one is named.
pub fn node(payload: &Element) -> Result<Option<&str>, StanzaError> {
    match payload.attr("node") {
        Some(node) if node.len() > LONGEST_NODE => Err(StanzaError::bad_request("the node is too long")),
        node => Ok(node),
    }
}

/// The publish options (XEP-0357 section 5): a form that goes to the service as it came, so it is written anew from what a
/// form may have.
pub fn publish_options(payload: &Element) -> Result<String, StanzaError> {
    let Some(form) = payload.subtag_ns("x", ns::DATA_FORMS) else { return Ok(String::new()) };
    let fields: Vec<&Element> = form.elements().filter(|field| field.name() == "field").collect();
    if fields.len() > MAX_FIELDS {
        return Err(StanzaError::new(Condition::PolicyViolation, "the form has too many fields"));
    }
    let of_type = fields.iter().find(|field| field.attr_s("var") == "FORM_TYPE");
    if of_type.map(|field| field.subtag_text("value")).as_deref() != Some(PUBLISH_OPTIONS) {
        return Err(StanzaError::bad_request("the form is none of publish options"));
    }
    let fields = fields.into_iter().map(|field| {
        let values = field.elements().filter(|value| value.name() == "value");
        let values = values.map(|value| Element::new("value").with_text(value.text()));
        Element::new("field").with_attr("var", field.attr_s("var")).with_children(values)
    });
    let form = Element::new("x").with_ns(ns::DATA_FORMS).with_attr("type", "submit").with_children(fields);
    let form = form.to_string();
    if form.len() > LONGEST_FORM {
        return Err(StanzaError::new(Condition::PolicyViolation, "the form is too long"));
    }
    Ok(form)
}
