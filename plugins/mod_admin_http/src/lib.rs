//! Updating modules by HTTP, as the article on `ejabberd_update` does it.
//!
//! * `GET /update-modules/all` updates every changed module. A GET should change nothing, and any page that a browser
//!   shows can cause one; but no page can send the administrator's bearer token to another site by itself.
//! * `POST /update-modules/all` does the same.
//! * `POST /update-modules` updates the modules that the body names: `["mod_a"]` or `{"modules": ["mod_a"]}`.
//!
//! The answer is the report of the command `update`. It begins with `"status": "ok"` and lists `updated` and `unpurged`; a
//! failed update has another status than 200 and says at which stage it failed and why. An update of this module through itself
//! lists it under `purged_after_answer`: its old code ends with the call that gives the answer.

use moult_plugin_api::prelude::*;
use moult_plugin_api::serde_json::{self, Value, json};
use std::sync::Arc;

const PATH: &str = "/update-modules";

/// The module, one for the whole server.
#[derive(Debug)]
pub struct AdminHttp {
    host: Host,
}

impl Module for AdminHttp {
    type Options = ();

    fn start(host: &Host, (): ()) -> Result<Started<Self>, Stop> {
        host.on_http(PATH, HttpAuth::Admin, Self::respond)?;
        Started::running(Self { host: host.clone() })
    }
}

impl AdminHttp {
    async fn respond(self: Arc<Self>, request: HttpRequest<'static>) -> HttpResponse {
        match wanted(&request) {
            Ok(modules) => self.update(&modules, &request.peer).await,
            Err(refusal) => refusal,
        }
    }

    async fn update(&self, modules: &[String], peer: &str) -> HttpResponse {
        info!(self.host, "{peer} asks for an update of {}", modules.join(", "));
        match self.host.try_command("update", &json!({ "modules": modules })).await {
            Ok(Ok(report)) => HttpResponse::json(status_of(&report), &report),
            Ok(Err(failure)) => refused(&failure),
            Err(error) => failure(CommandError::from(error)),
        }
    }
}

/// Which modules a request names, or how it is refused.
fn wanted(request: &HttpRequest<'_>) -> Result<Vec<String>, HttpResponse> {
    let rest = request.path.strip_prefix(PATH).unwrap_or_default();
    match (&*request.method, rest.trim_end_matches('/')) {
        ("GET" | "POST", "/all") => Ok(all()),
        ("POST", "") => named(&request.body),
        (_, "") => Err(refusal(405, "This path takes POST.").header("allow", "POST")),
        (_, "/all") => Err(refusal(405, "This path takes GET and POST.").header("allow", "GET, POST")),
        _ => Err(refusal(404, "There are /update-modules and /update-modules/all.")),
    }
}

fn all() -> Vec<String> {
    vec!["all".to_owned()]
}

fn named(body: &[u8]) -> Result<Vec<String>, HttpResponse> {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let list = value.get("modules").unwrap_or(&value).as_array();
    let names: Option<Vec<String>> =
        list.into_iter().flatten().map(|name| name.as_str().map(str::to_owned)).collect();
    match names {
        Some(names) if !names.is_empty() => Ok(names),
        _ => Err(refusal(400, r#"The body must be ["mod_a", "mod_b"] or {"modules": ["mod_a", "mod_b"]}."#)),
    }
}

/// A report may tell of a failure: then nothing was changed.
fn status_of(report: &Value) -> u16 {
    if report["status"] == "ok" { 200 } else { 409 }
}

/// With stage and reason, where the update came as far as that.
fn refused(failure: &CommandFailure) -> HttpResponse {
    let mut body = json!({ "status": "error", "message": failure.text });
    for (key, value) in failure.details.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    HttpResponse::json(failure.code, &body)
}

fn failure(error: CommandError) -> HttpResponse {
    refusal(error.code, &error.text)
}

fn refusal(status: u16, text: &str) -> HttpResponse {
    HttpResponse::json(status, &json!({ "status": "error", "message": text }))
}

export_module! {
    module: AdminHttp,
    capabilities: ["commands"],
    scope: global,
}

#[cfg(test)]
mod tests {
    use super::*;
    use moult_plugin_api::testing::{FakeHost, Instance};
    use std::sync::Mutex;

    fn server(answer: Result<Value, (String, String)>) -> (FakeHost, Instance, Arc<Mutex<Vec<Value>>>) {
        let host = FakeHost::new("global");
        host.grant("commands");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        host.answer_commands(move |name, args| {
            assert_eq!(name, "update");
            seen.lock().unwrap().push(args["modules"].clone());
            answer.clone()
        });
        let module = host.start::<AdminHttp>("{}");
        (host, module, asked)
    }

    fn ok() -> Result<Value, (String, String)> {
        Ok(json!({ "status": "ok", "updated": ["mod_a"], "unpurged": [] }))
    }

    fn body(response: &HttpResponse) -> Value {
        serde_json::from_slice(&response.body).unwrap()
    }

    #[test]
    fn a_post_updates_what_it_names() {
        let (_host, module, asked) = server(ok());
        for text in [r#"["mod_a"]"#, r#"{"modules": ["mod_a"]}"#] {
            let response = module.http("POST", "/update-modules", &[], text);
            assert_eq!((response.status, &body(&response)["updated"]), (200, &json!(["mod_a"])));
        }
        assert_eq!(module.http("POST", "/update-modules/all", &[], "").status, 200);
        assert_eq!(*asked.lock().unwrap(), [json!(["mod_a"]), json!(["mod_a"]), json!(["all"])]);
    }

    #[test]
    fn a_get_updates_all() {
        let (_host, module, asked) = server(ok());
        assert_eq!(module.http("GET", "/update-modules/all", &[], "").status, 200);
        assert_eq!(*asked.lock().unwrap(), [json!(["all"])]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_nothing_is_updated() {
        let (_host, module, asked) = server(ok());
        for (method, path, text, status) in [
            ("POST", "/update-modules", "", 400),
            ("POST", "/update-modules", "[]", 400),
            ("POST", "/update-modules", "[1]", 400),
            ("POST", "/update-modules", r#"{"modules": "all"}"#, 400),
            ("GET", "/update-modules", "", 405),
            ("PUT", "/update-modules/all", "", 405),
            ("POST", "/update-modules/mod_a", "", 404),
        ] {
            assert_eq!(module.http(method, path, &[], text).status, status, "{method} {path} {text}");
        }
        assert!(asked.lock().unwrap().is_empty());
    }

    #[test]
    fn a_failed_update_says_why_with_another_status() {
        let report = json!({ "status": "error", "errors": [{ "stage": "probe", "reason": "no symbol" }] });
        let (_host, module, _) = server(Ok(report.clone()));
        let response = module.http("POST", "/update-modules", &[], r#"["mod_a"]"#);
        assert_eq!((response.status, body(&response)), (409, report));
        let (_host, module, _) = server(Err(("item-not-found".into(), "mod_a is no module".into())));
        let response = module.http("POST", "/update-modules", &[], r#"["mod_a"]"#);
        assert_eq!((response.status, &body(&response)["message"]), (404, &json!("mod_a is no module")));
    }

    #[test]
    fn the_path_is_the_administrators() {
        let (host, _module, _) = server(ok());
        assert_eq!(host.registrations()[0].args, r#"{"auth":"admin"}"#);
    }
}
