//! The configuration file: raw shape, validated values, defaults, differences for a reload.
//!
//! The file is TOML. `raw` keeps it as it was written, every key with its line; the readers in the section files
//! turn that into the validated [`Config`], collecting *all* mistakes before they give up. Nothing here opens a
//! socket, starts a thread or looks at a module's library: a module's options keep their file and line, and
//! [`options::validate`] checks them once the module's manifest is known.
//!
//! Relative paths in the file are relative to the folder of the file.

pub mod check;
pub mod defaults;
pub mod diff;
pub mod error;
pub mod http;
pub mod limits;
pub mod listener;
pub mod log;
pub mod modules;
pub mod options;
pub mod permissions;
pub mod server;
pub mod stream_management;
pub mod tls;
pub mod units;
pub mod vhost;

mod dump;
mod environment;
mod raw;
mod reader;
mod secret;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;

use reader::{Context, Section};

pub use diff::{Change, Effect};
pub use environment::{Environment, ProcessEnvironment};
pub use error::{ConfigError, ConfigErrors, Location};
pub use http::Http;
pub use limits::{Limits, Shaper};
pub use listener::{Listener, ListenerKind};
pub use log::{Log, LogFormat, LogLevel};
pub use modules::{
    Discipline, Isolation, LoadPolicy, ModuleSection, ModuleSettings, Modules, OptionTable, OptionValue,
    Purge, Watch,
};
pub use permissions::PermissionGroup;
pub use secret::Secret;
pub use server::{Auth, ConflictPolicy, Mechanism, Server, Session};
pub use stream_management::{ClientState, StreamManagement};
pub use tls::{Certificate, Tls, TlsVersion};
pub use vhost::Vhost;

/// The whole validated configuration: every value is in range, every name refers to something that exists.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// Folders, sockets and worker threads of the process.
    pub server: Server,
    /// What is logged, how, and where to.
    pub log: Log,
    /// The sockets to accept on, in the order of the file.
    #[serde(rename = "listener")]
    pub listeners: Vec<Listener>,
    /// TLS for every vhost that has no certificate of its own.
    pub tls: Tls,
    /// What one peer may cost the server.
    pub limits: Limits,
    /// Rate limits by name; a listener refers to one of them.
    #[serde(rename = "shaper")]
    pub shapers: BTreeMap<String, Shaper>,
    /// SASL mechanisms and password storage.
    pub auth: Auth,
    /// Rules for bound resources.
    pub session: Session,
    /// What is kept for clients that lose their connection.
    pub stream_management: StreamManagement,
    /// What is held back from clients that sleep.
    pub client_state: ClientState,
    /// Health, metrics and the admin API.
    pub http: Http,
    /// Who may call which command from where, by group name.
    pub permissions: BTreeMap<String, PermissionGroup>,
    /// How modules are found, loaded and swapped, and their options.
    pub modules: Modules,
    /// The virtual hosts by their normalised domain.
    #[serde(rename = "vhost")]
    pub vhosts: BTreeMap<String, Vhost>,
}

/// More than any configuration needs; a file beyond it is a mistake, such as a library named by accident.
const MAX_FILE: u64 = 4 * 1024 * 1024;

