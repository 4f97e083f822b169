//! What the callers of modules and those who change them share: the published snapshot, the slots, the runtime, the rest
//! of the server. It decides nothing; `call` reads it, `swap` changes it.

use super::bridge::context::{Granted, HostContext, Hub};
use super::bridge::invoke::Code;
use super::instance::Instance;
use super::lookup::{PublishedTables, Tables};
use super::registration::{Registered, What};
use super::registry::{Conflict, Held, Snapshot};
use super::runtime::{ModulesRuntime, Stuck};
use super::services::{BoxFuture, HostServices, OpError, OpReply, OpRequest, Origin};
use super::slot::{GLOBAL, Limits, Slot, SlotKey};
use crate::config::Config;
use arc_swap::{ArcSwap, Guard};
use moult_plugin_api::abi::v1::op;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

/// Something that happened while a module was called, for those who watch over generations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incident {
    /// A handler failed, panicked or passed its deadline.
    Failure {
        /// Where.
        slot: SlotKey,
        /// Its generation.
        generation: u64,
        /// What, in words.
        what: String,
        /// Whether it was a panic.
        panic: bool,
    },
    /// A handler holds a thread and does not return.
    Stuck {
        /// Where.
        slot: SlotKey,
        /// Its generation.
        generation: u64,
        /// What, in words.
        what: String,
    },
    /// An instance asked to be stopped.
    Stop {
        /// Where.
        slot: SlotKey,
        /// Its generation.
        generation: u64,
        /// Why.
        reason: String,
    },
}

/// The shared state of the plugin room.
pub struct Core {
    config: ArcSwap<Config>,
    runtime: ModulesRuntime,
    home: Option<Handle>,
    services: OnceLock<Arc<dyn HostServices>>,
    tables: PublishedTables,
    published: Mutex<Published>,
    slots: Mutex<HashMap<SlotKey, Arc<Slot>>>,
    starting: AtomicBool,
    incidents: mpsc::Sender<Incident>,
    leaked: AtomicU64,
    /// Counts what may be other answers than before: publications, and reloads that modules took.
    changes: watch::Sender<u64>,
    this: Weak<Core>,
}

#[derive(Default)]
struct Published {
    version: u64,
    instances: BTreeMap<SlotKey, Arc<Instance>>,
}

/// Incidents waiting for their watcher; more are counted by the slots all the same and dropped here.
const INCIDENTS: usize = 1024;

impl Core {
    /// A core without modules. Incidents come out of the receiver.
    pub fn new(config: Arc<Config>, runtime: ModulesRuntime) -> (Arc<Self>, mpsc::Receiver<Incident>) {
        let (incidents, receiver) = mpsc::channel(INCIDENTS);
        let core = Arc::new_cyclic(|this| Self {
            tables: PublishedTables::new(empty_snapshot(&config)),
            config: ArcSwap::new(config),
            runtime,
            home: Handle::try_current().ok(),
            services: OnceLock::new(),
            published: Mutex::default(),
            slots: Mutex::default(),
            starting: AtomicBool::new(true),
            incidents,
            leaked: AtomicU64::new(0),
            changes: watch::Sender::new(0),
            this: this.clone(),
        });
        (core, receiver)
    }

    /// Connects the rest of the server, once, before the first module is loaded.
    pub fn connect(&self, services: Arc<dyn HostServices>) {
        if self.services.set(services).is_err() {
            tracing::error!("the plugin room was connected twice: this is a bug of the server");
        }
    }

    /// The listeners are up: from now on `fatal` of a module only fails its swap.
    pub fn is_up(&self) {
        self.starting.store(false, Ordering::Release);
    }

    /// The configuration that holds.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Lets another configuration hold; slots get their limits, lanes follow with the next publication.
    pub fn set_config(&self, config: Arc<Config>) {
        self.config.store(Arc::clone(&config));
        let slots = lock(&self.slots);
        for slot in slots.values() {
            slot.set_limits(limits(&config, &slot.key));
        }
    }

