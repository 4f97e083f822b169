//! What modules may ask of the rest of the server.

use std::sync::{Arc, Weak};

use super::shared::{Ending, Shared};
use crate::plugin::services::{BoxFuture, HostServices, OpError, OpReply, OpRequest, Origin};
use crate::stanza::Stanza;

/// The server as modules reach it. It does not keep the server alive.
pub(super) struct Services(Weak<Shared>);

impl Services {
    pub fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::downgrade(shared))
    }
}

impl HostServices for Services {
    fn route(&self, _origin: &Origin, stanza: Stanza) -> Result<(), OpError> {
        let Some(shared) = self.0.upgrade() else { return Err(ending()) };
        let rejected = shared.router.inject(stanza);
        rejected.map_err(|why| OpError::new(why.condition().as_str(), why.to_string()))
    }

    fn start_op(&self, _origin: &Origin, request: OpRequest) -> BoxFuture<Result<OpReply, OpError>> {
        let text = format!("This server has no operation {}.", request.kind);
        Box::pin(std::future::ready(Err(OpError::new("feature-not-implemented", text))))
    }

    fn fatal(&self, origin: &Origin, message: &str) -> ! {
        tracing::error!(%origin, "fatal: {message}");
        if let Some(shared) = self.0.upgrade() {
            shared.end(Ending::Failed);
        }
        std::process::exit(1)
    }
}

fn ending() -> OpError {
    OpError::new("service-unavailable", "The server is ending.")
}
