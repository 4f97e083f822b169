//! `[permissions.NAME]`: who may call which command from where.

use serde::Serialize;

use super::reader::{Section, nearest};
use super::vhost::bare_jid;

/// One named group, after ejabberd's `api_permissions`: a call that matches all three lists is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PermissionGroup {
    /// Front ends: `local`, `http`, `xmpp`, `module`, or `*`.
    pub from: Vec<String>,
    /// Callers: `admin` (the bearer of the admin token, an admin's JID), a bare JID, or `*`.
    pub who: Vec<String>,
    /// Commands: a name, a glob, `[tag:NAME]`, each of them with `!` before it to take it out again.
    pub what: Vec<String>,
}

const FRONT_ENDS: [&str; 5] = ["*", "local", "http", "xmpp", "module"];

impl PermissionGroup {
    pub(super) fn read(section: Section<'_>) -> PermissionGroup {
        let group = PermissionGroup {
            from: read_list(&section, "from", read_front_end),
            who: read_list(&section, "who", read_caller),
            what: read_list(&section, "what", read_pattern),
        };
        section.finish();
        group
    }
}

fn read_list(
    section: &Section<'_>,
    key: &'static str,
    read: impl Fn(&str) -> Result<String, String>,
) -> Vec<String> {
    let texts = section.texts(key);
    if texts.as_ref().is_none_or(Vec::is_empty) {
        let message =
            format!("{} is absent or empty, so this group would never allow anything.", section.key(key));
        section.context.error(section.line_of(key), message);
    }
    let mut list = Vec::new();
    for (text, line) in texts.unwrap_or_default() {
        match read(text) {
            Ok(item) => list.push(item),
            Err(reason) => section.context.error(line, format!("{}: \"{text}\" {reason}", section.key(key))),
        }
    }
    list
}

fn read_front_end(text: &str) -> Result<String, String> {
    if FRONT_ENDS.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("is not a front end.{}", nearest(text, FRONT_ENDS.into_iter())))
}

fn read_caller(text: &str) -> Result<String, String> {
    match text {
        "*" | "admin" => Ok(text.to_owned()),
        _ => bare_jid(text)
            .filter(|jid| jid.contains('@'))
            .ok_or_else(|| "is neither \"*\", \"admin\" nor the bare JID of an account.".to_owned()),
    }
}

fn read_pattern(text: &str) -> Result<String, String> {
    let pattern = text.strip_prefix('!').unwrap_or(text);
    let name = pattern.strip_prefix("[tag:").and_then(|tag| tag.strip_suffix(']')).unwrap_or(pattern);
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_*?".contains(&byte);
    if !name.is_empty() && name.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err("is neither a command, a glob nor a [tag:NAME].".to_owned())
}
