//! The numbers of modules: calls, failures, queues and latencies of each of them on each vhost.

use super::metrics::{Exposition, Family, MetricKind};
use crate::plugin::core::Core;
use crate::plugin::stats::{LATENCY_BOUNDS_US, StatsReport};

/// One module on one vhost.
struct Row {
    module: String,
    vhost: String,
    waiting: i64,
    is_quarantined: bool,
    report: StatsReport,
}

type Number = fn(&Row) -> i128;

/// Name, kind, help, and where the number is.
const SINGLE: [(&str, MetricKind, &str, Number); 7] = [
    ("moult_module_calls", MetricKind::Counter, "Calls that entered the module.", |row| {
        row.report.calls.into()
    }),
    ("moult_module_errors", MetricKind::Counter, "Calls that failed by the module's fault.", |row| {
        row.report.errors.into()
    }),
    ("moult_module_panics", MetricKind::Counter, "Panics of the module that were caught.", |row| {
        row.report.panics.into()
    }),
    ("moult_module_timeouts", MetricKind::Counter, "Calls that passed their deadline.", |row| {
        row.report.timeouts.into()
    }),
    ("moult_module_refused", MetricKind::Counter, "Calls refused by a full queue or a quarantine.", |row| {
        row.report.refused.into()
    }),
    ("moult_module_queued", MetricKind::Gauge, "Calls that wait for the module.", |row| row.waiting.into()),
    ("moult_module_quarantined", MetricKind::Gauge, "1 while the module is not called.", |row| {
        row.is_quarantined.into()
    }),
];

const LATENCY: Family = Family {
    name: "moult_module_latency_seconds",
    kind: MetricKind::Histogram,
    unit: "seconds",
    help: "Time of a sample of the calls.",
};

/// Writes the numbers of every module on every vhost.
pub fn write_modules(core: &Core, to: &mut Exposition) {
    let slots = core.slots().into_iter().map(|slot| Row {
        module: slot.key.module.to_string(),
        vhost: slot.key.vhost.to_string(),
        waiting: slot.depth(),
        is_quarantined: slot.is_quarantined(),
        report: slot.stats.report(),
    });
    write_rows(&slots.collect::<Vec<_>>(), to);
}

fn write_rows(rows: &[Row], to: &mut Exposition) {
    for (name, kind, help, number) in SINGLE {
        to.family(Family { name, kind, unit: "", help });
        for row in rows {
            to.sample(&[("module", &row.module), ("vhost", &row.vhost)], number(row));
        }
    }
    let bounds = LATENCY_BOUNDS_US.map(|us| us as f64 / 1e6);
    to.family(LATENCY);
    for row in rows {
        let labels = [("module", row.module.as_str()), ("vhost", row.vhost.as_str())];
        to.histogram(&labels, &bounds, &row.report.latency, row.report.latency_sum_us as f64 / 1e6);
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn every_module_has_its_numbers() {
        let mut report = StatsReport {
            calls: 3,
            panics: 1,
            latency: vec![0; 13],
            latency_sum_us: 70,
            ..StatsReport::default()
        };
        report.latency[3] = 2;
        let row =
            Row { module: "mod_x".into(), vhost: "a.b".into(), waiting: 4, is_quarantined: true, report };
        let mut text = Exposition::default();
        write_rows(&[row], &mut text);
        let text = text.finish();
        let labels = "{module=\"mod_x\",vhost=\"a.b\"";
        for line in [
            format!("moult_module_calls_total{labels}}} 3"),
            format!("moult_module_queued{labels}}} 4"),
            format!("moult_module_quarantined{labels}}} 1"),
            format!("moult_module_latency_seconds_bucket{labels},le=\"0.00001\"}} 0"),
            format!("moult_module_latency_seconds_bucket{labels},le=\"0.00005\"}} 2"),
            format!("moult_module_latency_seconds_bucket{labels},le=\"+Inf\"}} 2"),
            format!("moult_module_latency_seconds_sum{labels}}} 0.00007"),
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
    }
}
