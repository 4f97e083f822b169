//! Commands, HTTP requests and requests between modules: each on its own task of the modules runtime, with a deadline.

use super::{Entered, Modules, account, enter, reopened, timed_out};
use crate::plugin::bridge::invoke::{CallEnd, CallSpec};
use crate::plugin::core::Core;
use crate::plugin::instance::Instance;
use crate::plugin::registry::Snapshot;
use crate::plugin::services::{BoxFuture, OpError, OpReply, OpRequest, Origin};
use crate::plugin::slot::{GLOBAL, SlotKey};
use moult_plugin_api::abi::v1::{call, reply};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why a command of a module did not work: a code in the manner of HTTP and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct CommandFailure {
    /// 400, 403, 404, 409, 500, 503, 504.
    pub code: u16,
    /// A whole sentence.
    pub text: String,
}

impl CommandFailure {
    fn new(code: u16, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// A request to a module's HTTP path.
#[derive(Debug, Clone, Default)]
pub struct HttpRequest {
    /// `GET`, `POST`, …
    pub method: String,
    /// Path without query.
    pub path: String,
    /// Address of the peer.
    pub peer: String,
    /// `{"query":…, "headers":{…}}`.
    pub args: String,
    /// Body.
    pub body: Vec<u8>,
}

/// A module's answer to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpResponse {
    /// Status.
    pub status: u16,
    /// JSON object of headers.
    pub headers: String,
    /// Body.
    pub body: Vec<u8>,
}

type Find = Box<dyn Fn(&Snapshot) -> Option<(Arc<Instance>, u64)> + Send + Sync>;

/// A call that outlives its caller's borrow.
#[derive(Debug, Clone, Default)]
struct Request {
    kind: u32,
    name: String,
    id: String,
    from: String,
    args: String,
    body: Vec<u8>,
}

impl Modules {
    /// Runs a module's command. `args` is a JSON object. A module with an instance on each vhost is asked on the one that
    /// the first argument of the kind `host` names, where the command has such an argument.
    pub fn command(
        &self,
        name: &str,
        caller: &str,
        args: &Value,
    ) -> BoxFuture<Result<Value, CommandFailure>> {
        let request = Request {
            kind: call::COMMAND,
            name: name.to_owned(),
            from: caller.to_owned(),
            args: args.to_string(),
            ..Request::default()
        };
        let (wanted, host) = (name.to_owned(), self.vhost_in(name, args));
        if let Some(host) = &host
            && self.core.snapshot().command_on(name, host).is_none()
        {
            let text = format!("\"{host}\" is no vhost on which a module offers {name}.");
            return Box::pin(std::future::ready(Err(CommandFailure::new(404, text))));
        }
        let find: Find = Box::new(move |snapshot| {
            let entry = match &host {
                Some(host) => snapshot.command_on(&wanted, host),
                None => snapshot.command(&wanted),
            };
            entry.map(|e| (Arc::clone(&e.instance), e.handler))
        });
        let running = self.run(request, find, None);
        Box::pin(async move { value_of(running.await?) })
    }

    /// The vhost that a command is about. In `add_rosteritem` the argument `host` is the contact's domain, so the name alone
    /// does not tell; modules of API 1.0 may have given it no kind.
    fn vhost_in(&self, name: &str, args: &Value) -> Option<String> {
        let snapshot = self.core.snapshot();
        let declared = &snapshot.command(name)?.decl.args;
        let named = declared.iter().find(|arg| arg.kind == "host").map_or("host", |arg| arg.name.as_str());
        args[named].as_str().map(str::to_owned)
    }

    /// Asks the module that serves the path. `None`: no module does.
    pub fn http(&self, request: HttpRequest) -> Option<BoxFuture<HttpResponse>> {
        self.core.snapshot().http(&request.path)?;
        let path = request.path.clone();
        let find: Find =
            Box::new(move |snapshot| snapshot.http(&path).map(|e| (Arc::clone(&e.instance), e.handler)));
        let request = Request {
            kind: call::HTTP,
            name: request.path,
            id: request.method,
            from: request.peer,
            args: request.args,
            body: request.body,
        };
        let running = self.run(request, find, None);
        Some(Box::pin(async move { response_of(running.await) }))
    }

    /// A request to another module (S0-13).
    pub fn request(
        &self,
        to: SlotKey,
        from: &str,
        method: &str,
        args: &Value,
        timeout: Option<Duration>,
    ) -> BoxFuture<Result<Value, CommandFailure>> {
        let request = Request {
            kind: call::REQUEST,
            name: method.to_owned(),
            from: from.to_owned(),
            args: args.to_string(),
            ..Request::default()
        };
        let find: Find = Box::new(move |snapshot| {
            let instances = snapshot.instances();
            let global = SlotKey { module: Arc::clone(&to.module), vhost: GLOBAL.into() };
            instances.get(&to).or_else(|| instances.get(&global)).map(|instance| (Arc::clone(instance), 0))
        });
        let running = self.run(request, find, timeout);
        Box::pin(async move { value_of(running.await?) })
    }

