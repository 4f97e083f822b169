//! This project's server, started by the same harness as the end-to-end tests.

use std::path::Path;
use std::process::Command;

use moult_tests::{Plugin, Server, artifacts};
use tokio::runtime::Runtime;

use super::{Needs, Running, Updater};
use crate::engine::user_name;
use crate::error::BenchError;

/// The module whose disciplines are measured.
const MODULE: &str = "mod_cputime";
/// The module that is updated: its two builds count requests, hand the count over and say which of them answers.
pub const COUNTER: &str = "fixture_counter";
/// What it answers.
pub const COUNT: &str = "<query xmlns='urn:moult:fixture:count'/>";

/// Limits that a load client from one address would run into.
const CONFIG: &str = r#"
    [log]
    level = "warning"

    [tls]
    required = false

    [limits]
    connections_per_address = 100000
    unauthenticated_connections = 100000
    login_attempts_per_account = 100000
    login_attempts_per_address = 100000
"#;

/// The two builds of the counter under one file name.
pub fn counters() -> [Plugin; 2] {
    ["fixture_counter_v1", "fixture_counter_v2"]
        .map(|name| Plugin::built(name).named("libfixture_counter.so"))
}

/// Starts it with the modules of the scenarios; the measured one is the one that answers the CPU time, or the counter where
/// two builds are needed.
pub fn start(needs: &Needs) -> Result<Running, BenchError> {
    if needs.two_builds {
        let builds = counters();
        let first = builds[..1].to_vec();
        return start_with(needs, &first, move |number| vec![builds[number % 2].clone()], COUNTER);
    }
    let modules = [MODULE, "mod_echo", "mod_ping", "mod_disco", "mod_roster"].map(Plugin::built);
    let measured = modules[0].clone();
    start_with(needs, &modules, move |build| vec![measured.clone().variant(build as u64)], MODULE)
}

/// Starts it with these modules; `build` makes the builds that are put in place before each update of `updated`.
pub fn start_with(
    needs: &Needs,
    modules: &[Plugin],
    build: impl Fn(usize) -> Vec<Plugin> + Send + 'static,
    updated: &'static str,
) -> Result<Running, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let server = runtime.block_on(start_server(needs, modules))?;
    let listeners = *server.listeners();
    let config_file = server.config_file();
    let control = Some(config_file.clone());
    let plugins = server.plugins().clone();
    Ok(Running {
        pid: server.pid(),
        plain: listeners.c2s,
        tls: listeners.c2s_tls,
        client_config: server.certificate().client_config(rustls::ALL_VERSIONS),
        updater: Some(Updater {
            prepare: Box::new(move |number| {
                build(number).iter().for_each(|build| _ = plugins.install(build));
                Ok(())
            }),
            load: Box::new(move || update(&config_file, updated)),
        }),
        control,
        _keeper: Box::new(Keeper { server: Some(server), runtime }),
    })
}

async fn start_server(needs: &Needs, modules: &[Plugin]) -> Result<Server, BenchError> {
    let mut builder = Server::builder().accounts(&[]).config(CONFIG);
    for module in modules {
        builder = builder.plugin(module);
    }
    if let Some(discipline) = needs.discipline {
        builder = builder.config(&format!("[modules.{MODULE}]\ndiscipline = \"{discipline}\""));
    }
    let started = builder.try_start().await;
    let server = started.map_err(|failure| BenchError::server("moult", failure.log))?;
    let users: Vec<String> = (0..needs.accounts).map(user_name).collect();
    server.register(&users).await;
    Ok(server)
}

fn update(config_file: &Path, module: &str) -> Result<(), BenchError> {
    ctl(config_file, &["update", module]).map(drop)
}

/// What `moultctl` answers.
pub fn ctl(config_file: &Path, arguments: &[&str]) -> Result<String, BenchError> {
    let output =
        Command::new(artifacts::moultctl()).arg("--config").arg(config_file).args(arguments).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
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
