//! HTTP: health, metrics, the admin API, and the paths that modules serve.
//!
//! | Request | Answer |
//! |---|---|
//! | `GET /health` | 200 while everything works, 503 with what does not |
//! | `GET /metrics` | OpenMetrics |
//! | `POST /api/COMMAND` | the bare value of a command; arguments are a JSON object |
//! | `GET /api/COMMAND?name=value` | the same, for commands that change nothing |
//! | `GET /ws` with an upgrade | XMPP by WebSocket |
//! | `GET /update-modules/all`, `POST /update-modules` | an update, where no module serves that path itself |
//! | anything else | what a module serves there |
//!
//! The first three paths are those of `[http]`. Whoever has the admin token is an admin; whoever has none may call
//! what a permission group opens. Nothing here is meant for browsers of other sites: there is no CORS.

mod api;
mod auth;
mod file;
mod metrics;
mod modules;
mod router;
mod update;
mod websocket;

#[cfg(test)]
mod tests;

pub use metrics::{Exposition, Family, MetricKind, MetricsSource};
pub use modules::{ModuleAccess, ModulePaths, ModuleRequest, ModuleResponse};
pub use router::{Health, HealthSource, HttpParts, HttpServer};
pub use websocket::{Welcome, XmppDoor};
