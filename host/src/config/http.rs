//! `[http]`: what the HTTP listeners serve, and what one request may cost.

use std::time::Duration;

use serde::Serialize;

use super::reader::{HOUR, SECOND, Section};
use super::{Secret, units};

/// `[http]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Http {
    /// The bearer token of the admin API; without one every admin path answers 401.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_token: Option<Secret>,
    /// Where commands are posted: `<api_path>/<command>`.
    pub api_path: String,
    /// Where the metrics are.
    pub metrics_path: String,
    /// Whether `GET metrics_path` wants the admin token.
    pub metrics_auth: bool,
    /// Where the health answer is.
    pub health_path: String,
    /// Whether clients may speak XMPP by WebSocket.
    pub websocket: bool,
    /// Where they do.
    pub websocket_path: String,
    /// Whether clients may speak XMPP in requests and answers of HTTP (BOSH).
    pub bosh: bool,
    /// Where they do.
    pub bosh_path: String,
    /// The longest time that an answer is held back until there is something to say.
    #[serde(serialize_with = "units::serialize_duration")]
    pub bosh_max_wait: Duration,
    /// How long a client of BOSH may have no request with the server.
    #[serde(serialize_with = "units::serialize_duration")]
    pub bosh_inactivity: Duration,
    /// The longest pause that a client of BOSH may announce.
    #[serde(serialize_with = "units::serialize_duration")]
    pub bosh_max_pause: Duration,
    /// The largest request body.
    #[serde(serialize_with = "units::serialize_size")]
    pub max_body: usize,
    /// How long one request may take, its body and its answer included.
    #[serde(serialize_with = "units::serialize_duration")]
    pub request_deadline: Duration,
    /// Connections at the same time, over all HTTP listeners.
    pub max_connections: usize,
}

impl Http {
    pub(super) fn read(section: Section<'_>) -> Http {
        let d = Http::default();
        let http = Http {
            admin_token: read_token(&section),
            api_path: read_path(&section, "api_path", d.api_path),
            metrics_path: read_path(&section, "metrics_path", d.metrics_path),
            metrics_auth: section.flag("metrics_auth", d.metrics_auth),
            health_path: read_path(&section, "health_path", d.health_path),
            websocket: section.flag("websocket", d.websocket),
            websocket_path: read_path(&section, "websocket_path", d.websocket_path),
            bosh: section.flag("bosh", d.bosh),
            bosh_path: read_path(&section, "bosh_path", d.bosh_path),
            bosh_max_wait: section.duration("bosh_max_wait", d.bosh_max_wait, SECOND..=HOUR / 2),
            bosh_inactivity: section.duration("bosh_inactivity", d.bosh_inactivity, SECOND..=HOUR),
            bosh_max_pause: section.duration("bosh_max_pause", d.bosh_max_pause, SECOND..=HOUR),
            max_body: section.size("max_body", d.max_body, 1024..=1 << 30),
            request_deadline: section.duration("request_deadline", d.request_deadline, SECOND..=HOUR),
            max_connections: section.number("max_connections", d.max_connections, 1..=100_000),
        };
        check_paths_differ(&section, &http);
        section.finish();
        http
    }
}

/// A shorter token could be guessed at the speed the listener answers.
const MIN_TOKEN: usize = 16;

fn read_token(section: &Section<'_>) -> Option<Secret> {
    let token = section.secret("admin_token")?;
    if token.reveal().len() >= MIN_TOKEN && token.reveal().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(token);
    }
    let message = format!(
        "{} must be {MIN_TOKEN} characters or more, all of them printable ASCII without spaces.",
        section.key("admin_token")
    );
    section.context.error(section.line_of("admin_token"), message);
    None
}

fn read_path(section: &Section<'_>, key: &'static str, default: String) -> String {
    let Some((path, line)) = section.text(key) else { return default };
    let good = path.len() > 1
        && path.starts_with('/')
        && !path.ends_with('/')
        && !path.contains("//")
        && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte));
    if good {
        return path.to_owned();
    }
    let message = format!("{} must be a path such as \"{default}\", not \"{path}\".", section.key(key));
    section.context.error(line, message);
    default
}

fn check_paths_differ(section: &Section<'_>, http: &Http) {
    let paths = [
        ("api_path", &http.api_path),
        ("metrics_path", &http.metrics_path),
        ("health_path", &http.health_path),
        ("websocket_path", &http.websocket_path),
        ("bosh_path", &http.bosh_path),
    ];
    for (index, (key, path)) in paths.iter().enumerate() {
        for (other, other_path) in &paths[..index] {
            if path == other_path {
                let line = section.line_of(key).max(section.line_of(other));
                section
                    .context
                    .error(line, format!("\"{other}\" and {} are the same path.", section.key(key)));
            }
        }
    }
}
