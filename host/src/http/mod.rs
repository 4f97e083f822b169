//! HTTP: health, metrics, the admin API, and the paths that modules serve.
//!
//! | Request | Answer |
//! |---|---|
//! | `GET /health` | 200 while everything works, 503 with what does not |
//! | `GET /metrics` | OpenMetrics |
//! | `POST /api/COMMAND` | the bare value of a command; arguments are a JSON object |
//! | `GET /api/COMMAND?name=value` | the same, for commands that change nothing |
//! | `GET /ws` with an upgrade | XMPP by WebSocket |
//! | `POST /bosh` | XMPP in requests and answers (XEP-0124) |
//! | `GET /update-modules/all`, `POST /update-modules` | an update, where no module serves that path itself |
//! | anything else | what a module serves there |
//!
//! All but the last two are the paths of `[http]`. Whoever has the admin token is an admin; whoever has none may call
//! what a permission group opens. Browsers may read the answers of BOSH for pages of every site, and nothing else here.

mod api;
mod auth;
mod bosh;
mod client;
mod file;
mod metrics;
mod modules;
mod router;
mod update;
mod websocket;

#[cfg(test)]
mod tests;

pub use auth::is_admin_token;
pub use client::{BoshWelcome, Welcome, XmppDoor};
pub use metrics::{Exposition, Family, MetricKind, MetricsSource};
pub use modules::{ModuleAccess, ModulePaths, ModuleRequest, ModuleResponse};
pub use router::{Health, HealthSource, HttpParts, HttpServer};
