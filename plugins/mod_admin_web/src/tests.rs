use super::*;
use moult_plugin_api::hooks::OfferedCommand;
use moult_plugin_api::testing::{FakeHost, Instance};

/// What a server of evil names would answer, and the commands that it was asked for.
struct Server {
    host: FakeHost,
    module: Instance,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

const EVIL: &str = "<script>alert('x')</script>\"&";

fn answer(name: &str, args: &Value) -> Result<Value, (String, String)> {
    let fails = |code: &str, text: &str| Err((code.to_owned(), text.to_owned()));
    match name {
        "check_password" if args["host"] != "localhost" => fails("item-not-found", "no such vhost"),
        "check_password" => Ok(json!(u8::from(args["password"] != "secret"))),
        "check_admin_token" => Ok(json!(u8::from(args["token"] != "t0ken"))),
        "can" => fails("forbidden", "no group under [permissions] has who = \"bob@localhost\""),
        "status" => Ok(json!({ "phase": EVIL, "sessions": 2, "vhosts": { EVIL: { "sessions": 2 } } })),
        "stats_host" => Ok(json!(7)),
        "module_list" => Ok(json!([{ "module": EVIL, "version": EVIL, "vhosts": [EVIL] }])),
        "update_list" => Ok(json!([{ "module": EVIL, "change": "changed", "note": EVIL }])),
        "module_info" => Ok(json!({ "description": EVIL, "instances": [{ "vhost": EVIL }] })),
        "update_info" => Ok(json!({ "modules": [EVIL], "script": [{ "module": EVIL }] })),
        "update_history" => Ok(json!([{ "module": "mod_x", "reason": EVIL }])),
        "update" => Ok(json!({ "status": "ok", "updated": args["modules"] })),
        "registered_users" => Ok(json!([EVIL, "zoe"])),
        "connected_users_info" => Ok(json!([{ "jid": format!("a@b/{EVIL}"), "statustext": EVIL }])),
        "status_list_host" => Ok(json!([{ "user": "a", "host": "b", "resource": EVIL }])),
        "kick_session" => Ok(json!(0)),
        _ => fails("item-not-found", EVIL),
    }
}

fn server() -> Server {
    let host = FakeHost::new("global");
    host.grant("commands");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    host.answer_commands(move |name, args| {
        seen.lock().unwrap().push((name.to_owned(), args.clone()));
        answer(name, args)
    });
    let all = [
        "status",
        "stats_host",
        "module_list",
        "update_list",
        "module_info",
        "update_info",
        "update_history",
    ]
    .into_iter()
    .chain([
        "update",
        "rollback",
        "registered_users",
        "connected_users_info",
        "status_list_host",
        "kick_session",
    ]);
    let offered = all
        .map(|name| OfferedCommand { name: name.into(), summary: String::new(), args: Vec::new() })
        .collect();
    host.offer_commands("admin@localhost", offered);
    let module = host.start::<AdminWeb>("{}");
    Server { host, module, asked }
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

impl Server {
    fn get(&self, path: &str, cookie: &str) -> HttpResponse {
        self.module.http("GET", path, &[("cookie", &format!("other=1; {COOKIE}={cookie}"))], "")
    }

    fn post(&self, path: &str, cookie: &str, body: &str) -> HttpResponse {
        self.module.http("POST", path, &[("cookie", &format!("{COOKIE}={cookie}")), FORM], body)
    }

    fn try_login(&self, user: &str, secret: &str) -> HttpResponse {
        let before = cookie_of(&self.module.http("GET", "/admin/login", &[], ""));
        let body =
            format!("csrf={}&user={}&secret={}", csrf(&before), html::encoded(user), html::encoded(secret));
        self.post("/admin/login", &before, &body)
    }

    /// The cookie of somebody who is in.
    fn login(&self, user: &str, secret: &str) -> String {
        let response = self.try_login(user, secret);
        assert_eq!(
            (response.status, response.headers["location"].as_str()),
            (303, "/admin"),
            "{}",
            text(&response)
        );
        cookie_of(&response)
    }

    fn asked_for(&self, command: &str) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(name, _)| name == command).map(|(_, args)| args.clone()).collect()
    }
}

fn cookie_of(response: &HttpResponse) -> String {
    let (name, rest) = response.headers["set-cookie"].split_once('=').unwrap();
    let (cookie, attributes) = rest.split_once(';').unwrap();
    assert_eq!((name, attributes), (COOKIE, " Path=/admin; HttpOnly; SameSite=Strict"));
    cookie.to_owned()
}

