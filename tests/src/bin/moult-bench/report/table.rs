//! The report as Markdown tables, one per scenario.

use super::machine::Machine;
use super::{Figure, Note, Row};

pub fn render(machine: &Machine, quick: bool, runs: usize, rows: &[Row], notes: &[Note]) -> String {
    let mut text = format!("# Benchmark\n\n{}\n\n", machine.line());
    let kind = if quick { "quick" } else { "full" };
    text.push_str(&format!(
        "{runs} {kind} run(s), servers interleaved; medians, with minimum and maximum where there is more than one run. \
         One load client on one thread, loopback. srv = server CPU, cli = load client CPU, other = everything else on the \
         machine.\n"
    ));
    let mut scenario = "";
    let mut columns: Vec<&str> = Vec::new();
    for row in rows {
        let own: Vec<&str> = row.figures.iter().map(|(name, _)| *name).collect();
        if row.scenario != scenario || own != columns {
            (scenario, columns) = (row.scenario, own);
            text.push_str(&heading(scenario, &columns));
        }
        let cells: Vec<String> = row.figures.iter().map(|(_, figure)| cell(figure)).collect();
        text.push_str(&format!("| {} | {} | {} |\n", row.case, row.server, cells.join(" | ")));
    }
    for note in notes {
        text.push_str(&format!("\n{} on {}: {}\n", note.scenario, note.server, note.text));
    }
    text
}

fn heading(scenario: &str, columns: &[&str]) -> String {
    let rule = "---|".repeat(columns.len() + 2);
    format!("\n## {scenario}\n\n| case | server | {} |\n|{rule}\n", columns.join(" | "))
}

fn cell(figure: &Figure) -> String {
    let median = number(figure.median);
    if figure.runs < 2 || figure.min == figure.max {
        return median;
    }
    format!("{median} ({}-{})", number(figure.min), number(figure.max))
}

/// Three significant digits, or whole numbers from 100 on.
pub fn number(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "-".to_owned(),
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
