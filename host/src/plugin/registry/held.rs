//! What the server still holds of an instance, counted: after its end that must be nothing.
//!
//! Unloading undoes all registrations whatever the author of a module forgot, so what is found here is a bug of the server
//! and is told as one. Nothing is mended by the look itself.

use super::Snapshot;
use crate::plugin::instance::Instance;
use std::fmt;
use std::sync::Arc;

/// How much of an instance there is, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Domains in the route tables.
    pub routes: usize,
    /// IQ handlers, once per vhost they serve.
    pub iq_handlers: usize,
    /// Hook functions, once per vhost they serve.
    pub hooks: usize,
    /// Commands.
    pub commands: usize,
    /// HTTP paths.
    pub http_paths: usize,
    /// Timers, and the watch over its idle time.
    pub timers: usize,
    /// Tasks: of its own, and of calls.
    pub tasks: usize,
    /// Its place among the instances that serve.
    pub places: usize,
}

impl Held {
    /// What these tables and the instance itself hold.
    pub fn of(instance: &Arc<Instance>, tables: &Snapshot) -> Self {
        let (timers, tasks) = instance.running();
        Self { timers, tasks, ..tables.held(instance) }
    }

    /// Everything together.
    pub fn total(&self) -> usize {
        self.counts().iter().map(|(count, _)| count).sum()
    }

    fn counts(&self) -> [(usize, &'static str); 8] {
        [
            (self.routes, "routes"),
            (self.iq_handlers, "IQ handlers"),
            (self.hooks, "hooks"),
            (self.commands, "commands"),
            (self.http_paths, "HTTP paths"),
            (self.timers, "timers"),
            (self.tasks, "tasks"),
            (self.places, "places among those that serve"),
        ]
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts();
        let mut some = counts.iter().filter(|(count, _)| *count > 0);
        let Some((count, what)) = some.next() else { return f.write_str("nothing") };
        write!(f, "{count} {what}")?;
        some.try_for_each(|(count, what)| write!(f, ", {count} {what}"))
    }
}

impl Snapshot {
    /// The entries of an instance in these tables.
    fn held(&self, instance: &Arc<Instance>) -> Held {
        let is_its = |other: &Arc<Instance>| Arc::ptr_eq(other, instance);
        let mut held = Held {
            routes: self.routes().filter(|(_, entry)| is_its(&entry.instance)).count(),
            commands: self.commands.values().flatten().filter(|entry| is_its(&entry.instance)).count(),
            http_paths: self.http.iter().filter(|entry| is_its(&entry.instance)).count(),
            places: self.instances.values().filter(|other| is_its(other)).count(),
            ..Held::default()
        };
        for tables in self.vhosts.values() {
            let handlers = tables.server_iq.values().chain(tables.bare_iq.values());
            held.iq_handlers += handlers.filter(|entry| is_its(&entry.instance)).count();
            let functions = tables.hooks.values().flatten();
            held.hooks += functions.filter(|entry| is_its(&entry.instance)).count();
        }
        held
    }
}
