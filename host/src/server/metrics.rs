//! The numbers of the server in OpenMetrics, and whether its parts work.
//!
//! Nothing here waits: what has to be waited for (the generations that stay mapped) is looked at by a chore of the
//! assembly and kept in [`Observed`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::shared::Shared;
use crate::http::{Exposition, Family, Health, HealthSource, MetricKind, MetricsSource};
use crate::plugin::instance::Instance;
use crate::plugin::slot::Slot;
use crate::plugin::stats::{LATENCY_BOUNDS_US, StatsReport};

/// What a chore looks at from time to time: the old generations of each module.
#[derive(Debug, Default)]
pub(super) struct Observed(Mutex<BTreeMap<String, Old>>);

/// Old generations of one module. Its library is mapped once for all vhosts.
#[derive(Debug, Default, Clone)]
struct Old {
    /// Those whose last calls still run.
    draining: usize,
    /// Those that could not be unmapped.
    retained: usize,
    /// What these keep of memory, in bytes.
    retained_bytes: u64,
}

/// Everything that is counted.
pub(super) struct Numbers(pub Arc<Shared>);

/// The parts whose state makes the health of the server.
pub(super) struct Parts(pub Arc<Shared>);

impl MetricsSource for Numbers {
    fn write(&self, to: &mut Exposition) {
        self.process(to);
        self.sessions(to);
        self.router(to);
        self.modules(to);
    }
}

impl Numbers {
    fn process(&self, to: &mut Exposition) {
        let uptime = self.0.started.elapsed().as_secs_f64();
        to.single(gauge("moult_uptime_seconds", "seconds", "Time since the server started."), uptime);
        if let Some(seconds) = cpu_seconds() {
            let help = "Time that the process has spent on processors.";
            let unit = "seconds";
            to.single(Family { name: "moult_cpu_seconds", kind: MetricKind::Counter, unit, help }, seconds);
        }
        if let Some(bytes) = resident_bytes() {
            to.single(
                gauge("moult_resident_memory_bytes", "bytes", "Resident memory of the process."),
                bytes,
            );
        }
        if let Some(count) = open_files() {
            to.single(gauge("moult_open_files", "", "Open file descriptors of the process."), count);
        }
    }

    fn sessions(&self, to: &mut Exposition) {
        to.family(gauge("moult_sessions", "", "Bound resources by vhost."));
        for vhost in self.0.config.load().vhosts.keys() {
            to.sample(&[("vhost", vhost)], self.0.sessions.count(vhost));
        }
        if let Some(hub) = self.0.hub.get().and_then(std::sync::Weak::upgrade) {
            let counts = hub.counts();
            to.single(gauge("moult_connections", "", "Client connections."), counts.total);
            let help = "Client connections that have not logged in.";
            to.single(gauge("moult_unauthenticated_connections", "", help), counts.unauthenticated);
        }
        let (mut stanzas, mut bytes) = (0, 0);
        self.0.sessions.for_each(|session| {
            let (waiting, size) = session.mailbox().backlog();
            stanzas += waiting;
            bytes += size;
        });
        to.single(gauge("moult_mailbox_stanzas", "", "Stanzas that wait for clients."), stanzas);
        to.single(gauge("moult_mailbox_bytes", "bytes", "Their bytes."), bytes);
    }

    fn router(&self, to: &mut Exposition) {
        to.family(counter("moult_stanzas", "Stanzas by what the router did with them."));
        if let Ok(serde_json::Value::Object(counts)) = serde_json::to_value(self.0.router.counts()) {
            for (what, count) in &counts {
                to.sample(&[("what", what)], count);
            }
        }
        let pending = self.0.router.pending().counts();
        to.single(gauge("moult_pending_iqs", "", "Requests of ours that wait for answers."), pending.waiting);
        to.family(counter(
            "moult_pending_iq_ends",
            "Requests of ours by how they ended, and answers to none.",
        ));
        to.sample(&[("how", "answered")], pending.answered);
        to.sample(&[("how", "timed_out")], pending.timed_out);
        to.sample(&[("how", "unmatched")], pending.unmatched);
    }

    fn modules(&self, to: &mut Exposition) {
        let slots: Vec<_> = self.0.manager.core().slots();
        let reports: Vec<(&Slot, StatsReport)> = slots.iter().map(|slot| (&**slot, slot.report())).collect();
        to.family(counter("moult_module_calls", "Calls of modules by how they ended."));
        for (slot, report) in &reports {
            let ends = [
                ("entered", report.calls),
                ("error", report.errors),
                ("panic", report.panics),
                ("timeout", report.timeouts),
                ("refused", report.refused),
            ];
            for (end, count) in ends {
                to.sample(&[("module", &slot.key.module), ("vhost", &slot.key.vhost), ("end", end)], count);
            }
        }
        to.family(gauge("moult_module_queue_depth", "", "Calls that wait in the queues of modules."));
        for (slot, _) in &reports {
            to.sample(&labels(slot), slot.depth());
        }
        to.family(gauge(
            "moult_module_quarantined",
            "",
            "1 for a module that gets no calls because of its faults.",
        ));
        for (slot, _) in &reports {
            to.sample(&labels(slot), u8::from(slot.is_quarantined()));
        }
        let help = "How long calls of modules took; one in sixteen of those without a queue is measured.";
        to.family(Family {
            name: "moult_module_latency_seconds",
            kind: MetricKind::Histogram,
            unit: "seconds",
            help,
        });
        let bounds = LATENCY_BOUNDS_US.map(|bound| bound as f64 / 1e6);
        for (slot, report) in &reports {
            to.histogram(&labels(slot), &bounds, &report.latency, report.latency_sum_us as f64 / 1e6);
        }
        self.generations(to);
        let help =
            "What the server still held of instances that had ended. More than 0 is a bug of the server.";
        to.family(counter("moult_leaked_registrations", help));
        to.sample(&[], self.0.manager.core().leaked());
        self.own_numbers(to);
    }

