//! `[vhost."example.org"]`: what one virtual host does differently.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Certificate, ModuleSection};

/// One virtual host.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Vhost {
    /// Its own certificate, if it has one.
    #[serde(rename = "tls", skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
    /// Bare JIDs that may call the commands that concern this vhost.
    pub admins: Vec<String>,
    /// Options of modules that differ from those in `[modules]`, by module id.
    pub modules: BTreeMap<String, ModuleSection>,
}
