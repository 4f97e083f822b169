//! The text form of an answer: one fact per line, or a table.
//!
//! Whatever a peer could have chosen (a resource, a status text) may stand in an answer. Control characters are
//! therefore written as escapes, so that an answer cannot steer the terminal that shows it.

use std::fmt::Write;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value};

use super::spec::Text;
use super::{Answer, ResultKind};

/// The text of `answer`, without a line break at its end.
pub fn render(kind: &ResultKind, answer: &Answer) -> String {
    let text = match (&answer.text, kind) {
        (Some(text), _) => safe(text),
        (None, ResultKind::Code) if answer.value == 0 => String::new(),
        (None, ResultKind::Table(columns)) => table(columns, &answer.value),
        (None, _) => facts(&answer.value),
    };
    text.trim_end_matches('\n').to_owned()
}

/// `text` with control characters other than line breaks and tabs as escapes.
pub fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_steering(c) && !matches!(c, '\n' | '\t') { escape(&mut safe, c) } else { safe.push(c) }
    }
    safe
}

/// Control characters, and those that change the direction of what follows.
fn is_steering(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape(to: &mut String, c: char) {
    to.extend(c.escape_unicode());
}

fn facts(value: &Value) -> String {
    let mut lines = String::new();
    match value {
        Value::Array(items) => items.iter().for_each(|item| line(&mut lines, "", item)),
        Value::Object(object) => {
            object.iter().for_each(|(key, item)| line(&mut lines, &cell_text(key), item))
        }
        other => line(&mut lines, "", other),
    }
    lines
}

/// Writes one fact, or all facts of a nested value with the path to each.
fn line(lines: &mut String, path: &str, value: &Value) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (key, item) in object {
                let key = cell_text(key);
                line(lines, &if path.is_empty() { key } else { format!("{path}.{key}") }, item);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (index, item) in items.iter().enumerate() {
                line(lines, &format!("{path}[{index}]"), item);
            }
        }
        scalar if path.is_empty() => _ = writeln!(lines, "{}", cell(scalar)),
        scalar => _ = writeln!(lines, "{path}: {}", cell(scalar)),
    }
}

fn table(columns: &[Text], value: &Value) -> String {
    let rows: Vec<&Map<String, Value>> =
        value.as_array().into_iter().flatten().filter_map(Value::as_object).collect();
    let Some(first) = rows.first() else { return facts(value) };
    let columns: Vec<&str> = if columns.is_empty() {
        first.keys().map(String::as_str).collect()
    } else {
        columns.iter().map(|c| &**c).collect()
    };
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|column| cell_text(column)));
    for row in rows {
        table.add_row(columns.iter().map(|column| row.get(*column).map(cell).unwrap_or_default()));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// A value on one line.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => cell_text(text),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn cell_text(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    text.chars().for_each(|c| if is_steering(c) { escape(&mut line, c) } else { line.push(c) });
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(kind: ResultKind, value: Value) -> String {
        render(&kind, &Answer::value(value))
    }

    #[test]
    fn success_without_a_value_says_nothing() {
        assert_eq!(text(ResultKind::Code, json!(0)), "");
        assert_eq!(text(ResultKind::Code, json!(2)), "2");
    }

    #[test]
    fn lists_and_objects_have_one_fact_per_line() {
        assert_eq!(text(ResultKind::List, json!(["a", "b"])), "a\nb");
        assert_eq!(text(ResultKind::List, json!([])), "");
        let nested = json!({"name": "x", "none": null, "tags": ["a", "b"], "steps": [{"ms": 1}], "inner": {"deep": true}});
        assert_eq!(
            text(ResultKind::Object, nested),
            "inner.deep: true\nname: x\nnone: -\nsteps[0].ms: 1\ntags: a, b"
        );
    }

    #[test]
    fn a_table_has_the_declared_columns() {
        let rows = json!([{"module": "mod_echo", "state": "running", "more": 1}, {"module": "mod_x"}]);
        let shown = text(ResultKind::Table(vec!["module".into(), "state".into()]), rows);
        let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines, [vec!["module", "state"], vec!["mod_echo", "running"], vec!["mod_x"]]);
        assert_eq!(text(ResultKind::Table(vec!["a".into()]), json!([])), "");
    }

    #[test]
    fn nothing_in_an_answer_steers_the_terminal() {
        let evil = "a\u{1b}[2J\nb\r\u{202e}c";
        assert_eq!(text(ResultKind::List, json!([evil])), "a\\u{1b}[2J\\u{a}b\\u{d}\\u{202e}c");
        assert_eq!(render(&ResultKind::Text, &Answer::ok().with_text("a\nb\u{7}")), "a\nb\\u{7}");
        assert!(!text(ResultKind::Table(vec![]), json!([{"x": evil}])).contains('\u{1b}'));
    }
}