    fn generations(&self, to: &mut Exposition) {
        let snapshot = self.0.manager.modules().snapshot().instances().clone();
        to.family(gauge("moult_module_generation", "", "Generation that serves."));
        for (key, instance) in &snapshot {
            to.sample(&[("module", &key.module), ("vhost", &key.vhost)], instance.generation());
        }
        let mut old = self.0.observed.modules();
        for key in snapshot.keys() {
            old.entry(key.module.to_string()).or_default();
        }
        old_generations(to, &old);
    }

    /// The counters and gauges that modules keep themselves.
    fn own_numbers(&self, to: &mut Exposition) {
        to.family(gauge("moult_module_value", "", "Numbers that modules keep, by their own names."));
        for (key, instance) in self.0.manager.modules().snapshot().instances() {
            for (name, value) in own_numbers(instance) {
                to.sample(&[("module", &key.module), ("vhost", &key.vhost), ("name", &name)], value);
            }
        }
    }
}

impl HealthSource for Parts {
    fn check(&self) -> Vec<Health> {
        let slots = self.0.manager.core().slots();
        let quarantined: Vec<String> =
            slots.iter().filter(|slot| slot.is_quarantined()).map(|slot| slot.key.to_string()).collect();
        let modules = (!quarantined.is_empty()).then(|| format!("quarantined: {}", quarantined.join(", ")));
        let listening = self.0.hub.get().is_some_and(|hub| hub.strong_count() > 0);
        let listeners = (!listening).then(|| "no socket is accepted on".to_owned());
        vec![Health { part: "modules", fault: modules }, Health { part: "listeners", fault: listeners }]
    }
}

impl Observed {
    /// Looks at what has to be waited for.
    pub async fn look(&self, shared: &Shared) {
        let old = shared.manager.old_generations().await;
        let mut modules: BTreeMap<String, Old> = BTreeMap::new();
        for draining in old.draining {
            modules.entry(draining.module).or_default().draining += 1;
        }
        for retained in old.retained {
            let of = modules.entry(retained.module).or_default();
            of.retained += 1;
            of.retained_bytes += retained.bytes.anonymous;
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = modules;
    }

    fn modules(&self) -> BTreeMap<String, Old> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// By module alone: a library is mapped once, whatever the number of vhosts that its instances served.
fn old_generations(to: &mut Exposition, old: &BTreeMap<String, Old>) {
    to.family(gauge("moult_module_draining", "", "Old generations of a module whose last calls still run."));
    for (module, old) in old {
        to.sample(&[("module", module)], old.draining);
    }
    to.family(gauge("moult_module_retained", "", "Old generations of a module that could not be unmapped."));
    for (module, old) in old {
        to.sample(&[("module", module)], old.retained);
    }
    let help = "Memory that these keep and that cannot be given back.";
    to.family(gauge("moult_module_retained_bytes", "bytes", help));
    for (module, old) in old {
        to.sample(&[("module", module)], old.retained_bytes);
    }
}

fn own_numbers(instance: &Instance) -> Vec<(String, i64)> {
    let metrics = &instance.context().metrics;
    let metrics = metrics.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut numbers: Vec<_> = metrics.iter().map(|(name, value)| (name.clone(), *value)).collect();
    numbers.sort();
    numbers
}

fn labels(slot: &Slot) -> [(&str, &str); 2] {
    [("module", &slot.key.module), ("vhost", &slot.key.vhost)]
}

fn gauge(name: &'static str, unit: &'static str, help: &'static str) -> Family {
    Family { name, kind: MetricKind::Gauge, unit, help }
}

fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: MetricKind::Counter, unit: "", help }
}

/// As the kernel tells it.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// User and system time; the kernel tells them in hundredths of a second, whatever its own clock.
fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name before the last parenthesis may hold anything; utime and stime are the fields 14 and 15 of proc(5).
    let mut fields = text.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut hundredths = || fields.next()?.parse::<u32>().ok();
    Some((f64::from(hundredths()?) + f64::from(hundredths()?)) / 100.0)
}

fn open_files() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_numbers_of_process_sessions_and_router_are_written() {
        let server = crate::server::fixture::server().await;
        let _session = server.bind("ann@example.org/phone").await;
        let mut text = Exposition::default();
        Numbers(Arc::clone(&server.shared)).write(&mut text);
        let text = text.finish();
        for line in ["moult_sessions{vhost=\"example.org\"} 1", "moult_stanzas_total{what=\"delivered\"} 0"] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
        for name in ["moult_cpu_seconds_total ", "moult_resident_memory_bytes ", "moult_open_files "] {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let number: f64 = line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap();
            assert!(number > 0.0 || name.contains("cpu"), "{name}{number}");
        }
    }

    #[test]
    fn old_generations_are_told_by_module() {
        let old = BTreeMap::from([
            ("mod_a".to_owned(), Old { draining: 1, retained: 2, retained_bytes: 4096 }),
            ("mod_b".to_owned(), Old::default()),
        ]);
        let mut text = Exposition::default();
        old_generations(&mut text, &old);
        let text = text.finish();
        for line in [
            "moult_module_draining{module=\"mod_a\"} 1",
            "moult_module_retained{module=\"mod_a\"} 2",
            "moult_module_retained_bytes{module=\"mod_a\"} 4096",
            "moult_module_retained_bytes{module=\"mod_b\"} 0",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
    }
}
