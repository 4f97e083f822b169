//! The tables every stanza looks into: who handles which IQ, route, hook, command and HTTP path. A snapshot is immutable;
//! a swap builds another one and publishes it with one pointer store, so a reader sees all of a transaction or nothing.

mod entries;
mod held;
#[cfg(test)]
mod tests;
mod vhosts;

pub use entries::{CommandEntry, HookEntry, HookKey, HttpEntry, IqEntry, RouteEntry};
pub use held::Held;

use vhosts::ByVhost;

use super::hook::HookPoint;
use super::instance::Instance;
use super::registration::{Identity, IqTarget, Item, Registered, What};
use super::slot::{GLOBAL, LaneKey, Limits, SlotKey, workers_of};
use crate::config::Discipline;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Its keys come from modules and the configuration alone, so a fast hash does.
type Table<V> = HashMap<Arc<str>, V, foldhash::fast::RandomState>;

/// What service discovery tells of a vhost or its accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Disco {
    /// Namespaces, sorted.
    pub features: Vec<Arc<str>>,
    /// Identities.
    pub identities: Vec<Identity>,
    /// Items.
    pub items: Vec<Item>,
}

#[derive(Default)]
struct VhostTables {
    server_iq: Table<IqEntry>,
    bare_iq: Table<IqEntry>,
    hooks: BTreeMap<HookPoint, Vec<HookEntry>>,
    server_disco: Disco,
    bare_disco: Disco,
    /// Before and after the login.
    stream_features: [Vec<Arc<str>>; 2],
}

/// All tables of one moment.
#[derive(Default)]
pub struct Snapshot {
    /// Counts publications.
    pub version: u64,
    /// Which snapshot of this process it is.
    pub(super) stamp: u64,
    vhosts: ByVhost<VhostTables>,
    local: Table<RouteEntry>,
    global: Table<Vec<RouteEntry>>,
    /// One entry per instance that offers the command, in the order of their vhosts.
    commands: BTreeMap<Arc<str>, Vec<CommandEntry>>,
    /// Longest prefix first.
    http: Vec<HttpEntry>,
    instances: BTreeMap<SlotKey, Arc<Instance>>,
    /// One bit per hook point that anybody hooked: what keeps unused hooks free.
    hooked: u64,
}

/// Two modules want the same thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{asker} wants {what}, which belongs to {owner} already")]
pub struct Conflict {
    /// Who asked.
    pub asker: String,
    /// For what.
    pub what: String,
    /// Who has it.
    pub owner: String,
}

impl Conflict {
    /// That `asker` wants what `owner` has.
    pub(super) fn with(asker: &SlotKey, what: &What, owner: &str) -> Self {
        let what = match what {
            What::Route { domain, .. } => format!("the domain '{domain}'"),
            What::Iq { ns, .. } => format!("the IQ namespace '{ns}'"),
            What::Command { name, .. } => format!("the command '{name}'"),
            What::Http { prefix, .. } => format!("the HTTP path '{prefix}'"),
            _ => "this".to_owned(),
        };
        Self { asker: asker.to_string(), what, owner: owner.to_owned() }
    }
}

impl Snapshot {
    /// Builds the tables of these instances. An error names the first conflict.
    pub fn build(
        version: u64,
        instances: &BTreeMap<SlotKey, Arc<Instance>>,
        vhosts: &[Arc<str>],
    ) -> Result<Self, Conflict> {
        let stamp = super::lookup::stamp();
        let mut snapshot = Self { version, stamp, instances: instances.clone(), ..Self::default() };
        for vhost in vhosts {
            snapshot.vhosts.insert(Arc::clone(vhost), VhostTables::default());
        }
        for instance in instances.values() {
            for registered in instance.context().registered() {
                snapshot.enter(instance, registered)?;
            }
        }
        snapshot.finish();
        Ok(snapshot)
    }

    /// The handler of an IQ to `vhost` itself or to an account on it.
    #[inline]
    pub fn iq(&self, vhost: &str, target: IqTarget, ns: &str) -> Option<&IqEntry> {
        let tables = self.vhosts.get(vhost)?;
        match target {
            IqTarget::Server => tables.server_iq.get(ns),
            IqTarget::Bare => tables.bare_iq.get(ns),
        }
    }

    /// The owner of a domain in the LOCAL table.
    pub fn local_route(&self, domain: &str) -> Option<&RouteEntry> {
        self.local.get(domain)
    }

    /// The owners of a domain in the GLOBAL table.
    pub fn global_routes(&self, domain: &str) -> &[RouteEntry] {
        self.global.get(domain).map_or(&[], Vec::as_slice)
    }

    /// Whether anybody hooked `point` anywhere.
    #[inline]
    pub fn is_hooked(&self, point: HookPoint) -> bool {
        self.hooked & (1 << point as u8) != 0
    }

