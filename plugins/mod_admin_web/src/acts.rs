//! What is done: every act is a form of its own page, and its answer says what has become of it.

use crate::form::Fields;
use crate::html::Html;
use crate::logins::key;
use crate::{AdminWeb, COOKIE, Viewer, form, pages, refused};
use moult_plugin_api::prelude::*;
use moult_plugin_api::serde_json::{Value, json};

impl AdminWeb {
    pub(crate) async fn act(
        &self,
        viewer: &Viewer,
        parts: &[&str],
        fields: &Fields,
        request: &HttpRequest<'_>,
    ) -> HttpResponse {
        match parts {
            ["logout"] => {
                self.forget(&key(form::cookie(request, COOKIE).unwrap_or_default())).await;
                let over = format!("{COOKIE}=; Path=/admin; HttpOnly; SameSite=Strict; Max-Age=0");
                HttpResponse::text(303, "").header("location", "/admin/login").header("set-cookie", &over)
            }
            ["update"] => {
                self.told(viewer, request, "Update of all", "update", json!({ "modules": ["all"] })).await
            }
            ["modules", name, "update"] => {
                self.told(viewer, request, "Update", "update", json!({ "modules": [name] })).await
            }
            ["modules", name, "rollback"] => {
                self.told(viewer, request, "Rollback", "rollback", json!({ "module": name })).await
            }
            ["kick"] => self.kick(viewer, fields, request).await,
            _ => refused(Some(viewer), "There is nothing to be done at this path."),
        }
    }

    async fn kick(&self, viewer: &Viewer, fields: &Fields, request: &HttpRequest<'_>) -> HttpResponse {
        let Some((user, host, resource)) = pages::full_jid(fields.get("jid")) else {
            return refused(Some(viewer), "This is no session: user@host/resource is expected.");
        };
        let reason = match fields.get("reason") {
            "" => "The session was ended by an administrator.",
            reason => reason,
        };
        let args = json!({ "user": user, "host": host, "resource": resource, "reason": reason });
        self.told(viewer, request, "Session ended", "kick_session", args).await
    }

    /// Runs a command and shows what it says.
    async fn told(
        &self,
        viewer: &Viewer,
        request: &HttpRequest<'_>,
        title: &str,
        command: &str,
        args: Value,
    ) -> HttpResponse {
        info!(self.host, "{} from {}: {command} {args}", viewer.who.name(), request.peer);
        match self.run(viewer, command, args).await {
            Ok(report) => pages::page(200, title, Some(viewer), |html: &mut Html| match &report {
                Value::Object(_) => _ = html.facts(&report),
                _ => _ = html.paragraph("Done."),
            }),
            Err(failed) => pages::page(failed.code, title, Some(viewer), |html: &mut Html| {
                html.problem(&failed);
                if !failed.details.is_null() {
                    html.facts(&failed.details);
                }
            }),
        }
    }
}
