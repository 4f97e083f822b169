//! The file as it was written: tables, keys and values, each with its line, nothing checked yet.
//!
//! The text is parsed with recovery, so that all mistakes of TOML itself are told at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value};

use super::{ConfigError, ConfigErrors, Location};

/// A table with its entries in alphabetical order.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    pub entries: BTreeMap<String, Node>,
}

/// A value and the line of the key it belongs to (of itself, inside an array).
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub line: usize,
    pub shape: Shape,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    /// A string, integer, float, boolean or date.
    Scalar(Value),
    Array(Vec<Node>),
    Table(Table),
}

impl Node {
    /// What the value is, with its article, for a message.
    pub fn describe(&self) -> &'static str {
        match &self.shape {
            Shape::Scalar(Value::String(_)) => "a text",
            Shape::Scalar(Value::Integer(_)) => "a whole number",
            Shape::Scalar(Value::Float(_)) => "a number with a fraction",
            Shape::Scalar(Value::Boolean(_)) => "true or false",
            Shape::Scalar(_) => "a date",
            Shape::Array(_) => "a list",
            Shape::Table(_) => "a table",
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.shape {
            Shape::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }
}

/// Parses the text of `file`.
pub(super) fn parse(file: &Arc<Path>, text: &str) -> Result<Table, ConfigErrors> {
    let lines = LineIndex::new(text);
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut errors: Vec<_> = errors
        .iter()
        .map(|error| ConfigError {
            location: Location::new(file, error.span().map_or(0, |span| lines.line(span.start))),
            message: format!("This is not TOML: {}.", error.message()),
        })
        .collect();
    let table = table(root.get_ref(), &lines, file, &mut errors);
    if errors.is_empty() { Ok(table) } else { Err(ConfigErrors::new(errors)) }
}

/// The byte offsets at which lines start.
struct LineIndex(Vec<usize>);

impl LineIndex {
    fn new(text: &str) -> LineIndex {
        let after_breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        LineIndex(std::iter::once(0).chain(after_breaks).collect())
    }

    fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }
}

fn table(from: &DeTable<'_>, lines: &LineIndex, file: &Arc<Path>, errors: &mut Vec<ConfigError>) -> Table {
    let mut entries = BTreeMap::new();
    for (key, value) in from.iter() {
        let line = lines.line(key.span().start);
        entries.insert(key.get_ref().to_string(), node(value, line, lines, file, errors));
    }
    Table { entries }
}

fn node(
    from: &Spanned<DeValue<'_>>,
    line: usize,
    lines: &LineIndex,
    file: &Arc<Path>,
    errors: &mut Vec<ConfigError>,
) -> Node {
    let mut out_of_range = |what: &str| {
        let message = format!("The {what} is too large to be stored.");
        errors.push(ConfigError { location: Location::new(file, line), message });
        Value::Integer(0)
    };
    let shape = match from.get_ref() {
        DeValue::String(text) => Shape::Scalar(Value::String(text.to_string())),
        DeValue::Boolean(flag) => Shape::Scalar(Value::Boolean(*flag)),
        DeValue::Datetime(date) => Shape::Scalar(Value::Datetime(*date)),
        DeValue::Integer(number) => Shape::Scalar(
            i64::from_str_radix(&number.as_str().replace('_', ""), number.radix())
                .map_or_else(|_| out_of_range("whole number"), Value::Integer),
        ),
        DeValue::Float(number) => Shape::Scalar(
            number.as_str().replace('_', "").parse().map_or_else(|_| out_of_range("number"), Value::Float),
        ),
        DeValue::Array(items) => Shape::Array(
            items
                .iter()
                .map(|item| node(item, lines.line(item.span().start).max(line), lines, file, errors))
                .collect(),
        ),
        DeValue::Table(inner) => Shape::Table(table(inner, lines, file, errors)),
    };
    Node { line, shape }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Result<Table, ConfigErrors> {
        parse(&Arc::from(Path::new("moult.toml")), text)
    }

    #[test]
    fn every_key_knows_its_line() {
        let table =
            parse_text("[server]\nworkers = 2\n\n[limits]\ndepth = 5\n[[listener]]\nport = 1\n").unwrap();
        let line = |section: &str, key: &str| match &table.entries[section].shape {
            Shape::Table(inner) => inner.entries[key].line,
            _ => panic!("{section} is a table"),
        };
        assert_eq!((line("server", "workers"), line("limits", "depth")), (2, 5));
        assert_eq!(table.entries["listener"].line, 6);
    }

    #[test]
    fn all_syntax_errors_are_told_with_their_lines() {
        let errors = parse_text("[server]\nworkers = \n\n[limits\ndepth = 5\n").unwrap_err();
        let lines: Vec<_> = errors.iter().map(|error| error.location.line).collect();
        assert_eq!(lines, [2, 4], "{errors}");
    }

    #[test]
    fn a_key_given_twice_is_refused() {
        let errors = parse_text("[server]\nworkers = 1\nworkers = 2\n").unwrap_err();
        assert!(errors.to_string().starts_with("moult.toml:3: "), "{errors}");
    }

    #[test]
    fn integers_are_read_in_every_notation_and_refused_when_too_large() {
        let table = parse_text("a = 1_000\nb = 0x10\nc = -5\nd = +7").unwrap();
        let number = |key: &str| match &table.entries[key].shape {
            Shape::Scalar(Value::Integer(number)) => *number,
            other => panic!("{other:?}"),
        };
        assert_eq!((number("a"), number("b"), number("c"), number("d")), (1000, 16, -5, 7));
        assert!(parse_text("a = 99999999999999999999").is_err());
    }
}
