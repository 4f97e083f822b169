//! For the unit tests of this room: a core without server and folder, and instances of a module that is linked in and does
//! nothing, which register what a test says.

use super::bridge::invoke::Code;
use super::core::Core;
use super::instance::Instance;
use super::registration::What;
use super::registry::{Conflict, Snapshot};
use super::runtime::{ModulesRuntime, RuntimeSettings};
use super::slot::SlotKey;
use crate::config::Config;
use moult_plugin_api::abi::v1::ModuleVt;
use moult_plugin_api::glue;
use moult_plugin_api::sdk::{Host, Module, Started, Stop};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

struct Idle;

impl Module for Idle {
    type Options = ();

    fn start(_: &Host, (): ()) -> Result<Started<Self>, Stop> {
        Started::running(Idle)
    }
}

static IDLE: ModuleVt = glue::table::<Idle>(glue::create::<Idle>);

/// A core with these vhosts.
pub struct Room {
    pub core: Arc<Core>,
    vhosts: Vec<Arc<str>>,
    _folder: tempfile::TempDir,
}

impl Room {
    pub fn new(vhosts: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sections: String = vhosts.iter().map(|vhost| format!("[vhost.\"{vhost}\"]\n")).collect();
        let root = folder.path().display();
        let text = format!(
            "[server]\ndata_dir = \"{root}\"\nplugin_dir = \"{root}\"\ncontrol_socket = \"{root}/sock\"\n\
             [tls]\nself_signed = true\n{sections}"
        );
        let file = folder.path().join("moult.toml");
        std::fs::write(&file, text).unwrap();
        let config = Config::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
        let settings = RuntimeSettings { workers: 1, stuck_after: PATIENCE };
        let runtime = ModulesRuntime::start(settings, |_| ()).unwrap();
        let (core, _) = Core::new(Arc::new(config), runtime);
        Self { core, vhosts: vhosts.iter().map(|vhost| (*vhost).into()).collect(), _folder: folder }
    }

    /// An instance of `module@vhost` with these registrations: started, and not published.
    pub async fn instance(&self, slot: &str, registrations: impl IntoIterator<Item = What>) -> Arc<Instance> {
        let (module, vhost) = slot.split_once('@').unwrap();
        let key = SlotKey { module: module.into(), vhost: vhost.into() };
        let code = Code::linked(&IDLE);
        let context = self.core.context(&code, &key, 1);
        let runtime = self.core.runtime().handle();
        let instance = Instance::create(code, context, "{}".into(), runtime, PATIENCE).await.unwrap();
        instance.start(false, PATIENCE).await.unwrap();
        for (number, what) in registrations.into_iter().enumerate() {
            instance.context().register(what, number as u64 + 1).unwrap();
        }
        instance
    }

    /// The tables of these instances.
    pub fn tables(&self, instances: &[&Arc<Instance>]) -> Result<Snapshot, Conflict> {
        let all: BTreeMap<_, _> = instances.iter().map(|i| (i.key().clone(), Arc::clone(i))).collect();
        Snapshot::build(1, &all, &self.vhosts)
    }

    /// Lets it serve.
    pub fn publish(&self, instance: &Arc<Instance>) {
        instance.set_live();
        let change = BTreeMap::from([(instance.key().clone(), Some(Arc::clone(instance)))]);
        self.core.publish(&change).unwrap();
    }

    /// Takes it out of the tables.
    pub fn withdraw(&self, instance: &Arc<Instance>) {
        self.core.publish(&BTreeMap::from([(instance.key().clone(), None)])).unwrap();
    }

    /// Ends it, as a retirement does.
    pub async fn end(&self, instance: &Arc<Instance>) {
        instance.end(super::instance::StopReason::Unload, PATIENCE).await.unwrap();
        self.core.has_ended(instance);
    }

    /// The end of all these, and of the threads.
    pub async fn close(self, instances: &[&Arc<Instance>]) {
        for instance in instances {
            instance.end(super::instance::StopReason::Unload, PATIENCE).await.unwrap();
        }
        self.core.runtime().clone().shutdown(PATIENCE);
    }
}
