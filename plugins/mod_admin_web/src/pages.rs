//! What is shown.

use crate::form::Fields;
use crate::html::Html;
use crate::{AdminWeb, Viewer};
use moult_plugin_api::prelude::*;
use moult_plugin_api::serde_json::{Value, json};

/// Commands of which somebody must be allowed one at least, to see anything here.
pub const NEEDED: [&str; 5] =
    ["status", "module_list", "registered_users", "connected_users_info", "status_list_host"];

/// Accounts or sessions on one page.
const PAGE: usize = 200;

pub const STYLE: &str = include_str!("style.css");

/// A whole page around `body`.
pub fn page(status: u16, title: &str, viewer: Option<&Viewer>, body: impl FnOnce(&mut Html)) -> HttpResponse {
    let mut html = Html::default();
    html.raw("<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Moult: ").text(title);
    html.raw("</title><meta name=\"viewport\" content=\"width=device-width\"><link rel=\"stylesheet\" href=\"/admin/style.css\">");
    html.raw("</head><body>");
    if let Some(viewer) = viewer {
        html.raw("<nav><a href=\"/admin\">Overview</a> <a href=\"/admin/modules\">Modules</a> ");
        html.raw("<a href=\"/admin/users\">Users</a> <a href=\"/admin/sessions\">Sessions</a>");
        html.raw("<form method=\"post\" action=\"/admin/logout\">").text(viewer.who.name()).raw(" ");
        csrf_field(&mut html, viewer);
        html.raw("<button>Log out</button></form></nav>");
    }
    html.raw("<main><h1>").text(title).raw("</h1>");
    body(&mut html);
    html.raw("</main></body></html>");
    HttpResponse::text(status, html.finish()).header("content-type", "text/html; charset=utf-8")
}

fn csrf_field(html: &mut Html, viewer: &Viewer) {
    html.raw("<input type=\"hidden\" name=\"csrf\" value=\"").text(&viewer.csrf).raw("\">");
}

/// `user@host/resource` in its parts.
pub fn full_jid(jid: &str) -> Option<(&str, &str, &str)> {
    let (bare, resource) = jid.split_once('/')?;
    let (user, host) = bare.split_once('@')?;
    Some((user, host, resource))
        .filter(|(user, host, resource)| ![user, host, resource].iter().any(|p| p.is_empty()))
}

impl AdminWeb {
    pub(crate) async fn show(&self, viewer: &Viewer, parts: &[&str], query: &Fields) -> HttpResponse {
        match parts {
            [] => self.overview(viewer).await,
            ["modules"] => self.modules(viewer).await,
            ["modules", name] => self.module(viewer, name).await,
            ["modules", name, "update"] => self.confirm_update(viewer, Some(name)).await,
            ["update"] => self.confirm_update(viewer, None).await,
            ["modules", name, "rollback"] => self.confirm_rollback(viewer, name).await,
            ["users"] => self.users(viewer, query).await,
            ["sessions"] => self.listed_sessions(viewer, query.get("host")).await,
            ["kick"] => confirm_kick(viewer, query.get("jid")),
            _ => page(404, "Not found", Some(viewer), |html| {
                html.paragraph("There is no such page.");
            }),
        }
    }

    async fn overview(&self, viewer: &Viewer) -> HttpResponse {
        let status = match self.run(viewer, "status", json!({})).await {
            Ok(status) => status,
            Err(denied) => {
                return page(denied.code, "Overview", Some(viewer), |html| {
                    html.problem(&denied);
                    vhost_form(html, "/admin/users");
                });
            }
        };
        let mut accounts = Vec::new();
        for (vhost, about) in status["vhosts"].as_object().into_iter().flatten() {
            let args = json!({ "name": "registeredusers", "host": vhost });
            let number = self.run(viewer, "stats_host", args).await;
            accounts.push((vhost.clone(), about["sessions"].clone(), number));
        }
        page(200, "Overview", Some(viewer), |html| {
            let facts = ["phase", "version", "started_at", "uptime_seconds", "sessions", "config_file"];
            let facts = facts.map(|name| (name.to_owned(), status[name].clone()));
            html.facts(&Value::Object(facts.into_iter().collect()));
            html.heading("Vhosts");
            html.raw("<table><tr><th>vhost</th><th>accounts</th><th>sessions</th></tr>");
            for (vhost, sessions, number) in &accounts {
                html.raw("<tr><td><a href=\"/admin/users?host=")
                    .part(vhost)
                    .raw("\">")
                    .text(vhost)
                    .raw("</a></td><td>");
                match number {
                    Ok(number) => html.value(number),
                    Err(denied) => html.text(&denied.text),
                };
                html.raw("</td><td><a href=\"/admin/sessions?host=").part(vhost).raw("\">");
                html.value(sessions).raw("</a></td></tr>");
            }
            html.raw("</table>");
            for part in ["modules", "storage", "listeners"] {
                html.heading(part).facts(&status[part]);
            }
        })
    }

