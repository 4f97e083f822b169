//! The way of BOSH (XEP-0124) through HTTP: one request, one answer, which may be held back for a while.
//!
//! Pages of every site may speak it: nothing is sent but what the page itself knows, no cookies and no credentials of
//! the browser. The rules of sessions are in `stream::bosh`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::client::client_of;
use super::modules::failure;
use super::router::Shared;
use crate::stream::bosh::{Answer, BoshRequest, BoshTerms, Held, Terminal};

const XML: HeaderValue = HeaderValue::from_static("text/xml; charset=utf-8");

/// Answers a request of a client, old or new.
pub(super) async fn exchange(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<SocketAddr>,
    request: Request,
) -> Response {
    let (client, secure) = client_of(peer, request.headers());
    let body = match read(&shared, request.into_body()).await {
        Ok(body) => body,
        Err(refused) => return for_every_site(*refused),
    };
    let request = std::str::from_utf8(&body).map_err(|error| error.to_string());
    let request = request.and_then(|text| BoshRequest::parse(text).map_err(|error| error.to_string()));
    // What is held may be held for long: the text of the request need not be.
    drop(body);
    let held = match request {
        Ok(request) => take(&shared, request, client, secure),
        Err(error) => {
            tracing::debug!(%client, "{error}");
            Err(Terminal::BadRequest)
        }
    };
    let answer = match held {
        Ok(held) => held.answer().await,
        Err(terminal) => Answer { status: 200, content: None, body: terminal.body().into() },
    };
    for_every_site(response(answer))
}

/// Tells a browser that pages of other sites may ask (the CORS protocol of the Fetch standard).
pub(super) async fn preflight() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, OPTIONS"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Content-Type"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    headers.insert(header::ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    for_every_site(response)
}

async fn read(shared: &Shared, body: Body) -> Result<axum::body::Bytes, Box<Response>> {
    let config = shared.config.load_full();
    let whole = tokio::time::timeout(config.request_deadline, to_bytes(body, config.max_body)).await;
    let message = match whole {
        Ok(Ok(bytes)) => return Ok(bytes),
        Ok(Err(_)) => format!("The body breaks off or is longer than {} bytes.", config.max_body),
        Err(_) => format!("The body did not come within {:?}.", config.request_deadline),
    };
    Err(Box::new(failure(StatusCode::PAYLOAD_TOO_LARGE, &message)))
}

fn take(shared: &Shared, request: BoshRequest, client: SocketAddr, secure: bool) -> Result<Held, Terminal> {
    if let Some(sid) = request.sid() {
        let session = shared.bosh.find(sid).ok_or(Terminal::ItemNotFound)?;
        return Ok(session.arrive(request));
    }
    let door = shared.parts.door.as_ref();
    let welcome = door.and_then(|door| door.admit_bosh(client, secure)).ok_or(Terminal::Undefined)?;
    let config = shared.config.load();
    let terms = BoshTerms {
        max_wait: config.bosh_max_wait,
        inactivity: config.bosh_inactivity,
        max_pause: config.bosh_max_pause,
        max_body: config.max_body,
    };
    let (session, held) = shared.bosh.open(request, &terms);
    welcome(session);
    Ok(held)
}

fn response(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body.to_string()));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let content = answer.content.and_then(|content| HeaderValue::from_str(&content).ok());
    response.headers_mut().insert(header::CONTENT_TYPE, content.unwrap_or(XML));
    response
}

/// A client may ask for answers that are called HTML (section 7.1); whoever makes a browser show one is told to keep
/// the scripts out that somebody may have put into it.
fn for_every_site(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let sandbox = HeaderValue::from_static("default-src 'none'; sandbox");
    headers.insert(header::CONTENT_SECURITY_POLICY, sandbox);
    response
}
