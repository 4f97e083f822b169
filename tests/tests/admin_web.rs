//! The page for administrators, as a browser uses it, and a server that makes itself in an empty folder.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use moult_tests::artifacts;
use moult_tests::server::{ADMIN_TOKEN, HttpAnswer, exchange};
use moult_tests::{Plugin, Server, eventually_some};

const MODULE: &str = "mod_admin_web";

/// A browser: one cookie, and the token of the last form it saw.
struct Browser {
    address: std::net::SocketAddr,
    cookie: String,
    csrf: String,
}

impl Browser {
    fn of(server: &Server) -> Browser {
        Browser { address: server.listeners().http, cookie: String::new(), csrf: String::new() }
    }

    async fn ask(&mut self, method: &str, path: &str, body: &str) -> HttpAnswer {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: moult_admin={}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            self.cookie,
            body.len()
        );
        let answer = exchange(self.address, &request).await;
        if let Some(cookie) = answer.headers.get("set-cookie") {
            assert!(cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
            let value = cookie.strip_prefix("moult_admin=").and_then(|rest| rest.split(';').next());
            value.unwrap_or_default().clone_into(&mut self.cookie);
        }
        let field = "name=\"csrf\" value=\"";
        if let Some((_, rest)) = answer.body.rsplit_once(field) {
            rest.split('"').next().unwrap_or_default().clone_into(&mut self.csrf);
        }
        answer
    }

    async fn get(&mut self, path: &str) -> HttpAnswer {
        self.ask("GET", path, "").await
    }

    async fn post(&mut self, path: &str, fields: &str) -> HttpAnswer {
        let body = format!("csrf={}&{fields}", self.csrf);
        self.ask("POST", path, &body).await
    }

    async fn log_in(&mut self, user: &str, secret: &str) -> HttpAnswer {
        self.get("/admin/login").await;
        self.post("/admin/login", &format!("user={user}&secret={secret}")).await
    }
}

async fn server() -> Server {
    let modules = [MODULE, "fixture_counter_v1"].map(Plugin::built);
    let config =
        "[server]\nadmins = ['alice@localhost']\n[vhost.\"two.example\"]\nadmins = ['bob@localhost']";
    Server::builder().plugin(&modules[0]).plugin(&counter(1)).config(config).start().await
}

fn counter(build: u32) -> Plugin {
    Plugin::built(&format!("fixture_counter_v{build}")).named("libfixture_counter.so")
}

#[tokio::test]
async fn an_administrator_looks_around_and_ends_a_session() {
    let server = server().await;
    let mut browser = Browser::of(&server);
    let away = browser.get("/admin").await;
    assert_eq!((away.status, away.headers["location"].as_str()), (303, "/admin/login"));
    assert_eq!(browser.log_in("alice%40localhost", "wrong").await.status, 401);
    let password = moult_tests::server::PASSWORD;
    let inside = browser.log_in("alice%40localhost", password).await;
    assert_eq!((inside.status, inside.headers["location"].as_str()), (303, "/admin"), "{inside:?}");

    let overview = browser.get("/admin").await;
    for part in ["<td>running</td>", ">two.example</a>", "alice@localhost", "<td>3</td>"] {
        assert!(overview.body.contains(part), "{part}: {}", overview.body);
    }
    assert!(overview.headers["content-security-policy"].starts_with("default-src 'none'"));
    let users = browser.get("/admin/users?host=localhost").await;
    assert!(users.body.contains("<li>carol</li>"), "{}", users.body);
    let modules = browser.get("/admin/modules").await;
    assert!(modules.body.contains("fixture_counter") && modules.body.contains("running"), "{}", modules.body);
    let info = browser.get("/admin/modules/mod_admin_web").await;
    assert!(info.body.contains("http /admin"), "{}", info.body);

    let mut carol = server.login("carol").resource("&lt;b&gt;").connect().await;
    let listed = browser.get("/admin/sessions").await;
    assert!(listed.body.contains("carol@localhost/&lt;b&gt;"), "{}", listed.body);
    let confirm = browser.get("/admin/kick?jid=carol%40localhost%2F%3Cb%3E").await;
    assert!(confirm.body.contains("End it"), "{}", confirm.body);
    let done = browser.post("/admin/kick", "jid=carol%40localhost%2F%3Cb%3E&reason=enough").await;
    assert_eq!(done.status, 200, "{}", done.body);
    assert_eq!(carol.expect_stream_error().await.child_text("text"), Some("enough"));
    browser.get("/admin").await;
    assert_eq!(browser.post("/admin/logout", "").await.status, 303);
    assert_eq!(browser.get("/admin").await.status, 303);
    server.stop().await;
}

