//! The handlers of the server's own commands, and the commands of modules.
//!
//! Arguments are checked and permissions decided before a handler is called; a handler does its one thing and says in
//! a sentence whose fault it was if it could not.

mod accounts;
mod config;
mod failures;
mod history;
mod install;
mod life;
mod logs;
mod modules;
mod presence;
mod server;
mod sessions;
mod stanzas;
mod statistics;
mod store;
#[cfg(test)]
mod tests;
mod transfer;
mod updates;
mod upkeep;

use std::future::Future;
use std::sync::Arc;

use super::shared::Shared;
use crate::command::{Access, Call, Caller, CommandResult, FrontEnd, Table, TableBuilder};

/// The one command table.
pub(super) fn table(shared: &Arc<Shared>) -> Arc<Table> {
    let access = Access::new(shared.config().permissions.clone());
    let admins = Arc::clone(shared);
    let builder = handlers(shared).access(access).identify(Box::new(move |jid| by_xmpp(&admins, jid)));
    let missing = builder.without_handler();
    if !missing.is_empty() {
        tracing::error!(?missing, "commands without a handler, which is a bug");
    }
    Arc::new(builder.build(Some(Arc::new(shared.manager.modules()))))
}

/// A JID that calls by XMPP, for a command that names no vhost.
fn by_xmpp(shared: &Shared, jid: &str) -> Caller {
    let jid = jid.split('/').next().unwrap_or(jid).to_owned();
    let admin = shared.config().server.admins.contains(&jid);
    Caller { from: FrontEnd::Xmpp, admin, jid: Some(jid.clone()), who: jid }
}

fn handlers(shared: &Arc<Shared>) -> TableBuilder {
    let subjects = [
        accounts::add,
        config::add,
        install::add,
        life::add,
        logs::add,
        modules::add,
        presence::add,
        server::add,
        sessions::add,
        stanzas::add,
        statistics::add,
        store::add,
        transfer::add,
        updates::add,
        upkeep::add,
    ];
    let none = Handlers { builder: TableBuilder::new(), shared: Arc::clone(shared) };
    subjects.into_iter().fold(none, |handlers, add| add(handlers)).builder
}

/// Collects handlers, each of which gets the server beside its call.
struct Handlers {
    builder: TableBuilder,
    shared: Arc<Shared>,
}

impl Handlers {
    fn on<R>(self, name: &'static str, handler: fn(Arc<Shared>, Call) -> R) -> Self
    where
        R: Future<Output = CommandResult> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        Self { builder: self.builder.handle(name, move |call| handler(Arc::clone(&shared), call)), ..self }
    }
}
