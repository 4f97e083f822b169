//! Health, metrics and the admin API over HTTP.

use moult_tests::{Plugin, Server, eventually};
use serde_json::json;

const CPU_TIME: &str = "<query xmlns='ejabberd:cputime'/>";

#[tokio::test]
async fn health_says_that_the_server_is_well() {
    let server = Server::start().await;
    let answer = server.http_get("/health").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    server.stop().await;
}

#[tokio::test]
async fn metrics_are_openmetrics_and_count_sessions_and_calls() {
    let server = Server::with_modules(&["mod_cputime"]).await;
    let mut alice = server.client("alice").await;
    alice.get("localhost", CPU_TIME).await;
    let answer = server.http_get("/metrics").await;
    assert_eq!(answer.status, 200);
    let content_type = answer.headers.get("content-type").map(String::as_str).unwrap_or_default();
    assert!(content_type.starts_with("application/openmetrics-text"), "{content_type}");
    assert!(answer.body.ends_with("# EOF\n"), "{}", answer.body);
    assert!(
        answer.body.lines().any(|line| line.contains("module=\"mod_cputime\"") && line.ends_with(" 1")),
        "{}",
        answer.body
    );
    server.stop().await;
}

#[tokio::test]
async fn the_admin_api_wants_the_token() {
    let server = Server::start().await;
    for (method, path, body) in [
        ("POST", "/api/status", "{}"),
        ("POST", "/update-modules", "[\"mod_echo\"]"),
        ("GET", "/update-modules/all", ""),
    ] {
        for token in [None, Some("wrong")] {
            let answer = server.http(method, path, token, body).await;
            assert_eq!(answer.status, 401, "{method} {path} {token:?}: {answer:?}");
        }
    }
    let answer = server.http_admin("POST", "/api/status", "{}").await;
    assert_eq!((answer.status, &answer.json()["phase"]), (200, &json!("running")), "{answer:?}");
    server.stop().await;
}

#[tokio::test]
async fn modules_are_updated_over_http_under_a_live_session() {
    let server = Server::with_modules(&["mod_cputime", "mod_echo"]).await;
    let mut alice = server.client("alice").await;
    let names = ["mod_cputime", "mod_echo"];
    for (round, body) in [json!(names), json!({ "modules": names })].iter().enumerate() {
        for name in names {
            server.plugins().install(&Plugin::built(name).variant(round as u64 + 1));
        }
        let answer = server.http_admin("POST", "/update-modules", &body.to_string()).await;
        assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("ok")), "{answer:?}");
        assert_eq!(answer.json()["unpurged"], json!([]), "{answer:?}");
        assert_eq!(alice.get("localhost", CPU_TIME).await.attr("type"), Some("result"));
    }
    server.stop().await;
}

#[tokio::test]
async fn the_module_that_takes_the_request_is_replaced_by_it_and_its_old_code_goes_with_the_answer() {
    const UPDATER: &str = "mod_admin_http";
    let server = Server::with_modules(&[UPDATER, "mod_cputime"]).await;
    let mut alice = server.client("alice").await;
    for round in 1..=3 {
        for name in [UPDATER, "mod_cputime"] {
            server.plugins().install(&Plugin::built(name).variant(round));
        }
        let answer = server.http_admin("POST", "/update-modules/all", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let report = answer.json();
        assert_eq!(report["updated"], json!([UPDATER, "mod_cputime"]), "{report}");
        assert_eq!(
            (&report["unpurged"], &report["purged_after_answer"]),
            (&json!([]), &json!([UPDATER])),
            "{report}"
        );
        eventually("its old code is gone", async || {
            let info = server.ctl_json(&["module_info", UPDATER]).await;
            info["draining"] == json!([]) && info["retained"] == json!([])
        })
        .await;
        assert_eq!(alice.get("localhost", CPU_TIME).await.attr("type"), Some("result"));
    }
    alice.close().await;
    server.stop().await;
}

/// Both by the server itself and by the module that takes these paths over.
#[tokio::test]
async fn a_failed_update_is_no_success_and_names_stage_and_reason() {
    for modules in [&["mod_cputime"][..], &["mod_cputime", "mod_admin_http"]] {
        let server = Server::with_modules(modules).await;
        server.plugins().install(&Plugin::from_bytes(Plugin::built("mod_cputime").file_name(), "no library"));
        for (name, status) in [("mod_cputime", 500), ("nope", 404)] {
            let body = json!([name]).to_string();
            let answer = server.http_admin("POST", "/update-modules", &body).await;
            let report = answer.json();
            assert_eq!((answer.status, &report["status"]), (status, &json!("error")), "{answer:?}");
            assert!(report["message"].as_str().is_some_and(|text| text.contains(name)), "{answer:?}");
            let details = if report["details"].is_object() { &report["details"] } else { &report };
            assert_eq!(details["stage"], "notice", "{answer:?}");
            assert!(details["reason"].is_string(), "{answer:?}");
        }
        for body in ["", "{}", "no json", "[1]"] {
            assert_eq!(server.http_admin("POST", "/update-modules", body).await.status, 400, "{body}");
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn a_path_that_nobody_serves_is_not_found() {
    let server = Server::start().await;
    assert_eq!(server.http_get("/nothing").await.status, 404);
    assert_eq!(server.http_admin("POST", "/api/nothing", "{}").await.status, 404);
    server.stop().await;
}
