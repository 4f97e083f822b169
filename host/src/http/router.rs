//! The paths and what every request passes: bounds, body, credentials.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Extension, FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, get, on, post};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::auth::{self, credentials_wanted};
use super::client::XmppDoor;
use super::metrics::{Exposition, MetricsSource};
use super::modules::{self, ModuleAccess, ModulePaths};
use super::{api, bosh, update, websocket};
use crate::command::carriage::{self, Bounds, error_response, json_response};
use crate::command::{Caller, CommandError, ErrorKind, Phase, Table};
use crate::config;
use crate::stream::bosh::BoshSessions;

/// What HTTP speaks for.
#[derive(Clone)]
pub struct HttpParts {
    /// The commands.
    pub table: Arc<Table>,
    /// The phase of the server's life.
    pub phase: watch::Receiver<Phase>,
    /// What else the health answer depends on.
    pub health: Arc<dyn HealthSource>,
    /// The numbers.
    pub metrics: Arc<dyn MetricsSource>,
    /// The paths of modules.
    pub modules: Arc<dyn ModulePaths>,
    /// Where XMPP clients go, if they may come this way.
    pub door: Option<Arc<dyn XmppDoor>>,
}

/// Somebody who knows whether the parts of the server work.
pub trait HealthSource: Send + Sync {
    /// Every part with its state; quick, and without waiting.
    fn check(&self) -> Vec<Health>;
}

/// The state of one part of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The part: `storage`, `modules`, and so on.
    pub part: &'static str,
    /// What is wrong with it, if anything.
    pub fault: Option<String>,
}

/// The HTTP front end; a cheap clone serves one more listener.
#[derive(Clone)]
pub struct HttpServer {
    shared: Arc<Shared>,
    router: Router,
    connections: usize,
}

pub(super) struct Shared {
    pub parts: HttpParts,
    pub config: ArcSwap<config::Http>,
    pub bosh: Arc<BoshSessions>,
    /// What long bodies may take of the memory together, in KiB.
    long_bodies: Arc<Semaphore>,
}

/// All bodies that are longer than usual, together. No module gets one of more bytes than that.
const LONG_BODIES: usize = 256 << 20;

/// The configuration may ask for less, request by request.
const LONGEST_REQUEST: Duration = Duration::from_secs(3_600);

impl HttpServer {
    /// A front end for `parts`; the paths are those of `config`, and stay.
    pub fn new(config: config::Http, parts: HttpParts) -> HttpServer {
        let (connections, shared) = (config.max_connections, Arc::new(Shared::new(parts)));
        let router = router(&config, &shared);
        shared.config.store(Arc::new(config));
        HttpServer { shared, router, connections }
    }

    /// Another token, body limit, deadline, or protection of the metrics, from the next request on.
    pub fn reload(&self, config: config::Http) {
        self.shared.config.store(Arc::new(config));
    }

    /// Serves one listener until `stop` is ready.
    pub async fn serve(&self, listener: TcpListener, stop: impl Future<Output = ()> + Send) {
        let bounds = Bounds {
            connections: self.connections,
            header: Duration::from_secs(10),
            request: LONGEST_REQUEST,
            write: Duration::from_secs(30),
            stop: Duration::from_secs(5),
        };
        carriage::serve(listener, self.router.clone(), bounds, stop).await;
    }
}

impl Shared {
    fn new(parts: HttpParts) -> Shared {
        let long_bodies = Arc::new(Semaphore::new(LONG_BODIES / 1024));
        Shared { parts, config: ArcSwap::default(), bosh: BoshSessions::new(), long_bodies }
    }

    /// The longest body for this path.
    fn limit(&self, path: &str, usual: usize) -> usize {
        let asked = self.parts.modules.max_body(path).unwrap_or_default();
        asked.min(LONG_BODIES).max(usual)
    }

    /// Room for a body that may be longer than usual.
    fn room(&self, body: &Body, limit: usize, usual: usize) -> Result<Option<OwnedSemaphorePermit>, NoRoom> {
        let hint = body.size_hint();
        if hint.lower() > limit as u64 {
            return Err(NoRoom::TooLong);
        }
        // Where the client does not say, it may be all that is allowed.
        let longest = hint.upper().map_or(limit, |upper| usize::try_from(upper).unwrap_or(limit).min(limit));
        if longest <= usual {
            return Ok(None);
        }
        let pieces = u32::try_from(longest.div_ceil(1024)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.long_bodies).try_acquire_many_owned(pieces);
        room.map(Some).map_err(|_| NoRoom::Busy)
    }
}

/// Why a body is not read.
enum NoRoom {
    /// It is longer than the path allows.
    TooLong,
    /// Other long bodies take all the room there is.
    Busy,
}

impl NoRoom {
    fn answer(self, limit: usize) -> Response {
        match self {
            NoRoom::TooLong => too_long(limit),
            NoRoom::Busy => {
                let message = "Too many long bodies are on their way; retry later.";
                error_response(&CommandError::new(ErrorKind::Busy, message))
            }
        }
    }
}

