//! The two update paths of ejabberd_update's article, for a server in which no module serves them.
//!
//! `GET` should change nothing and can be caused by any page a browser shows; `GET /update-modules/all` is safe all the
//! same, because no page can send the bearer token to another site by itself. `POST` is the better way.

use axum::http::Method;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::api::{answer, call};
use super::auth::credentials_wanted;
use super::router::{Guarded, Shared};
use crate::command::{CommandError, ErrorKind, Input};

/// The names as the article sends them, or in an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum Wanted {
    Names(Vec<String>),
    Object { modules: Vec<String> },
}

/// Answers one of the two paths; `None` where the path is another one.
pub(super) async fn respond(
    shared: &Shared,
    method: &Method,
    path: &str,
    request: Guarded,
) -> Option<Response> {
    let modules = match (method.as_str(), path) {
        ("GET" | "POST", "/update-modules/all") => Ok(vec!["all".to_owned()]),
        ("POST", "/update-modules") => named(&request.body),
        _ => return None,
    };
    if !request.caller.admin {
        return Some(answer(Err(credentials_wanted())));
    }
    let result = match modules {
        Ok(modules) => {
            let arguments: Map<String, Value> =
                [("modules".to_owned(), json!(modules))].into_iter().collect();
            call(shared, "update", Input::Json(arguments), request.caller).await
        }
        Err(error) => Err(error),
    };
    Some(answer(result))
}

fn named(body: &[u8]) -> Result<Vec<String>, CommandError> {
    let names = match serde_json::from_slice(body) {
        Ok(Wanted::Names(names) | Wanted::Object { modules: names }) => names,
        Err(_) => Vec::new(),
    };
    if !names.is_empty() {
        return Ok(names);
    }
    let message = "The body must be [\"mod_a\", \"mod_b\"] or {\"modules\": [\"mod_a\", \"mod_b\"]}.";
    Err(CommandError::new(ErrorKind::BadArgument, message))
}