    /// The functions hooked at `point` for `vhost`, in order.
    #[inline]
    pub fn hooks(&self, point: HookPoint, vhost: &str) -> &[HookEntry] {
        if !self.is_hooked(point) {
            return &[];
        }
        self.vhosts.get(vhost).and_then(|tables| tables.hooks.get(&point)).map_or(&[], Vec::as_slice)
    }

    /// A command of a module.
    pub fn command(&self, name: &str) -> Option<&CommandEntry> {
        self.commands.get(name)?.first()
    }

    /// The command at the instance that serves `vhost`.
    pub fn command_on(&self, name: &str, vhost: &str) -> Option<&CommandEntry> {
        self.commands.get(name)?.iter().find(|entry| concerns(entry.instance.key(), vhost))
    }

    /// All commands of modules by name.
    pub fn commands(&self) -> impl Iterator<Item = (&Arc<str>, &CommandEntry)> {
        self.commands.iter().filter_map(|(name, entries)| Some((name, entries.first()?)))
    }

    /// The module path that serves `path`: the longest prefix that ends at a segment.
    pub fn http(&self, path: &str) -> Option<&HttpEntry> {
        self.http.iter().find(|entry| serves(&entry.prefix, path))
    }

    /// The domains in both route tables.
    pub fn routes(&self) -> impl Iterator<Item = (&'static str, &RouteEntry)> {
        let local = self.local.values().map(|entry| ("local", entry));
        local.chain(self.global.values().flatten().map(|entry| ("global", entry)))
    }

    /// What service discovery tells of `vhost` or its accounts.
    pub fn disco(&self, vhost: &str, target: IqTarget) -> Option<&Disco> {
        let tables = self.vhosts.get(vhost)?;
        Some(match target {
            IqTarget::Server => &tables.server_disco,
            IqTarget::Bare => &tables.bare_disco,
        })
    }

    /// The elements that modules put among the features of streams, logged in (`Bare`) or not.
    pub fn stream_features(&self, vhost: &str, target: IqTarget) -> &[Arc<str>] {
        self.vhosts.get(vhost).map_or(&[], |tables| tables.stream_features[stage_of(target)].as_slice())
    }

    /// All serving instances.
    pub fn instances(&self) -> &BTreeMap<SlotKey, Arc<Instance>> {
        &self.instances
    }

    /// Whether `what` of module `asker` clashes with what another module has.
    pub fn conflict(&self, asker: &SlotKey, what: &What) -> Option<Conflict> {
        let owner = match what {
            What::Route { domain, .. } => self.owner_of_domain(domain, asker),
            What::Iq { ns, target, .. } => {
                let vhosts = self.vhosts.keys().filter(|vhost| concerns(asker, vhost));
                let mut entries = vhosts.filter_map(|vhost| self.iq(vhost, *target, ns));
                entries
                    .find(|entry| entry.instance.key() != asker && !is_mine(entry, asker))
                    .map(|e| e.instance.key())
            }
            What::Command { name, .. } => self.command(name).map(|entry| entry.instance.key()),
            What::Http { prefix, .. } => {
                self.http.iter().find(|entry| entry.prefix == *prefix).map(|entry| entry.instance.key())
            }
            _ => None,
        }?;
        (owner.module != asker.module).then(|| Conflict::with(asker, what, &owner.to_string()))
    }

    fn owner_of_domain(&self, domain: &str, asker: &SlotKey) -> Option<&SlotKey> {
        let local = self.local.get(domain);
        let mut owners =
            local.into_iter().chain(self.global_routes(domain)).map(|entry| entry.instance.key());
        owners.find(|owner| owner.module != asker.module)
    }

    fn enter(&mut self, instance: &Arc<Instance>, registered: Registered) -> Result<(), Conflict> {
        let Registered { handler, what, .. } = registered;
        if let Some(conflict) = self.conflict(instance.key(), &what) {
            return Err(conflict);
        }
        match what {
            What::Route { local, domain } => self.enter_route(instance, handler, local, domain),
            What::Iq { ns, target, discipline } => self.enter_iq(instance, handler, ns, target, discipline),
            What::Hook { point, sequence } => self.enter_hook(instance, handler, point, sequence),
            What::Command { name, decl } => {
                let entry = CommandEntry { instance: Arc::clone(instance), handler, decl };
                self.commands.entry(name).or_default().push(entry);
            }
            What::Http { prefix, admin, max_body } => {
                let instance = Arc::clone(instance);
                self.http.push(HttpEntry { prefix, admin, max_body, instance, handler });
            }
            What::Feature { var, target } => {
                self.for_vhosts(instance, |tables| disco_of(tables, target).features.push(Arc::clone(&var)));
            }
            What::Identity { domain, identity } => {
                // An identity of a service's own domain is told by the service itself.
                if domain.is_empty() {
                    self.for_vhosts(instance, |tables| tables.server_disco.identities.push(identity.clone()));
                }
            }
            What::Item(item) => {
                self.for_vhosts(instance, |tables| tables.server_disco.items.push(item.clone()));
            }
            What::StreamFeature { element, target } => {
                self.for_vhosts(instance, |tables| {
                    tables.stream_features[stage_of(target)].push(Arc::clone(&element));
                });
            }
            What::Timer { .. } => {}
        }
        Ok(())
    }

