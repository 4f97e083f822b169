//! A web page for administrators, at `/admin` of the HTTP listener.
//!
//! Pages are made here and need no script, no style and no picture from anywhere else. Everything goes through the server's one
//! command table with what the one who is logged in may do: an account by its JID, as if it called by XMPP, or whoever has the
//! admin token of the HTTP API. What is denied is shown with the rule that is missing.
//!
//! A login is a cookie that no script can read and no other site can send; every form carries a token that belongs to it; what
//! changes something is asked for again on a page of its own. Logins lie in the store, as hashes: the module has no state of its own,
//! so that it can be updated through itself.
//!
//! * `form`: what browsers send; `html`: what they get; `logins`: who is there;
//! * `pages`: what is shown; `acts`: what is done.

mod acts;
mod form;
mod html;
mod logins;
mod pages;
#[cfg(test)]
mod tests;

use form::Fields;
use html::Html;
use logins::{Failures, MAX_SESSIONS, Session, Who, csrf, key};
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::digest::random_token;
use moult_plugin_api::sdk::store::KeyVal;
use moult_plugin_api::serde_json::{self, Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

const PATH: &str = "/admin";
const COOKIE: &str = "moult_admin";

module_options! {
    /// Options of mod_admin_web.
    pub struct Options {
        /// After how much silence a login ends.
        session_timeout: Duration = "30m", min 60000, max 43200000;
        /// Whether logins are accepted from other machines without TLS.
        allow_plain: bool = false;
    }
}

/// The module, one for the whole server.
#[derive(Debug)]
pub struct AdminWeb {
    host: Host,
    options: Live<Options>,
    failures: Mutex<Failures>,
}

/// Who looks at a page.
#[derive(Debug, Clone)]
struct Viewer {
    who: Who,
    /// What forms carry.
    csrf: String,
}

impl Module for AdminWeb {
    type Options = Options;
    const RELOADS: bool = true;

    fn start(host: &Host, options: Options) -> Result<Started<Self>, Stop> {
        host.on_http(PATH, HttpAuth::None, Self::respond)?;
        Started::running(Self { host: host.clone(), options: Live::new(options), failures: Mutex::default() })
    }

    fn on_reload(&self, options: Options, _: bool) -> Result<Reload, Stop> {
        self.options.set(options);
        Ok(Reload::Done)
    }
}

impl AdminWeb {
    fn sessions(&self) -> KeyVal {
        self.host.keyval("sessions")
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn respond(self: Arc<Self>, request: HttpRequest<'static>) -> HttpResponse {
        let path = request.path.strip_prefix(PATH).unwrap_or_default().to_owned();
        let parts: Vec<String> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| form::decoded(part.as_bytes(), false))
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let method = if request.method == "HEAD" { "GET" } else { &*request.method };
        let response = match (method, parts.as_slice()) {
            ("GET", ["style.css"]) => {
                HttpResponse::text(200, pages::STYLE).header("content-type", "text/css")
            }
            ("GET", ["login"]) => login_page(&request, 200, None),
            ("POST", ["login"]) => self.log_in(&request).await,
            ("GET" | "POST", parts) => match self.viewer(&request).await {
                Some(viewer) => self.inside(&viewer, method, parts, &request).await,
                None => HttpResponse::text(303, "").header("location", "/admin/login"),
            },
            _ => HttpResponse::text(405, "This path takes GET and POST.").header("allow", "GET, POST"),
        };
        secured(response)
    }

    async fn viewer(&self, request: &HttpRequest<'_>) -> Option<Viewer> {
        let cookie = form::cookie(request, COOKIE)?;
        let (name, now) = (key(cookie), SystemTime::now());
        let mut session = self.session(&name).await?;
        if session.is_over(self.options.get().session_timeout, now) {
            self.forget(&name).await;
            return None;
        }
        if session.touch(now) {
            self.remember(&name, &session).await.unwrap_or_else(|error| warn!(self.host, "{error}"));
        }
        Some(Viewer { who: session.who, csrf: csrf(cookie) })
    }

    async fn session(&self, name: &str) -> Option<Session> {
        let stored = self.sessions().get(name).await.unwrap_or_else(|error| {
            warn!(self.host, "a login cannot be read: {error}");
            None
        });
        serde_json::from_slice(&stored?).ok()
    }

    async fn remember(&self, name: &str, session: &Session) -> Result<(), HostError> {
        let json = serde_json::to_vec(session).expect("texts and numbers are JSON");
        self.sessions().set(name, &json).await
    }

    async fn forget(&self, name: &str) {
        if let Err(error) = self.sessions().delete(name).await {
            warn!(self.host, "a login cannot be forgotten: {error}");
        }
    }

    /// Makes room for one more session: those that are over go, and of too many the one that was used least lately.
    async fn make_room(&self) -> Result<(), HostError> {
        let mut left = Vec::new();
        for name in self.sessions().keys("", "", 2 * MAX_SESSIONS).await? {
            match self.session(&name).await {
                Some(session) if !session.is_over(self.options.get().session_timeout, SystemTime::now()) => {
                    left.push((session.used_ms, name));
                }
                _ => self.forget(&name).await,
            }
        }
        left.sort_unstable();
        for (_, name) in left.iter().take((left.len() + 1).saturating_sub(MAX_SESSIONS)) {
            self.forget(name).await;
        }
        Ok(())
    }

    async fn inside(
        &self,
        viewer: &Viewer,
        method: &str,
        parts: &[&str],
        request: &HttpRequest<'_>,
    ) -> HttpResponse {
        if method == "POST" {
            let fields = Fields::of_form(request);
            if form::is_foreign(request) || fields.get("csrf") != viewer.csrf {
                return refused(
                    Some(viewer),
                    "This form is not one of this page's. Open the page anew and try again.",
                );
            }
            return self.act(viewer, parts, &fields, request).await;
        }
        self.show(viewer, parts, &Fields::of_query(request)).await
    }

    /// Runs a command with what this viewer may do.
    async fn run(&self, viewer: &Viewer, name: &str, args: Value) -> Result<Value, CommandFailure> {
        let done = match &viewer.who {
            Who::Token => self.host.try_command(name, &args).await,
            Who::Account(jid) => match Jid::parse(jid) {
                Ok(jid) => self.host.try_command_as(&jid, name, &args).await,
                Err(error) => return Err(failure(400, error.to_string())),
            },
        };
        done.unwrap_or_else(|error| {
            let CommandError { code, text } = error.into();
            Err(failure(code, text))
        })
    }

    async fn log_in(&self, request: &HttpRequest<'_>) -> HttpResponse {
        let fields = Fields::of_form(request);
        let before = form::cookie(request, COOKIE).unwrap_or_default();
        if before.is_empty() || form::is_foreign(request) || fields.get("csrf") != csrf(before) {
            return login_page(
                request,
                403,
                Some("This form was too old, or your browser keeps no cookies. Try again."),
            );
        }
        if !(self.options.get().allow_plain || form::is_private(request)) {
            let why = "Passwords are not taken over a connection that others can read. Use TLS (a proxy that sets X-Forwarded-Proto).";
            return login_page(request, 403, Some(why));
        }
        let (user, secret) = (fields.get("user").trim(), fields.get("secret"));
        let account = user.to_lowercase();
        if !self.failures().attempt(&account, &request.peer, SystemTime::now()) {
            return login_page(request, 429, Some("Too many logins have failed. Wait a minute."));
        }
        match self.prove(user, secret).await {
            Ok(who) => {
                self.failures().succeeded(&account, &request.peer);
                info!(self.host, "{} logs in from {}", who.name(), request.peer);
                self.let_in(request, who).await
            }
            Err(why) => {
                warn!(self.host, "a login as {:?} from {} failed", user, request.peer);
                login_page(request, why.code, Some(&why.text))
            }
        }
    }

    async fn let_in(&self, request: &HttpRequest<'_>, who: Who) -> HttpResponse {
        // Always another cookie than the one before: nobody can have planted it.
        let Ok(cookie) = random_token(32) else {
            return login_page(request, 500, Some("The system gave no random bytes."));
        };
        let stored = match self.make_room().await {
            Ok(()) => self.remember(&key(&cookie), &Session::new(who, SystemTime::now())).await,
            Err(error) => Err(error),
        };
        match stored {
            Ok(()) => with_cookie(HttpResponse::text(303, ""), request, &cookie).header("location", PATH),
            Err(error) => login_page(request, 503, Some(&format!("The login cannot be stored: {error}."))),
        }
    }

    /// Who somebody is, or why that is not believed or not enough.
    async fn prove(&self, user: &str, secret: &str) -> Result<Who, CommandFailure> {
        let wrong = || failure(401, "The name or the password is wrong.".into());
        let checked = match user.split_once('@') {
            _ if secret.is_empty() => return Err(wrong()),
            None if user.is_empty() => {
                self.host.try_command("check_admin_token", &json!({ "token": secret })).await
            }
            None => return Err(wrong()),
            Some((user, host)) => {
                let args = json!({ "user": user, "host": host, "password": secret });
                self.host.try_command("check_password", &args).await
            }
        };
        match checked {
            Ok(Ok(code)) if code == 0 => {}
            // That there is no such vhost or account is nothing to tell.
            Ok(Ok(_) | Err(CommandFailure { code: 400 | 404, .. })) => return Err(wrong()),
            Ok(Err(failed)) => return Err(failed),
            Err(error) => {
                let CommandError { code, text } = error.into();
                return Err(failure(code, text));
            }
        }
        if user.is_empty() {
            return Ok(Who::Token);
        }
        let jid = Jid::parse(user).map_err(|_| wrong())?.bare().into_owned();
        self.is_admin(&jid).await?;
        Ok(Who::Account(jid.as_str().to_owned()))
    }

    /// An admin of a vhost may look at that vhost; whoever may look at nothing is told which rule is missing.
    async fn is_admin(&self, jid: &Jid<'_>) -> Result<(), CommandFailure> {
        let offered = self.host.commands_for(jid).await.unwrap_or_default();
        if offered.iter().any(|command| pages::NEEDED.contains(&&*command.name)) {
            return Ok(());
        }
        let args = json!({ "command": "status", "jid": jid.as_str() });
        match self.host.try_command("can", &args).await {
            Ok(Err(denied)) => Err(failure(403, denied.text)),
            _ => Err(failure(403, "This account may call none of the commands that this page needs.".into())),
        }
    }
}

fn failure(code: u16, text: String) -> CommandFailure {
    CommandFailure { code, text, details: Value::Null }
}

/// A page with nothing but a reason.
fn refused(viewer: Option<&Viewer>, why: &str) -> HttpResponse {
    pages::page(403, "Refused", viewer, |html| {
        html.problem(&failure(403, why.to_owned()));
    })
}

fn login_page(request: &HttpRequest<'_>, status: u16, why: Option<&str>) -> HttpResponse {
    let cookie = match form::cookie(request, COOKIE) {
        Some(cookie) if cookie.len() == 43 => cookie.to_owned(),
        _ => random_token(32).unwrap_or_default(),
    };
    let page = pages::page(status, "Log in", None, |html: &mut Html| {
        if let Some(why) = why {
            html.problem(&failure(status, why.to_owned()));
        }
        html.raw(
            "<form method=\"post\" action=\"/admin/login\"><input type=\"hidden\" name=\"csrf\" value=\"",
        );
        html.text(&csrf(&cookie)).raw("\">");
        html.raw("<label>JID of an administrator, or nothing for the admin token<input name=\"user\" autofocus></label>");
        html.raw("<label>Password, or the admin token<input type=\"password\" name=\"secret\"></label>");
        html.raw("<button>Log in</button></form>");
    });
    with_cookie(page, request, &cookie)
}

fn with_cookie(response: HttpResponse, request: &HttpRequest<'_>, cookie: &str) -> HttpResponse {
    let secure = if form::is_under_tls(request) { "; Secure" } else { "" };
    response
        .header("set-cookie", &format!("{COOKIE}={cookie}; Path={PATH}; HttpOnly; SameSite=Strict{secure}"))
}

/// Nothing from elsewhere, nothing inside another page, nothing in a cache.
fn secured(response: HttpResponse) -> HttpResponse {
    let policy =
        "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    response
        .header("content-security-policy", policy)
        .header("x-frame-options", "DENY")
        .header("x-content-type-options", "nosniff")
        .header("referrer-policy", "no-referrer")
        .header("cache-control", "no-store")
}

export_module! {
    module: AdminWeb,
    capabilities: ["commands"],
    scope: global,
    needs_minor: 1,
}
