//! `moultd --check-config FILE`: starts nothing and tells everything.

use std::path::Path;

use super::{Config, ListenerKind};

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// Whether a server would start with this file.
    pub ok: bool,
    /// The mistakes, or a summary with warnings: lines for the terminal, without a line break at the end.
    pub text: String,
}

/// Reads and checks the configuration at `path` without touching anything else.
pub fn check_file(path: &Path) -> CheckReport {
    match Config::load(path) {
        Err(errors) => CheckReport { ok: false, text: errors.to_string() },
        Ok(config) => {
            let mut lines = vec![summary(path, &config)];
            lines.extend(config.warnings().into_iter().map(|warning| format!("warning: {warning}")));
            CheckReport { ok: true, text: lines.join("\n") }
        }
    }
}

impl Config {
    /// What is allowed, but seldom meant.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let http_in_public = |kind, ip: std::net::IpAddr| kind == ListenerKind::Http && !ip.is_loopback();
        for listener in self.listeners.iter().filter(|l| http_in_public(l.kind, l.address.ip())) {
            if self.http.admin_token.is_some() {
                let address = listener.address;
                warnings.push(format!(
                    "The admin token crosses the network unencrypted on the HTTP listener {address}."
                ));
            }
        }
        if !self.tls.required {
            warnings
                .push("Clients may log in without TLS, because \"required\" in [tls] is false.".to_owned());
        }
        if self.tls.self_signed {
            warnings
                .push("No client trusts the certificates that \"self_signed\" in [tls] makes.".to_owned());
        }
        warnings
    }
}

fn summary(path: &Path, config: &Config) -> String {
    let modules = config.vhosts.keys().flat_map(|vhost| config.modules_for(vhost).into_keys());
    let modules: std::collections::BTreeSet<_> = modules.collect();
    format!(
        "{}: ok; vhosts: {}, listeners: {}, modules with options: {}",
        path.display(),
        config.vhosts.len(),
        config.listeners.len(),
        modules.len()
    )
}
