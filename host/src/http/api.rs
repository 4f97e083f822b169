//! `POST /api/COMMAND` and `GET /api/COMMAND`: ejabberd's conventions.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::Method;
use axum::response::Response;
use serde_json::{Map, Value};

use super::auth::credentials_wanted;
use super::router::{Guarded, Shared};
use crate::command::carriage::{error_response, json_response};
use crate::command::{Caller, CommandError, ErrorKind, Input};

/// `COMMAND`, or `COMMAND/vN`: there is one version of every command, so every N means it.
pub(super) async fn run(
    State(shared): State<Arc<Shared>>,
    method: Method,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
    Guarded { caller, body, .. }: Guarded,
) -> Response {
    let input = match method {
        Method::GET => read_only(&shared, &path).map(|()| Input::Named(pairs(&query.unwrap_or_default()))),
        _ => object(&body).map(Input::Json),
    };
    match input {
        Ok(input) => answer(call(&shared, command_of(&path), input, caller).await),
        Err(error) => answer(Err(if caller.admin { error } else { credentials_wanted() })),
    }
}

/// Runs one command. Without credentials, an unknown and a forbidden command look the same.
pub(super) async fn call(
    shared: &Shared,
    name: &str,
    input: Input,
    caller: Caller,
) -> Result<Value, CommandError> {
    let anonymous = !caller.admin && caller.jid.is_none();
    let result = shared.parts.table.run(name, input, caller).await;
    result.map(|answer| answer.value).map_err(|error| match error.kind {
        ErrorKind::Denied | ErrorKind::UnknownCommand if anonymous => credentials_wanted(),
        _ => error,
    })
}

pub(super) fn answer(result: Result<Value, CommandError>) -> Response {
    match result {
        Ok(value) => json_response(200, &value),
        Err(error) => error_response(&error),
    }
}

fn command_of(path: &str) -> &str {
    let is_version = |text: &str| {
        text.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
    };
    match path.split_once('/') {
        Some((command, version)) if is_version(version) => command,
        _ => path,
    }
}

fn read_only(shared: &Shared, path: &str) -> Result<(), CommandError> {
    match shared.parts.table.spec(command_of(path)) {
        Some(spec) if spec.changes_state => {
            let message = format!("{}: this command changes something, so it wants POST.", spec.name);
            Err(CommandError::new(ErrorKind::BadArgument, message))
        }
        _ => Ok(()),
    }
}

fn object(body: &Bytes) -> Result<Map<String, Value>, CommandError> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(body).map_err(|error| {
        CommandError::new(ErrorKind::BadArgument, format!("The body must be one JSON object: {error}."))
    })
}

/// The pairs of a query string, with `+` and `%41` decoded.
fn pairs(query: &str) -> Vec<(String, String)> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(k, v)| (decoded(k), decoded(v)))
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| hex(after)).flatten();
        bytes.push(escaped.unwrap_or(if byte == b'+' { b' ' } else { byte }));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digits = digits.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn query_strings_are_decoded() {
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(
            pairs("a=1&b=x+y%2Fz&c&=%zz"),
            [pair("a", "1"), pair("b", "x y/z"), pair("c", ""), pair("", "%zz")]
        );
        assert_eq!(decoded("%C3%A4%ff%"), "ä\u{fffd}%");
    }

    #[test]
    fn a_version_may_stand_behind_the_command() {
        assert_eq!(command_of("status/v2"), "status");
        for path in ["status/x", "status/v", "status/v1/x", "status"] {
            assert_eq!(command_of(path), path);
        }
    }
}