    /// The tables of this moment, for those who only look.
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.tables.load()
    }

    /// The tables of this moment, for the way of a stanza.
    #[inline]
    pub fn tables(&self) -> Tables {
        self.tables.look()
    }

    /// The runtime plugin code runs on.
    pub fn runtime(&self) -> &ModulesRuntime {
        &self.runtime
    }

    /// The runtime this core was made on, whose threads no module holds for long; where there is none, the modules' own.
    pub fn home(&self) -> Handle {
        self.home.clone().unwrap_or_else(|| self.runtime.handle())
    }

    /// All runtimes whose threads may have been inside a module: those of the modules, and the one this core was made on,
    /// whose tasks call handlers without a queue.
    pub fn runtimes(&self) -> Vec<Handle> {
        self.runtime.handles().into_iter().chain(self.home.clone()).collect()
    }

    /// The rest of the server; `None` before `connect`.
    pub fn connected(&self) -> Option<&Arc<dyn HostServices>> {
        self.services.get()
    }

    /// The slot of that name, made if it is new.
    pub fn slot(&self, key: &SlotKey) -> Arc<Slot> {
        let mut slots = lock(&self.slots);
        let make = || Slot::new(key.clone(), limits(&self.config.load(), key));
        Arc::clone(slots.entry(key.clone()).or_insert_with(make))
    }

    /// All slots there have been.
    pub fn slots(&self) -> Vec<Arc<Slot>> {
        let mut slots: Vec<_> = lock(&self.slots).values().cloned().collect();
        slots.sort_by(|a, b| a.key.cmp(&b.key));
        slots
    }

    /// A context for an instance of `code` that is about to be made.
    pub fn context(&self, code: &Code, key: &SlotKey, generation: u64) -> Arc<HostContext> {
        let version = code.library().map_or("", |library| &library.manifest().version).into();
        let (module, vhost) = (Arc::clone(&key.module), Arc::clone(&key.vhost));
        let origin = Origin { module, version, vhost, generation };
        let granted = code.library().map(|library| Granted::by(&library.manifest().capabilities));
        let hub: Weak<dyn Hub> = self.this.clone();
        HostContext::new(origin, self.slot(key), hub, granted.unwrap_or_default())
    }

    /// What a publication of these changes would look like, without publishing: finds conflicts early.
    pub fn rehearse(&self, changes: &BTreeMap<SlotKey, Option<Arc<Instance>>>) -> Result<(), Conflict> {
        let published = lock(&self.published);
        let instances = changed(&published.instances, changes);
        Snapshot::build(published.version, &instances, &vhosts(&self.config.load())).map(drop)
    }

    /// Publishes all changes with one pointer store. The instances that no longer serve are handed back; they still let
    /// calls in until they are retired.
    pub fn publish(
        &self,
        changes: &BTreeMap<SlotKey, Option<Arc<Instance>>>,
    ) -> Result<Vec<Arc<Instance>>, Conflict> {
        let mut published = lock(&self.published);
        let instances = changed(&published.instances, changes);
        let version = published.version + 1;
        let snapshot = Snapshot::build(version, &instances, &vhosts(&self.config.load()))?;
        let old = std::mem::replace(&mut published.instances, instances);
        published.version = version;
        self.tables.store(snapshot);
        self.has_changed();
        let gone = changes.keys().filter_map(|key| old.get(key).cloned());
        Ok(gone.filter(|old| !is_same(published.instances.get(old.key()), old)).collect())
    }

    /// What modules tell or do may be another thing from now on.
    pub fn has_changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Hears of every such change; of several at once, once.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Builds the tables again from the same instances: their registrations or the vhosts have changed.
    pub fn republish(&self) -> Result<(), Conflict> {
        self.publish(&BTreeMap::new()).map(drop)
    }

    /// A module holds a thread and does not return. Where that generation serves, its slots get no more calls and whoever
    /// waits is answered; a generation that is only being started hurts nobody but itself.
    pub fn stuck(&self, stuck: &Stuck) {
        let what = format!(
            "it holds a thread ({}) since {} ms without returning",
            stuck.thread,
            stuck.held.as_millis()
        );
        tracing::error!(module = stuck.module, generation = stuck.generation, "stuck: {what}");
        let snapshot = self.tables.load_full();
        let serving = snapshot.instances().values().filter(|i| *i.key().module == stuck.module);
        for instance in serving.filter(|instance| instance.generation() == stuck.generation) {
            instance.context().slot.quarantine(what.clone());
            let (slot, generation) = (instance.key().clone(), stuck.generation);
            self.report(Incident::Stuck { slot, generation, what: what.clone() });
        }
    }

    /// An instance has ended: whatever the server still holds of it is our bug, and is told and counted as one.
    pub fn has_ended(&self, instance: &Arc<Instance>) {
        let held = Held::of(instance, &self.tables.load());
        if held.total() > 0 {
            self.leaked.fetch_add(held.total() as u64, Ordering::Relaxed);
            let generation = instance.generation();
            tracing::error!(module = %instance.key(), generation, "has ended, and the server still holds {held}: this is a bug of the server");
        }
    }

    /// How much of instances that had ended was still held.
    pub fn leaked(&self) -> u64 {
        self.leaked.load(Ordering::Relaxed)
    }

    /// Tells the watchers of generations.
    pub fn report(&self, incident: Incident) {
        crate::wake::note();
        if self.incidents.try_send(incident).is_err() {
            tracing::debug!("an incident was dropped: too many are waiting");
        }
    }
}

