//! The front end over real sockets, with a table, numbers and modules of the test's own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

use super::*;
use crate::command::{Access, Answer, CommandError, ErrorKind, Phase, Table, TableBuilder};
use crate::config::{self, PermissionGroup, Secret};

const TOKEN: &str = "a-token-for-these-tests";

#[derive(Default)]
struct Fakes {
    fault: Mutex<Option<String>>,
    requests: Mutex<Vec<ModuleRequest>>,
}

impl HealthSource for Fakes {
    fn check(&self) -> Vec<Health> {
        vec![Health { part: "storage", fault: self.fault.lock().unwrap().clone() }]
    }
}

impl MetricsSource for Fakes {
    fn write(&self, to: &mut Exposition) {
        to.single(Family { name: "moult_sessions", kind: MetricKind::Gauge, unit: "", help: "Sessions." }, 7);
    }
}

impl ModulePaths for Fakes {
    fn find(&self, path: &str) -> Option<ModuleAccess> {
        match path {
            "/open" | "/evil" | "/nonsense" | "/health" | "/long" | "/file" | "/no-file" => {
                Some(ModuleAccess::Open)
            }
            "/closed" => Some(ModuleAccess::Admin),
            _ => None,
        }
    }

    fn max_body(&self, path: &str) -> Option<usize> {
        (path == "/long").then_some(1 << 20)
    }

    fn call(&self, request: ModuleRequest) -> Pin<Box<dyn Future<Output = Option<ModuleResponse>> + Send>> {
        let mut headers: BTreeMap<String, String> = [("content-type".into(), "text/x".into())].into();
        let status = if request.path == "/nonsense" { 7 } else { 201 };
        if request.path == "/evil" {
            headers.insert("x-evil".into(), "a\r\nset-cookie: b=c".into());
            headers.insert("bad name".into(), "x".into());
            headers.insert("content-length".into(), "1".into());
            headers.insert("transfer-encoding".into(), "chunked".into());
        }
        match request.path.as_str() {
            "/file" => drop(headers.insert("x-moult-file".into(), own_file())),
            "/no-file" => drop(headers.insert("x-moult-file".into(), "/none/such".into())),
            _ => {}
        }
        self.requests.lock().unwrap().push(request);
        Box::pin(async move { Some(ModuleResponse { status, headers, body: b"from a module".to_vec() }) })
    }
}

/// A file that is there and has some pieces: this test program.
fn own_file() -> String {
    std::env::current_exe().unwrap().display().to_string()
}

struct Server {
    address: SocketAddr,
    http: HttpServer,
    fakes: Arc<Fakes>,
    phase: watch::Sender<Phase>,
    config: config::Http,
    _stop: oneshot::Sender<()>,
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

fn table() -> Arc<Table> {
    let group = |what: &str| PermissionGroup {
        from: vec!["http".into()],
        who: vec!["*".into()],
        what: vec![what.into()],
    };
    let builder = TableBuilder::new()
        .handle("status", |_| async { Ok(Answer::value(json!({"phase": "running"}))) })
        .handle("stop", |_| async { Ok(Answer::ok()) })
        .handle("registered_users", |call| async move { Ok(Answer::value(json!([call.args.text("host")]))) })
        .handle("stats", |call| async move { Ok(Answer::value(call.args.text("name").len())) })
        .handle("register", |_| async { Err(CommandError::new(ErrorKind::Conflict, "It exists already.")) })
        .handle("connected_users_number", |_| std::future::pending())
        .handle("update", |call| async move {
            let modules = call.args.list("modules");
            if modules == ["mod_broken"] {
                let details = json!({"stage": "probe"});
                return Err(CommandError::new(ErrorKind::Failed, "The probe died.").with_details(details));
            }
            Ok(Answer::value(json!({"status": "ok", "updated": modules, "unpurged": []})))
        });
    Arc::new(builder.access(Access::new([("public".to_owned(), group("stats"))].into())).build(None))
}

impl Server {
    async fn start() -> Server {
        Server::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut config::Http)) -> Server {
        let mut config =
            config::Http { admin_token: Some(Secret::new(TOKEN.into())), ..config::Http::default() };
        change(&mut config);
        let (phase, phase_seen) = watch::channel(Phase::Running);
        let fakes = Arc::new(Fakes::default());
        let parts = HttpParts {
            table: table(),
            phase: phase_seen,
            health: fakes.clone(),
            metrics: fakes.clone(),
            modules: fakes.clone(),
            door: None,
        };
        let http = HttpServer::new(config.clone(), parts);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = http.clone();
        tokio::spawn(async move { serving.serve(listener, async move { _ = stopped.await }).await });
        Server { address, http, fakes, phase, config, _stop: stop }
    }

