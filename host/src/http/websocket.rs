//! The way from an HTTP request to a WebSocket with XMPP in it (RFC 6455 section 4.2, RFC 7395 section 3.1).

use std::net::SocketAddr;
use std::sync::Arc;

use aws_lc_rs::digest;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::TokioIo;

use super::client::client_of;
use super::modules::failure;
use super::router::Shared;

/// What RFC 6455 section 1.3 appends to the client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Answers a request for a WebSocket.
pub(super) async fn upgrade(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<SocketAddr>,
    request: Request,
) -> Response {
    let accept = match check(request.headers()) {
        Ok(accept) => accept,
        Err(refused) => return *refused,
    };
    let (client, secure) = client_of(peer, request.headers());
    let Some(welcome) = shared.parts.door.as_ref().and_then(|door| door.admit(client, secure)) else {
        return failure(StatusCode::SERVICE_UNAVAILABLE, "There are too many connections; try again later.");
    };
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        match upgraded.await {
            Ok(connection) => welcome(Box::new(TokioIo::new(connection))),
            Err(error) => tracing::debug!(%client, %error, "a WebSocket was not taken up"),
        }
    });
    switching_protocols(&accept)
}

/// The answer to the client's key, or why the request is none for a WebSocket with XMPP.
fn check(headers: &HeaderMap) -> Result<String, Box<Response>> {
    let refuse = |status, text| Err(Box::new(failure(status, text)));
    if !has_token(headers, header::CONNECTION, "upgrade") || !has_token(headers, header::UPGRADE, "websocket")
    {
        return refuse(StatusCode::UPGRADE_REQUIRED, "This path is for WebSockets.");
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let mut response = failure(StatusCode::UPGRADE_REQUIRED, "Version 13 of WebSockets is spoken here.");
        response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Err(Box::new(response));
    }
    if !has_token(headers, header::SEC_WEBSOCKET_PROTOCOL, "xmpp") {
        return refuse(StatusCode::BAD_REQUEST, "The subprotocol \"xmpp\" is spoken here (RFC 7395).");
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok()).unwrap_or_default();
    if STANDARD.decode(key.trim()).is_ok_and(|key| key.len() == 16) {
        return Ok(accept_key(key.trim()));
    }
    refuse(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key has to be 16 bytes in base64.")
}

fn accept_key(key: &str) -> String {
    // Not a matter of security: RFC 6455 section 4.2.2 wants SHA-1.
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    STANDARD.encode(digest)
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

fn switching_protocols(accept: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("xmpp"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (name.parse::<header::HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        });
        pairs.collect()
    }

    const GOOD: [(&str, &str); 5] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat, xmpp"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn the_key_is_answered_as_in_the_rfc() {
        assert_eq!(check(&headers(&GOOD)).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn what_is_no_request_for_xmpp_by_websocket_is_refused() {
        for (index, wrong, status) in [
            (0, "keep-alive", 426),
            (1, "h2c", 426),
            (2, "8", 426),
            (3, "mqtt", 400),
            (4, "c2hvcnQ=", 400),
            (4, "?", 400),
        ] {
            let mut pairs = GOOD;
            pairs[index].1 = wrong;
            assert_eq!(check(&headers(&pairs)).unwrap_err().status(), status, "{wrong}");
        }
    }
}
