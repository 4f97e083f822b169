//! `[[listener]]` and `[http]`: the sockets to accept on, and what the HTTP ones serve.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use serde::ser::SerializeStruct;

use super::{Secret, units};

/// One `[[listener]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// What is spoken there.
    pub kind: ListenerKind,
    /// Address and port.
    pub address: SocketAddr,
    /// The name of the shaper of its connections, if they have one.
    pub shaper: Option<String>,
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenerKind {
    /// Client streams with STARTTLS (RFC 6120).
    C2s,
    /// Client streams under direct TLS (XEP-0368).
    C2sTls,
    /// Health, metrics, admin API, paths of modules.
    Http,
}

impl Serialize for Listener {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut fields = to.serialize_struct("listener", 4)?;
        fields.serialize_field("kind", &self.kind)?;
        fields.serialize_field("address", &self.address.ip())?;
        fields.serialize_field("port", &self.address.port())?;
        if let Some(shaper) = &self.shaper {
            fields.serialize_field("shaper", shaper)?;
        }
        fields.end()
    }
}

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
    /// The largest request body.
    #[serde(serialize_with = "units::serialize_size")]
    pub max_body: usize,
    /// How long one request may take, its body and its answer included.
    #[serde(serialize_with = "units::serialize_duration")]
    pub request_deadline: Duration,
    /// Connections at the same time, over all HTTP listeners.
    pub max_connections: usize,
}
