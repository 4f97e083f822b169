//! What follows when a module panics or stops by itself: the restart policy of its manifest.

use moult_tests::{Client, Plugin, Server, eventually};

const MODULE: &str = "fixture_restarting";
const NS: &str = "urn:moult:fixture:restarting";
const CPU_TIME: &str = "<query xmlns='ejabberd:cputime'/>";

/// The fixture with another policy in its manifests. All three words have the same length.
fn with_policy(policy: &str) -> Plugin {
    let manifest = |policy: &str| format!("\"restart\":\"{policy}\"").into_bytes();
    let (from, to) = (manifest("temporary"), manifest(policy));
    assert_eq!(from.len(), to.len());
    Plugin::built(MODULE).altered(|bytes| {
        let places: Vec<usize> =
            (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(&from)).collect();
        assert!(!places.is_empty(), "the manifest is in the library");
        for at in places {
            bytes[at..at + to.len()].copy_from_slice(&to);
        }
    })
}

async fn server(policy: &str) -> Server {
    let builder = Server::builder().plugin(&with_policy(policy)).plugin(&Plugin::built("mod_cputime"));
    builder.start().await
}

/// The number of the instance that answers; `None` where none does.
async fn instance(client: &mut Client) -> Option<u64> {
    let answer = client.get("localhost", &format!("<ask xmlns='{NS}'/>")).await;
    if let Some(error) = answer.error() {
        assert_eq!(error, ("cancel", "service-unavailable"));
    }
    answer.child("answer")?.attr("instance")?.parse().ok()
}

async fn make_it_panic(client: &mut Client) {
    let answer = client.get("localhost", &format!("<ask xmlns='{NS}' what='panic'/>")).await;
    assert_eq!(answer.error().map(|(_, condition)| condition), Some("internal-server-error"), "{answer}");
}

async fn make_it_stop(client: &mut Client) {
    client.send("<message to='restarting.localhost'><body>stop</body></message>").await;
}

async fn becomes(client: &mut Client, number: u64) {
    eventually(&format!("instance {number} answers"), async || instance(client).await == Some(number)).await;
}

async fn goes_away(server: &Server, client: &mut Client) {
    eventually("no instance answers", async || instance(client).await.is_none()).await;
    let list = server.ctl_json(&["module_list"]).await;
    let line = list.as_array().and_then(|lines| lines.iter().find(|line| line["module"] == MODULE));
    assert_eq!(line.map(|line| &line["state"]), Some(&"failed".into()), "{list}");
    assert_eq!(client.get("localhost", CPU_TIME).await.attr("type"), Some("result"));
    server.log().expect(&["is taken out of service", MODULE]).await;
}

#[tokio::test]
async fn a_temporary_module_goes_on_after_a_panic_and_is_gone_after_its_stop() {
    let server = server("temporary").await;
    let mut alice = server.client("alice").await;
    for _ in 0..3 {
        make_it_panic(&mut alice).await;
        assert_eq!(instance(&mut alice).await, Some(1));
    }
    make_it_stop(&mut alice).await;
    goes_away(&server, &mut alice).await;
    assert!(server.log().lines_with(&["is started anew"]).is_empty());
    // The operator brings it back.
    server.ctl(&["module_load", &format!("{MODULE}@localhost")]).await;
    assert_eq!(instance(&mut alice).await, Some(2));
    server.stop_with_module_panics().await;
}

#[tokio::test]
async fn a_transient_module_is_started_anew_after_a_panic_and_not_after_its_stop() {
    let server = server("transient").await;
    let mut alice = server.client("alice").await;
    assert_eq!(instance(&mut alice).await, Some(1));
    make_it_panic(&mut alice).await;
    becomes(&mut alice, 2).await;
    server.log().expect(&["is started anew, as its policy says", MODULE, "told to panic"]).await;
    make_it_stop(&mut alice).await;
    goes_away(&server, &mut alice).await;
    server.stop_with_module_panics().await;
}

#[tokio::test]
async fn a_permanent_module_is_started_anew_until_it_fails_too_often() {
    let server = server("permanent").await;
    let mut alice = server.client("alice").await;
    make_it_stop(&mut alice).await;
    becomes(&mut alice, 2).await;
    server.log().expect(&["is started anew, as its policy says", MODULE, "told to stop"]).await;
    make_it_panic(&mut alice).await;
    becomes(&mut alice, 3).await;
    // The manifest allows two restarts in a minute.
    make_it_stop(&mut alice).await;
    goes_away(&server, &mut alice).await;
    server.stop_with_module_panics().await;
}

#[tokio::test]
async fn where_an_instance_has_stopped_and_why_is_told_while_others_serve_on() {
    let builder = Server::builder().plugin(&with_policy("temporary"));
    let server = builder.config("[vhost.\"two.example\"]\n[vhost.\"three.example\"]").start().await;
    let mut alice = server.client("alice").await;
    make_it_stop(&mut alice).await;
    server.ctl(&["module_unload", &format!("{MODULE}@two.example")]).await;
    let info = async || server.ctl_json(&["module_info", MODULE]).await;
    eventually("the one that stopped is told of", async || {
        info().await["stopped"].as_array().is_some_and(|all| all.len() == 2)
    })
    .await;
    let told = info().await;
    let (failed, unloaded) = (&told["stopped"][0], &told["stopped"][1]);
    assert_eq!((&failed["vhost"], &failed["state"]), (&"localhost".into(), &"failed".into()), "{told}");
    assert_eq!(failed["reason"], "told to stop", "{told}");
    assert_eq!((&unloaded["vhost"], &unloaded["state"]), (&"two.example".into(), &"unloaded".into()));
    assert_eq!((&told["state"], &told["vhosts"]), (&"running".into(), &serde_json::json!(["three.example"])));
    assert_eq!(told["last_error"]["module"], format!("{MODULE}@localhost"), "{told}");
    assert_eq!(told["ignored"], serde_json::json!([]), "{told}");
    // To serve again on one vhost does not excuse another.
    server.ctl(&["module_load", &format!("{MODULE}@two.example")]).await;
    assert_eq!(info().await["last_error"]["reason"], "told to stop");
    server.ctl(&["module_load", &format!("{MODULE}@localhost")]).await;
    let told = info().await;
    assert_eq!((&told["stopped"], &told["last_error"]), (&serde_json::json!([]), &serde_json::Value::Null));
    server.stop().await;
}
