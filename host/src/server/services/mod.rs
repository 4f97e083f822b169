//! What modules ask of the server: sending stanzas, stores, sessions, accounts, commands.
//!
//! * `args`: the arguments of an operation, and errors in the words of RFC 6120;
//! * `stores`: keyval, map and archive, each module in a key space of its own;
//! * `people`: sessions and accounts;
//! * `presence`: contacts, and what goes into mailboxes past the rules of routing;
//! * `asking`: IQ requests and commands.
//!
//! Promises: every operation ends, with an answer or with an error that says whose fault it is; a module that asks too
//! much is refused before it costs others anything; what changes more than one thing (an account's removal) goes on to
//! its end also when the module that asked for it has gone.

mod args;
mod asking;
mod people;
mod presence;
mod schemas;
mod stores;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use moult_plugin_api::abi::v1::op;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::shared::Shared;
use crate::command::builtin;
use crate::plugin::services::{BoxFuture, HostServices, OpError, OpReply, OpRequest, Origin, StoreStep};
use crate::plugin::slot::SlotKey;
use crate::stanza::Stanza;

/// Store operations that one module may have under way at the same time, over all its vhosts.
const STORE_OPS_PER_MODULE: usize = 256;
/// For an operation that reads or changes one thing.
const DEADLINE: Duration = Duration::from_secs(60);
/// For an operation that may touch many rows. What it began goes on.
const LONG_DEADLINE: Duration = Duration::from_secs(300);

type Answer = Result<OpReply, OpError>;

/// The server as modules reach it. It does not keep the server alive.
pub(super) struct Services {
    shared: Weak<Shared>,
    desk: Desk,
}

/// Where operations are done, and how many of them.
struct Desk {
    /// What must not be given up half-way runs here.
    runtime: Handle,
    store_ops: Mutex<HashMap<Arc<str>, Arc<Semaphore>>>,
}

impl Services {
    /// To be made on the core runtime.
    pub fn new(shared: &Arc<Shared>) -> Self {
        let desk = Desk { runtime: Handle::current(), store_ops: Mutex::default() };
        Self { shared: Arc::downgrade(shared), desk }
    }

    fn shared(&self) -> Result<Arc<Shared>, OpError> {
        self.shared.upgrade().ok_or_else(|| OpError::new("service-unavailable", "The server is ending."))
    }

    fn begin(&self, origin: &Origin, request: OpRequest) -> Result<BoxFuture<Answer>, OpError> {
        let shared = self.shared()?;
        match request.kind {
            op::SEND_IQ => asking::send_iq(&shared, origin, &request),
            op::COMMAND => asking::run_command(&shared, &self.desk, origin, &request),
            op::COMMANDS_FOR => asking::commands_for(&shared, &request),
            op::KEYVAL_GET..=op::ARCHIVE_REPLACE => stores::begin(&shared, &self.desk, origin, request),
            op::SESSIONS_OF => people::sessions_of(&shared, &request),
            op::SESSIONS_ALL => people::sessions_all(&shared, &request),
            op::ACCOUNT_EXISTS..=op::ACCOUNT_REMOVE => people::account(&shared, &self.desk, origin, &request),
            op::CONTACTS_OF..=op::DELIVER => presence::begin(&shared, origin, &request),
            kind => Err(args::unknown(kind)),
        }
    }
}

impl HostServices for Services {
    fn route(&self, _origin: &Origin, stanza: Stanza) -> Result<(), OpError> {
        let routed = self.shared()?.router.inject(stanza);
        routed.map_err(|rejected| OpError::new(rejected.condition().as_str(), rejected.to_string()))
    }

    fn start_op(&self, origin: &Origin, request: OpRequest) -> BoxFuture<Answer> {
        self.begin(origin, request).unwrap_or_else(|error| Box::pin(std::future::ready(Err(error))))
    }

    fn owner_of_command(&self, name: &str) -> Option<&'static str> {
        builtin::owner(name)
    }

    fn schema_of(&self, slot: &SlotKey) -> BoxFuture<Result<Option<u32>, OpError>> {
        match self.shared() {
            Ok(shared) => schemas::schema_of(&shared, slot),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn store_step(&self, step: StoreStep) -> BoxFuture<Result<(), OpError>> {
        match self.shared() {
            Ok(shared) => schemas::step(&shared, &self.desk, step),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn fatal(&self, origin: &Origin, message: &str) -> ! {
        // No callbacks of modules and no farewell to clients: the module says that the server must not go on (S4-6).
        tracing::error!(module = %origin.module, vhost = %origin.vhost, generation = origin.generation, "fatal: {message}");
        std::process::exit(1)
    }
}

impl Desk {
    /// A place among the store operations of this module.
    fn store_place(&self, module: &Arc<str>) -> Result<OwnedSemaphorePermit, OpError> {
        self.store_places(module).try_acquire_owned().map_err(|_| {
            let text = format!("{module} has {STORE_OPS_PER_MODULE} store operations under way already.");
            OpError::new("resource-constraint", text)
        })
    }

    fn store_places(&self, module: &Arc<str>) -> Arc<Semaphore> {
        let mut all = self.store_ops.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Semaphore::new(STORE_OPS_PER_MODULE));
        Arc::clone(all.entry(Arc::clone(module)).or_insert_with(new))
    }

    /// Runs `work` to its end even if the answer is not waited for.
    fn detached(&self, work: impl Future<Output = Answer> + Send + 'static) -> BoxFuture<Answer> {
        let running = self.runtime.spawn(work);
        Box::pin(async move {
            running.await.unwrap_or_else(|_| {
                Err(OpError::new(
                    "internal-server-error",
                    "The operation failed: this is a bug of the server.",
                ))
            })
        })
    }
}

/// `work`, or the error that it took too long.
fn within(deadline: Duration, work: impl Future<Output = Answer> + Send + 'static) -> BoxFuture<Answer> {
    Box::pin(async move {
        tokio::time::timeout(deadline, work).await.unwrap_or_else(|_| {
            let text = format!("The server did not finish the operation within {} s.", deadline.as_secs());
            Err(OpError::new("remote-server-timeout", text))
        })
    })
}