    async fn modules(&self, viewer: &Viewer) -> HttpResponse {
        let listed = self.run(viewer, "module_list", json!({})).await;
        let due = self.run(viewer, "update_list", json!({ "all": true })).await;
        let status = listed.as_ref().map_or_else(|denied| denied.code, |_| 200);
        page(status, "Modules", Some(viewer), |html| {
            match &listed {
                Ok(rows) => table(
                    html,
                    rows,
                    &["module", "version", "generation", "state", "vhosts", "retained"],
                    |html, name, row| match name {
                        "module" => _ = module_link(html, &row["module"]),
                        name => _ = html.value(&row[name]),
                    },
                ),
                Err(denied) => _ = html.problem(denied),
            }
            html.heading("What an update would take");
            match &due {
                Ok(rows) if rows.as_array().is_some_and(Vec::is_empty) => {
                    html.paragraph("Nothing: what runs is what lies in the plugin folder.");
                }
                Ok(rows) => {
                    table(html, rows, &["module", "change", "loaded", "found", "note"], |html, name, row| {
                        match name {
                            "module" => _ = module_link(html, &row["module"]),
                            name => _ = html.value(&row[name]),
                        }
                    });
                    html.raw("<p><a class=\"act\" href=\"/admin/update\">Update all…</a></p>");
                }
                Err(denied) => _ = html.problem(denied),
            }
        })
    }

    async fn module(&self, viewer: &Viewer, name: &str) -> HttpResponse {
        let info = self.run(viewer, "module_info", json!({ "module": name })).await;
        let status = info.as_ref().map_or_else(|failed| failed.code, |_| 200);
        page(status, name, Some(viewer), |html| {
            html.raw("<p><a class=\"act\" href=\"/admin/modules/").part(name).raw("/update\">Update…</a> ");
            html.raw("<a class=\"act\" href=\"/admin/modules/")
                .part(name)
                .raw("/rollback\">Roll back…</a></p>");
            match &info {
                Ok(info) => _ = html.facts(info),
                Err(failed) => _ = html.problem(failed),
            }
        })
    }

    /// What the update would do, and the button that does it.
    async fn confirm_update(&self, viewer: &Viewer, name: Option<&str>) -> HttpResponse {
        let args = json!({ "modules": [name.unwrap_or("all")] });
        let info = self.run(viewer, "update_info", args).await;
        let status = info.as_ref().map_or_else(|failed| failed.code, |_| 200);
        let title = format!("Update {}?", name.unwrap_or("all modules"));
        page(status, &title, Some(viewer), |html| match &info {
            Err(failed) => _ = html.problem(failed),
            Ok(info) => {
                if info["modules"].as_array().is_some_and(Vec::is_empty) {
                    html.paragraph(
                        "There is nothing to update: what runs is what lies in the plugin folder.",
                    );
                } else {
                    html.paragraph(
                        "Nobody is disconnected. If any part of it fails, everything stays as it is.",
                    );
                    html.raw("<form method=\"post\">");
                    csrf_field(html, viewer);
                    html.raw("<button>Update</button> <a href=\"/admin/modules\">Leave it</a></form>");
                }
                html.facts(info);
            }
        })
    }

    async fn confirm_rollback(&self, viewer: &Viewer, name: &str) -> HttpResponse {
        let history = self.run(viewer, "update_history", json!({ "limit": 20 })).await;
        let title = format!("Roll {name} back?");
        page(200, &title, Some(viewer), |html| {
            html.paragraph("The build before the one that serves comes back, with the state of now.");
            html.raw("<form method=\"post\">");
            csrf_field(html, viewer);
            html.raw("<button>Roll back</button> <a href=\"/admin/modules\">Leave it</a></form>");
            match &history {
                Ok(rows) => {
                    let all = rows.as_array().into_iter().flatten();
                    let own: Vec<Value> = all.filter(|row| row["module"] == name).cloned().collect();
                    let columns = ["id", "time", "trigger", "result", "from", "to", "reason"];
                    table(html, &own.into(), &columns, |html, name, row| _ = html.value(&row[name]));
                }
                Err(denied) => _ = html.problem(denied),
            }
        })
    }