impl Config {
    /// Reads and checks the file at `path`; secrets may come from the environment of this process.
    pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
        let text = read_file(path).map_err(|reason| unreadable(path, &reason))?;
        Config::parse(&text, path, &ProcessEnvironment)
    }

    /// Checks `text` as if it stood in the file `path`.
    pub fn parse(text: &str, path: &Path, environment: &dyn Environment) -> Result<Config, ConfigErrors> {
        let context = Context::new(path, environment);
        let table = raw::parse(&context.file, text)?;
        let config = Config::read(Section::root(&context, &table));
        context.into_errors()?;
        Ok(config)
    }

    /// The control socket that the file at `path` names, whatever else may be wrong with that file: `moultctl` need
    /// not be able to read certificates and secrets.
    pub fn control_socket(path: &Path) -> Result<PathBuf, ConfigErrors> {
        let text = read_file(path).map_err(|reason| unreadable(path, &reason))?;
        let context = Context::new(path, &ProcessEnvironment);
        let table = raw::parse(&context.file, &text)?;
        let (_, control_socket) =
            Server::read_control_socket(&Section::root(&context, &table).section("server"));
        context.into_errors()?;
        Ok(control_socket)
    }

    /// What holds for one module on one vhost, or for its `global` instance where `vhost` is `None`.
    pub fn module_settings(&self, vhost: Option<&str>, module: &str) -> ModuleSettings {
        let section =
            vhost.and_then(|name| self.vhosts.get(name)).and_then(|vhost| vhost.modules.get(module));
        ModuleSettings::merge(&self.modules, module, section)
    }

    /// Every module that has a section of its own, globally or on `vhost`, with what holds for it there.
    pub fn modules_for(&self, vhost: &str) -> BTreeMap<String, ModuleSettings> {
        let on_vhost = self.vhosts.get(vhost).into_iter().flat_map(|vhost| vhost.modules.keys());
        let names = self.modules.sections.keys().chain(on_vhost);
        names.map(|name| (name.clone(), self.module_settings(Some(vhost), name))).collect()
    }

    /// Whether a module that lies in the plugin folder is to run on one vhost.
    pub fn is_module_enabled(&self, vhost: &str, module: &str) -> bool {
        let has_section = self.modules.sections.contains_key(module)
            || self.vhosts.get(vhost).is_some_and(|vhost| vhost.modules.contains_key(module));
        let by_policy = self.modules.load == LoadPolicy::All || has_section;
        self.module_settings(Some(vhost), module).enabled.unwrap_or(by_policy)
    }

    /// The certificate of one vhost: its own or the common one.
    pub fn certificate(&self, vhost: &str) -> Option<&Certificate> {
        let own = self.vhosts.get(vhost).and_then(|vhost| vhost.certificate.as_ref());
        own.or(self.tls.certificate.as_ref())
    }

    fn read(root: Section<'_>) -> Config {
        let shapers: BTreeMap<String, Shaper> = root
            .sections("shaper")
            .into_iter()
            .map(|(name, inner)| (name.to_owned(), Shaper::read(inner)))
            .collect();
        let permissions = root.sections("permissions").into_iter();
        let (vhosts, vhost_lines) = Vhost::read_all(&root);
        let tls = root.section("tls");
        let common_certificate_named = tls.has("certificate");
        let config = Config {
            server: Server::read(root.section("server")),
            log: Log::read(root.section("log")),
            listeners: Listener::read_all(&root, &shapers),
            tls: Tls::read(tls),
            limits: Limits::read(root.section("limits")),
            shapers,
            auth: Auth::read(root.section("auth")),
            session: Session::read(root.section("session")),
            stream_management: StreamManagement::read(root.section("stream_management")),
            client_state: ClientState::read(root.section("client_state")),
            http: Http::read(root.section("http")),
            permissions: permissions
                .map(|(name, inner)| (name.to_owned(), PermissionGroup::read(inner)))
                .collect(),
            modules: Modules::read(root.section("modules")),
            vhosts,
        };
        // A certificate that is named but wrong was reported where it is named.
        if !common_certificate_named {
            config.check_certificates(&root, &vhost_lines);
        }
        root.finish();
        config
    }

    fn check_certificates(&self, root: &Section<'_>, lines: &BTreeMap<String, usize>) {
        let needs_tls = |listener: &&Listener| match listener.kind {
            ListenerKind::C2sTls => true,
            ListenerKind::C2s => self.tls.required,
            ListenerKind::Http => false,
        };
        let Some(listener) = self.listeners.iter().find(needs_tls).filter(|_| !self.tls.self_signed) else {
            return;
        };
        for name in self.vhosts.keys().filter(|name| self.certificate(name).is_none()) {
            let message = format!(
                "The vhost {name} has no certificate, but the {} listener on {} needs one: set \"certificate\" and \
                 \"key\" in [tls] or [vhost.\"{name}\".tls], or \"self_signed\" in [tls] for trying things out.",
                listener.kind.name(),
                listener.address
            );
            root.context.error(lines.get(name).copied().unwrap_or_default(), message);
        }
    }
}

fn unreadable(path: &Path, reason: &str) -> ConfigErrors {
    ConfigErrors::of_file(path, format!("The configuration file cannot be read: {reason}."))
}

fn read_file(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    let bytes = file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if bytes as u64 > MAX_FILE { Err("it is larger than 4 MiB".to_owned()) } else { Ok(text) }
}

#[cfg(test)]
mod tests;