fn text(response: &HttpResponse) -> String {
    String::from_utf8(response.body.clone()).unwrap()
}

#[test]
fn nobody_sees_anything_without_a_login() {
    let server = server();
    for path in ["/admin", "/admin/modules", "/admin/users?host=localhost", "/admin/nothing"] {
        for cookie in ["", "guessed", &"x".repeat(5000)] {
            let response = server.get(path, cookie);
            assert_eq!(
                (response.status, response.headers["location"].as_str()),
                (303, "/admin/login"),
                "{path}"
            );
        }
    }
    assert_eq!(server.post("/admin/update", "guessed", "csrf=x").status, 303);
    assert_eq!(server.module.http("DELETE", "/admin", &[], "").status, 405);
    assert!(server.asked.lock().unwrap().is_empty());
}

#[test]
fn admins_come_in_with_their_password_and_whoever_has_the_token() {
    let server = server();
    for (user, secret, name) in
        [("admin@localhost", "secret", "admin@localhost"), ("", "t0ken", "the admin token")]
    {
        let cookie = server.login(user, secret);
        let overview = server.get("/admin", &cookie);
        assert_eq!(overview.status, 200);
        assert!(text(&overview).contains(name), "{}", text(&overview));
    }
}

#[test]
fn who_is_not_let_in_is_told_why_and_no_more() {
    let server = server();
    for (user, secret, status, why) in [
        ("admin@localhost", "wrong", 401, "The name or the password is wrong."),
        ("admin@nowhere", "secret", 401, "The name or the password is wrong."),
        ("admin", "secret", 401, "The name or the password is wrong."),
        ("", "wrong", 401, "The name or the password is wrong."),
        ("", "", 401, "The name or the password is wrong."),
        ("bob@localhost", "secret", 403, "who = &quot;bob@localhost&quot;"),
    ] {
        let response = server.try_login(user, secret);
        assert_eq!(response.status, status, "{user}");
        assert!(text(&response).contains(why), "{user}: {}", text(&response));
    }
    // Neither is the cookie that was given out before a login worth anything.
    let before = cookie_of(&server.try_login("admin@localhost", "wrong"));
    assert_eq!(server.get("/admin", &before).status, 303);
}

#[test]
fn too_many_failures_are_answered_without_looking_at_the_password() {
    let server = server();
    let statuses: Vec<u16> = (0..6).map(|_| server.try_login("admin@localhost", "wrong").status).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429]);
    assert_eq!(server.try_login("Admin@localhost", "secret").status, 429);
    assert_eq!(server.asked_for("check_password").len(), 5);
}

#[test]
fn a_login_needs_the_form_of_this_page_and_a_line_that_nobody_reads() {
    let server = server();
    let before = cookie_of(&server.module.http("GET", "/admin/login", &[], ""));
    let good = format!("csrf={}&user=admin%40localhost&secret=secret", csrf(&before));
    let cookie = format!("{COOKIE}={before}");
    let with = |more: &[(&str, &str)], body: &str| {
        let headers = [&[("cookie", cookie.as_str()), FORM], more].concat();
        server.module.http("POST", "/admin/login", &headers, body).status
    };
    assert_eq!(with(&[], "csrf=x&user=admin%40localhost&secret=secret"), 403);
    assert_eq!(with(&[("sec-fetch-site", "cross-site")], &good), 403);
    assert_eq!(server.module.http("POST", "/admin/login", &[FORM], &good).status, 403, "without a cookie");
    assert_eq!(with(&[("sec-fetch-site", "same-origin")], &good), 303);
    assert!(!server.asked_for("check_password").is_empty());
}

#[test]
fn under_tls_the_cookie_never_leaves_it() {
    let response = server().module.http("GET", "/admin/login", &[("x-forwarded-proto", "https")], "");
    assert!(response.headers["set-cookie"].ends_with("; SameSite=Strict; Secure"));
}

