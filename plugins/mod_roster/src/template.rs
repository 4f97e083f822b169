//! Rosters to begin with, in a file: what `push_roster` gives to a user. ejabberd's file has a list of tuples; here it is a
//! JSON array of `["user", "host", "group", "nick"]`, or of objects with these names.

use crate::wish::normalised;
use moult_plugin_api::prelude::*;
use moult_plugin_api::serde::Deserialize;
use moult_plugin_api::serde_json;
use std::io::Read;
use std::path::Path;

/// The largest file.
const LARGEST: u64 = 1 << 20;

/// One contact of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its JID.
    pub jid: String,
    /// Empty for none.
    pub group: String,
    /// Empty for none.
    pub nick: String,
}

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde", untagged)]
enum Line {
    Tuple(String, String, String, String),
    Object(Named),
}

#[derive(Deserialize)]
#[serde(crate = "moult_plugin_api::serde", deny_unknown_fields)]
struct Named {
    user: String,
    host: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    nick: String,
}

/// Reads a file. What is wrong with it is told without what is in it, because who gives commands need not be who may read
/// the server's files.
pub fn read(file: &str) -> Result<Vec<Entry>, CommandError> {
    let wrong = |why: &str| CommandError::bad_request(format!("{file}: {why}"));
    if !Path::new(file).is_absolute() {
        return Err(wrong("the path must be absolute."));
    }
    let mut text = String::new();
    let opened = std::fs::File::open(file).and_then(|opened| {
        if !opened.metadata()?.is_file() {
            return Err(std::io::Error::other("it is no file"));
        }
        opened.take(LARGEST + 1).read_to_string(&mut text)
    });
    opened.map_err(|error| wrong(&format!("it cannot be read: {error}.")))?;
    if text.len() as u64 > LARGEST {
        return Err(wrong("it is larger than 1 MiB."));
    }
    parse(&text).map_err(|why| wrong(&why))
}

fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let lines: Vec<Line> = serde_json::from_str(text)
        .map_err(|error| format!("line {} is no list of contacts as JSON.", error.line()))?;
    let entry = |(number, line): (usize, Line)| {
        let line = match line {
            Line::Tuple(user, host, group, nick) => Named { user, host, group, nick },
            Line::Object(named) => named,
        };
        let jid = normalised(&format!("{}@{}", line.user, line.host));
        let jid = jid.filter(|jid| !jid.contains('/'));
        let jid = jid.ok_or_else(|| format!("contact {} has no lawful JID.", number + 1))?;
        Ok(Entry { jid, group: line.group, nick: line.nick })
    };
    lines.into_iter().enumerate().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let text =
            r#"[["Romeo", "example.org", "Workers", "Romeo M."], {"user": "juliet", "host": "example.org"}]"#;
        let entry = |jid: &str, group: &str, nick: &str| Entry {
            jid: jid.into(),
            group: group.into(),
            nick: nick.into(),
        };
        let expected =
            [entry("romeo@example.org", "Workers", "Romeo M."), entry("juliet@example.org", "", "")];
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_is_told_without_the_content() {
        for text in ["secret", "[[\"secret\"]]", "[[\"a b\", \"secret /\", \"\", \"\"]]"] {
            let why = parse(text).unwrap_err();
            assert!(!why.contains("secret"), "{why}");
        }
        for file in ["roster.json", "/no/such/file", "/dev/zero", "/"] {
            assert_eq!(read(file).unwrap_err().code, 400, "{file}");
        }
    }
}
