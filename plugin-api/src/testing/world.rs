//! The fake host's tables.

use super::ops::{FakeOp, Responders};
use super::presence::{ContactChange, Delivered};
use super::run::Running;
use super::stores::Stores;
use crate::abi::v1::registration;
use crate::glue::caller::{Answered, TaskHandle};
use crate::hooks::{Contact, Identity, InfoAnswer, Item, OfferedCommand};
use crate::sdk::ask::{Disco, Session};
use crate::sdk::{Element, Jid, Level, element};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A server of tables in memory. Cheap to clone: all clones are the same server.
#[derive(Clone)]
pub struct FakeHost {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) vhost: String,
    pub(super) world: Mutex<World>,
    pub(super) responders: Mutex<Responders>,
}

/// Everything that changes.
#[derive(Default)]
pub(super) struct World {
    pub(super) now_ms: u64,
    pub(super) next_id: u64,
    pub(super) instances: HashMap<u64, Running>,
    pub(super) registrations: BTreeMap<u64, Registered>,
    pub(super) routed: Vec<Routed>,
    pub(super) logs: Vec<LogLine>,
    pub(super) counters: BTreeMap<String, u64>,
    pub(super) gauges: BTreeMap<String, i64>,
    pub(super) ops: HashMap<u64, FakeOp>,
    pub(super) tasks: HashMap<u64, Task>,
    pub(super) woken: VecDeque<u64>,
    pub(super) answers: HashMap<u64, Answered>,
    pub(super) stores: Stores,
    pub(super) accounts: BTreeMap<String, String>,
    pub(super) sessions: Vec<Session>,
    pub(super) interested: Vec<String>,
    pub(super) contacts: BTreeMap<String, Vec<Contact>>,
    pub(super) changes: Vec<ContactChange>,
    pub(super) delivered: Vec<Delivered>,
    pub(super) capabilities: Vec<String>,
    pub(super) offered: BTreeMap<String, Vec<OfferedCommand>>,
    pub(super) fatal: Option<String>,
}

/// A task that the host drives. `None` while it is being polled.
pub(super) struct Task {
    pub(super) instance: u64,
    pub(super) handle: Option<TaskHandle>,
    /// Whether somebody wants the answer.
    pub(super) awaited: bool,
}

/// A registration as the host keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Which instance made it: see [`Instance::id`](super::Instance::id).
    pub instance: u64,
    /// One of [`registration`].
    pub kind: u32,
    /// Whose JIDs, or whether a timer repeats.
    pub target: u32,
    /// One of [`discipline`](crate::abi::v1::discipline).
    pub discipline: u32,
    /// Workers of `parallel(N)`.
    pub workers: u32,
    /// Of a hook.
    pub sequence: i32,
    /// Of a timer.
    pub interval_ms: u64,
    /// Domain, namespace, hook, command, path, feature or item.
    pub name: String,
    /// JSON.
    pub args: String,
    pub(super) handler: u64,
    pub(super) due_ms: u64,
}

/// A stanza that a module sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// From whom.
    pub from: String,
    /// To whom.
    pub to: String,
    /// What, as it was sent: `from` and `to` above replace what it says.
    pub stanza: String,
}

impl Routed {
    /// The stanza as a tree. Panics when the module sent something that is none.
    pub fn element(&self) -> Element {
        element::parse_element(&self.stanza).expect("a routed stanza is an element")
    }
}

/// A line that a module logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// The module's component, or empty.
    pub component: String,
    /// The line.
    pub message: String,
}