    async fn send(&self, line: &str, headers: &[&str], body: &str) -> Reply {
        let mut text =
            format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        for header in headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        self.raw(&format!("{text}\r\n{body}")).await
    }

    async fn raw(&self, request: &str) -> Reply {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        // A refused body may not be read to its end; the answer is there all the same.
        let _ = socket.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(30), socket.read_to_end(&mut answer)).await;
        let _ = read.expect("an answer in time");
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    async fn admin(&self, line: &str, body: &str) -> Reply {
        self.send(line, &[&format!("Authorization: Bearer {TOKEN}")], body).await
    }
}

#[tokio::test]
async fn a_command_gets_a_json_object_and_answers_with_its_bare_value() {
    let server = Server::start().await;
    let reply = server.admin("POST /api/registered_users", "{\"host\": \"EXAMPLE.org\"}").await;
    assert_eq!((reply.status, reply.json()), (200, json!(["example.org"])));
    assert!(
        reply.head.contains("content-type: application/json")
            && reply.head.contains("cache-control: no-store")
    );
    assert_eq!(server.admin("POST /api/status", "").await.json(), json!({"phase": "running"}));
    assert_eq!(server.admin("POST /api/status/v3", "{}").await.status, 200);
}

#[tokio::test]
async fn get_takes_a_query_and_changes_nothing() {
    let server = Server::start().await;
    assert_eq!(server.admin("GET /api/registered_users?host=a%2Eb", "").await.json(), json!(["a.b"]));
    let reply = server.admin("GET /api/update?modules=all", "").await;
    assert_eq!((reply.status, &reply.json()["code"]), (400, &json!(40)));
    assert_eq!(server.admin("DELETE /api/status", "").await.status, 405);
}

#[tokio::test]
async fn errors_have_status_code_and_message() {
    let server = Server::start().await;
    let cases = [
        ("POST /api/registered_users", "{}", 400, 40),
        ("POST /api/registered_users", "[]", 400, 40),
        ("POST /api/registered_users", "{\"host\": \"a.b\", \"x\": 1}", 400, 40),
        ("POST /api/nothing", "{}", 404, 44),
        ("POST /api/..%2fstatus", "{}", 404, 44),
        ("POST /api/stop", "{}", 403, 31),
        ("POST /api/register", "{\"user\": \"a\", \"host\": \"b.c\", \"password\": \"p\"}", 409, 49),
        ("POST /api/update", "{\"modules\": [\"mod_broken\"]}", 500, 51),
    ];
    for (line, body, status, code) in cases {
        let reply = server.admin(line, body).await;
        let json = reply.json();
        assert_eq!(
            (reply.status, &json["code"], &json["status"]),
            (status, &json!(code), &json!("error")),
            "{line} {json}"
        );
        assert!(json["message"].as_str().is_some_and(|message| message.len() > 10), "{json}");
    }
}

#[tokio::test]
async fn without_the_token_nothing_shows_what_is_there() {
    let server = Server::start().await;
    let none: &[&str] = &[];
    let wrong = ["Authorization: Bearer wrong"];
    let prefix = format!("Authorization: Bearer {}", &TOKEN[..TOKEN.len() - 1]);
    let twice = ["Authorization: Bearer a", "Authorization: Bearer b"];
    for headers in [none, &wrong, &[&prefix], &twice, &["Authorization: Basic YTpi"]] {
        for line in [
            "POST /api/status",
            "POST /api/nothing",
            "GET /api/update",
            "POST /update-modules",
            "GET /closed",
        ] {
            let reply = server.send(line, headers, "").await;
            assert_eq!((reply.status, &reply.json()["code"]), (401, &json!(10)), "{line} {headers:?}");
            assert!(reply.head.contains("www-authenticate: bearer"), "{}", reply.head);
        }
    }
}

