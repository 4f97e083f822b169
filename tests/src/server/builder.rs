//! What a server is to be like, and its start.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use toml::{Table, Value as Toml};

use super::process::Process;
use super::{ADMIN_TOKEN, Listeners, Server};
use crate::certificate::Certificate;
use crate::plugin::{Plugin, PluginFolder};

pub(super) const CONFIG_FILE: &str = "moult.toml";
pub(super) const CONTROL_SOCKET: &str = "ctl.sock";

/// A server that is not started yet.
#[derive(Debug, Clone)]
pub struct ServerBuilder {
    vhosts: Vec<String>,
    accounts: Vec<String>,
    plugins: Vec<Plugin>,
    config: Table,
    environment: Vec<(String, String)>,
}

impl ServerBuilder {
    pub(super) fn new() -> ServerBuilder {
        ServerBuilder {
            vhosts: vec!["localhost".to_owned()],
            accounts: ["alice", "bob", "carol"].map(str::to_owned).to_vec(),
            plugins: Vec::new(),
            config: Table::new(),
            environment: Vec::new(),
        }
    }

    /// Serves these domains instead of `localhost`; accounts are on the first one unless they name another.
    pub fn vhosts(mut self, domains: &[&str]) -> ServerBuilder {
        self.vhosts = domains.iter().map(|&domain| domain.to_owned()).collect();
        self
    }

    /// Has these accounts (`user` or `user@vhost`) instead of alice, bob and carol.
    pub fn accounts(mut self, users: &[&str]) -> ServerBuilder {
        self.accounts = users.iter().map(|&user| user.to_owned()).collect();
        self
    }

    /// Finds this plugin in its folder at start.
    pub fn plugin(mut self, plugin: &Plugin) -> ServerBuilder {
        self.plugins.push(plugin.clone());
        self
    }

    /// Lays this TOML over the generated configuration.
    pub fn config(mut self, text: &str) -> ServerBuilder {
        let table: Table = text.parse().unwrap_or_else(|error| panic!("{error} in {text}"));
        merge(&mut self.config, table);
        self
    }

    /// Runs with this environment variable.
    pub fn environment(mut self, name: &str, value: &str) -> ServerBuilder {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the server; panics with its log if it does not start.
    pub async fn start(self) -> Server {
        match self.try_start().await {
            Ok(server) => server,
            Err(failure) => panic!("the server ended at start with {:?}:\n{}", failure.code, failure.log),
        }
    }

    /// Starts the server and waits until it is ready.
    pub async fn try_start(self) -> Result<Server, StartFailure> {
        let folder =
            tempfile::Builder::new().prefix("moult-").tempdir().expect("there is a temporary folder");
        let plugins = PluginFolder::new(folder.path().join("plugins"));
        for plugin in &self.plugins {
            plugins.install(plugin);
        }
        let certificate = Certificate::make(folder.path(), "server", &self.vhosts);
        self.write_config(folder.path(), &certificate);
        let accounts = self.accounts.clone();
        let server = self.start_in(folder, plugins, certificate).await?;
        server.register(&accounts).await;
        Ok(server)
    }

    /// Starts the server in a folder where everything is prepared.
    pub(super) async fn start_in(
        self,
        folder: TempDir,
        plugins: PluginFolder,
        certificate: Certificate,
    ) -> Result<Server, StartFailure> {
        let mut process = Process::spawn(folder.path(), &folder.path().join(CONFIG_FILE), &self.environment);
        if let Err(code) = process.ready().await {
            return Err(StartFailure { code, log: process.log().text() });
        }
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let listeners = Listeners { c2s: nowhere, c2s_tls: nowhere, http: nowhere };
        let mut server = Server { process, folder, plugins, certificate, listeners, builder: self };
        server.listeners = listeners_of(&server.ctl_json(&["status"]).await);
        Ok(server)
    }

    pub(super) fn default_domain(&self) -> &str {
        &self.vhosts[0]
    }

    pub(super) fn write_config(&self, folder: &Path, certificate: &Certificate) {
        std::fs::write(folder.join(CONFIG_FILE), self.config_text(folder, certificate))
            .expect("the folder is ours");
    }

    fn config_text(&self, folder: &Path, certificate: &Certificate) -> String {
        let mut config = base_config(folder, certificate);
        let vhosts = self.vhosts.iter().map(|domain| (domain.clone(), Toml::Table(Table::new()))).collect();
        config.insert("vhost".to_owned(), Toml::Table(vhosts));
        merge(&mut config, self.config.clone());
        toml::to_string(&config).expect("a table can be written")
    }
}

/// A server that ended instead of getting ready.
#[derive(Debug)]
pub struct StartFailure {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it logged.
    pub log: String,
}

/// Everything on loopback, ports from the operating system, cheap password storage: logins are not the subject.
fn base_config(folder: &Path, certificate: &Certificate) -> Table {
    let text = format!(
        r#"
        [server]
        data_dir = "{folder}/data"
        plugin_dir = "{folder}/plugins"
        control_socket = "{folder}/{CONTROL_SOCKET}"
        # Clients that a test has left open are not waited for.
        stop_deadline = "2s"

        [log]
        level = "debug"

        [tls]
        certificate = "{chain}"
        key = "{key}"

        [auth]
        scram_iterations = 4096

        [http]
        admin_token = "{ADMIN_TOKEN}"

        [modules]
        watch = "off"

        [[listener]]
        kind = "c2s"
        address = "127.0.0.1"
        port = 0

        [[listener]]
        kind = "c2s_tls"
        address = "127.0.0.1"
        port = 0

        [[listener]]
        kind = "http"
        address = "127.0.0.1"
        port = 0
        "#,
        folder = folder.display(),
        chain = certificate.chain_file.display(),
        key = certificate.key_file.display(),
    );
    text.parse().expect("the generated configuration is TOML")
}

/// Lays `over` over `base`: tables are merged, everything else is replaced.
fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Toml::Table(below)), Toml::Table(above)) => merge(below, above),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// Where the server listens, from `status --json`.
pub(super) fn listeners_of(status: &Value) -> Listeners {
    let address = |kind: &str| {
        let listeners = status["listeners"].as_array().into_iter().flatten();
        let found = listeners.filter(|l| l["kind"] == kind).find_map(|l| l["address"].as_str()?.parse().ok());
        found.unwrap_or_else(|| panic!("status names no {kind} listener: {status}"))
    };
    Listeners { c2s: address("c2s"), c2s_tls: address("c2s_tls"), http: address("http") }
}