    /// The operation `REQUEST` of a module.
    pub(in crate::plugin) fn request_op(
        &self,
        origin: &Origin,
        request: &OpRequest,
    ) -> BoxFuture<Result<OpReply, OpError>> {
        let text = |key: &str| request.args[key].as_str().unwrap_or_default().to_owned();
        let host = text("host");
        let vhost = if host.is_empty() { Arc::clone(&origin.vhost) } else { host.into() };
        let to = SlotKey { module: text("module").into(), vhost };
        let timeout = u64::try_from(request.number).ok().filter(|ms| *ms > 0).map(Duration::from_millis);
        let running = self.request(to, &origin.to_string(), &text("method"), &request.args["args"], timeout);
        Box::pin(async move {
            match running.await {
                Ok(value) => Ok(OpReply { text: value.to_string(), ..OpReply::default() }),
                Err(failure) => Err(OpError::new(condition(failure.code), failure.text)),
            }
        })
    }

    fn run(
        &self,
        request: Request,
        find: Find,
        timeout: Option<Duration>,
    ) -> BoxFuture<Result<CallEnd, CommandFailure>> {
        let core = Arc::clone(&self.core);
        Box::pin(async move {
            let Some((instance, _)) = find(&core.snapshot()) else {
                return Err(CommandFailure::new(404, "No module offers this any more."));
            };
            let slot = Arc::clone(&instance.context().slot);
            let deadline = timeout.unwrap_or(slot.limits().call_deadline);
            if let Some(reason) = slot.quarantined() {
                return Err(CommandFailure::new(503, format!("{} is quarantined: {reason}.", slot.key)));
            }
            let kind = request.kind;
            let running = core.runtime().handle().spawn({
                let core = Arc::clone(&core);
                async move { attempts(&core, &request, &find).await }
            });
            match tokio::time::timeout(deadline, Aborting(running)).await {
                Ok(end) => end,
                Err(_) => {
                    timed_out(&core, &slot, instance.generation(), kind, deadline);
                    let text = format!("{} gave no answer within {} ms.", slot.key, deadline.as_millis());
                    Err(CommandFailure::new(504, text))
                }
            }
        })
    }
}

async fn attempts(core: &Core, request: &Request, find: &Find) -> Result<CallEnd, CommandFailure> {
    loop {
        let Some((instance, handler)) = find(&core.snapshot()) else {
            return Err(CommandFailure::new(404, "No module offers this any more."));
        };
        let started = Some(Instant::now());
        let end = match enter(&instance, &request.spec(handler)) {
            Entered::Done(end) => end,
            Entered::Pending(task) => task.await,
            Entered::Closed(closed) => {
                reopened(&instance, closed).await;
                continue;
            }
        };
        account(core, &instance, &end, started);
        return Ok(end);
    }
}

impl Request {
    fn spec(&self, handler: u64) -> CallSpec<'_> {
        CallSpec {
            kind: self.kind,
            handler,
            name: &self.name,
            id: &self.id,
            from: &self.from,
            args: &self.args,
            body: &self.body,
            ..CallSpec::default()
        }
    }
}

/// A task that ends when nobody waits for it any more.
struct Aborting<T>(tokio::task::JoinHandle<T>);

impl Future for Aborting<Result<CallEnd, CommandFailure>> {
    type Output = Result<CallEnd, CommandFailure>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0)
            .poll(cx)
            .map(|joined| joined.unwrap_or_else(|_| Err(CommandFailure::new(500, "The call was cancelled."))))
    }
}

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn value_of(end: CallEnd) -> Result<Value, CommandFailure> {
    match (end.is_done(), end.reply.code) {
        (true, reply::COMMAND_OK) if end.reply.body.is_empty() => Ok(Value::Null),
        (true, reply::COMMAND_OK) => serde_json::from_slice(&end.reply.body)
            .map_err(|e| CommandFailure::new(500, format!("The module's answer is not JSON: {e}."))),
        (true, reply::COMMAND_ERROR) => {
            Err(CommandFailure::new(u16::try_from(end.reply.number).unwrap_or(500), end.reply.text))
        }
        _ if end.panicked() => {
            Err(CommandFailure::new(500, format!("The module panicked: {}.", end.reason())))
        }
        _ => Err(CommandFailure::new(501, format!("The module cannot answer this: {}.", end.reason()))),
    }
}

fn response_of(end: Result<CallEnd, CommandFailure>) -> HttpResponse {
    let plain = |status, text: &str| HttpResponse {
        status,
        headers: r#"{"content-type":"text/plain; charset=utf-8"}"#.into(),
        body: text.as_bytes().to_vec(),
    };
    match end {
        Ok(end) if end.is_done() && end.reply.code == reply::HTTP_RESPONSE => HttpResponse {
            status: u16::try_from(end.reply.number).unwrap_or(500),
            headers: end.reply.extra,
            body: end.reply.body,
        },
        Ok(_) => plain(500, "The module failed.\n"),
        Err(failure) => plain(failure.code, &format!("{}\n", failure.text)),
    }
}

fn condition(code: u16) -> &'static str {
    match code {
        400 => "bad-request",
        401 | 403 => "forbidden",
        404 => "item-not-found",
        409 => "conflict",
        501 => "feature-not-implemented",
        503 => "resource-constraint",
        504 => "remote-server-timeout",
        _ => "internal-server-error",
    }
}
