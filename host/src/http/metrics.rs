//! Numbers as OpenMetrics text. Whoever has numbers keeps them in its own atomics and writes them when asked.

use std::collections::BTreeSet;
use std::fmt::{Display, Write};

/// Somebody who has numbers.
pub trait MetricsSource: Send + Sync {
    /// Writes all of them.
    fn write(&self, to: &mut Exposition);
}

/// What a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Goes up only; samples get `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// One metric: its samples differ in their labels only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// `moult_...`, ending in `_` and the unit where there is one, without `_total`.
    pub name: &'static str,
    /// What it means.
    pub kind: MetricKind,
    /// `seconds`, `bytes`, or nothing.
    pub unit: &'static str,
    /// One sentence.
    pub help: &'static str,
}

/// The text being written.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    families: BTreeSet<&'static str>,
    current: Option<Family>,
}

impl Exposition {
    /// The media type of the text.
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// Begins a family; its samples follow. A family that was there already is our bug: it is logged and left out.
    pub fn family(&mut self, family: Family) {
        if !self.families.insert(family.name) {
            tracing::error!(metric = family.name, "a metric was written twice");
            self.current = None;
            return;
        }
        let kind = match family.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let _ = writeln!(self.text, "# TYPE {} {kind}", family.name);
        if !family.unit.is_empty() {
            let _ = writeln!(self.text, "# UNIT {} {}", family.name, family.unit);
        }
        let _ = writeln!(self.text, "# HELP {} {}", family.name, escaped(family.help));
        self.current = Some(family);
    }

    /// One number of the family that was begun last.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let Some(family) = self.current else { return };
        let suffix = if family.kind == MetricKind::Counter { "_total" } else { "" };
        self.line(family.name, suffix, labels, value);
    }

    /// One family with one number without labels.
    pub fn single(&mut self, family: Family, value: impl Display) {
        self.family(family);
        self.sample(&[], value);
    }

    /// One histogram of the family that was begun last: how many were in each bucket, the last one without bound, and
    /// the sum of all.
    pub fn histogram(&mut self, labels: &[(&str, &str)], bounds: &[f64], counts: &[u64], sum: f64) {
        let Some(family) = self.current else { return };
        let mut below = 0;
        for (index, count) in counts.iter().enumerate() {
            below += count;
            let bound = bounds.get(index).map_or_else(|| "+Inf".to_owned(), f64::to_string);
            self.line(family.name, "_bucket", &[labels, &[("le", bound.as_str())]].concat(), below);
        }
        self.line(family.name, "_count", labels, below);
        self.line(family.name, "_sum", labels, sum);
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        self.text.push_str("# EOF\n");
        self.text
    }

    fn line(&mut self, name: &str, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"{}\"", escaped(text));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod unit {
    use super::*;

    const CALLS: Family =
        Family { name: "moult_calls", kind: MetricKind::Counter, unit: "", help: "Calls of a \"module\"." };

    #[test]
    fn counters_gauges_and_histograms_have_the_form_of_openmetrics() {
        let mut text = Exposition::default();
        text.family(CALLS);
        text.sample(&[("module", "mod_\"x\"\n\\"), ("vhost", "a.b")], 3);
        let bytes =
            Family { name: "moult_kept_bytes", kind: MetricKind::Gauge, unit: "bytes", help: "Bytes." };
        text.single(bytes, 1.5);
        let took = Family {
            name: "moult_took_seconds",
            kind: MetricKind::Histogram,
            unit: "seconds",
            help: "Time.",
        };
        text.family(took);
        text.histogram(&[("m", "x")], &[0.001, 0.1], &[2, 0, 1], 0.7);
        let expected = r#"# TYPE moult_calls counter
# HELP moult_calls Calls of a \"module\".
moult_calls_total{module="mod_\"x\"\n\\",vhost="a.b"} 3
# TYPE moult_kept_bytes gauge
# UNIT moult_kept_bytes bytes
# HELP moult_kept_bytes Bytes.
moult_kept_bytes 1.5
# TYPE moult_took_seconds histogram
# UNIT moult_took_seconds seconds
# HELP moult_took_seconds Time.
moult_took_seconds_bucket{m="x",le="0.001"} 2
moult_took_seconds_bucket{m="x",le="0.1"} 2
moult_took_seconds_bucket{m="x",le="+Inf"} 3
moult_took_seconds_count{m="x"} 3
moult_took_seconds_sum{m="x"} 0.7
# EOF
"#;
        assert_eq!(text.finish(), expected);
    }

    #[test]
    fn a_family_is_written_once() {
        let mut text = Exposition::default();
        text.single(CALLS, 1);
        text.single(CALLS, 2);
        assert_eq!(text.finish().matches("moult_calls_total").count(), 1);
    }
}
