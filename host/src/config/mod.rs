//! The configuration file: raw shape, validated values, defaults, differences for a reload.
//!
//! The file is TOML. `raw` keeps it as it was written, every key with its line; the readers in the section files
//! turn that into the validated [`Config`], collecting *all* mistakes before they give up. Nothing here opens a
//! socket, starts a thread or looks at a module's library: a module's options keep their file and line, and
//! [`options::validate`] checks them once the module's manifest is known.
//!
//! Relative paths in the file are relative to the folder of the file.

pub mod defaults;
pub mod error;
pub mod limits;
pub mod listener;
pub mod log;
pub mod modules;
pub mod options;
pub mod permissions;
pub mod server;
pub mod tls;
pub mod units;
pub mod vhost;

mod secret;

use std::collections::BTreeMap;

use serde::Serialize;

pub use error::{ConfigError, ConfigErrors, Location};
pub use limits::{Limits, Shaper};
pub use listener::{Http, Listener, ListenerKind};
pub use log::{Log, LogFormat, LogLevel};
pub use modules::{
    Discipline, Isolation, LoadPolicy, ModuleSection, ModuleSettings, Modules, OptionTable, OptionValue,
    Purge, Watch,
};
pub use permissions::PermissionGroup;
pub use secret::Secret;
pub use server::{Auth, ConflictPolicy, Mechanism, Server, Session};
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
