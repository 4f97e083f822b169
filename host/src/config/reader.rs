//! Reading one table of the file key by key: kinds, ranges, defaults, and at the end the keys nobody asked for.
//!
//! A [`Section`] remembers which keys were asked for; [`Section::finish`] reports every other one with the nearest
//! of those. So the list of known keys is the code that reads them. Mistakes are collected, never returned: a reader
//! goes on with the default and the configuration is refused at the end.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Value;

use super::environment::Environment;
use super::raw::{Node, Shape, Table};
use super::{ConfigError, ConfigErrors, Location, Secret, units};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3_600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// Where a count has no natural bound.
pub(super) const COUNT: RangeInclusive<usize> = 1..=10_000_000;

/// What all sections of one reading share.
pub(super) struct Context<'a> {
    pub file: Arc<Path>,
    /// The folder that relative paths start from.
    pub folder: PathBuf,
    pub environment: &'a dyn Environment,
    errors: RefCell<Vec<ConfigError>>,
}

impl<'a> Context<'a> {
    pub fn new(file: &Path, environment: &'a dyn Environment) -> Context<'a> {
        let folder = file.parent().map(Path::to_path_buf).unwrap_or_default();
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        Context { file: file.into(), folder, environment, errors: RefCell::default() }
    }

    pub fn error(&self, line: usize, message: String) {
        self.errors.borrow_mut().push(ConfigError { location: self.at(line), message });
    }

    pub fn at(&self, line: usize) -> Location {
        Location::new(&self.file, line)
    }

    pub fn into_errors(self) -> Result<(), ConfigErrors> {
        let errors = self.errors.into_inner();
        if errors.is_empty() { Ok(()) } else { Err(ConfigErrors::new(errors)) }
    }
}

/// One table being read. An absent table reads as an empty one.
pub(super) struct Section<'a> {
    pub context: &'a Context<'a>,
    /// How messages call it: `[limits]`.
    pub name: String,
    /// The line of its header; 0 where it is absent.
    pub line: usize,
    table: Option<&'a Table>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    pub fn root(context: &'a Context<'a>, table: &'a Table) -> Section<'a> {
        Section { context, name: String::new(), line: 0, table: Some(table), asked: RefCell::default() }
    }

    fn inner(&self, name: String, line: usize, table: Option<&'a Table>) -> Section<'a> {
        Section { context: self.context, name, line, table, asked: RefCell::default() }
    }

    /// The value under `key`, which is a known key from now on.
    pub fn node(&self, key: &'static str) -> Option<&'a Node> {
        self.asked.borrow_mut().push(key);
        self.table?.entries.get(key)
    }

    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.entries.contains_key(key))
    }

    /// The line of `key`, or of the section where the key is absent.
    pub fn line_of(&self, key: &str) -> usize {
        self.table.and_then(|table| table.entries.get(key)).map_or(self.line, |node| node.line)
    }

    /// Reports a mistake in the value of `key`.
    pub fn wrong(&self, node: &Node, key: &str, want: impl Display) {
        let message = format!("{} must be {want}, not {}.", self.key(key), found(node));
        self.context.error(node.line, message);
    }

    /// How messages call a key of this section: `"depth" in [limits]`.
    pub fn key(&self, key: &str) -> String {
        if self.name.is_empty() { format!("\"{key}\"") } else { format!("\"{key}\" in {}", self.name) }
    }

    pub fn text(&self, key: &'static str) -> Option<(&'a str, usize)> {
        let node = self.node(key)?;
        match node.as_str() {
            Some(text) if !text.is_empty() => Some((text, node.line)),
            _ => {
                self.wrong(node, key, "a text that is not empty");
                None
            }
        }
    }

    pub fn path(&self, key: &'static str) -> Option<PathBuf> {
        self.text(key).map(|(text, _)| self.context.folder.join(text))
    }

    pub fn flag(&self, key: &'static str, default: bool) -> bool {
        self.optional_flag(key).unwrap_or(default)
    }

    pub fn optional_flag(&self, key: &'static str) -> Option<bool> {
        let node = self.node(key)?;
        match &node.shape {
            Shape::Scalar(Value::Boolean(flag)) => Some(*flag),
            _ => {
                self.wrong(node, key, "true or false");
                None
            }
        }
    }

    pub fn number<T: Copy + TryFrom<i64> + Display + PartialOrd>(
        &self,
        key: &'static str,
        default: T,
        range: RangeInclusive<T>,
    ) -> T {
        let Some(node) = self.node(key) else { return default };
        let number = match &node.shape {
            Shape::Scalar(Value::Integer(number)) => T::try_from(*number).ok(),
            _ => None,
        };
        number.filter(|number| range.contains(number)).unwrap_or_else(|| {
            self.wrong(node, key, format!("a whole number from {} to {}", range.start(), range.end()));
            default
        })
    }

    pub fn duration(
        &self,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(node) = self.node(key) else { return default };
        duration_of(&node.shape).filter(|duration| range.contains(duration)).unwrap_or_else(|| {
            let (from, to) = (units::format_duration(*range.start()), units::format_duration(*range.end()));
            self.wrong(node, key, format!("a duration from {from} to {to}, such as \"30s\""));
            default
        })
    }

    pub fn size(&self, key: &'static str, default: usize, range: RangeInclusive<usize>) -> usize {
        let Some(node) = self.node(key) else { return default };
        let size = size_of(&node.shape).and_then(|size| usize::try_from(size).ok());
        size.filter(|size| range.contains(size)).unwrap_or_else(|| {
            let (from, to) =
                (units::format_size(*range.start() as u64), units::format_size(*range.end() as u64));
            self.wrong(node, key, format!("a size from {from} to {to}, such as \"64KiB\""));
            default
        })
    }

    /// One of the names in `choices`.
    pub fn choice<T: Copy>(&self, key: &'static str, default: T, choices: &[(&str, T)]) -> T {
        let Some(node) = self.node(key) else { return default };
        let chosen = node.as_str().and_then(|text| choices.iter().find(|(name, _)| *name == text));
        match chosen {
            Some((_, value)) => *value,
            None => {
                self.wrong(node, key, one_of(choices.iter().map(|(name, _)| *name)));
                default
            }
        }
    }

    /// A list of texts, each with its line. `None` where the key is absent.
    pub fn texts(&self, key: &'static str) -> Option<Vec<(&'a str, usize)>> {
        let node = self.node(key)?;
        let Shape::Array(items) = &node.shape else {
            self.wrong(node, key, "a list of texts");
            return None;
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match item.as_str() {
                Some(text) => texts.push((text, item.line)),
                None => self.wrong(item, key, "a list of texts only"),
            }
        }
        Some(texts)
    }

    /// The table under `key`.
    pub fn section(&self, key: &'static str) -> Section<'a> {
        let name = self.inner_name(key);
        match self.node(key) {
            Some(Node { line, shape: Shape::Table(table) }) => self.inner(name, *line, Some(table)),
            Some(node) => {
                self.wrong(node, key, format!("a table, {name}"));
                self.inner(name, node.line, None)
            }
            None => self.inner(name, 0, None),
        }
    }

    /// The tables under the table `key`, by name.
    pub fn sections(&self, key: &'static str) -> Vec<(&'a str, Section<'a>)> {
        let outer = self.section(key);
        let Some(table) = outer.table else { return Vec::new() };
        table
            .entries
            .iter()
            .filter_map(|(name, node)| Some((name.as_str(), outer.named(name, node)?)))
            .collect()
    }

    /// The tables of this section whose keys nobody asked for, by name: sections with free names.
    pub fn free_sections(&self) -> Vec<(&'a str, Section<'a>)> {
        let Some(table) = self.table else { return Vec::new() };
        let unasked = table.entries.iter().filter(|(key, _)| !self.asked.borrow().contains(&key.as_str()));
        let tables = unasked.filter(|(_, node)| matches!(node.shape, Shape::Table(_)));
        tables.filter_map(|(name, node)| Some((name.as_str(), self.named(name, node)?))).collect()
    }

    /// The values of this section whose keys nobody asked for.
    pub fn free_values(&self) -> Vec<(&'a str, &'a Node)> {
        let Some(table) = self.table else { return Vec::new() };
        let unasked = table.entries.iter().filter(|(key, _)| !self.asked.borrow().contains(&key.as_str()));
        unasked.map(|(key, node)| (key.as_str(), node)).collect()
    }

    /// The tables of an array of tables, `[[key]]`. `None` where the key is absent.
    pub fn array(&self, key: &'static str) -> Option<Vec<Section<'a>>> {
        let node = self.node(key)?;
        let Shape::Array(items) = &node.shape else {
            self.wrong(node, key, format!("written as [[{key}]]"));
            return None;
        };
        let mut sections = Vec::with_capacity(items.len());
        for item in items {
            match &item.shape {
                Shape::Table(table) => {
                    sections.push(self.inner(format!("[[{key}]]"), item.line, Some(table)))
                }
                _ => self.wrong(item, key, format!("written as [[{key}]]")),
            }
        }
        Some(sections)
    }

    /// A secret of the server; see the `environment` file for the rule.
    pub fn secret(&self, key: &'static str) -> Option<Secret> {
        let variable = super::environment::variable_name(&self.name, key);
        let from_file = self.node(key).and_then(|node| self.secret_value(key, node));
        match super::environment::look_up(self.context.environment, &variable) {
            Ok(Some(text)) => Some(Secret::new(text)),
            Ok(None) => from_file,
            Err(message) => {
                self.context.error(self.line, message);
                None
            }
        }
    }

    /// Reports every key nobody asked for.
    pub fn finish(self) {
        self.finish_but(&[]);
    }

    /// Reports every key nobody asked for, except the sections with free names that were `read`.
    pub fn finish_but(self, read: &[&str]) {
        for (key, node) in self.free_values().into_iter().filter(|(key, _)| !read.contains(key)) {
            let known = self.asked.borrow();
            let hint = nearest(key, known.iter().copied());
            self.context.error(node.line, format!("{} is not a known key.{hint}", self.key(key)));
        }
    }

    fn secret_value(&self, key: &str, node: &Node) -> Option<Secret> {
        match super::environment::value_or_reference(self.context, node) {
            Ok(Some(text)) => Some(Secret::new(text)),
            Ok(None) => match node.as_str() {
                Some(text) if !text.is_empty() => Some(Secret::new(text.to_owned())),
                _ => {
                    let want = "a text that is not empty, { env = \"MOULT_...\" } or { file = \"...\" }";
                    self.context.error(node.line, format!("{} must be {want}.", self.key(key)));
                    None
                }
            },
            Err(message) => {
                self.context.error(node.line, format!("{}: {message}", self.key(key)));
                None
            }
        }
    }

    fn named(&self, name: &'a str, node: &'a Node) -> Option<Section<'a>> {
        match &node.shape {
            Shape::Table(table) => Some(self.inner(self.inner_name(name), node.line, Some(table))),
            _ => {
                self.wrong(node, name, format!("a table, {}", self.inner_name(name)));
                None
            }
        }
    }

    fn inner_name(&self, key: &str) -> String {
        let bare = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        let key = if bare && !key.is_empty() { key.to_owned() } else { format!("\"{key}\"") };
        match self.name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            Some(outer) => format!("[{outer}.{key}]"),
            None => format!("[{key}]"),
        }
    }
}