fn too_long(limit: usize) -> Response {
    let message = format!("The body breaks off or is longer than {limit} bytes.");
    modules::failure(StatusCode::PAYLOAD_TOO_LARGE, &message)
}

fn router(config: &config::Http, shared: &Arc<Shared>) -> Router {
    let command = on(MethodFilter::GET.or(MethodFilter::POST), api::run);
    let websocket = |router: Router<Arc<Shared>>| match config.websocket {
        true => router.route(&config.websocket_path, get(websocket::upgrade)),
        false => router,
    };
    // An answer of BOSH may take longer than other requests: how long is agreed on between client and server.
    let bosh = match config.bosh {
        true => Router::new().route(&config.bosh_path, post(bosh::exchange).options(bosh::preflight)),
        false => Router::new(),
    };
    websocket(Router::new())
        .route(&config.health_path, get(health))
        .route(&config.metrics_path, get(metrics))
        .route(&format!("{}/{{*command}}", config.api_path), command)
        .fallback(elsewhere)
        .with_state(Arc::clone(shared))
        .layer(middleware::from_fn_with_state(Arc::clone(shared), within_deadline))
        .merge(bosh.with_state(Arc::clone(shared)))
}

/// A request whose body was read within the limit and whose credentials were checked.
pub(super) struct Guarded {
    pub caller: Caller,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Held as long as the body is.
    pub room: Option<OwnedSemaphorePermit>,
}

impl FromRequest<Arc<Shared>> for Guarded {
    type Rejection = Response;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Guarded, Response> {
        let config = shared.config.load_full();
        let (head, body) = request.into_parts();
        let peer = peer_of(head.extensions.get::<SocketAddr>());
        let caller = match auth::caller(&head.headers, config.admin_token.as_ref(), peer) {
            Ok(caller) => caller,
            // A path that is open may want credentials of its own kind; whoever needs an admin finds none here.
            Err(error) if shared.parts.modules.find(head.uri.path()) != Some(ModuleAccess::Open) => {
                return Err(error_response(&error));
            }
            Err(_) => Caller {
                from: crate::command::FrontEnd::Http,
                admin: false,
                jid: None,
                who: peer.to_string(),
            },
        };
        let limit = shared.limit(head.uri.path(), config.max_body);
        let room = shared.room(&body, limit, config.max_body).map_err(|no| no.answer(limit))?;
        let body = to_bytes(body, limit).await.map_err(|_| too_long(limit))?;
        Ok(Guarded { caller, headers: head.headers, body, room })
    }
}

fn peer_of(extension: Option<&SocketAddr>) -> SocketAddr {
    extension.copied().unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
}

async fn within_deadline(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let deadline = shared.config.load().request_deadline;
    match tokio::time::timeout(deadline, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = format!("The request was not answered within {deadline:?}.");
            error_response(&CommandError::new(ErrorKind::Timeout, message))
        }
    }
}

/// Tells as little as a balancer needs: nothing here is behind a token.
async fn health(State(shared): State<Arc<Shared>>) -> Response {
    let phase = *shared.parts.phase.borrow();
    let faults: Vec<Health> =
        shared.parts.health.check().into_iter().filter(|part| part.fault.is_some()).collect();
    for Health { part, fault } in &faults {
        tracing::warn!(part, ?fault, "a health check failed");
    }
    let works = phase == Phase::Running && faults.is_empty();
    let failing: Vec<&str> = faults.iter().map(|health| health.part).collect();
    let status = if works { "ok" } else { "error" };
    json_response(
        if works { 200 } else { 503 },
        &json!({ "status": status, "phase": phase, "failing": failing }),
    )
}

async fn metrics(State(shared): State<Arc<Shared>>, Guarded { caller, .. }: Guarded) -> Response {
    if shared.config.load().metrics_auth && !caller.admin {
        return error_response(&credentials_wanted());
    }
    let mut text = Exposition::default();
    shared.parts.metrics.write(&mut text);
    let mut response = text.finish().into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(Exposition::CONTENT_TYPE));
    response
}

/// Every other path: a module's, or one of the two update paths.
async fn elsewhere(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<SocketAddr>,
    method: Method,
    uri: Uri,
    mut request: Guarded,
) -> Response {
    let path = uri.path();
    let nothing = || modules::failure(StatusCode::NOT_FOUND, "There is nothing at this path.");
    let Some(access) = shared.parts.modules.find(path) else {
        return update::respond(&shared, &method, path, request).await.unwrap_or_else(nothing);
    };
    if access == ModuleAccess::Admin && !request.caller.admin {
        return error_response(&credentials_wanted());
    }
    let token = shared.config.load().admin_token.clone();
    let _room = request.room.take();
    let asked = modules::request(&method, &uri, request, token.as_ref(), peer);
    match shared.parts.modules.call(asked).await {
        Some(answer) => modules::response(path, answer).await,
        None => nothing(),
    }
}
