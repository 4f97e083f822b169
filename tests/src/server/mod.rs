//! A real `moultd` in a temporary folder.
//!
//! [`Server::start`] gives one with the accounts `alice`, `bob` and `carol` on `localhost`; [`Server::builder`] gives others.
//! [`Server::stop`] asks it to end and asserts that it ended well; a server that is dropped without it is killed.

mod builder;
mod control;
mod http;
mod log;
mod process;
mod registration;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tempfile::TempDir;

pub use builder::ServerBuilder;
pub use control::CtlAnswer;
pub use http::{HttpAnswer, exchange};
pub use log::Log;

use crate::certificate::Certificate;
use crate::client::{Client, Login, RawStream, Security};
use crate::plugin::{Plugin, PluginFolder};
use crate::sasl::{Hash, Mechanism};
use process::Process;

/// The bearer token of the admin API in every generated configuration.
pub const ADMIN_TOKEN: &str = "a-token-for-tests";

/// The password of every account in every generated configuration.
pub const PASSWORD: &str = "sesame";

/// A running server.
#[derive(Debug)]
pub struct Server {
    process: Process,
    folder: TempDir,
    plugins: PluginFolder,
    certificate: Certificate,
    listeners: Listeners,
    builder: ServerBuilder,
}

/// Where the server listens, as it told us.
#[derive(Debug, Clone, Copy)]
pub struct Listeners {
    /// Client streams with STARTTLS.
    pub c2s: SocketAddr,
    /// Client streams under direct TLS.
    pub c2s_tls: SocketAddr,
    /// HTTP.
    pub http: SocketAddr,
}

impl Server {
    /// A server with `localhost`, three accounts and no modules.
    pub async fn start() -> Server {
        Server::builder().start().await
    }

    /// A server with `localhost`, three accounts and these modules, by the names of their crates.
    pub async fn with_modules(crate_names: &[&str]) -> Server {
        let builder = Server::builder();
        crate_names.iter().fold(builder, |builder, name| builder.plugin(&Plugin::built(name))).start().await
    }

    /// A server to describe first.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::new()
    }

    /// Logs `user` in on the first vhost: STARTTLS, SCRAM-SHA-256, no presence.
    pub async fn client(&self, user: &str) -> Client {
        self.login(user).connect().await
    }

    /// How `user` (a localpart on the first vhost, or `user@vhost`) logs in, to be changed before it does.
    pub fn login(&self, user: &str) -> Login {
        let (user, domain) = user.split_once('@').unwrap_or((user, self.default_domain()));
        Login {
            plain_address: self.listeners.c2s,
            tls_address: self.listeners.c2s_tls,
            domain: domain.to_owned(),
            tls_name: domain.to_owned(),
            user: user.to_owned(),
            password: PASSWORD.to_owned(),
            security: Security::StartTls,
            mechanism: Mechanism::Scram(Hash::Sha256),
            binding: "tls-exporter",
            resource: None,
            tls: self.certificate.client_config(rustls::ALL_VERSIONS),
            certificate: self.certificate.der().to_vec(),
        }
    }

    /// A bare TCP connection to the STARTTLS port.
    pub async fn raw(&self) -> RawStream {
        RawStream::connect(self.listeners.c2s).await
    }

    /// Where the server listens.
    pub fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// The first vhost.
    pub fn default_domain(&self) -> &str {
        self.builder.default_domain()
    }

    /// The certificate it was started with.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The folder of everything that belongs to this server.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join(builder::CONFIG_FILE)
    }

    /// Its plugin folder.
    pub fn plugins(&self) -> &PluginFolder {
        &self.plugins
    }

    /// What it has logged.
    pub fn log(&self) -> Log {
        self.process.log()
    }

    /// The next message to the service manager after readiness, its lines; waits for it.
    pub async fn notice(&self) -> Vec<String> {
        self.process.notice().await
    }

    /// Where the server sends those messages.
    pub fn notify_socket(&self) -> PathBuf {
        self.folder.path().join(process::NOTIFY_SOCKET)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Writes the generated configuration with this TOML laid over it; the server is not told.
    pub fn write_config(&self, text: &str) {
        let builder = self.builder.clone().config(text);
        builder.write_config(self.folder(), &self.certificate);
    }

    /// Writes the configuration and lets the server read it.
    pub async fn reconfigure(&self, text: &str) {
        self.write_config(text);
        self.ctl(&["reload_config"]).await;
    }

    /// Starts the server anew in the same folder, after it has ended.
    pub async fn restart(self) -> Server {
        let Server { folder, plugins, certificate, builder, .. } = self;
        let started = builder.start_in(folder, plugins, certificate).await;
        started.unwrap_or_else(|failure| panic!("the server did not start again: {}", failure.log))
    }

    /// Lets the server start itself anew, as `moultctl restart` does, and waits until it serves.
    pub async fn restart_itself(&mut self) {
        self.ctl(&["restart"]).await;
        assert_eq!(self.notice().await[0], "RELOADING=1", "to the service manager it is a reload");
        assert_eq!(self.notice().await, ["READY=1"]);
        self.listeners = builder::listeners_of(&self.ctl_json(&["status"]).await);
    }

    /// Starts another `moultd` with the same configuration; its exit code and what it said.
    pub async fn start_another(&self) -> (Option<i32>, String) {
        let output = tokio::process::Command::new(crate::artifacts::moultd())
            .arg("--config")
            .arg(self.config_file())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(crate::eventually::DEADLINE, output).await;
        let output = output.expect("a second server ends by itself").expect("moultd can be started");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Sends SIGTERM and asserts that the server ends with exit code 0 and has not panicked.
    pub async fn stop(mut self) {
        self.process.signal(Signal::TERM);
        let code = self.process.exit_code().await;
        assert_eq!(code, Some(0), "the server did not end well:\n{}", self.log().text());
        self.log().assert_no_panic();
        self.log().assert_nothing_leaked();
    }

    /// The same for a server whose modules have panicked on purpose: only the host's own panics count.
    pub async fn stop_with_module_panics(mut self) {
        self.process.signal(Signal::TERM);
        let code = self.process.exit_code().await;
        assert_eq!(code, Some(0), "the server did not end well:\n{}", self.log().text());
        self.log().assert_nothing_leaked();
    }

    /// Ends a server that has a module stuck in it, where how it ends is not the subject.
    pub async fn kill_is_fine(mut self) {
        self.kill().await;
    }

    /// Waits until the server ends by itself and returns its exit code, `None` if a signal ended it.
    pub async fn ended(&mut self) -> Option<i32> {
        self.process.exit_code().await
    }

    /// Kills the server as `kill -9` does and waits until it is gone.
    pub async fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.exit_code().await;
    }
}
