//! The handlers of the server's own commands, and the commands of modules.

mod server;

use std::sync::Arc;

use super::shared::Shared;
use crate::command::{Access, Table, TableBuilder};

/// The one command table.
pub(super) fn table(shared: &Arc<Shared>) -> Arc<Table> {
    let access = Access::new(shared.config().permissions.clone());
    let builder = server::add(TableBuilder::new().access(access), shared);
    let missing = builder.without_handler();
    if !missing.is_empty() {
        tracing::error!(?missing, "commands without a handler, which is a bug");
    }
    Arc::new(builder.build(None))
}
