//! Start, readiness, signals, end; and everything that must stop a start.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;

use moult_tests::{Server, eventually};
use rustix::process::Signal;

#[tokio::test]
async fn a_server_without_modules_starts_authenticates_and_stops() {
    let server = Server::start().await;
    server.client("alice").await.close().await;
    let status = server.ctl_json(&["status"]).await;
    assert_eq!(status["phase"], "running", "{status}");
    server.stop().await;
}

#[tokio::test]
async fn term_and_int_end_it_orderly() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::start().await;
        let mut alice = server.client("alice").await;
        server.signal(signal);
        assert_eq!(alice.expect_stream_error().await.condition(), Some("system-shutdown"));
        drop(alice);
        assert_eq!(server.ended().await, Some(0));
    }
}

#[tokio::test]
async fn the_command_stop_ends_it_and_removes_the_control_socket() {
    let mut server = Server::start().await;
    server.ctl(&["stop"]).await;
    assert_eq!(server.ended().await, Some(0));
    assert!(!server.folder().join("ctl.sock").exists());
    assert_eq!(server.try_ctl(&["status"]).await.code, 3, "nobody answers any more");
}

#[tokio::test]
async fn accounts_survive_a_killed_server() {
    let mut server = Server::start().await;
    server.ctl(&["register", "dave", "localhost", "sesame"]).await;
    server.kill().await;
    let server = server.restart().await;
    server.client("dave").await.close().await;
    server.client("alice").await.close().await;
    server.stop().await;
}

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_refused() {
    let server = Server::start().await;
    let (code, said) = server.start_another().await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("ctl.sock") || said.contains("data"), "{said}");
    server.client("alice").await.close().await;
    server.stop().await;
}

#[tokio::test]
async fn a_used_port_ends_the_start_and_is_named() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
    let port = taken.local_addr().expect("it is bound").port();
    let listener = format!("[[listener]]\nkind = 'c2s'\naddress = '127.0.0.1'\nport = {port}");
    let failure = Server::builder().config(&listener).try_start().await.expect_err("the port is taken");
    assert_eq!(failure.code, Some(1), "{}", failure.log);
    assert!(failure.log.contains(&format!("127.0.0.1:{port}")), "{}", failure.log);
}

#[tokio::test]
async fn mistakes_in_the_configuration_end_the_start_with_file_and_line() {
    let cases = [
        ("[limits]\nstanza_sise = '1KiB'", "stanza_size"),
        ("[limits]\ndepth = 'deep'", "depth"),
        ("[tls]\ncertificate = '/nowhere.pem'\nkey = '/nowhere.key'", "/nowhere"),
        ("[[listener]]\nkind = 'c2x'", "c2x"),
    ];
    for (config, named) in cases {
        let failure =
            Server::builder().config(config).try_start().await.expect_err("the configuration is wrong");
        assert_eq!(failure.code, Some(2), "{config}: {}", failure.log);
        assert!(failure.log.contains(named), "{config}: {}", failure.log);
    }
}

#[tokio::test]
async fn hangups_in_a_storm_reload_without_harm() {
    let server = Server::with_modules(&["mod_echo"]).await;
    let mut alice = server.client("alice").await;
    for _ in 0..50 {
        server.signal(Signal::HUP);
    }
    alice.message("echo.localhost", "still there?").await;
    assert_eq!(alice.expect_message().await.child_text("body"), Some("still there?"));
    eventually("the server is at rest", async || server.ctl_json(&["status"]).await["phase"] == "running")
        .await;
    server.stop().await;
}

#[tokio::test]
async fn the_service_manager_hears_of_reloads_and_of_the_end_in_order() {
    let mut server = Server::start().await;
    for _ in 0..2 {
        server.ctl(&["reload_config"]).await;
        let begun = server.notice().await;
        assert_eq!(begun[0], "RELOADING=1");
        let time = begun[1].strip_prefix("MONOTONIC_USEC=").and_then(|time| time.parse::<u64>().ok());
        assert!(time.is_some_and(|time| time > 0), "{begun:?}");
        assert_eq!(server.notice().await, ["READY=1"]);
    }
    server.signal(Signal::HUP);
    assert_eq!(server.notice().await[0], "RELOADING=1");
    assert_eq!(server.notice().await, ["READY=1"]);
    server.signal(Signal::TERM);
    assert_eq!(server.notice().await, ["STOPPING=1"]);
    assert_eq!(server.ended().await, Some(0));
}

#[tokio::test]
async fn a_service_manager_that_reads_nothing_hinders_nothing() {
    let mut server = Server::start().await;
    let full = UnixDatagram::unbound().unwrap();
    full.set_nonblocking(true).unwrap();
    let refused = (0..100_000).find_map(|_| full.send_to(b"FULL=1", server.notify_socket()).err());
    assert_eq!(refused.map(|error| error.kind()), Some(ErrorKind::WouldBlock));
    for _ in 0..3 {
        server.ctl(&["reload_config"]).await;
    }
    server.signal(Signal::HUP);
    server.log().expect(&["the service manager could not be told"]).await;
    server.client("alice").await.close().await;
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await, Some(0));
}
