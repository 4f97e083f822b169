//! Forms (XEP-0004): made from a command's declaration, and read again.

use moult_plugin_api::hooks::{OfferedArg, OfferedCommand};
use moult_plugin_api::prelude::*;
use moult_plugin_api::serde_json::{Map, Value};

/// Values in one form.
const MAX_VALUES: usize = 1000;

/// What a client filled in: fields with their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Submitted(Vec<(String, Vec<String>)>);

impl Submitted {
    /// The form in a command; `None` where there is none yet.
    pub fn of(command: &Element) -> Result<Option<Self>, StanzaError> {
        let Some(form) = command.subtag_ns("x", ns::DATA_FORMS) else { return Ok(None) };
        if form.attr_s("type") != "submit" {
            return Err(StanzaError::bad_request("a form comes back as type submit"));
        }
        let mut fields = Vec::new();
        let mut count = 0;
        for field in form.elements().filter(|e| e.name() == "field") {
            let values: Vec<String> =
                field.elements().filter(|e| e.name() == "value").map(Element::text).collect();
            count += values.len().max(1);
            if count > MAX_VALUES {
                let text = format!("a form has {MAX_VALUES} values at most");
                return Err(StanzaError::new(Condition::PolicyViolation, text));
            }
            fields.push((field.attr_s("var").to_owned(), values));
        }
        Ok(Some(Self(fields)))
    }

    /// All values of a field; none where it is missing.
    pub fn all(&self, name: &str) -> &[String] {
        self.0.iter().find(|(field, _)| field == name).map_or(&[], |(_, values)| values.as_slice())
    }

    /// The first value of a field.
    pub fn one(&self, name: &str) -> Option<&str> {
        self.all(name).first().map(String::as_str)
    }
}

/// A form for a command.
pub fn of(command: &OfferedCommand, vhost: &str) -> Element {
    let form = empty(&command.name, &command.summary);
    form.with_children(command.args.iter().map(|arg| {
        let kind = match arg.kind.as_str() {
            _ if arg.secret => "text-private",
            "boolean" | "flag" => "boolean",
            "jid" => "jid-single",
            "list" => "text-multi",
            "choice" => "list-single",
            _ => "text-single",
        };
        let proposed = if arg.kind == "host" && !arg.optional { vhost } else { "" };
        let options = arg.choices.iter().map(|choice| {
            Element::new("option").with_attr("label", choice.as_str()).with_child(value(choice))
        });
        let field = field(&arg.name, kind, if arg.doc.is_empty() { &arg.name } else { &arg.doc })
            .with_children(options);
        let field = if proposed.is_empty() { field } else { field.with_child(value(proposed)) };
        if arg.optional { field } else { field.with_child(Element::new("required")) }
    }))
}

/// A form without fields.
pub fn empty(title: &str, instructions: &str) -> Element {
    Element::new("x")
        .with_ns(ns::DATA_FORMS)
        .with_attr("type", "form")
        .with_child(Element::new("title").with_text(title))
        .with_child(Element::new("instructions").with_text(instructions))
}

/// A field without values.
pub fn field(name: &str, kind: &str, label: &str) -> Element {
    Element::new("field").with_attr("var", name).with_attr("type", kind).with_attr("label", label)
}

/// `<value/>`.
pub fn value(text: &str) -> Element {
    Element::new("value").with_text(text)
}

/// The arguments of the command, in the one set that a plain form is. What does not fit its kind stays a text, which the
/// table refuses with the argument's name.
pub fn arguments(command: &OfferedCommand, submitted: &Submitted) -> Vec<Map<String, Value>> {
    let given = command
        .args
        .iter()
        .filter_map(|arg| Some((arg.name.clone(), argument(arg, submitted.all(&arg.name))?)));
    vec![given.collect()]
}

fn argument(arg: &OfferedArg, values: &[String]) -> Option<Value> {
    let text = values.first().map(String::as_str).unwrap_or_default();
    let is_left_out = values.iter().all(String::is_empty) && (arg.optional || values.is_empty());
    if is_left_out {
        return None;
    }
    Some(match arg.kind.as_str() {
        "list" => {
            values.iter().filter(|value| !value.is_empty()).map(|value| Value::from(value.as_str())).collect()
        }
        "integer" => text.trim().parse::<i64>().map_or_else(|_| Value::from(text), Value::from),
        "boolean" | "flag" => match text {
            "1" | "true" => Value::from(true),
            "0" | "false" => Value::from(false),
            other => Value::from(other),
        },
        // Several lines of a text-multi field that a client made of it.
        _ if values.len() > 1 => Value::from(values.join("\n")),
        _ => Value::from(text),
    })
}