/// A duration as text with units, or as whole seconds.
pub(super) fn duration_of(shape: &Shape) -> Option<Duration> {
    match shape {
        Shape::Scalar(value) => duration_of_value(value),
        _ => None,
    }
}

pub(super) fn duration_of_value(value: &Value) -> Option<Duration> {
    match value {
        Value::String(text) => units::parse_duration(text),
        Value::Integer(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
        _ => None,
    }
}

/// A size as text with a unit, or as whole bytes.
pub(super) fn size_of(shape: &Shape) -> Option<u64> {
    match shape {
        Shape::Scalar(value) => size_of_value(value),
        _ => None,
    }
}

pub(super) fn size_of_value(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => units::parse_size(text),
        Value::Integer(bytes) => u64::try_from(*bytes).ok(),
        _ => None,
    }
}

/// ` Did you mean "x"?` where a known name is near, else the known names.
pub(super) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    let best = known.iter().map(|other| (strsim::damerau_levenshtein(name, other), *other)).min();
    match best {
        Some((distance, other)) if distance <= other.len().max(name.len()) / 2 => {
            format!(" Did you mean \"{other}\"?")
        }
        Some(_) => format!(" Known are {}.", known.join(", ")),
        None => String::new(),
    }
}

/// `one of "a", "b"`.
pub(super) fn one_of<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
    format!("one of {}", names.join(", "))
}

fn found(node: &Node) -> String {
    match &node.shape {
        Shape::Scalar(value) => value.to_string(),
        _ => node.describe().to_owned(),
    }
}