impl Hub for Core {
    fn admit(&self, origin: &Origin, what: &What) -> Result<(), String> {
        let key = SlotKey { module: Arc::clone(&origin.module), vhost: Arc::clone(&origin.vhost) };
        if let What::Route { domain, .. } = what
            && self.config.load().vhosts.contains_key(&**domain)
        {
            return Err(format!("the domain '{domain}' is a vhost of this server"));
        }
        let conflict = match what {
            What::Command { name, .. } => self.services().owner_of_command(name),
            _ => None,
        };
        let conflict = conflict.map(|owner| Conflict::with(&key, what, owner));
        match conflict.or_else(|| self.tables.load().conflict(&key, what)) {
            Some(conflict) => Err(conflict.to_string()),
            None => Ok(()),
        }
    }

    fn registrations_changed(&self) -> Result<(), String> {
        self.republish().map_err(|conflict| conflict.to_string())
    }

    fn timer_added(&self, instance: &Arc<Instance>, registered: &Registered) {
        if let Some(core) = self.this.upgrade() {
            super::timer::start(&core, instance, registered);
        }
    }

    fn services(&self) -> &dyn HostServices {
        match self.services.get() {
            Some(services) => &**services,
            None => &Unconnected,
        }
    }

    fn own_op(&self, origin: &Origin, request: &OpRequest) -> Option<BoxFuture<Result<OpReply, OpError>>> {
        match request.kind {
            op::DISCO | op::DISCO_INFO | op::DISCO_ITEMS => {
                Some(super::call::Modules::of(&self.this.upgrade()?).disco_op(request))
            }
            op::REQUEST => {
                let core = self.this.upgrade()?;
                Some(super::call::Modules::of(&core).request_op(origin, request))
            }
            _ => None,
        }
    }

    fn modules_runtime(&self) -> Handle {
        self.runtime.handle()
    }

    fn is_starting(&self) -> bool {
        self.starting.load(Ordering::Acquire)
    }
}

/// Answers before the server is assembled.
struct Unconnected;

impl HostServices for Unconnected {
    fn route(&self, _: &Origin, _: crate::stanza::Stanza) -> Result<(), OpError> {
        Err(OpError::new("service-unavailable", "the server is not assembled yet"))
    }

    fn start_op(&self, _: &Origin, _: OpRequest) -> BoxFuture<Result<OpReply, OpError>> {
        Box::pin(std::future::ready(Err(OpError::new(
            "service-unavailable",
            "the server is not assembled yet",
        ))))
    }

    fn fatal(&self, origin: &Origin, message: &str) -> ! {
        tracing::error!(%origin, "fatal: {message}");
        std::process::exit(1)
    }
}

fn empty_snapshot(config: &Config) -> Snapshot {
    // Without instances there is nothing that could clash.
    Snapshot::build(0, &BTreeMap::new(), &vhosts(config)).unwrap_or_default()
}

fn vhosts(config: &Config) -> Vec<Arc<str>> {
    config.vhosts.keys().map(|vhost| vhost.as_str().into()).collect()
}

fn limits(config: &Config, key: &SlotKey) -> Limits {
    Limits::of(&config.module_settings(vhost_of(key), &key.module))
}

/// The vhost whose sections hold for a slot; none for the global ones.
pub fn vhost_of(key: &SlotKey) -> Option<&str> {
    (&*key.vhost != GLOBAL).then_some(&*key.vhost)
}

fn changed(
    instances: &BTreeMap<SlotKey, Arc<Instance>>,
    changes: &BTreeMap<SlotKey, Option<Arc<Instance>>>,
) -> BTreeMap<SlotKey, Arc<Instance>> {
    let mut instances = instances.clone();
    for (key, change) in changes {
        match change {
            Some(instance) => drop(instances.insert(key.clone(), Arc::clone(instance))),
            None => drop(instances.remove(key)),
        }
    }
    instances
}

fn is_same(now: Option<&Arc<Instance>>, old: &Arc<Instance>) -> bool {
    now.is_some_and(|now| Arc::ptr_eq(now, old))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
