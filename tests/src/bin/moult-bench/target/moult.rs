//! This project's server, started by the same harness as the end-to-end tests.

use std::path::Path;
use std::process::Command;

use moult_tests::{Plugin, Server, artifacts};
use tokio::runtime::Runtime;

use super::{Needs, Running, Updater};
use crate::engine::user_name;
use crate::error::BenchError;

const MODULE: &str = "mod_cputime";

/// Limits that a load client from one address would run into.
const CONFIG: &str = r#"
    [log]
    level = "warning"

    [tls]
    required = false

    [limits]
    connections_per_address = 100000
    unauthenticated_connections = 100000
    login_attempts_per_minute = 1000000
"#;

pub fn start(needs: &Needs) -> Result<Running, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let server = runtime.block_on(start_server(needs))?;
    let listeners = *server.listeners();
    let config_file = server.config_file();
    let plugins = server.plugins().clone();
    Ok(Running {
        pid: server.pid(),
        plain: listeners.c2s,
        tls: listeners.c2s_tls,
        client_config: server.certificate().client_config(rustls::ALL_VERSIONS),
        updater: Some(Updater {
            prepare: Box::new(move |build| {
                plugins.install(&Plugin::built(MODULE).variant(build as u64));
                Ok(())
            }),
            load: Box::new(move || update(&config_file)),
        }),
        _keeper: Box::new(Keeper { server: Some(server), runtime }),
    })
}

async fn start_server(needs: &Needs) -> Result<Server, BenchError> {
    let mut builder = Server::builder().accounts(&[]).config(CONFIG);
    for name in ["mod_echo", MODULE, "mod_ping", "mod_disco"] {
        builder = builder.plugin(&Plugin::built(name));
    }
    if let Some(discipline) = needs.discipline {
        builder = builder.config(&format!("[modules.{MODULE}]\niqdisc = \"{discipline}\""));
    }
    let started = builder.try_start().await;
    let server = started.map_err(|failure| BenchError::server("moult", failure.log))?;
    let users: Vec<String> = (0..needs.accounts).map(user_name).collect();
    server.register(&users).await;
    Ok(server)
}

fn update(config_file: &Path) -> Result<(), BenchError> {
    let output = Command::new(artifacts::moultctl())
        .arg("--config")
        .arg(config_file)
        .args(["update", MODULE])
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(BenchError::server("moult", String::from_utf8_lossy(&output.stderr)))
}

/// Ends the server inside its runtime.
struct Keeper {
    server: Option<Server>,
    runtime: Runtime,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            self.runtime.block_on(server.kill());
        }
    }
}
