//! What modules may ask of the rest of the server. Declared here, implemented by the assembly, so that this room knows
//! neither router nor sessions nor storage.

use super::slot::SlotKey;
use crate::stanza::Stanza;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A future the host polls on behalf of a module.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Who asks: module, vhost and generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Module id.
    pub module: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// Vhost, or `global`.
    pub vhost: Arc<str>,
    /// Number of the generation.
    pub generation: u64,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{} generation {}", self.module, self.vhost, self.generation)
    }
}

/// An operation of `plugin_api::abi::v1::op` that this room does not answer itself.
#[derive(Debug, Clone)]
pub struct OpRequest {
    /// Number of the operation.
    pub kind: u32,
    /// Meaning by kind.
    pub number: i64,
    /// JSON object.
    pub args: serde_json::Value,
    /// Bytes.
    pub body: Vec<u8>,
}

/// The answer of an operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpReply {
    /// Meaning by kind.
    pub number: i64,
    /// JSON.
    pub text: String,
    /// Bytes.
    pub body: Vec<u8>,
}

/// Why an operation failed: a condition in the words of RFC 6120 8.3.3 and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text} ({condition})")]
pub struct OpError {
    /// Condition, for example `item-not-found` or `resource-constraint`.
    pub condition: &'static str,
    /// What an operator should read.
    pub text: String,
}

impl OpError {
    /// An error with its condition and sentence.
    pub fn new(condition: &'static str, text: impl Into<String>) -> Self {
        Self { condition, text: text.into() }
    }
}

/// What is done to the stores of modules that are brought forward. At most one such migration is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreStep {
    /// What they hold is noted from now on, before it is changed.
    Begin(Vec<SlotKey>),
    /// They have these schemas now; a server that dies from here on goes on with them.
    Decide(Vec<(SlotKey, u32)>),
    /// What was noted is forgotten.
    End,
    /// What was noted is put back.
    Undo(Vec<SlotKey>),
}

/// The server as the plugin room sees it.
pub trait HostServices: Send + Sync + 'static {
    /// Sends a stanza on its way. Must not block; an `Err` tells the module why it was refused.
    fn route(&self, origin: &Origin, stanza: Stanza) -> Result<(), OpError>;

    /// Begins an operation.
    fn start_op(&self, origin: &Origin, request: OpRequest) -> BoxFuture<Result<OpReply, OpError>>;

    /// Who has a command of that name outside the plugin room: no module can take it.
    fn owner_of_command(&self, name: &str) -> Option<&'static str> {
        let _ = name;
        None
    }

    /// The schema of the stores of a module on a vhost; `None` where it has stored nothing yet.
    fn schema_of(&self, slot: &SlotKey) -> BoxFuture<Result<Option<u32>, OpError>> {
        let _ = slot;
        Box::pin(std::future::ready(Ok(None)))
    }

    /// A step of the one migration of stores.
    fn store_step(&self, step: StoreStep) -> BoxFuture<Result<(), OpError>> {
        let _ = step;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Ends the server at once with a critical line (S4-6).
    fn fatal(&self, origin: &Origin, message: &str) -> !;
}
