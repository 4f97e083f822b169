//! Answers of commands as notes and forms of type result.

use crate::form::{field, value as form_value};
use moult_plugin_api::prelude::*;
use moult_plugin_api::serde_json::{Map, Value};
use std::collections::BTreeSet;

/// A note (XEP-0050 3.3): `info`, `warn` or `error`.
pub fn note(kind: &str, text: &str) -> Element {
    Element::new("note").with_attr("type", kind).with_text(text)
}

/// The answer as people can read it: nothing and single values as a note; lists, objects and tables as a form.
pub fn of(answer: &Value, max_rows: usize) -> Vec<Element> {
    match answer {
        Value::Null => vec![note("info", "Done.")],
        Value::Number(code) if code.as_i64() == Some(0) => vec![note("info", "Done.")],
        Value::Array(rows) => {
            let (shown, rest) = rows.split_at(rows.len().min(max_rows));
            let mut elements = vec![list(shown)];
            if !rest.is_empty() {
                elements.insert(0, note("warn", &format!("{} more are not shown.", rest.len())));
            }
            elements
        }
        Value::Object(object) => vec![facts(object)],
        single => vec![
            note("info", &text(single)),
            result().with_child(filled("result", "text-single", [text(single)])),
        ],
    }
}

fn list(rows: &[Value]) -> Element {
    let objects: Vec<&Map<String, Value>> = rows.iter().filter_map(Value::as_object).collect();
    if !objects.is_empty() && objects.len() == rows.len() {
        return table(&objects);
    }
    result().with_child(filled("result", "text-multi", rows.iter().map(text)))
}

fn facts(object: &Map<String, Value>) -> Element {
    result().with_children(object.iter().map(|(name, value)| match value {
        Value::Array(values) => filled(name, "text-multi", values.iter().map(text)),
        single => filled(name, "text-single", [text(single)]),
    }))
}

/// XEP-0004 3.4: the columns once, then the rows.
fn table(rows: &[&Map<String, Value>]) -> Element {
    let columns: BTreeSet<&str> = rows.iter().flat_map(|row| row.keys()).map(String::as_str).collect();
    let reported = columns.iter().map(|column| field(column, "text-single", column));
    let items = rows.iter().map(|row| {
        let cells = columns.iter().map(|column| {
            let cell = row.get(*column).map(text).unwrap_or_default();
            Element::new("field").with_attr("var", *column).with_child(form_value(&cell))
        });
        Element::new("item").with_children(cells)
    });
    result().with_child(Element::new("reported").with_children(reported)).with_children(items)
}

fn result() -> Element {
    Element::new("x").with_ns(ns::DATA_FORMS).with_attr("type", "result")
}

fn filled(name: &str, kind: &str, values: impl IntoIterator<Item = String>) -> Element {
    field(name, kind, name).with_children(values.into_iter().map(|value| form_value(&value)))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