    fn enter_route(&mut self, instance: &Arc<Instance>, handler: u64, local: bool, domain: Arc<str>) {
        let mailbox = instance.context().slot.lane(LaneKey::Mailbox, 1);
        mailbox.begin_anew();
        // A service is an item of its vhost; what it says of itself as an item wins (see `finish`).
        let item = Item { jid: domain.to_string(), ..Item::default() };
        self.for_vhosts(instance, |tables| tables.server_disco.items.push(item.clone()));
        let entry =
            RouteEntry { instance: Arc::clone(instance), handler, domain: Arc::clone(&domain), mailbox };
        if local {
            self.local.insert(domain, entry);
        } else {
            self.global.entry(domain).or_default().push(entry);
        }
    }

    fn enter_iq(
        &mut self,
        instance: &Arc<Instance>,
        handler: u64,
        ns: Arc<str>,
        target: IqTarget,
        asked: Option<Discipline>,
    ) {
        let slot = &instance.context().slot;
        let limits = slot.limits();
        let discipline = discipline_of(&limits, asked);
        let lane = (discipline != Discipline::NoQueue).then(|| {
            slot.lane(LaneKey::Iq(target, Arc::clone(&ns)), workers_of(discipline, limits.queue_length))
        });
        lane.iter().for_each(|lane| lane.begin_anew());
        self.for_vhosts(instance, |tables| {
            let entry = IqEntry {
                instance: Arc::clone(instance),
                handler,
                ns: Arc::clone(&ns),
                lane: lane.clone(),
                overdue: Arc::default(),
            };
            let table = match target {
                IqTarget::Server => &mut tables.server_iq,
                IqTarget::Bare => &mut tables.bare_iq,
            };
            table.insert(Arc::clone(&ns), entry);
        });
    }

    fn enter_hook(&mut self, instance: &Arc<Instance>, handler: u64, point: HookPoint, sequence: i32) {
        self.hooked |= 1 << point as u8;
        self.for_vhosts(instance, |tables| {
            let chain = tables.hooks.entry(point).or_default();
            let slot = instance.key();
            let same = chain.iter().filter(|e| e.key.sequence == sequence && e.key.slot == *slot).count();
            let key = HookKey { sequence, slot: slot.clone(), nth: u32::try_from(same).unwrap_or(u32::MAX) };
            chain.push(HookEntry { key, instance: Arc::clone(instance), handler });
        });
    }

    /// Applies `change` to the tables of each vhost that `instance` serves.
    fn for_vhosts(&mut self, instance: &Instance, mut change: impl FnMut(&mut VhostTables)) {
        for (vhost, tables) in self.vhosts.iter_mut() {
            if concerns(instance.key(), vhost) {
                change(tables);
            }
        }
    }

    fn finish(&mut self) {
        self.http.sort_by(|a, b| b.prefix.len().cmp(&a.prefix.len()).then_with(|| a.prefix.cmp(&b.prefix)));
        for (_, tables) in self.vhosts.iter_mut() {
            for chain in tables.hooks.values_mut() {
                chain.sort_by(|a, b| a.key.cmp(&b.key));
            }
            for disco in [&mut tables.server_disco, &mut tables.bare_disco] {
                disco.features.sort();
                disco.features.dedup();
                // Those with a name first, so that they are the ones that stay.
                disco.items.sort_by(|a, b| (&a.jid, &a.node, &b.name).cmp(&(&b.jid, &b.node, &a.name)));
                disco.items.dedup_by(|a, b| a.jid == b.jid && a.node == b.node);
            }
        }
    }
}

fn stage_of(target: IqTarget) -> usize {
    usize::from(target == IqTarget::Bare)
}

fn discipline_of(limits: &Limits, asked: Option<Discipline>) -> Discipline {
    limits.discipline.or(asked).unwrap_or(Discipline::OneQueue)
}

fn disco_of(tables: &mut VhostTables, target: IqTarget) -> &mut Disco {
    match target {
        IqTarget::Server => &mut tables.server_disco,
        IqTarget::Bare => &mut tables.bare_disco,
    }
}

fn concerns(slot: &SlotKey, vhost: &str) -> bool {
    &*slot.vhost == GLOBAL || &*slot.vhost == vhost
}

fn is_mine(entry: &IqEntry, asker: &SlotKey) -> bool {
    entry.instance.key().module == asker.module
}

fn serves(prefix: &str, path: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
