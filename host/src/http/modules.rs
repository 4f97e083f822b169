//! Paths that modules serve: what they get of a request, and what is taken of their answer.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use moult_plugin_api::sdk::FILE_HEADER;
use serde_json::{Value, json};
use tracing::warn;

use super::router::Guarded;
use super::{auth, file};
use crate::config::Secret;
use crate::plugin::call::{HttpRequest, Modules};

/// A request as a module gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleRequest {
    /// `GET`, `POST`, and so on.
    pub method: String,
    /// The path as it was sent, escapes and all, without the query.
    pub path: String,
    /// What stands behind the `?`, undecoded.
    pub query: String,
    /// The address of the peer, without its port.
    pub peer: String,
    /// Headers, names in lower case; neither those of the connection nor the admin token.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// The answer of a module, unchecked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleResponse {
    /// The status.
    pub status: u16,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// Who may call a path of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleAccess {
    /// Everybody; the module may want credentials of its own.
    Open,
    /// Whoever has the admin token.
    Admin,
}

/// The paths that modules serve.
pub trait ModulePaths: Send + Sync {
    /// Whether a module serves `path`, and for whom.
    fn find(&self, path: &str) -> Option<ModuleAccess>;

    /// The longest body that the module at `path` wants, where it wants longer ones than usual.
    fn max_body(&self, path: &str) -> Option<usize> {
        let _ = path;
        None
    }

    /// Asks the module; `None` where it has gone since [`ModulePaths::find`].
    fn call(&self, request: ModuleRequest) -> Pin<Box<dyn Future<Output = Option<ModuleResponse>> + Send>>;
}

impl ModulePaths for Modules {
    fn find(&self, path: &str) -> Option<ModuleAccess> {
        let snapshot = self.snapshot();
        snapshot.http(path).map(|entry| if entry.admin { ModuleAccess::Admin } else { ModuleAccess::Open })
    }

    fn max_body(&self, path: &str) -> Option<usize> {
        self.snapshot().http(path)?.max_body
    }

    fn call(&self, request: ModuleRequest) -> Pin<Box<dyn Future<Output = Option<ModuleResponse>> + Send>> {
        let running = self.http(HttpRequest {
            method: request.method,
            path: request.path,
            peer: request.peer,
            args: json!({ "query": request.query, "headers": request.headers }).to_string(),
            body: request.body,
        });
        Box::pin(async move {
            let response = running?.await;
            let headers = serde_json::from_str(&response.headers).unwrap_or_else(|_| {
                warn!("a module's HTTP headers are not a JSON object of texts; they are left out");
                BTreeMap::new()
            });
            Some(ModuleResponse { status: response.status, headers, body: response.body })
        })
    }
}

/// Headers that belong to the connection and not to the request (RFC 9110 section 7.6.1), and those that say how long
/// a body is, which is the host's business.
const OF_THE_CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What a module gets of a request.
pub(super) fn request(
    method: &Method,
    uri: &Uri,
    from: Guarded,
    token: Option<&Secret>,
    peer: SocketAddr,
) -> ModuleRequest {
    ModuleRequest {
        method: method.to_string(),
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        peer: peer.ip().to_canonical().to_string(),
        headers: passed_on(&from.headers, token),
        body: from.body.into(),
    }
}

fn passed_on(headers: &HeaderMap, token: Option<&Secret>) -> BTreeMap<String, String> {
    let hides_authorization = auth::has_token(headers, token);
    let mut passed: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let is_hidden =
            OF_THE_CONNECTION.contains(name) || (hides_authorization && name == header::AUTHORIZATION);
        let Some(value) = value.to_str().ok().filter(|_| !is_hidden) else { continue };
        // RFC 9110 section 5.3: several fields of one name are one list.
        let line = passed.entry(name.as_str().to_owned()).or_default();
        if !line.is_empty() {
            line.push_str(", ");
        }
        line.push_str(value);
    }
    passed
}

/// The answer of a module with everything left out that would break the protocol. A file that it names is sent in its place.
pub(super) async fn response(path: &str, mut from: ModuleResponse) -> Response {
    let status = StatusCode::from_u16(from.status).ok().filter(|status| !status.is_informational());
    let Some(status) = status else {
        warn!(path, status = from.status, "a module answered with a status that is none");
        return failure(StatusCode::BAD_GATEWAY, "The module that serves this path answered nonsense.");
    };
    let mut response = match from.headers.remove(FILE_HEADER) {
        None => Response::new(Body::from(from.body)),
        Some(name) => match file::response(Path::new(&name)).await {
            Ok(response) => response,
            Err(error) => {
                warn!(path, file = name, %error, "a file that a module wants sent cannot be read");
                return failure(StatusCode::NOT_FOUND, "There is nothing at this path.");
            }
        },
    };
    *response.status_mut() = status;
    for (name, value) in from.headers {
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value)) {
            (Ok(name), Ok(_)) if OF_THE_CONNECTION.contains(&name) => {}
            (Ok(name), Ok(value)) => _ = response.headers_mut().append(name, value),
            _ => warn!(path, header = ?name, "a module answered with a header that is none; it is left out"),
        }
    }
    response
        .headers_mut()
        .entry(header::X_CONTENT_TYPE_OPTIONS)
        .or_insert(HeaderValue::from_static("nosniff"));
    response
}

/// A short text with a status, as JSON.
pub(super) fn failure(status: StatusCode, message: &str) -> Response {
    let body: Value = json!({ "status": "error", "code": status.as_u16(), "message": message });
    crate::command::carriage::json_response(status.as_u16(), &body)
}