#[test]
fn no_page_lets_a_foreign_text_become_markup() {
    let server = server();
    let cookie = server.login("admin@localhost", "secret");
    for path in [
        "/admin",
        "/admin/modules",
        "/admin/modules/%3Cscript%3E",
        "/admin/modules/%3Cscript%3E/update",
        "/admin/modules/mod_x/rollback",
        "/admin/update",
        "/admin/users?host=%3Cscript%3E",
        "/admin/sessions",
        "/admin/sessions?host=%22%3E%3Cscript%3E",
        "/admin/kick?jid=a@b/%22%3E%3Cscript%3E",
        "/admin/%3Cscript%3E",
    ] {
        let response = server.get(path, &cookie);
        let page = text(&response);
        assert!(!page.contains("<script") && !page.contains("alert('x')"), "{path}: {page}");
        assert!(page.contains("</html>"), "{path}");
        let policy = &response.headers["content-security-policy"];
        assert!(policy.starts_with("default-src 'none';") && policy.contains("frame-ancestors 'none'"));
        assert_eq!(response.headers["cache-control"], "no-store");
    }
}

#[test]
fn what_changes_something_is_asked_for_again_and_needs_the_token_of_the_form() {
    let server = server();
    let cookie = server.login("admin@localhost", "secret");
    let confirm = text(&server.get("/admin/modules/mod_x/update", &cookie));
    assert!(confirm.contains("<button>Update</button>") && confirm.contains(&csrf(&cookie)), "{confirm}");
    assert_eq!(server.asked_for("update_info"), [json!({ "modules": ["mod_x"] })]);
    for body in ["", "csrf=", "csrf=wrong", &format!("csrf={}", csrf("another"))] {
        assert_eq!(server.post("/admin/modules/mod_x/update", &cookie, body).status, 403, "{body}");
    }
    assert!(server.asked_for("update").is_empty());
    let good = format!("csrf={}", csrf(&cookie));
    let done = server.post("/admin/modules/mod_x/update", &cookie, &good);
    assert_eq!((done.status, server.asked_for("update")), (200, vec![json!({ "modules": ["mod_x"] })]));
    assert!(text(&done).contains("mod_x"));
    server.post("/admin/update", &cookie, &good);
    assert_eq!(server.asked_for("update")[1], json!({ "modules": ["all"] }));
    let failed = server.post("/admin/modules/mod_x/rollback", &cookie, &good);
    assert_eq!(failed.status, 404);
    assert!(text(&failed).contains("<b>Failed.</b> &lt;script&gt;"), "{}", text(&failed));
}

#[test]
fn a_session_is_ended_with_a_reason() {
    let server = server();
    let cookie = server.login("", "t0ken");
    let confirm = text(&server.get("/admin/kick?jid=ann%40localhost%2Fmy+phone", &cookie));
    assert!(confirm.contains("value=\"ann@localhost/my phone\""), "{confirm}");
    let body = format!("csrf={}&jid=ann%40localhost%2Fmy+phone&reason=enough", csrf(&cookie));
    assert_eq!(server.post("/admin/kick", &cookie, &body).status, 200);
    let expected = json!({ "user": "ann", "host": "localhost", "resource": "my phone", "reason": "enough" });
    assert_eq!(server.asked_for("kick_session"), [expected]);
    let body = format!("csrf={}&jid=nobody", csrf(&cookie));
    assert_eq!(server.post("/admin/kick", &cookie, &body).status, 403);
}

#[test]
fn what_is_denied_is_shown_with_its_reason() {
    let server = server();
    let cookie = server.login("admin@localhost", "secret");
    server.host.offer_commands("admin@localhost", Vec::new());
    for path in ["/admin", "/admin/modules", "/admin/sessions", "/admin/users?host=localhost"] {
        let page = text(&server.get(path, &cookie));
        assert!(page.contains("<b>Denied.</b> this JID may not call the command"), "{path}: {page}");
    }
}

#[test]
fn logging_out_ends_it_and_an_update_does_not() {
    let server = server();
    let cookie = server.login("admin@localhost", "secret");
    let next = server.host.start::<AdminWeb>("{}");
    let headers = [("cookie", &*format!("{COOKIE}={cookie}"))];
    assert_eq!(next.http("GET", "/admin", &headers, "").status, 200);
    let out = server.post("/admin/logout", &cookie, &format!("csrf={}", csrf(&cookie)));
    assert!(out.headers["set-cookie"].ends_with("Max-Age=0"));
    assert_eq!(server.get("/admin", &cookie).status, 303);
}

#[test]
fn the_session_that_was_used_least_lately_gives_way() {
    let server = server();
    let cookies: Vec<String> = (0..=MAX_SESSIONS).map(|_| server.login("", "t0ken")).collect();
    let are_in = cookies.iter().filter(|cookie| server.get("/admin", cookie).status == 200).count();
    assert_eq!(are_in, MAX_SESSIONS);
}
