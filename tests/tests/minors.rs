//! Modules of another minor or major of the API.

use moult_plugin_api::abi::v1;
use moult_tests::server::CtlAnswer;
use moult_tests::{Client, Plugin, Server};

const MODULE: &str = "fixture_minor_0";
const NS: &str = "urn:moult:fixture:minor";

/// The fixture as another minor's, by its manifests and its declaration.
fn of_minor(minor: u8, needs: u8) -> Plugin {
    let digit = |text: &str, digit: u8| text.replace('#', &digit.to_string()).into_bytes();
    Plugin::built(MODULE).altered(|bytes| {
        replace(bytes, &digit("\"api\":\"1.#\"", 0), &digit("\"api\":\"1.#\"", minor));
        replace(bytes, &digit("\"needs_minor\":#", 0), &digit("\"needs_minor\":#", needs));
        let at = declaration(bytes);
        bytes[at + 14..at + 16].copy_from_slice(&u16::from(minor).to_le_bytes());
    })
}

fn of_major(major: u16) -> Plugin {
    Plugin::built(MODULE).altered(|bytes| {
        let at = declaration(bytes);
        bytes[at + 12..at + 14].copy_from_slice(&major.to_le_bytes());
    })
}

/// Where the declaration is: it begins with its magic and its size.
fn declaration(bytes: &[u8]) -> usize {
    let mut head = v1::MAGIC.to_le_bytes().to_vec();
    head.extend((size_of::<v1::ModuleDecl>() as u32).to_le_bytes());
    let found: Vec<usize> =
        (0..bytes.len() - head.len()).filter(|at| bytes[*at..].starts_with(&head)).collect();
    assert_eq!(found.len(), 1, "there is one declaration");
    found[0]
}

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> =
        (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "{} is in the library", String::from_utf8_lossy(from));
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
}

async fn serves(client: &mut Client) {
    let answer = client.get("localhost", &format!("<ask xmlns='{NS}'/>")).await;
    let refused = answer.child("answer").and_then(|child| child.attr("refused")).unwrap_or_default();
    assert!(refused.contains("hook_of_tomorrow"), "{answer}");
    let own = client.jid().to_owned();
    client.message(&own, "to myself").await;
    assert!(client.expect_message().await.child_ns("seen", NS).is_some(), "the hook of 1.0 works");
}

/// A build whose hook of tomorrow is one of today, so that insisting on it does no harm.
fn content() -> Plugin {
    Plugin::built(MODULE).altered(|bytes| replace(bytes, b"hook_of_tomorrow", b"presence_changed"))
}

async fn refused(server: &Server, plugin: &Plugin) -> String {
    server.plugins().install(plugin);
    let CtlAnswer { code, stdout, stderr } = server.try_ctl(&["update", MODULE]).await;
    assert_eq!(code, 1, "{stdout}{stderr}");
    format!("{stdout}{stderr}")
}

#[tokio::test]
async fn a_module_of_the_first_minor_is_loaded_and_served_and_swapped() {
    let server = Server::builder().plugin(&Plugin::built(MODULE)).start().await;
    let mut alice = server.client("alice").await;
    serves(&mut alice).await;
    // From 1.0 to 1.0, to the host's own minor, and back.
    for plugin in
        [Plugin::built(MODULE).variant(1), of_minor(v1::API_MINOR as u8, 0), Plugin::built(MODULE).variant(2)]
    {
        server.plugins().install(&plugin);
        server.ctl(&["update", MODULE]).await;
        serves(&mut alice).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_module_of_a_minor_to_come_is_loaded_if_it_needs_nothing_of_it() {
    let server = Server::builder().plugin(&of_minor(9, 0)).start().await;
    let mut alice = server.client("alice").await;
    serves(&mut alice).await;
    server.stop().await;
}

#[tokio::test]
async fn what_this_server_lacks_is_a_refusal_with_its_reason() {
    let server = Server::builder().plugin(&Plugin::built(MODULE)).start().await;
    let mut alice = server.client("alice").await;
    let said = refused(&server, &of_minor(9, 9)).await;
    assert!(said.contains("it needs API 1.9") && said.contains("update the server first"), "{said}");
    serves(&mut alice).await;
    let said = refused(&server, &of_major(2)).await;
    assert!(said.contains("built for version 2 of the API, this server speaks version 1"), "{said}");
    serves(&mut alice).await;
    // One that insists on a hook of later says so itself: here at its restart, because it takes no options while it runs.
    server.write_config(&format!("[modules.{MODULE}]\ninsists = true"));
    let CtlAnswer { code, stdout, stderr } = server.try_ctl(&["reload_config"]).await;
    assert!(code == 1 && format!("{stdout}{stderr}").contains("no hook 'hook_of_tomorrow'"), "{stderr}");
    serves(&mut alice).await;
    server.stop().await;
}

#[tokio::test]
async fn an_update_to_a_build_that_insists_on_a_hook_of_later_is_refused_at_its_start() {
    let insists = format!("[modules.{MODULE}]\ninsists = true");
    let server = Server::builder().config(&insists).plugin(&content()).start().await;
    let mut alice = server.client("alice").await;
    let own = alice.jid().to_owned();
    for newer in [of_minor(9, 0), Plugin::built(MODULE)] {
        let said = refused(&server, &newer).await;
        assert!(said.contains("failed at start") && said.contains("no hook 'hook_of_tomorrow'"), "{said}");
        let answer = alice.get("localhost", &format!("<ask xmlns='{NS}'/>")).await;
        let old = answer.child("answer").and_then(|child| child.attr("refused"));
        assert_eq!(old, Some(""), "the old build serves on: {answer}");
        alice.message(&own, "to myself").await;
        assert!(alice.expect_message().await.child_ns("seen", NS).is_some(), "and so do its hooks");
    }
    let info = server.ctl_json(&["module_info", MODULE]).await;
    assert_eq!(info["old_generations"], 0, "nothing of the refused builds stays: {info}");
    server.stop().await;
}