impl FakeHost {
    /// A server with this vhost, no accounts and nothing stored.
    pub fn new(vhost: &str) -> Self {
        let shared =
            Shared { vhost: vhost.to_owned(), world: Mutex::default(), responders: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn responders(&self) -> MutexGuard<'_, Responders> {
        self.shared.responders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The vhost.
    pub fn vhost(&self) -> &str {
        &self.shared.vhost
    }

    /// Milliseconds since the server began.
    pub fn now_ms(&self) -> u64 {
        self.world().now_ms
    }

    /// What modules have sent, oldest first.
    pub fn routed(&self) -> Vec<Routed> {
        self.world().routed.clone()
    }

    /// What modules have sent since this was last called.
    pub fn take_routed(&self) -> Vec<Routed> {
        std::mem::take(&mut self.world().routed)
    }

    /// What modules have logged.
    pub fn logs(&self) -> Vec<LogLine> {
        self.world().logs.clone()
    }

    /// Whether a line with this text was logged.
    pub fn has_logged(&self, text: &str) -> bool {
        self.world().logs.iter().any(|line| line.message.contains(text))
    }

    /// What is registered now.
    pub fn registrations(&self) -> Vec<Registered> {
        self.world().registrations.values().cloned().collect()
    }

    /// What is registered of one kind, such as [`registration::HOOK`]: the names.
    pub fn registered(&self, kind: u32) -> Vec<String> {
        self.world().registrations.values().filter(|r| r.kind == kind).map(|r| r.name.clone()).collect()
    }

    /// A counter of the metrics.
    pub fn counter(&self, name: &str) -> u64 {
        self.world().counters.get(name).copied().unwrap_or(0)
    }

    /// A gauge of the metrics.
    pub fn gauge(&self, name: &str) -> Option<i64> {
        self.world().gauges.get(name).copied()
    }

    /// Tasks that have not ended.
    pub fn tasks(&self) -> usize {
        self.world().tasks.len()
    }

    /// Operations whose answer nobody has taken.
    pub fn operations(&self) -> usize {
        self.world().ops.len()
    }

    /// Makes an account.
    pub fn add_account(&self, jid: &str, password: &str) {
        self.world().accounts.insert(bare(jid), password.to_owned());
    }

    /// The password of an account, if there is one.
    pub fn password(&self, jid: &str) -> Option<String> {
        self.world().accounts.get(&bare(jid)).cloned()
    }

    /// Binds a session, available with this priority.
    pub fn add_session(&self, jid: &str, priority: i8) {
        self.world().sessions.push(Session {
            jid: jid.to_owned(),
            priority,
            show: String::new(),
            available: true,
            detached: false,
        });
    }

    /// The session's connection is lost, and it waits for its client.
    pub fn detach_session(&self, jid: &str) {
        for session in self.world().sessions.iter_mut().filter(|session| session.jid == jid) {
            session.detached = true;
        }
    }

    /// Ends a session.
    pub fn remove_session(&self, jid: &str) {
        let mut world = self.world();
        world.sessions.retain(|s| s.jid != jid);
        world.interested.retain(|other| other != jid);
    }

    /// Grants a capability.
    pub fn grant(&self, capability: &str) {
        self.world().capabilities.push(capability.to_owned());
    }

    /// What a module said when it ended the server.
    pub fn fatal(&self) -> Option<String> {
        self.world().fatal.clone()
    }

    /// A value in a module's store of single values.
    pub fn stored(&self, store: &str, key: &str) -> Option<Vec<u8>> {
        self.world().stores.keyval_get(store, key)
    }

    /// Puts a value into a store of single values.
    pub fn store(&self, store: &str, key: &str, value: &[u8]) {
        self.world().stores.keyval_set(store, key, value);
    }

    /// All fields of a key in a map of the modules.
    pub fn map_entries(&self, store: &str, key: &str) -> BTreeMap<String, Vec<u8>> {
        self.world().stores.map_entries(store, key)
    }

    /// Writes a field of a map as another build would.
    pub fn store_map(&self, store: &str, key: &str, field: &str, value: &[u8]) {
        self.world().stores.map_set(store, key, field, value);
    }

    /// Answers the IQs that modules send: the request's tree in, the reply's out; `None` lets the request time out.
    pub fn answer_iqs(&self, answer: impl FnMut(&Element) -> Option<Element> + Send + 'static) {
        self.responders().iqs = Some(Box::new(answer));
    }

    /// Answers the commands that modules run: name and arguments.
    pub fn answer_commands(
        &self,
        answer: impl FnMut(&str, &Value) -> Result<Value, (String, String)> + Send + 'static,
    ) {
        self.responders().commands = Some(Box::new(answer));
    }

    /// Lets a JID call commands by XMPP. What they answer says [`FakeHost::answer_commands`].
    pub fn offer_commands(&self, jid: &str, commands: Vec<OfferedCommand>) {
        self.world().offered.insert(bare(jid), commands);
    }

    pub(super) fn offered(&self, jid: &str) -> Vec<OfferedCommand> {
        self.world().offered.get(&bare(jid)).cloned().unwrap_or_default()
    }

    /// Answers the requests that modules make of other modules: module, method, arguments.
    pub fn answer_requests(
        &self,
        answer: impl FnMut(&str, &str, &Value) -> Result<Value, (String, String)> + Send + 'static,
    ) {
        self.responders().requests = Some(Box::new(answer));
    }

    /// Stands for the discovery hooks of other modules: the hook's name, the question (`from`, `to`, `node`), the answer so far
    /// (`None`: an unknown node); what it returns is the answer.
    pub fn answer_disco(
        &self,
        answer: impl FnMut(&str, &Value, Option<Value>) -> Option<Value> + Send + 'static,
    ) {
        self.responders().disco = Some(Box::new(answer));
    }

    /// What all instances declared, as service discovery collects it.
    pub fn disco(&self, target: crate::sdk::Target) -> Disco {
        self.world().disco(target.number(), &self.shared.vhost)
    }
}

impl World {
    pub(super) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Accounts have features and identities of their own; items belong to the vhost.
    pub(super) fn disco(&self, target: u32, vhost: &str) -> Disco {
        let all = || self.registrations.values();
        let features = all().filter(|r| r.kind == registration::FEATURE && r.target == target);
        let mut disco = Disco { features: features.map(|r| r.name.clone()).collect(), ..Disco::default() };
        if target == crate::abi::v1::target::SERVER {
            let identities =
                all().filter(|r| r.kind == registration::IDENTITY && (r.name.is_empty() || r.name == vhost));
            disco.identities =
                identities.filter_map(|r| serde_json::from_str::<Identity>(&r.args).ok()).collect();
            let items = all().filter(|r| r.kind == registration::ITEM);
            disco.items = items
                .map(|r| Item { jid: r.name.clone(), ..serde_json::from_str(&r.args).unwrap_or_default() })
                .collect();
        }
        disco
    }
}

impl From<Disco> for InfoAnswer {
    fn from(disco: Disco) -> Self {
        InfoAnswer { identities: disco.identities, features: disco.features, ..InfoAnswer::default() }
    }
}

pub(super) fn bare(jid: &str) -> String {
    Jid::parse(jid).map_or_else(|_| jid.to_owned(), |jid| jid.bare().as_str().to_owned())
}