#[tokio::test]
async fn modules_are_swapped_after_a_question_this_one_through_itself_too() {
    let server = server().await;
    let mut browser = Browser::of(&server);
    assert_eq!(browser.log_in("", ADMIN_TOKEN).await.status, 303);
    server.plugins().install(&counter(2));
    let confirm = browser.get("/admin/modules/fixture_counter/update").await;
    assert!(confirm.body.contains("<button>Update</button>"), "{}", confirm.body);
    let forged = browser.ask("POST", "/admin/modules/fixture_counter/update", "csrf=guessed").await;
    assert_eq!(forged.status, 403);
    assert_eq!(server.ctl(&["update_list"]).await.trim(), "fixture_counter", "nothing was done");
    browser.get("/admin/modules/fixture_counter/update").await;
    let done = browser.post("/admin/modules/fixture_counter/update", "").await;
    assert!(done.status == 200 && done.body.contains("fixture_counter"), "{}", done.body);
    assert_eq!(server.ctl(&["update_list"]).await.trim(), "");
    browser.get("/admin/modules/fixture_counter/rollback").await;
    let back = browser.post("/admin/modules/fixture_counter/rollback", "").await;
    assert_eq!(back.status, 200, "{}", back.body);

    // Whoever is logged in stays so.
    server.plugins().install(&Plugin::built(MODULE).variant(1));
    browser.get("/admin/update").await;
    let done = browser.post("/admin/update", "").await;
    assert!(done.status == 200 && done.body.contains(MODULE), "{}", done.body);
    assert_eq!(browser.get("/admin/modules").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn what_an_account_may_not_see_is_denied_with_the_missing_rule() {
    let server = server().await;
    let password = moult_tests::server::PASSWORD;
    let mut carol = Browser::of(&server);
    let refused = carol.log_in("carol%40localhost", password).await;
    assert_eq!(refused.status, 403);
    for part in ["<b>Denied.</b>", "it is for admins", "who = &quot;carol@localhost&quot;"] {
        assert!(refused.body.contains(part), "{}", refused.body);
    }
    // The admin of a vhost sees that vhost.
    let mut bob = Browser::of(&server);
    assert_eq!(bob.log_in("bob%40localhost", password).await.status, 303);
    assert_eq!(bob.get("/admin/users?host=two.example").await.status, 200);
    for path in ["/admin", "/admin/modules", "/admin/users?host=localhost", "/admin/sessions"] {
        let denied = bob.get(path).await;
        assert!(denied.status == 403 && denied.body.contains("<b>Denied.</b>"), "{path}: {}", denied.body);
    }
    server.stop().await;
}

/// A program in a folder of its own, with its modules where an installation has them.
fn installed(modules: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let built = artifacts::moultd();
    // On the same file system, so that the program need not be copied.
    let folder = tempfile::tempdir_in(built.parent().expect("a folder")).expect("the build folder is ours");
    let (program, plugins) = (folder.path().join("bin/moultd"), folder.path().join("lib/moult/plugins"));
    std::fs::create_dir_all(folder.path().join("bin")).expect("the folder is ours");
    std::fs::create_dir_all(&plugins).expect("the folder is ours");
    std::fs::hard_link(&built, &program).expect("the same file system");
    for module in modules {
        let plugin = Plugin::built(module);
        std::fs::write(plugins.join(format!("lib{module}.so")), plugin.bytes()).expect("the folder is ours");
    }
    (folder, program)
}

async fn output(program: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = tokio::process::Command::new(program).args(args).kill_on_drop(true).output();
    let output = tokio::time::timeout(moult_tests::eventually::DEADLINE, output).await;
    let output = output.expect("it ends by itself").expect("it can be started");
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

async fn http_listener(ctl: &Path, socket: &str) -> std::net::SocketAddr {
    eventually_some("the server serves HTTP", async || {
        let (_, status) = output(ctl, &["--socket", socket, "--json", "status"]).await;
        let status: serde_json::Value = serde_json::from_str(&status).ok()?;
        let listeners = status["listeners"].as_array()?.iter();
        listeners.filter(|l| l["kind"] == "http").find_map(|l| l["address"].as_str()?.parse().ok())
    })
    .await
}

#[tokio::test]
async fn an_empty_folder_becomes_a_server_with_an_admin_page() {
    let (installation, program) = installed(&[MODULE, "mod_disco"]);
    let folder = installation.path().join("server");
    let shown = folder.to_str().expect("text");
    let (code, said) = output(&program, &["--init", shown]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("http://127.0.0.1:5280/admin"), "{said}");
    let line = said.lines().find(|line| line.contains("admin@localhost")).expect("the administrator");
    let password = line.split_whitespace().last().expect("a password");
    // Only the ports are not those of a first try, because other tests run beside this one.
    let config = folder.join("moult.toml");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    let text = ["5222", "5223", "5280"].iter().fold(text, |text, port| text.replace(port, "0"));
    std::fs::write(&config, text).expect("the folder is ours");

    let mut serving = tokio::process::Command::new(&program)
        .args(["--serve", shown])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("it can be started");
    let ctl = artifacts::moultctl();
    let socket = folder.join("moultctl.sock");
    let socket = socket.to_str().expect("text");
    let address = http_listener(&ctl, socket).await;
    assert_eq!(output(&ctl, &["--socket", socket, "started"]).await.0, Some(0));
    let mut browser = Browser { address, cookie: String::new(), csrf: String::new() };
    assert_eq!(browser.log_in("admin%40localhost", password).await.status, 303);
    assert!(browser.get("/admin").await.body.contains("<td>running</td>"));

    // A new program takes over in the same process, and whoever is logged in stays so.
    std::fs::remove_file(&program).expect("the folder is ours");
    std::fs::hard_link(artifacts::moultd(), &program).expect("the same file system");
    let pid = serving.id().expect("it runs");
    let runs = || std::fs::read_link(format!("/proc/{pid}/exe")).expect("it runs");
    assert!(runs().ends_with("moultd (deleted)"), "{:?}", runs());
    let (code, said) = output(&ctl, &["--socket", socket, "restart"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(output(&ctl, &["--socket", socket, "started"]).await.0, Some(0));
    assert_eq!(runs(), program.canonicalize().expect("the program is there"));
    browser.address = http_listener(&ctl, socket).await;
    assert_eq!(browser.get("/admin/modules").await.status, 200);

    let (code, said) = output(&ctl, &["--socket", socket, "stop"]).await;
    assert_eq!(code, Some(0), "{said}");
    let ended = tokio::time::timeout(moult_tests::eventually::DEADLINE, serving.wait()).await;
    assert_eq!(ended.expect("it ends").expect("it was started").code(), Some(0));
    // It is somebody's now.
    assert_eq!(output(&program, &["--init", shown]).await.0, Some(1));
    assert_eq!(output(&program, &["--serve", shown, "--config", "x"]).await.0, Some(2));
}
