//! Medians with minimum and maximum, as a table, as JSON and as a chart.

mod chart;
mod machine;
mod table;

use std::path::Path;

use serde::Serialize;

use crate::error::BenchError;
use crate::scenario::{Sample, Scenario};
use crate::target::Target;
use machine::Machine;

/// Everything measured so far.
pub struct Report {
    machine: Machine,
    quick: bool,
    runs: usize,
    samples: Vec<Sample>,
    notes: Vec<Note>,
}

/// Why a scenario has no figures for a server.
#[derive(Debug, Serialize)]
struct Note {
    scenario: &'static str,
    server: &'static str,
    text: String,
    failed: bool,
}

/// One value of one case on one server over all runs.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figure {
    median: f64,
    min: f64,
    max: f64,
    runs: usize,
}

/// One row of a table.
#[derive(Debug, Serialize)]
pub struct Row {
    scenario: &'static str,
    case: String,
    server: &'static str,
    figures: Vec<(&'static str, Figure)>,
}

#[derive(Serialize)]
struct Document<'a> {
    machine: &'a Machine,
    quick: bool,
    runs: usize,
    rows: Vec<Row>,
    notes: &'a [Note],
}

impl Report {
    /// An empty report of this machine.
    pub fn new(quick: bool, runs: usize) -> Report {
        Report { machine: Machine::describe(), quick, runs, samples: Vec::new(), notes: Vec::new() }
    }

    /// Adds a sample and shows it.
    pub fn add(&mut self, sample: Sample) {
        let shown: Vec<String> = sample
            .values
            .iter()
            .take(3)
            .map(|(name, value)| format!("{name} {}", table::number(*value)))
            .collect();
        eprintln!("         {} {}: {}", sample.server, sample.case, shown.join(", "));
        self.samples.push(sample);
    }

    /// Notes that there is nothing to show.
    pub fn note(&mut self, scenario: Scenario, server: Target, error: &BenchError, failed: bool) {
        eprintln!("         {} {}: {error}", server.name(), scenario.name());
        let text = error.to_string();
        let note = Note { scenario: scenario.name(), server: server.name(), text, failed };
        let is_known = |known: &Note| (known.scenario, known.server) == (note.scenario, note.server);
        if !self.notes.iter().any(is_known) {
            self.notes.push(note);
        }
    }

    /// Whether something failed that is not merely absent.
    pub fn has_failures(&self) -> bool {
        self.notes.iter().any(|note| note.failed)
    }

    /// The tables as text.
    pub fn table(&self) -> String {
        table::render(&self.machine, self.quick, self.runs, &self.rows(), &self.notes)
    }

    /// Writes `bench.txt`, `bench.json` and `bench.svg`.
    pub fn write(&self, folder: &Path) -> Result<(), BenchError> {
        std::fs::create_dir_all(folder)?;
        let rows = self.rows();
        std::fs::write(folder.join("bench.txt"), self.table())?;
        std::fs::write(folder.join("bench.svg"), chart::render(&rows))?;
        let document =
            Document { machine: &self.machine, quick: self.quick, runs: self.runs, rows, notes: &self.notes };
        let json = serde_json::to_string_pretty(&document).map_err(std::io::Error::other)?;
        std::fs::write(folder.join("bench.json"), json + "\n")?;
        Ok(())
    }

    /// One row per scenario, case and server; cases in the order of their first appearance.
    fn rows(&self) -> Vec<Row> {
        let mut keys: Vec<(Scenario, &str, &'static str)> = Vec::new();
        for sample in &self.samples {
            let key = (sample.scenario, sample.case.as_str(), sample.server);
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let case_order =
            |scenario: Scenario, case: &str| keys.iter().position(|key| (key.0, key.1) == (scenario, case));
        let mut sorted = keys.clone();
        sorted.sort_by_key(|&(scenario, case, _)| (scenario, case_order(scenario, case)));
        sorted.into_iter().map(|(scenario, case, server)| self.row(scenario, case, server)).collect()
    }

    fn row(&self, scenario: Scenario, case: &str, server: &'static str) -> Row {
        let is_it =
            |sample: &&Sample| (sample.scenario, &*sample.case, sample.server) == (scenario, case, server);
        let samples: Vec<&Sample> = self.samples.iter().filter(is_it).collect();
        let names =
            samples.first().map(|sample| sample.values.iter().map(|(name, _)| *name)).into_iter().flatten();
        let figure = |name: &'static str| {
            let values = samples.iter().flat_map(|sample| &sample.values).filter(|(other, _)| *other == name);
            (name, Figure::of(values.map(|(_, value)| *value).collect()))
        };
        Row { scenario: scenario.name(), case: case.to_owned(), server, figures: names.map(figure).collect() }
    }
}

impl Figure {
    fn of(mut values: Vec<f64>) -> Figure {
        values.sort_by(f64::total_cmp);
        let count = values.len();
        let median = (values[(count - 1) / 2] + values[count / 2]) / 2.0;
        Figure { median, min: values[0], max: values[count - 1], runs: count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_median_with_its_extremes() {
        let figure = Figure::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((figure.median, figure.min, figure.max, figure.runs), (2.0, 1.0, 3.0, 3));
        assert_eq!(Figure::of(vec![1.0, 2.0]).median, 1.5);
    }
}
