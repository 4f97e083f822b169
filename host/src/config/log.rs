//! `[log]`: levels by name or number, globally and per module.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::raw::{Node, Shape};
use super::reader::Section;

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Log {
    /// What is logged where no module level says otherwise.
    pub level: LogLevel,
    /// Text for people or JSON for collectors.
    pub format: LogFormat,
    /// A file to append to; standard error where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Levels of single modules, by module id.
    pub modules: BTreeMap<String, LogLevel>,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One readable line.
    Text,
    /// One JSON object per line.
    Json,
}

/// ejabberd's nine levels; the numbers 0 to 5 stand for `none`, `critical`, `error`, `warning`, `info`, `debug`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Nothing at all.
    None,
    /// The server cannot go on.
    Emergency,
    /// Somebody has to act now.
    Alert,
    /// The server or a module is about to give up.
    Critical,
    /// Something failed and was not made good.
    Error,
    /// Something failed and was made good, or will soon fail.
    Warning,
    /// Rare but normal.
    Notice,
    /// An operator's story.
    Info,
    /// A developer's story.
    Debug,
}

impl LogLevel {
    /// Every level with its name and, where it has one, its number.
    pub const ALL: [(LogLevel, &'static str, Option<i64>); 9] = [
        (LogLevel::None, "none", Some(0)),
        (LogLevel::Emergency, "emergency", None),
        (LogLevel::Alert, "alert", None),
        (LogLevel::Critical, "critical", Some(1)),
        (LogLevel::Error, "error", Some(2)),
        (LogLevel::Warning, "warning", Some(3)),
        (LogLevel::Notice, "notice", None),
        (LogLevel::Info, "info", Some(4)),
        (LogLevel::Debug, "debug", Some(5)),
    ];

    /// Reads a name or a number written as text.
    pub fn parse(text: &str) -> Option<LogLevel> {
        let number = text.parse().ok();
        let found =
            LogLevel::ALL.iter().find(|(_, name, n)| *name == text || (number.is_some() && *n == number));
        found.map(|(level, _, _)| *level)
    }

    /// The level's name.
    pub fn name(self) -> &'static str {
        LogLevel::ALL.iter().find(|(level, _, _)| *level == self).map_or("none", |(_, name, _)| name)
    }

    /// The coarser scale of the tracing library; `None` switches logging off.
    pub fn tracing(self) -> Option<tracing::Level> {
        match self {
            LogLevel::None => None,
            LogLevel::Emergency | LogLevel::Alert | LogLevel::Critical | LogLevel::Error => {
                Some(tracing::Level::ERROR)
            }
            LogLevel::Warning => Some(tracing::Level::WARN),
            LogLevel::Notice | LogLevel::Info => Some(tracing::Level::INFO),
            LogLevel::Debug => Some(tracing::Level::DEBUG),
        }
    }
}

impl Log {
    pub(super) fn read(section: Section<'_>) -> Log {
        let default = Log::default();
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        let log = Log {
            level: read_level(&section, "level", section.node("level")).unwrap_or(default.level),
            format: section.choice("format", default.format, &formats),
            file: section.path("file"),
            modules: read_module_levels(section.section("modules")),
        };
        section.finish();
        log
    }
}

fn read_module_levels(section: Section<'_>) -> BTreeMap<String, LogLevel> {
    let levels = section.free_values().into_iter();
    levels
        .filter_map(|(module, node)| Some((module.to_owned(), read_level(&section, module, Some(node))?)))
        .collect()
}

fn read_level(section: &Section<'_>, key: &str, node: Option<&Node>) -> Option<LogLevel> {
    let node = node?;
    let level = match &node.shape {
        Shape::Scalar(toml::Value::String(text)) => LogLevel::parse(text),
        Shape::Scalar(toml::Value::Integer(number)) => LogLevel::parse(&number.to_string()),
        _ => None,
    };
    if level.is_none() {
        let names: Vec<&str> = LogLevel::ALL.iter().map(|(_, name, _)| *name).collect();
        section.wrong(node, key, format!("a number from 0 to 5 or one of {}", names.join(", ")));
    }
    level
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_names_and_the_numbers_of_ejabberd() {
        assert_eq!(LogLevel::parse("4"), Some(LogLevel::Info));
        assert_eq!(LogLevel::parse("warning"), Some(LogLevel::Warning));
        assert_eq!(LogLevel::parse("0"), Some(LogLevel::None));
        for text in ["", "6", "-1", "warn", "Info"] {
            assert_eq!(LogLevel::parse(text), None, "{text}");
        }
        assert!(LogLevel::ALL.iter().all(|(level, name, _)| level.name() == *name));
    }
}
