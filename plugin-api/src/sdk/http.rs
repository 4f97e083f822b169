//! HTTP paths served by a module.

use super::Host;
use super::handler::{Answer, Event};
use crate::abi::v1::Call;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

/// The header by which a module names a file for the server to send; it never reaches the client.
pub const FILE_HEADER: &str = "x-moult-file";

/// Who may call a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpAuth {
    /// Anybody.
    None,
    /// Whoever has the administrator's token; the host checks it before the module sees the request.
    Admin,
}

impl HttpAuth {
    fn name(self) -> &'static str {
        match self {
            HttpAuth::None => "none",
            HttpAuth::Admin => "admin",
        }
    }

    pub(crate) fn args(self) -> &'static str {
        match self {
            HttpAuth::None => r#"{"auth":"none"}"#,
            HttpAuth::Admin => r#"{"auth":"admin"}"#,
        }
    }
}

/// A path to serve, with everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSpec {
    pub(crate) path: String,
    auth: HttpAuth,
    max_body: Option<usize>,
}

impl HttpSpec {
    /// This path.
    pub fn new(path: impl Into<String>, auth: HttpAuth) -> Self {
        Self { path: path.into(), auth, max_body: None }
    }

    /// Bodies may have so many bytes, where that is more than the server's configuration allows everywhere. A server before
    /// API 1.1 does not know this, and the server has a bound of its own.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = Some(bytes);
        self
    }

    pub(crate) fn args(&self) -> String {
        match self.max_body {
            None => self.auth.args().to_owned(),
            Some(bytes) => format!(r#"{{"auth":"{}","max_body":{bytes}}}"#, self.auth.name()),
        }
    }
}

/// A request.
#[derive(Debug, Clone)]
pub struct HttpRequest<'a> {
    /// `GET`, `POST`, …
    pub method: Cow<'a, str>,
    /// The whole path.
    pub path: Cow<'a, str>,
    /// Address of the peer.
    pub peer: Cow<'a, str>,
    /// Query and headers.
    head: HttpHead,
    /// The body.
    pub body: Cow<'a, [u8]>,
}

/// The JSON that travels beside a request: its query string and headers, whose names are in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpHead {
    /// What stands after the `?`, undecoded.
    pub query: String,
    /// Headers.
    pub headers: BTreeMap<String, String>,
}

impl HttpRequest<'_> {
    /// A header's value; names are compared without case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.head.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// What stands after the `?`, undecoded.
    pub fn query(&self) -> &str {
        &self.head.query
    }

    /// One that borrows nothing.
    pub fn into_owned(self) -> HttpRequest<'static> {
        HttpRequest {
            method: Cow::Owned(self.method.into_owned()),
            path: Cow::Owned(self.path.into_owned()),
            peer: Cow::Owned(self.peer.into_owned()),
            head: self.head,
            body: Cow::Owned(self.body.into_owned()),
        }
    }
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// Body.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// Text.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self::with_type(status, "text/plain; charset=utf-8", text.into().into_bytes())
    }

    /// JSON.
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::with_type(status, "application/json", body),
            Err(e) => Self::text(500, format!("the answer is no JSON: {e}")),
        }
    }

    /// The content of a file, which the server reads piece by piece while the client takes it; 404 where there is none.
    /// Since API 1.1.
    pub fn file(path: &Path) -> Self {
        let headers = BTreeMap::from([(FILE_HEADER.to_owned(), path.display().to_string())]);
        Self { status: 200, headers, body: Vec::new() }
    }

    fn with_type(status: u16, kind: &str, body: Vec<u8>) -> Self {
        Self { status, headers: BTreeMap::from([("content-type".to_owned(), kind.to_owned())]), body }
    }

    /// The same with one more header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_ascii_lowercase(), value.to_owned());
        self
    }
}

impl From<HttpResponse> for Answer {
    fn from(response: HttpResponse) -> Self {
        Answer::Http(response)
    }
}

/// The event behind HTTP paths.
#[derive(Debug)]
pub struct HttpEvent;

impl Event for HttpEvent {
    type Arg<'a> = HttpRequest<'a>;
    type Answer = HttpResponse;

    fn read<'a>(_: &'a Host, call: &'a Call<'a>) -> Result<HttpRequest<'a>, String> {
        let args = call.args.as_str();
        let head = serde_json::from_str(if args.is_empty() { "{}" } else { args });
        Ok(HttpRequest {
            method: Cow::Borrowed(call.id.as_str()),
            path: Cow::Borrowed(call.name.as_str()),
            peer: Cow::Borrowed(call.from.as_str()),
            head: head.map_err(|e| format!("query and headers cannot be read: {e}"))?,
            body: Cow::Borrowed(call.body.as_slice()),
        })
    }

    fn own(request: HttpRequest<'_>) -> HttpRequest<'static> {
        request.into_owned()
    }
}
