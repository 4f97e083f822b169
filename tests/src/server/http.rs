//! One HTTP request, by hand: no client library is worth a dependency here.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{ADMIN_TOKEN, Server};
use crate::eventually::DEADLINE;

/// What the server answered.
#[derive(Debug, Clone)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

impl HttpAnswer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Server {
    /// `GET path` without a token.
    pub async fn http_get(&self, path: &str) -> HttpAnswer {
        self.http("GET", path, None, "").await
    }

    /// A request with the admin token; the body is JSON.
    pub async fn http_admin(&self, method: &str, path: &str, body: &str) -> HttpAnswer {
        self.http(method, path, Some(ADMIN_TOKEN), body).await
    }

    /// Any request.
    pub async fn http(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> HttpAnswer {
        let authorization =
            token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let content = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}{content}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        exchange(self.listeners().http, &request).await
    }
}

/// Sends a whole request, which asks for the end of the connection, and takes the answer.
pub async fn exchange(address: SocketAddr, request: &str) -> HttpAnswer {
    let exchange = async {
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(DEADLINE, exchange).await.unwrap_or_else(|_| panic!("{request}: no answer"));
    parse(&answer.unwrap_or_else(|error| panic!("{request}: {error}")))
}

fn parse(answer: &[u8]) -> HttpAnswer {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("not an HTTP answer: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let is_chunked = headers.get("transfer-encoding").is_some_and(|encoding| encoding == "chunked");
    HttpAnswer {
        status: status.unwrap_or_else(|| panic!("not an HTTP answer: {text:?}")),
        body: if is_chunked { unchunk(body) } else { body.to_owned() },
        headers,
    }
}

fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        if length == 0 || after.len() < length + 2 {
            break;
        }
        body.push_str(&after[..length]);
        rest = &after[length + 2..];
    }
    body
}