#[tokio::test]
async fn a_server_without_a_token_admits_nobody() {
    let server = Server::with(|config| config.admin_token = None).await;
    assert_eq!(server.admin("POST /api/status", "").await.status, 401);
    assert_eq!(server.send("POST /api/status", &["Authorization: Bearer "], "").await.status, 401);
}

#[tokio::test]
async fn a_permission_group_opens_a_command_to_everybody() {
    let server = Server::start().await;
    let reply = server.send("POST /api/stats", &[], "{\"name\": \"onlineusers\"}").await;
    assert_eq!((reply.status, reply.json()), (200, json!(11)));
}

#[tokio::test]
async fn health_tells_whether_everything_works_and_no_more() {
    let server = Server::start().await;
    let reply = server.send("GET /health", &[], "").await;
    assert_eq!(
        (reply.status, reply.json()),
        (200, json!({"status": "ok", "phase": "running", "failing": []}))
    );
    *server.fakes.fault.lock().unwrap() = Some("the disk /secret is full".into());
    let reply = server.send("GET /health", &[], "").await;
    assert_eq!((reply.status, &reply.json()["failing"]), (503, &json!(["storage"])));
    assert!(!reply.body.contains("secret"));
    *server.fakes.fault.lock().unwrap() = None;
    server.phase.send_replace(Phase::Stopping);
    assert_eq!(server.send("GET /health", &[], "").await.status, 503);
    assert!(server.fakes.requests.lock().unwrap().is_empty(), "a module cannot take a path of the server");
}

#[tokio::test]
async fn metrics_are_openmetrics_and_can_want_the_token() {
    let server = Server::start().await;
    let reply = server.send("GET /metrics", &[], "").await;
    assert!(
        reply.head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{}",
        reply.head
    );
    assert!(reply.body.ends_with("moult_sessions 7\n# EOF\n"), "{}", reply.body);
    server.http.reload(config::Http { metrics_auth: true, ..server.config.clone() });
    assert_eq!(server.send("GET /metrics", &[], "").await.status, 401);
    assert_eq!(server.admin("GET /metrics", "").await.status, 200);
}