    async fn users(&self, viewer: &Viewer, query: &Fields) -> HttpResponse {
        let (host, after) = (query.get("host"), query.get("after"));
        if host.is_empty() {
            return page(200, "Users", Some(viewer), |html| vhost_form(html, "/admin/users"));
        }
        let users = self.run(viewer, "registered_users", json!({ "host": host })).await;
        let status = users.as_ref().map_or_else(|failed| failed.code, |_| 200);
        page(status, &format!("Users of {host}"), Some(viewer), |html| match &users {
            Err(failed) => _ = html.problem(failed),
            Ok(users) => {
                let all: Vec<&str> =
                    users.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                html.paragraph(&format!("{} accounts.", all.len()));
                let shown: Vec<&str> = all.into_iter().filter(|user| *user > after).take(PAGE + 1).collect();
                html.raw("<ul>");
                for user in shown.iter().take(PAGE) {
                    html.raw("<li>").text(user).raw("</li>");
                }
                html.raw("</ul>");
                if let Some(last) = shown.get(PAGE - 1).filter(|_| shown.len() > PAGE) {
                    html.raw("<p><a href=\"/admin/users?host=").part(host).raw("&amp;after=").part(last);
                    html.raw("\">More</a></p>");
                }
            }
        })
    }

    /// Of one vhost, which its admins may see, or of the server.
    async fn listed_sessions(&self, viewer: &Viewer, host: &str) -> HttpResponse {
        let listed = match host {
            "" => self.run(viewer, "connected_users_info", json!({})).await,
            host => self.run(viewer, "status_list_host", json!({ "host": host, "status": "all" })).await,
        };
        let status = listed.as_ref().map_or_else(|failed| failed.code, |_| 200);
        page(status, "Sessions", Some(viewer), |html| match &listed {
            Err(failed) => {
                html.problem(failed);
                vhost_form(html, "/admin/sessions");
            }
            Ok(rows) => {
                let all = rows.as_array().map_or(&[][..], Vec::as_slice);
                html.paragraph(&format!("{} sessions; the first {PAGE} are shown.", all.len()));
                let columns = ["jid", "ip", "connection", "priority", "status", "statustext", "uptime"];
                let first: Vec<Value> = all.iter().take(PAGE).map(with_jid).collect();
                table(html, &first.into(), &columns, |html, name, row| {
                    html.value(&row[name]);
                    if name == "jid" {
                        let jid = row["jid"].as_str().unwrap_or_default();
                        html.raw(" <a class=\"act\" href=\"/admin/kick?jid=").part(jid).raw("\">end…</a>");
                    }
                });
            }
        })
    }
}

/// Rows about a vhost name the parts of the JID.
fn with_jid(row: &Value) -> Value {
    let mut row = row.clone();
    if row["jid"].is_null() {
        let part = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        row["jid"] = format!("{}@{}/{}", part("user"), part("host"), part("resource")).into();
    }
    row
}

fn confirm_kick(viewer: &Viewer, jid: &str) -> HttpResponse {
    page(200, "End this session?", Some(viewer), |html| {
        html.raw("<p><b>").text(jid).raw("</b></p><form method=\"post\" action=\"/admin/kick\">");
        csrf_field(html, viewer);
        html.raw("<input type=\"hidden\" name=\"jid\" value=\"").text(jid).raw("\">");
        html.raw("<label>What its client is told<input name=\"reason\"></label>");
        html.raw("<button>End it</button> <a href=\"/admin/sessions\">Leave it</a></form>");
    })
}

fn vhost_form(html: &mut Html, action: &'static str) {
    html.raw("<form method=\"get\" action=\"")
        .raw(action)
        .raw("\"><label>Vhost<input name=\"host\"></label>");
    html.raw("<button>Show</button></form>");
}

fn module_link<'a>(html: &'a mut Html, name: &Value) -> &'a mut Html {
    let name = name.as_str().unwrap_or_default();
    html.raw("<a href=\"/admin/modules/").part(name).raw("\">").text(name).raw("</a>")
}

fn table(html: &mut Html, rows: &Value, columns: &[&str], cell: impl Fn(&mut Html, &str, &Value)) {
    html.raw("<table><tr>");
    for column in columns {
        html.raw("<th>").text(column).raw("</th>");
    }
    html.raw("</tr>");
    for row in rows.as_array().into_iter().flatten() {
        html.raw("<tr>");
        for column in columns {
            html.raw("<td>");
            cell(html, column, row);
            html.raw("</td>");
        }
        html.raw("</tr>");
    }
    html.raw("</table>");
}
