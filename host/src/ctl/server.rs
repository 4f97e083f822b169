//! The server's end: three questions and one stream.
//!
//! | Request | Answer |
//! |---|---|
//! | `POST /v1/command/NAME` with `{"args": ["..."]}` | `{"value": ..., "text": "..."}`, or an error object with `exit` |
//! | `GET /v1/commands` | the specs of all commands that can be called now |
//! | `GET /v1/phase` | `{"phase": "running", "pid": 7, "version": "..."}` |
//! | `GET /v1/log` | the lines of the log from now on, until one side hangs up |

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Extension, Path, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper::body::Frame;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{broadcast, mpsc, watch};
use tracing::{info, warn};

use super::socket::{ControlSocket, InstanceLock};
use crate::command::carriage::{self, Bounds, PeerProcess, error_response, json_response};
use crate::command::{Caller, CommandError, ErrorKind, Input, Phase, Table, render};

const BOUNDS: Bounds = Bounds {
    connections: 64,
    header: Duration::from_secs(10),
    // Longer than the deadline of the command table, which knows better what to say.
    request: Duration::from_secs(600),
    write: Duration::from_secs(30),
    stop: Duration::from_secs(5),
};
/// The largest request: a stanza as an argument, with room.
const MAX_BODY: usize = 1024 * 1024;
/// Log lines that may wait for one reader before it misses some.
const LOG_QUEUE: usize = 256;

/// Where the lines of the log come from.
pub trait LogSource: Send + Sync {
    /// Every line from now on, without its line break.
    fn subscribe(&self) -> broadcast::Receiver<Arc<str>>;
}

/// What the control socket speaks for.
#[derive(Clone)]
pub struct Control {
    /// The commands.
    pub table: Arc<Table>,
    /// The phase of the server's life.
    pub phase: watch::Receiver<Phase>,
    /// The log.
    pub log: Arc<dyn LogSource>,
}

impl ControlSocket {
    /// Serves until `stop` is ready, then removes the socket. The lock comes back: whoever waits for the end of this
    /// server waits for it, so keep it until there is nothing left to do.
    pub async fn serve(self, control: Control, stop: impl Future<Output = ()> + Send) -> InstanceLock {
        let owner = self.owner;
        let (listener, place, lock) = self.into_parts();
        let only_owner = middleware::from_fn(move |peer, request, next| only(owner, peer, request, next));
        let (ending, end_seen) = watch::channel(false);
        let router = router(Shared { control, ending: end_seen }).layer(only_owner);
        info!("the control socket is open");
        let stop = async move {
            stop.await;
            ending.send_replace(true);
        };
        carriage::serve(listener, router, BOUNDS, stop).await;
        drop(place);
        lock
    }
}

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    control: Control,
    ending: watch::Receiver<bool>,
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/v1/command/{name}", post(run))
        .route("/v1/commands", get(commands))
        .route("/v1/phase", get(phase))
        .route("/v1/log", get(log))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(shared)
}

/// The mode of the socket keeps other users out; this does so too, should somebody have changed the mode.
async fn only(owner: u32, Extension(peer): Extension<PeerProcess>, request: Request, next: Next) -> Response {
    if peer.uid == owner || peer.uid == 0 {
        return next.run(request).await;
    }
    warn!(uid = peer.uid, "a process of another user was refused at the control socket");
    let message = format!("This socket serves the user {owner} and root, not the user {}.", peer.uid);
    error_response(&CommandError::new(ErrorKind::Denied, message))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RunRequest {
    args: Vec<String>,
}

async fn run(
    State(Shared { control, .. }): State<Shared>,
    Extension(peer): Extension<PeerProcess>,
    Path(name): Path<String>,
    body: Result<Json<RunRequest>, axum::extract::rejection::JsonRejection>,
) -> Response {
    let request = match body {
        Ok(Json(request)) => request,
        Err(rejection) => {
            let message = format!("The request is not understood: {}.", rejection.body_text());
            return refusal(&CommandError::new(ErrorKind::BadArgument, message));
        }
    };
    let pid = peer.pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
    let caller = Caller::local(format!("uid {} pid {pid}", peer.uid));
    match control.table.run(&name, Input::Positional(request.args), caller).await {
        Ok(answer) => {
            let kind = control
                .table
                .spec(&name)
                .map_or(crate::command::ResultKind::Text, |spec| spec.result.clone());
            json_response(200, &json!({ "value": answer.value, "text": render::render(&kind, &answer) }))
        }
        Err(error) => refusal(&error),
    }
}

/// An error object with the exit code of `moultctl` beside it.
fn refusal(error: &CommandError) -> Response {
    let mut body = error.to_json();
    body["exit"] = error.kind.exit_code().into();
    json_response(error.kind.status(), &body)
}

async fn commands(State(Shared { control, .. }): State<Shared>) -> Response {
    let specs: Vec<_> = control.table.specs().into_iter().map(|spec| json!(*spec)).collect();
    json_response(200, &json!(specs))
}

async fn phase(State(Shared { control, .. }): State<Shared>) -> Response {
    let phase = *control.phase.borrow();
    let (pid, version) = (std::process::id(), env!("CARGO_PKG_VERSION"));
    json_response(200, &json!({ "phase": phase, "pid": pid, "version": version }))
}

async fn log(State(Shared { control, ending }): State<Shared>) -> Response {
    let (lines, reader) = mpsc::channel(LOG_QUEUE);
    tokio::spawn(forward(control.log.subscribe(), lines, ending));
    let mut response = Response::new(Body::new(LogBody(reader)));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Hands lines on until the reader hangs up or the server ends.
async fn forward(
    mut log: broadcast::Receiver<Arc<str>>,
    lines: mpsc::Sender<Bytes>,
    mut ending: watch::Receiver<bool>,
) {
    loop {
        let line = tokio::select! {
            biased;
            line = log.recv() => line,
            () = lines.closed() => return,
            // With the other end of this channel gone the server is gone too.
            _ = ending.wait_for(|ending| *ending) => return,
        };
        let Some(line) = shown(line) else { return };
        if lines.send(line).await.is_err() {
            return;
        }
    }
}

/// A reader that is too slow is told how many lines it missed.
fn shown(line: Result<Arc<str>, broadcast::error::RecvError>) -> Option<Bytes> {
    match line {
        Ok(line) => Some(format!("{line}\n").into()),
        Err(broadcast::error::RecvError::Lagged(missed)) => {
            Some(format!("({missed} lines were skipped)\n").into())
        }
        Err(broadcast::error::RecvError::Closed) => None,
    }
}

struct LogBody(mpsc::Receiver<Bytes>);

impl hyper::body::Body for LogBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}