#[tokio::test]
async fn a_reload_changes_the_token_of_the_next_request() {
    let server = Server::start().await;
    server.http.reload(config::Http {
        admin_token: Some(Secret::new("another-token-16".into())),
        ..server.config.clone()
    });
    assert_eq!(server.admin("POST /api/status", "").await.status, 401);
    let reply = server.send("POST /api/status", &["Authorization: bearer another-token-16"], "").await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn the_update_paths_of_the_article() {
    let server = Server::start().await;
    let all = json!({"status": "ok", "updated": ["all"], "unpurged": []});
    let reply = server.admin("GET /update-modules/all", "").await;
    assert_eq!((reply.status, reply.json()), (200, all.clone()));
    assert_eq!(server.admin("POST /update-modules/all", "").await.json(), all);
    assert_eq!(server.send("GET /update-modules/all", &[], "").await.status, 401);
    for body in ["[\"mod_a\", \"mod_b\"]", "{\"modules\": [\"mod_a\", \"mod_b\"]}"] {
        assert_eq!(
            server.admin("POST /update-modules", body).await.json()["updated"],
            json!(["mod_a", "mod_b"])
        );
    }
    for body in ["", "[]", "{}", "\"all\"", "{\"module\": [\"mod_a\"]}"] {
        assert_eq!(server.admin("POST /update-modules", body).await.status, 400, "{body}");
    }
    let broken = server.admin("POST /update-modules", "[\"mod_broken\"]").await;
    assert_eq!((broken.status, &broken.json()["details"]["stage"]), (500, &json!("probe")));
}

#[tokio::test]
async fn a_module_gets_the_request_and_never_the_admin_token() {
    let server = Server::start().await;
    let token = format!("Authorization: Bearer {TOKEN}");
    let reply = server.send("POST /open?a=%20", &[&token, "X-A: 1", "x-a: 2"], "body").await;
    assert_eq!((reply.status, reply.body.as_str()), (201, "from a module"));
    let own = server.send("GET /open", &["Authorization: Basic YTpi"], "").await;
    assert_eq!(own.status, 201);
    let requests = server.fakes.requests.lock().unwrap();
    let (first, second) = (&requests[0], &requests[1]);
    assert_eq!(
        (first.method.as_str(), first.path.as_str(), first.query.as_str()),
        ("POST", "/open", "a=%20")
    );
    assert_eq!((first.peer.as_str(), first.body.as_slice()), ("127.0.0.1", b"body".as_slice()));
    assert_eq!(first.headers.get("x-a").map(String::as_str), Some("1, 2"));
    assert!(
        !first.headers.contains_key("authorization") && !first.headers.contains_key("connection"),
        "{first:?}"
    );
    assert_eq!(second.headers.get("authorization").map(String::as_str), Some("Basic YTpi"));
}

#[tokio::test]
async fn what_a_module_answers_cannot_break_the_protocol() {
    let server = Server::start().await;
    let reply = server.send("GET /evil", &[], "").await;
    assert_eq!((reply.status, reply.body.as_str()), (201, "from a module"));
    for part in ["set-cookie", "bad name", "transfer-encoding", "content-length: 1\r\n"] {
        assert!(!reply.head.contains(part), "{}", reply.head);
    }
    assert!(reply.head.contains("x-content-type-options: nosniff"));
    assert_eq!(server.send("GET /nonsense", &[], "").await.status, 502);
}

#[tokio::test]
async fn paths_that_nobody_serves() {
    let server = Server::start().await;
    for line in ["GET /", "GET /api", "POST /update-modules/mod_a", "GET /update-modules"] {
        assert_eq!(server.admin(line, "").await.status, 404, "{line}");
    }
    assert_eq!(server.admin("GET /closed", "").await.status, 201);
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_refused() {
    let server = Server::with(|config| config.max_body = 1024).await;
    let large = "x".repeat(1025);
    assert_eq!(server.admin("POST /api/status", &large).await.status, 413);
    assert_eq!(server.send("POST /open", &[], &large).await.status, 413);
    let chunked = format!(
        "POST /open HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n{}\r\n0\r\n\r\n",
        "x".repeat(0x800)
    );
    assert_eq!(server.raw(&chunked).await.status, 413);
}

#[tokio::test]
async fn a_module_may_take_longer_bodies_at_its_path() {
    let server = Server::with(|config| config.max_body = 1024).await;
    let long = "x".repeat(1 << 20);
    assert_eq!(server.send("PUT /long", &[], &long).await.status, 201);
    assert_eq!(server.fakes.requests.lock().unwrap()[0].body.len(), long.len());
    assert_eq!(server.send("PUT /long", &[], &format!("{long}x")).await.status, 413);
    assert_eq!(server.send("PUT /open", &[], &long).await.status, 413);
    // The room for long bodies is given back.
    for _ in 0..300 {
        assert_eq!(server.send("PUT /long", &[], &long[..2048]).await.status, 201);
    }
}

#[tokio::test]
async fn a_file_that_a_module_names_is_sent_whole() {
    let server = Server::start().await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(b"GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), socket.read_to_end(&mut answer)).await;
    read.expect("an answer in time").unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 201") && head.contains("content-type: text/x"), "{head}");
    assert!(!head.contains("x-moult-file"), "{head}");
    assert!(answer[end + 4..] == std::fs::read(own_file()).unwrap());
    assert_eq!(server.send("GET /no-file", &[], "").await.status, 404);
}

#[tokio::test]
async fn a_request_beyond_its_deadline_is_answered() {
    let server = Server::with(|config| config.request_deadline = Duration::from_millis(30)).await;
    assert_eq!(server.admin("POST /api/connected_users_number", "").await.status, 504);
    let slow_body = "POST /open HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\n12345";
    assert_eq!(server.raw(slow_body).await.status, 504);
}

#[tokio::test]
async fn requests_that_could_be_smuggled_are_refused() {
    let server = Server::start().await;
    let both = "POST /open HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345";
    assert_eq!(server.raw(both).await.status, 400);
    let twice = "POST /open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n";
    assert_eq!(server.raw(twice).await.status, 400);
}
